//! Suggestions: how what is being typed may go on, and what a word that no document has may have meant.
//!
//! Partitions answer with their own terms and how many documents have them; counts of the same term are added up, and only then it is decided
//! which are the best. Documents that are deleted count until a merge, as in the scores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is asked of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// The words that were typed, in lower case, the last one perhaps not to its end.
    pub words: Vec<String>,
    /// Whether the last word may go on.
    pub open: bool,
}

/// What a partition answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestions {
    /// The words that the last one may become, and how many documents have them.
    pub completions: BTreeMap<String, u64>,
    /// For each word, how many documents have it, and the words that are like it with how many documents have those.
    pub words: Vec<(u64, BTreeMap<String, u64>)>,
}

impl Suggestions {
    /// Adds the answer of another partition to the same question.
    pub fn merge(&mut self, other: Self) {
        add(&mut self.completions, other.completions);
        self.words.resize(self.words.len().max(other.words.len()), (0, BTreeMap::new()));
        for ((known, similar), (more, others)) in self.words.iter_mut().zip(other.words) {
            *known = known.saturating_add(more);
            add(similar, others);
        }
    }
}

fn add(into: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>) {
    for (word, documents) in from {
        let sum = into.entry(word).or_default();
        *sum = sum.saturating_add(documents);
    }
}

/// The answer to `GET /indexes/{index}/suggest`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SuggestResponse {
    /// Milliseconds from the request's arrival to the answer.
    pub took_ms: u64,
    /// Which partitions answered.
    pub partitions: crate::search::PartitionsReport,
    /// How the text may go on: what most documents have first, equal ones in the order of the alphabet.
    pub completions: Vec<Completion>,
    /// What may have been meant, if a word of the text is in no document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
}

/// A text that begins like what was typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Completion {
    /// The whole text, to put in the place of what was typed.
    pub text: String,
    /// The word that its last one became.
    pub word: String,
    /// How many documents have that word.
    pub documents: u64,
}

/// A text with other words in the place of those that are in no document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Correction {
    /// The whole text.
    pub text: String,
    /// What was replaced.
    pub words: Vec<CorrectedWord>,
}

/// A word that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CorrectedWord {
    /// As it was typed.
    pub word: String,
    /// What may have been meant.
    pub suggestion: String,
    /// How many documents have that.
    pub documents: u64,
}

/// The longest text that can be completed, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;
/// How many words of it are looked up: the last ones.
pub const MAX_WORDS: usize = 8;
/// How many suggestions can be asked for.
pub const MAX_LIMIT: u32 = 50;

/// A word of a text, and where it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// In lower case.
    pub text: String,
    /// The bytes that it takes.
    pub at: std::ops::Range<usize>,
}

/// The words of a text, cut as the standard analyzer cuts them; the last [`MAX_WORDS`].
pub fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        match (character.is_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push(Word { text: text[from..at].to_lowercase(), at: from..at });
                start = None;
            }
            _ => {}
        }
    }
    words.split_off(words.len().saturating_sub(MAX_WORDS))
}

/// How many letters a word may differ: none in short ones, in which almost any would be like any other.
pub fn distance(word: &str) -> u8 {
    match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The best completions of `text`, whose last word stands at `last`.
pub fn completions(text: &str, last: &Word, found: BTreeMap<String, u64>, limit: usize) -> Vec<Completion> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, documents)| std::cmp::Reverse(*documents));
    let completion =
        |(word, documents): (String, u64)| Completion { text: format!("{}{word}", &text[..last.at.start]), word, documents };
    found.into_iter().take(limit).map(completion).collect()
}

/// The text with the best word in the place of each that no document has; `None` if there is none to replace.
pub fn correction(text: &str, words: &[Word], found: &[(u64, BTreeMap<String, u64>)]) -> Option<Correction> {
    let (mut corrected, mut replaced, mut end) = (String::new(), Vec::new(), 0);
    for (word, (known, similar)) in words.iter().zip(found) {
        // What is too long to be typed is not compared: that takes time and memory by both lengths.
        let typable = similar.iter().filter(|(candidate, _)| candidate.len() <= MAX_TEXT_BYTES);
        let best = typable.min_by_key(|(candidate, documents)| (edits(&word.text, candidate), std::cmp::Reverse(**documents)));
        let Some((suggestion, documents)) = best.filter(|_| *known == 0) else { continue };
        corrected.push_str(&text[end..word.at.start]);
        corrected.push_str(suggestion);
        end = word.at.end;
        replaced.push(CorrectedWord {
            word: text[word.at.clone()].to_owned(),
            suggestion: suggestion.clone(),
            documents: *documents,
        });
    }
    corrected.push_str(&text[end..]);
    (!replaced.is_empty()).then_some(Correction { text: corrected, words: replaced })
}

