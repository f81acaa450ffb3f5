//! Passages of a document in which the words of a query stand.

mod passages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use tantivy::TantivyError;
use tantivy::schema::{Field, Term, Type};
use tantivy::tokenizer::TokenizerManager;
use warren_protocol::search::{Highlight, Highlights};

use crate::analysis;
use crate::parts::Parts;
use crate::query::Matcher;
use crate::schema::{Fields, Kind};
use passages::Finder;

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

    /// The words themselves, each once for each field; those that a pattern describes are not among them.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &Term> {
        self.0.values().flat_map(|words| words.exact.values())
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
    options: &'a Highlight,
    /// The fields that may have passages; `None`: all.
    wanted: Option<Parts<'a>>,
    finders: BTreeMap<Scope, Finder>,
}

impl<'a> Highlighter<'a> {
    pub(crate) fn new(
        sought: &Sought,
        options: &'a Highlight,
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
            let mut exact = BTreeSet::new();
            let mut patterns = Vec::new();
            for words in [Some(words), everywhere].into_iter().flatten() {
                exact.extend(words.exact.keys().cloned());
                patterns.extend(words.patterns.iter().cloned());
            }
            let analyzer = analyzers
                .get(analyzer)
                .ok_or_else(|| TantivyError::InternalError(format!("the analyzer {analyzer} is not registered")))?;
            finders.insert(scope.clone(), Finder::new(exact, patterns, analyzer));
        }
        Ok(Self { fields, options, wanted: options.fields.as_deref().map(Parts::new), finders })
    }

    /// Whether no document has a passage.
    pub(crate) fn is_idle(&self) -> bool {
        self.finders.is_empty()
    }

    /// The passages of a document: for each field, those with the rarest words of the query, in the order of the text.
    pub(crate) fn passages(&self, body: &[u8]) -> Highlights {
        let mut found = Highlights::new();
        if self.is_idle() {
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
                    if let Some(finder) = self.finders.get(&Scope::Defined(name.clone())) {
                        collect(value, name.clone(), &mut |_| Some(finder), &mut texts);
                    }
                }
                Some(Kind::Object) => collect(value, name.clone(), &mut |path| self.dynamic(path), &mut texts),
                None if self.fields.dynamic => collect(value, name.clone(), &mut |path| self.dynamic(path), &mut texts),
                _ => {}
            }
        }
        if let Some(wanted) = &self.wanted {
            texts.retain(|path, _| wanted.has(path));
        }
        let mut left = MAX_TEXT_BYTES;
        for (path, (finder, values)) in texts {
            if found.len() == MAX_FIELDS || left == 0 {
                break;
            }
            let passages = finder.passages(&values, &mut left, self.options);
            if !passages.is_empty() {
                found.insert(path, passages);
            }
        }
        found
    }

    fn dynamic(&self, path: &str) -> Option<&Finder> {
        self.finders.get(&Scope::Path(path.to_owned())).or_else(|| self.finders.get(&Scope::AllDynamic))
    }
}

type Texts<'a> = BTreeMap<String, (&'a Finder, Vec<&'a str>)>;

/// Collects the strings in `value` by their paths, with what finds passages there.
fn collect<'a>(value: &'a Value, path: String, finder: &mut impl FnMut(&str) -> Option<&'a Finder>, texts: &mut Texts<'a>) {
    match value {
        Value::String(text) => {
            if let Some((_, values)) = texts.get_mut(&path) {
                values.push(text);
            } else if let Some(finder) = finder(&path) {
                texts.insert(path, (finder, vec![text]));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path.clone(), finder, texts)),
        Value::Object(object) => {
            object.iter().for_each(|(key, item)| collect(item, format!("{path}.{key}"), finder, texts));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
