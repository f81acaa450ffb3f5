//! Patterns in each kind of field, and what all patterns of a query may take together.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::schema::Field;
use warren_protocol::query::{Fuzziness, Minimum, Pattern};

use super::fields::Target;
use super::matcher::Matcher;
use super::selection::{Budget, Pick, Selection};
use super::words::{Place, Wanted};
use super::{Node, Planner, constant, invalid, nothing};
use crate::error::SearchError;
use crate::schema::Kind;

/// The most patterns of one query, each counted once for each field that it is sought in: each keeps a bit for each document.
const MAX_PATTERNS: usize = 128;
/// The memory that the automata of one query may take: a word with two typos needs some 10 KB a letter.
const MAX_BYTES: usize = 32 << 20;

/// The patterns of a query.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: HashMap<(PatternKey, bool), Arc<Matcher>>,
    bytes: usize,
    uses: usize,
    budget: Arc<Budget>,
}

/// What makes two patterns the same.
type PatternKey = String;

impl Patterns {
    /// What recognises the words of a pattern; `fold` if they are in lower case.
    pub(super) fn matcher(&mut self, pattern: &Pattern, fold: bool) -> Result<Arc<Matcher>, SearchError> {
        self.uses += 1;
        if self.uses > MAX_PATTERNS {
            let reason = "words with wildcards or typos, counting each once for each field that it is sought in: name fields";
            return Err(invalid(format!("the query has more than {MAX_PATTERNS} {reason}")));
        }
        let key = (format!("{pattern:?}"), fold);
        if let Some(matcher) = self.known.get(&key) {
            return Ok(Arc::clone(matcher));
        }
        let matcher = Arc::new(Matcher::new(pattern, fold).map_err(invalid)?);
        self.bytes += matcher.bytes();
        if self.bytes > MAX_BYTES {
            return Err(invalid("the patterns of the query are too large together: ask with fewer or shorter ones"));
        }
        self.known.insert(key, Arc::clone(&matcher));
        Ok(matcher)
    }

    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }
}

impl Planner<'_> {
    /// The words, or the whole values of a field without words, that a pattern describes.
    pub(super) fn pattern(&mut self, field: Option<&str>, pattern: &Pattern, boost: f32) -> Result<Option<Node>, SearchError> {
        if let Pattern::Fuzzy { word, fuzziness, prefix_chars } = pattern {
            let wanted = Wanted::Any { minimum: Some(Minimum::ALL), fuzziness: *fuzziness, prefix_chars: *prefix_chars };
            return match field {
                None => self.in_all_texts(word, wanted, boost),
                Some(name) => match self.target(name)? {
                    Target::Defined(Kind::Text(field)) => self.words(&Place::text(self.fields, name, field), word, wanted, boost),
                    Target::Dynamic(dynamic) => self.words(&Place::path(dynamic, name), word, wanted, boost),
                    _ => self.near_value(name, word, wanted, boost),
                },
            };
        }
        let Some(name) = field else {
            let mut nodes = Vec::new();
            for (place, weight) in self.all_places()? {
                nodes.push(self.pattern_in_words(&place, pattern, boost * weight)?);
            }
            return Ok(Node::any(nodes));
        };
        match self.target(name)? {
            Target::Nowhere => Ok(Some(nothing())),
            Target::Id => self.pattern_in_values(self.fields.id, pattern, boost),
            Target::Defined(Kind::Keyword(field)) => self.pattern_in_values(field, pattern, boost),
            Target::Defined(Kind::Text(field)) => {
                self.pattern_in_words(&Place::text(self.fields, name, field), pattern, boost).map(Some)
            }
            Target::Dynamic(dynamic) => {
                // A word at that path, or a whole value.
                let words = self.pattern_in_words(&Place::path(dynamic, name), pattern, 1.0)?;
                let matcher = self.patterns.matcher(pattern, false)?;
                self.count_scan()?;
                let values = constant(Selection::values(name, Pick::Matching(matcher), self.patterns.budget()), 1.0);
                Ok(Node::any(vec![words, values]).map(|node| node.constant(boost)))
            }
            Target::Defined(kind) => Err(invalid(format!(
                "{name} is {}: prefixes, wildcards, regular expressions and typos go with texts, keywords and ids",
                kind_name(kind)
            ))),
        }
    }

    fn pattern_in_words(&mut self, place: &Place, pattern: &Pattern, boost: f32) -> Result<Node, SearchError> {
        let matcher = self.patterns.matcher(pattern, place.folds())?;
        if self.silent == 0 {
            self.sought.add_pattern(&place.scope, Arc::clone(&matcher));
        }
        Ok(constant(Selection::words(place.field, place.before_words(), matcher, self.patterns.budget()), boost))
    }

    fn pattern_in_values(&mut self, field: Field, pattern: &Pattern, boost: f32) -> Result<Option<Node>, SearchError> {
        let matcher = self.patterns.matcher(pattern, false)?;
        Ok(Some(constant(Selection::words(field, Vec::new(), matcher, self.patterns.budget()), boost)))
    }

    /// Whole values that are near to one; the value itself counts by its rarity too.
    pub(super) fn near_value(&mut self, name: &str, text: &str, wanted: Wanted, boost: f32) -> Result<Option<Node>, SearchError> {
        let (fuzziness, prefix_chars) = wanted.fuzziness();
        let field = match self.target(name)? {
            Target::Id => self.fields.id,
            Target::Defined(Kind::Keyword(field)) => field,
            Target::Defined(kind) => {
                return Err(invalid(format!("{name} is {}: typos go with texts, keywords and ids", kind_name(kind))));
            }
            Target::Dynamic(_) | Target::Nowhere => return Ok(Some(nothing())),
        };
        let exact = self.in_field(name, text, Wanted::Phrase { slop: 0 }, boost)?;
        if fuzziness.of(text) == 0 || fuzziness == Fuzziness::Exact {
            return Ok(exact);
        }
        let near = self.pattern_in_values(field, &Pattern::Fuzzy { word: text.to_owned(), fuzziness, prefix_chars }, boost)?;
        Ok(Node::any(exact.into_iter().chain(near).collect()))
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "a text",
        Kind::Keyword(_) => "a keyword",
        Kind::Integer(_) => "a whole number",
        Kind::Float(_) => "a number",
        Kind::Boolean(_) => "a boolean",
        Kind::Date(_) => "a date",
        Kind::Object => "an object (name one of its fields, with a dot)",
    }
}