/// How many letters were left out, added, replaced or swapped with the next.
fn edits(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let (mut before, mut last) = (Vec::new(), (0..=right.len()).collect::<Vec<_>>());
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut least = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index_name::{Generation, IndexName, IndexRef};
    use crate::merging::MergeState;
    use crate::ports::WorkerId;
    use crate::rpc::{self, Answer, Message, Question};

    fn counts(words: &[(&str, u64)]) -> BTreeMap<String, u64> {
        words.iter().map(|(word, documents)| ((*word).to_owned(), *documents)).collect()
    }

    #[test]
    fn words_are_cut_as_the_analyzer_cuts_them() {
        let found = words("The web-Sérv");
        assert_eq!(found.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["the", "web", "sérv"]);
        assert_eq!(found[2].at, 8..13);
        assert!(words(" ?!").is_empty());
        assert_eq!(words(&"a ".repeat(20)).len(), MAX_WORDS);
    }

    #[test]
    fn completions_keep_what_was_typed_before() {
        let text = "Web, serv";
        let last = words(text).pop().unwrap();
        let found = completions(text, &last, counts(&[("server", 5), ("serve", 5), ("service", 9)]), 2);
        let texts: Vec<_> = found.iter().map(|completion| completion.text.as_str()).collect();
        assert_eq!(texts, ["Web, service", "Web, serve"]);
    }

    #[test]
    fn only_unknown_words_are_corrected_by_the_nearest_and_then_the_most_frequent() {
        let text = "Web srever!";
        let found = [(7, counts(&[("wed", 100)])), (0, counts(&[("server", 3), ("severe", 90), ("fever", 1)]))];
        let corrected = correction(text, &words(text), &found).unwrap();
        assert_eq!(corrected.text, "Web server!");
        assert_eq!(corrected.words[0].word, "srever");
        assert_eq!(correction(text, &words(text), &[(7, BTreeMap::new()), (1, counts(&[("server", 3)]))]), None);
    }

    #[test]
    fn a_word_that_nobody_can_type_corrects_nothing() {
        let long = "s".repeat(MAX_TEXT_BYTES + 1);
        let found = [(0, BTreeMap::from([(long, u64::MAX), ("server".to_owned(), u64::MAX)]))];
        assert_eq!(correction("srever", &words("srever"), &found).unwrap().text, "server");
        let mut all = Suggestions { completions: BTreeMap::new(), words: found.to_vec() };
        all.merge(all.clone());
        assert_eq!(all.words[0].1["server"], u64::MAX);
    }

    #[test]
    fn edits_count_swapped_neighbours_once() {
        for (left, right, distance) in
            [("abc", "acb", 1), ("abc", "abc", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(edits(left, right), distance, "{left} {right}");
        }
    }

    #[test]
    fn partitions_add_up() {
        let one = Suggestions { completions: counts(&[("a", 1)]), words: vec![(0, counts(&[("x", 2)]))] };
        let mut all = Suggestions::default();
        all.merge(one.clone());
        all.merge(one);
        assert_eq!(all, Suggestions { completions: counts(&[("a", 2)]), words: vec![(0, counts(&[("x", 4)]))] });
    }

    #[test]
    fn golden_files_pin_suggestions_and_merges() {
        let index = IndexRef { name: IndexName::new("packages").unwrap(), generation: Generation(3) };
        let item = |question| rpc::Item { index: index.clone(), partition: 2, at_least: None, question };
        let typed = Typed { words: vec!["web".to_owned(), "serv".to_owned()], open: true };
        let questions = [Question::Suggest(typed), Question::Merge { ticket: None }, Question::Merge { ticket: Some(300) }];
        let request = rpc::Request { remaining_ms: 1000, items: questions.map(item).into() };
        rpc::golden::check("suggest-and-merge-request-v2.bin", &request.encode().unwrap());
        assert_eq!(rpc::Request::decode(&rpc::golden::read("suggest-and-merge-request-v2.bin")).unwrap(), request);

        let found = Suggestions { completions: counts(&[("server", 5)]), words: vec![(0, counts(&[("serve", 2)]))] };
        let state = MergeState { ticket: 300, done: false, segments: 3, documents: 9, deleted: 1 };
        let answers = vec![Ok(Answer::Suggestions(found)), Ok(Answer::Merge(state))];
        let reply = rpc::Reply { worker: WorkerId("w1".to_owned()), answers };
        rpc::golden::check("suggest-and-merge-reply-v2.bin", &reply.encode().unwrap());
        assert_eq!(rpc::Reply::decode(&rpc::golden::read("suggest-and-merge-reply-v2.bin")).unwrap(), reply);
    }
}
