//! Words of one partition that are like others, from the dictionaries of its texts.
//!
//! An analyzer of a language keeps stems, which are no words: what stands for them in a document is suggested in their place. Only so much of each
//! dictionary is looked at, and only for so many words a document.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tantivy::query::FuzzyTermQuery;
use tantivy::schema::{Field, IndexRecordOption, Value as _};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{DocAddress, DocSet, Searcher, TERMINATED, TantivyDocument, TantivyError, Term};
use warren_protocol::suggest::{Suggestions, Typed, distance};

use crate::analysis;
use crate::error::SearchError;
use crate::partition::PartitionIndex;

/// How many terms of a dictionary are looked at for one word.
const MAX_TERMS: usize = 20_000;
/// How many of the most frequent go on, in each field and over all fields.
const MAX_FOUND: usize = 50;
/// For how many stems of one field documents are read.
const MAX_STEMS: usize = 20;
/// How many documents are read for one of them.
const MAX_DOCUMENTS: usize = 3;
/// What is shorter begins too many words.
const SHORTEST_PREFIX: usize = 2;
/// The most text of one document in which a word is sought, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// A text of the index.
struct Text<'a> {
    field: Field,
    analyzer: &'static str,
    /// The name in the definition; `None` for all dynamic strings.
    name: Option<&'a str>,
}

impl Text<'_> {
    fn has_stems(&self) -> bool {
        ![analysis::STANDARD, analysis::WHOLE].contains(&self.analyzer)
    }
}

/// Longer words are taken as they are: the automaton for their neighbours grows with each letter.
const LONGEST_TYPO: usize = 50;

impl PartitionIndex {
    /// What this partition suggests.
    pub fn suggest(&self, typed: &Typed) -> Result<Suggestions, SearchError> {
        let searcher = self.searcher();
        let mut suggestions = Suggestions::default();
        let texts = self.texts();
        for word in &typed.words {
            let (mut known, mut similar) = (0, BTreeMap::new());
            for text in &texts {
                known += self.documents_with(&searcher, text, word)?;
                if distance(word) > 0 && word.chars().count() <= LONGEST_TYPO {
                    let found = similar_terms(&searcher, text.field, word)?;
                    self.add(&searcher, text, found, |_| true, &mut similar)?;
                }
            }
            similar.remove(word);
            suggestions.words.push((known, best(similar, MAX_FOUND)));
        }
        if let Some(prefix) = typed.words.last().filter(|prefix| typed.open && prefix.chars().count() >= SHORTEST_PREFIX) {
            let mut completions = BTreeMap::new();
            for text in &texts {
                let mut found = terms_that_begin_with(&searcher, text.field, prefix)?;
                if text.has_stems() {
                    // "happy" is kept as "happi", which does not begin with it.
                    for stem in self.stems(text, prefix)? {
                        let documents = searcher.doc_freq(&Term::from_field_text(text.field, &stem))?;
                        if documents > 0 {
                            found.insert(stem, documents);
                        }
                    }
                }
                self.add(&searcher, text, found, |word| word.starts_with(prefix.as_str()), &mut completions)?;
            }
            suggestions.completions = best(completions, MAX_FOUND);
        }
        Ok(suggestions)
    }

