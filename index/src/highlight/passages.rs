//! The passages of one text field.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use tantivy::tokenizer::TextAnalyzer;
use warren_protocol::search::Highlight;

use crate::query::Matcher;

/// A passage that is longer is one huge word: not for the eye.
const MAX_PASSAGE_BYTES: usize = 1000;
/// What a word counts that was there before in the same passage, or that a pattern describes. A passage is worth its different words: how
/// rare they are is not asked, because that differs from partition to partition.
const LITTLE: f32 = 0.01;

/// Finds words in texts that are cut by one analyzer.
pub(super) struct Finder {
    words: BTreeSet<String>,
    patterns: Vec<Arc<Matcher>>,
    analyzer: TextAnalyzer,
}

/// A piece of a text, with the words that were found in it.
struct Passage<'a> {
    text: &'a str,
    range: Range<usize>,
    words: Vec<Range<usize>>,
    different: BTreeSet<String>,
    worth: f32,
}

impl Finder {
    pub(super) fn new(words: BTreeSet<String>, patterns: Vec<Arc<Matcher>>, analyzer: TextAnalyzer) -> Self {
        Self { words, patterns, analyzer }
    }

    /// Whether a word of a text is sought, and what it is worth in a passage that has these already.
    fn worth(&self, word: &str, different: &mut BTreeSet<String>) -> Option<f32> {
        if self.words.contains(word) {
            return Some(if different.insert(word.to_owned()) { 1.0 } else { LITTLE });
        }
        self.patterns.iter().any(|pattern| pattern.matches(word)).then_some(LITTLE)
    }

    /// The passages of a field's values that are worth the most, in the order of the values; `left` is how much text may still be looked
    /// through.
    pub(super) fn passages(&self, values: &[&str], left: &mut usize, options: &Highlight) -> Vec<String> {
        let mut found = Vec::new();
        for text in values {
            let text = &text[..text.floor_char_boundary(*left)];
            *left -= text.len();
            self.search(text, options.size as usize, &mut found);
        }
        // Stable: of equals, the first ones stay.
        let mut ranking: Vec<usize> = (0..found.len()).collect();
        ranking.sort_by(|left, right| found[*right].worth.total_cmp(&found[*left].worth));
        ranking.truncate(options.fragments as usize);
        ranking.sort_unstable();
        ranking.into_iter().map(|number| found[number].to_html(&options.pre_tag, &options.post_tag)).collect()
    }

    fn search<'a>(&self, text: &'a str, size: usize, found: &mut Vec<Passage<'a>>) {
        let new = |range| Passage { text, range, words: Vec::new(), different: BTreeSet::new(), worth: 0.0 };
        let mut passage = new(0..0);
        let mut keep = |passage: Passage<'a>| {
            if !passage.words.is_empty() && passage.range.len() <= MAX_PASSAGE_BYTES {
                found.push(passage);
            }
        };
        self.analyzer.clone().token_stream(text).process(&mut |token| {
            if token.offset_to - passage.range.start > size {
                keep(std::mem::replace(&mut passage, new(token.offset_from..token.offset_from)));
            }
            passage.range.end = token.offset_to;
            if let Some(worth) = self.worth(&token.text, &mut passage.different) {
                passage.worth += worth;
                passage.words.push(token.offset_from..token.offset_to);
            }
        });
        keep(passage);
    }
}

impl Passage<'_> {
    /// The text escaped for HTML, with the words in tags.
    fn to_html(&self, pre_tag: &str, post_tag: &str) -> String {
        let mut html = String::with_capacity(self.range.len() * 2);
        let mut end = self.range.start;
        for word in &self.words {
            // Words may overlap where an analyzer makes several of one place.
            let start = word.start.max(end);
            if word.end <= start {
                continue;
            }
            escape(&self.text[end..start], &mut html);
            html.push_str(pre_tag);
            escape(&self.text[start..word.end], &mut html);
            html.push_str(post_tag);
            end = word.end;
        }
        escape(&self.text[end..self.range.end.max(end)], &mut html);
        html
    }
}

fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#x27;"),
            other => html.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis;
    use warren_protocol::definition::Analyzer;

    fn passages(words: &[&str], values: &[&str], options: &Highlight) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Finder::new(words, Vec::new(), analysis::analyzer(Analyzer::Standard)).passages(values, &mut 10_000, options)
    }

    #[test]
    fn the_passages_worth_most_come_in_the_order_of_the_text() {
        let text = "web one two three four five six. seven eight nine web server ten eleven. twelve thirteen fourteen web end";
        let options = Highlight { fragments: 2, size: 36, pre_tag: "<em>".into(), post_tag: "</em>".into(), fields: None };
        let found = passages(&["web", "server"], &[text, "a server"], &options);
        assert_eq!(found, ["<em>web</em> one two three four five six", "seven eight nine <em>web</em> <em>server</em> ten"]);
        let all = passages(&["web", "server"], &[text, "a server"], &Highlight { fragments: 20, ..options });
        assert_eq!(all.len(), 4, "{all:?}");
        assert_eq!(all[0], "<em>web</em> one two three four five six");
    }

    #[test]
    fn a_text_is_escaped_and_the_tags_are_not() {
        let found = passages(&["web"], &["<i>\"web\" & 'more'"], &Highlight::default());
        assert_eq!(found, ["&lt;i&gt;&quot;<b>web</b>&quot; &amp; &#x27;more"]);
        assert!(passages(&["web"], &["nothing", ""], &Highlight::default()).is_empty());
    }
}
