//! Passages of a document in which the words of a query stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tantivy::schema::{Field, Term, Type};
use tantivy::snippet::{Snippet, SnippetGenerator};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{Searcher, TantivyError};
use warren_protocol::search::Highlights;

use crate::analysis;
use crate::query::Matcher;
use crate::schema::{Fields, Kind};

/// The length of a passage, in bytes of text.
const PASSAGE_BYTES: usize = 150;
/// A passage that is longer is one huge word: not for the eye.
const MAX_PASSAGE_BYTES: usize = 1000;
/// The most fields of one document that have passages.
const MAX_FIELDS: usize = 10;
/// The most text of one document that is looked through, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// What a word counts that a pattern describes: less than most that were written out.
const PATTERN_WEIGHT: f32 = 0.01;

/// In which texts a word is sought.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// A text of the definition.
    Defined(String),
    /// Every dynamic string.
    AllDynamic,
    /// The dynamic strings at one path.
    Path(String),
}

/// The words that a query seeks.
#[derive(Debug, Default)]
pub(crate) struct Sought(BTreeMap<Scope, Words>);

#[derive(Debug, Default)]
struct Words {
    exact: BTreeMap<String, Term>,
    patterns: Vec<Arc<Matcher>>,
}

impl Sought {
    pub(crate) fn add(&mut self, scope: &Scope, word: String, term: Term) {
        self.at(scope).exact.insert(word, term);
    }

    /// Words that a pattern describes.
    pub(crate) fn add_pattern(&mut self, scope: &Scope, pattern: Arc<Matcher>) {
        self.at(scope).patterns.push(pattern);
    }

    fn at(&mut self, scope: &Scope) -> &mut Words {
        self.0.entry(scope.clone()).or_default()
    }

    /// The text fields in which words are sought.
    pub(crate) fn text_fields(&self) -> Vec<Field> {
        let terms = self.0.values().filter_map(|words| words.exact.values().next());
        terms.filter(|term| term.typ() == Type::Str).map(Term::field).collect()
    }
}

/// Finds the passages of one query.
pub(crate) struct Highlighter<'a> {
    fields: &'a Fields,
    finders: BTreeMap<Scope, Finder>,
}

impl<'a> Highlighter<'a> {
    pub(crate) fn new(
        sought: &Sought,
        searcher: &Searcher,
        analyzers: &TokenizerManager,
        fields: &'a Fields,
    ) -> Result<Self, TantivyError> {
        let mut finders = BTreeMap::new();
        for (scope, words) in &sought.0 {
            let analyzer = match scope {
                Scope::Defined(name) => fields.analyzer_of(name),
                Scope::AllDynamic | Scope::Path(_) => analysis::STANDARD,
            };
            let everywhere = matches!(scope, Scope::Path(_)).then(|| sought.0.get(&Scope::AllDynamic)).flatten();
            let mut weights = BTreeMap::new();
            let mut patterns = Vec::new();
            for words in [Some(words), everywhere].into_iter().flatten() {
                for (word, term) in &words.exact {
                    // Rare words make the better passage.
                    weights.insert(word.clone(), 1.0 / (1.0 + searcher.doc_freq(term)? as f32));
                }
                patterns.extend(words.patterns.iter().cloned());
            }
            let analyzer = analyzers
                .get(analyzer)
                .ok_or_else(|| TantivyError::InternalError(format!("the analyzer {analyzer} is not registered")))?;
            finders.insert(scope.clone(), Finder { generator: generator(weights.clone(), analyzer.clone()), weights, patterns, analyzer });
        }
        Ok(Self { fields, finders })
    }

    /// The passages of a document: for each field, the one with the most words of the query.
    pub(crate) fn passages(&self, body: &[u8]) -> Highlights {
        let mut found = Highlights::new();
        if self.finders.is_empty() {
            return found;
        }
        let Ok(document) = serde_json::from_slice::<Map<String, Value>>(body) else {
            return found;
        };
        let mut texts = BTreeMap::new();
        for (name, value) in &document {
            match self.fields.defined.get(name).map(|field| field.kind) {
                _ if *name == self.fields.id_field => {}
                Some(Kind::Text(_)) => {
                    if let Some(generator) = self.finders.get(&Scope::Defined(name.clone())) {
                        collect(value, name.clone(), &mut |_| Some(generator), &mut texts);
                    }
                }
                Some(Kind::Object) => collect(value, name.clone(), &mut |path| self.dynamic(path), &mut texts),
                None if self.fields.dynamic => collect(value, name.clone(), &mut |path| self.dynamic(path), &mut texts),
                _ => {}
            }
        }
        let mut left = MAX_TEXT_BYTES;
        for (path, (generator, values)) in texts {
            if found.len() == MAX_FIELDS || left == 0 {
                break;
            }
            if let Some(passage) = best_passage(generator, &values, &mut left) {
                found.insert(path, vec![passage]);
            }
        }
        found
    }

    fn dynamic(&self, path: &str) -> Option<&Finder> {
        self.finders.get(&Scope::Path(path.to_owned())).or_else(|| self.finders.get(&Scope::AllDynamic))
    }
}

/// Finds the passages of one scope.
struct Finder {
    generator: SnippetGenerator,
    weights: BTreeMap<String, f32>,
    patterns: Vec<Arc<Matcher>>,
    analyzer: TextAnalyzer,
}

impl Finder {
    fn snippet(&self, text: &str) -> Snippet {
        if self.patterns.is_empty() {
            return self.generator.snippet(text);
        }
        // Which words the patterns describe, only the text can tell.
        let mut weights = self.weights.clone();
        let mut analyzer = self.analyzer.clone();
        analyzer.token_stream(text).process(&mut |token| {
            if !weights.contains_key(&token.text) && self.patterns.iter().any(|pattern| pattern.matches(&token.text)) {
                weights.insert(token.text.clone(), PATTERN_WEIGHT);
            }
        });
        generator(weights, analyzer).snippet(text)
    }
}

fn generator(weights: BTreeMap<String, f32>, analyzer: TextAnalyzer) -> SnippetGenerator {
    SnippetGenerator::new(weights, analyzer, Field::from_field_id(0), PASSAGE_BYTES)
}

type Texts<'a> = BTreeMap<String, (&'a Finder, Vec<&'a str>)>;

/// Collects the strings in `value` by their paths, with what finds passages there.
fn collect<'a>(
    value: &'a Value,
    path: String,
    generator: &mut impl FnMut(&str) -> Option<&'a Finder>,
    texts: &mut Texts<'a>,
) {
    match value {
        Value::String(text) => {
            if let Some((_, values)) = texts.get_mut(&path) {
                values.push(text);
            } else if let Some(generator) = generator(&path) {
                texts.insert(path, (generator, vec![text]));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path.clone(), generator, texts)),
        Value::Object(object) => {
            object.iter().for_each(|(key, item)| collect(item, format!("{path}.{key}"), generator, texts));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn best_passage(finder: &Finder, values: &[&str], left: &mut usize) -> Option<String> {
    let mut best = None;
    let mut most = 0;
    for text in values {
        let text = &text[..text.floor_char_boundary(*left)];
        *left -= text.len();
        let passage = finder.snippet(text);
        if passage.highlighted().len() > most && passage.fragment().len() <= MAX_PASSAGE_BYTES {
            most = passage.highlighted().len();
            best = Some(passage);
        }
    }
    best.map(|passage| passage.to_html())
}
