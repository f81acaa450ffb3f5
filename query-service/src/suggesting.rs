//! Suggestions: the words of all partitions, added up.

use std::time::{Duration, Instant};

use warren_protocol::Problem;
use warren_protocol::rpc::{Answer, Question};
use warren_protocol::search::PartitionsReport;
use warren_protocol::suggest::{
    MAX_LIMIT, MAX_TEXT_BYTES, SuggestResponse, Suggestions, Typed, Word, completions, correction, words,
};

use crate::QueryService;
use crate::ask::Answered;
use crate::at_least::AtLeast;
use crate::fan_out::another_question;

/// How long suggestions may take: later, they are of no use to who types.
const LIMIT: Duration = Duration::from_secs(1);

impl QueryService {
    /// What may be meant by `text`, which is being typed.
    pub(crate) async fn suggest(&self, index: &str, text: &str, limit: u32) -> Result<SuggestResponse, Problem> {
        let arrival = Instant::now();
        let _slot = self.admit()?;
        let index = self.index(index)?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(Problem::invalid("q", format!("q has {} bytes: at most {MAX_TEXT_BYTES}", text.len())));
        }
        Problem::check_range("limit", limit, 0..=MAX_LIMIT)?;
        let total = index.definition.partitions.get();
        let mut report = PartitionsReport { total, answered: total, failed: Vec::new() };
        let words = words(text);
        // Behind a blank a new word begins, of which nothing is known.
        let last = words.last().filter(|word| word.at.end == text.len());
        let mut suggestions = Suggestions::default();
        if !words.is_empty() {
            let typed = Typed { words: words.iter().map(|word| word.text.clone()).collect(), open: last.is_some() };
            let question = Question::Suggest(typed);
            let deadline = arrival + LIMIT;
            let whatever = AtLeast::default();
            let failed = self.shared.fan_out.each(
                &index,
                |_| question.clone(),
                &whatever,
                deadline,
                |_, Answered { answer, .. }| {
                    let Answer::Suggestions(found) = answer else { return Err(another_question()) };
                    suggestions.merge(found);
                    Ok(deadline)
                },
            );
            report.failed = failed.await?;
            // What goes on as a word of the index is no mistake yet.
            if let Some((known, _)) = suggestions.words.last_mut().filter(|_| !suggestions.completions.is_empty()) {
                *known = known.saturating_add(1);
            }
            report.answered = total - u32::try_from(report.failed.len()).unwrap_or(total);
        }
        let complete = |last: &Word| completions(text, last, suggestions.completions.clone(), limit as usize);
        Ok(SuggestResponse {
            completions: last.map(complete).unwrap_or_default(),
            correction: correction(text, &words, &suggestions.words),
            partitions: report,
            took_ms: u64::try_from(arrival.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}