    fn texts(&self) -> Vec<Text<'_>> {
        let fields = self.fields();
        let defined = fields.texts().map(|(name, field, _)| Text { field, analyzer: fields.analyzer_of(name), name: Some(name) });
        let dynamic = fields.dynamic_fields.map(|fields| Text { field: fields.all, analyzer: analysis::STANDARD, name: None });
        // A value that is one word is no word.
        defined.chain(dynamic).filter(|text| text.analyzer != analysis::WHOLE).collect()
    }

    fn analyzer(&self, text: &Text<'_>) -> Result<TextAnalyzer, TantivyError> {
        let analyzer = self.tantivy().tokenizers().get(text.analyzer);
        analyzer.ok_or_else(|| TantivyError::InternalError(format!("the analyzer {} is not registered", text.analyzer)))
    }

    fn stems(&self, text: &Text<'_>, word: &str) -> Result<Vec<String>, SearchError> {
        let mut analyzer = self.analyzer(text)?;
        let mut stems = Vec::new();
        analyzer.token_stream(word).process(&mut |token| stems.push(token.text.clone()));
        Ok(stems)
    }

    fn documents_with(&self, searcher: &Searcher, text: &Text<'_>, word: &str) -> Result<u64, SearchError> {
        let stems = self.stems(text, word)?;
        // What the analyzer leaves out everywhere is no mistake.
        let mut documents = u64::from(stems.is_empty());
        for stem in stems {
            documents += searcher.doc_freq(&Term::from_field_text(text.field, &stem))?;
        }
        Ok(documents)
    }

    /// Adds these terms of a text, or the words that they stand for.
    fn add(
        &self,
        searcher: &Searcher,
        text: &Text<'_>,
        found: BTreeMap<String, u64>,
        fits: impl Fn(&str) -> bool,
        to: &mut BTreeMap<String, u64>,
    ) -> Result<(), SearchError> {
        for (term, documents) in best(found, if text.has_stems() { MAX_STEMS } else { MAX_FOUND }) {
            let word = if text.has_stems() { self.word_of(searcher, text, &term, &fits)? } else { Some(term) };
            if let Some(word) = word.filter(|word| fits(word)) {
                // A document that has it in two fields is one document: the larger count is never too large.
                let known = to.entry(word).or_default();
                *known = documents.max(*known);
            }
        }
        Ok(())
    }

    /// A word that stands for a stem in one of the first documents that have it.
    fn word_of(
        &self,
        searcher: &Searcher,
        text: &Text<'_>,
        stem: &str,
        fits: &impl Fn(&str) -> bool,
    ) -> Result<Option<String>, SearchError> {
        let (Some(name), term) = (text.name, Term::from_field_text(text.field, stem)) else { return Ok(None) };
        let mut left = MAX_DOCUMENTS;
        for (number, segment) in (0..).zip(searcher.segment_readers()) {
            let postings = segment.inverted_index(text.field)?.read_postings(&term, IndexRecordOption::Basic)?;
            let Some(mut postings) = postings else { continue };
            while postings.doc() != TERMINATED && left > 0 {
                let at = postings.doc();
                postings.advance();
                if segment.is_deleted(at) {
                    continue;
                }
                left -= 1;
                let stored: TantivyDocument = searcher.doc(DocAddress::new(number, at))?;
                let body = stored.get_first(self.fields().source).and_then(|value| value.as_bytes()).unwrap_or_default();
                let Ok(document) = serde_json::from_slice::<Map<String, Value>>(body) else { continue };
                let mut found = None;
                self.each_word(text, document.get(name), &mut |token, word| {
                    if found.is_none() && token == stem {
                        found = Some(word.to_lowercase()).filter(|word| fits(word));
                    }
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Calls for each word of the strings in a value, with its stem.
    fn each_word(&self, text: &Text<'_>, value: Option<&Value>, call: &mut impl FnMut(&str, &str)) -> Result<(), SearchError> {
        match value {
            Some(Value::String(string)) => {
                let string = &string[..string.floor_char_boundary(MAX_TEXT_BYTES)];
                let mut analyzer = self.analyzer(text)?;
                analyzer.token_stream(string).process(&mut |token| {
                    call(&token.text, &string[token.offset_from..token.offset_to]);
                });
                Ok(())
            }
            Some(Value::Array(items)) => items.iter().try_for_each(|item| self.each_word(text, Some(item), call)),
            _ => Ok(()),
        }
    }
}

/// The most frequent, equal ones in the order of the alphabet.
fn best(found: BTreeMap<String, u64>, limit: usize) -> BTreeMap<String, u64> {
    if found.len() <= limit {
        return found;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, documents)| std::cmp::Reverse(*documents));
    found.truncate(limit);
    found.into_iter().collect()
}

fn terms_that_begin_with(searcher: &Searcher, field: Field, prefix: &str) -> Result<BTreeMap<String, u64>, SearchError> {
    let mut found = BTreeMap::new();
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(field)?;
        let mut terms = index.terms().range().ge(prefix.as_bytes()).into_stream()?;
        let begins = |term: &[u8]| term.starts_with(prefix.as_bytes());
        gather(|| terms.advance().then(|| (terms.key().to_vec(), terms.value().doc_freq)), begins, &mut found);
    }
    Ok(found)
}

fn similar_terms(searcher: &Searcher, field: Field, word: &str) -> Result<BTreeMap<String, u64>, SearchError> {
    let mut found = BTreeMap::new();
    let query = FuzzyTermQuery::new(Term::from_field_text(field, word), distance(word), true);
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(field)?;
        let mut terms = index.terms().search(query.automaton()?).into_stream()?;
        gather(|| terms.advance().then(|| (terms.key().to_vec(), terms.value().doc_freq)), |_| true, &mut found);
    }
    Ok(found)
}

fn gather(mut next: impl FnMut() -> Option<(Vec<u8>, u32)>, fits: impl Fn(&[u8]) -> bool, found: &mut BTreeMap<String, u64>) {
    for _ in 0..MAX_TERMS {
        let Some((term, documents)) = next().filter(|(term, _)| fits(term)) else { return };
        if let Ok(term) = String::from_utf8(term) {
            *found.entry(term).or_default() += u64::from(documents);
        }
    }
}
