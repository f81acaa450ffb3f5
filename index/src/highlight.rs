//! Passages of a document in which the words of a query stand.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tantivy::schema::{Field, Term, Type};
use tantivy::snippet::SnippetGenerator;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Searcher, TantivyError};
use warren_protocol::search::Highlights;

use crate::analysis;
use crate::schema::{Fields, Kind};

/// The length of a passage, in bytes of text.
const PASSAGE_BYTES: usize = 150;
/// A passage that is longer is one huge word: not for the eye.
const MAX_PASSAGE_BYTES: usize = 1000;
/// The most fields of one document that have passages.
const MAX_FIELDS: usize = 10;
/// The most text of one document that is looked through, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;

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
pub(crate) struct Sought(BTreeMap<Scope, BTreeMap<String, Term>>);

impl Sought {
    pub(crate) fn add(&mut self, scope: &Scope, word: String, term: Term) {
        if !self.0.contains_key(scope) {
            self.0.insert(scope.clone(), BTreeMap::new());
        }
        if let Some(words) = self.0.get_mut(scope) {
            words.insert(word, term);
        }
    }

    /// The text fields in which words are sought.
    pub(crate) fn text_fields(&self) -> Vec<Field> {
        let terms = self.0.values().filter_map(|words| words.values().next());
        terms.filter(|term| term.typ() == Type::Str).map(Term::field).collect()
    }
}

/// Finds the passages of one query.
pub(crate) struct Highlighter<'a> {
    fields: &'a Fields,
    generators: BTreeMap<Scope, SnippetGenerator>,
}

impl<'a> Highlighter<'a> {
    pub(crate) fn new(
        sought: &Sought,
        searcher: &Searcher,
        analyzers: &TokenizerManager,
        fields: &'a Fields,
    ) -> Result<Self, TantivyError> {
        let mut generators = BTreeMap::new();
        for (scope, words) in &sought.0 {
            let analyzer = match scope {
                Scope::Defined(name) => fields.analyzer_of(name),
                Scope::AllDynamic | Scope::Path(_) => analysis::STANDARD,
            };
            let everywhere = matches!(scope, Scope::Path(_)).then(|| sought.0.get(&Scope::AllDynamic)).flatten();
            let mut weights = BTreeMap::new();
            for (word, term) in words.iter().chain(everywhere.into_iter().flatten()) {
                // Rare words make the better passage.
                weights.insert(word.clone(), 1.0 / (1.0 + searcher.doc_freq(term)? as f32));
            }
            let analyzer = analyzers
                .get(analyzer)
                .ok_or_else(|| TantivyError::InternalError(format!("the analyzer {analyzer} is not registered")))?;
            generators.insert(scope.clone(), SnippetGenerator::new(weights, analyzer, Field::from_field_id(0), PASSAGE_BYTES));
        }
        Ok(Self { fields, generators })
    }

    /// The passages of a document: for each field, the one with the most words of the query.
    pub(crate) fn passages(&self, body: &[u8]) -> Highlights {
        let mut found = Highlights::new();
        if self.generators.is_empty() {
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
                    if let Some(generator) = self.generators.get(&Scope::Defined(name.clone())) {
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

    fn dynamic(&self, path: &str) -> Option<&SnippetGenerator> {
        self.generators.get(&Scope::Path(path.to_owned())).or_else(|| self.generators.get(&Scope::AllDynamic))
    }
}

type Texts<'a> = BTreeMap<String, (&'a SnippetGenerator, Vec<&'a str>)>;

/// Collects the strings in `value` by their paths, with what finds passages there.
fn collect<'a>(
    value: &'a Value,
    path: String,
    generator: &mut impl FnMut(&str) -> Option<&'a SnippetGenerator>,
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

fn best_passage(generator: &SnippetGenerator, values: &[&str], left: &mut usize) -> Option<String> {
    let mut best = None;
    let mut most = 0;
    for text in values {
        let text = &text[..text.floor_char_boundary(*left)];
        *left -= text.len();
        let passage = generator.snippet(text);
        if passage.highlighted().len() > most && passage.fragment().len() <= MAX_PASSAGE_BYTES {
            most = passage.highlighted().len();
            best = Some(passage);
        }
    }
    best.map(|passage| passage.to_html())
}
