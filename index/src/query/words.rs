//! Words in texts, defined and dynamic.

use std::collections::BTreeSet;
use std::sync::Arc;

use tantivy::TantivyError;
use tantivy::query::{Occur, PhraseQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Term, Type};
use warren_protocol::query::{Fuzziness, Minimum, Pattern};

use super::fields::{json_term, scored};
use super::selection::Selection;
use super::{Node, Planner, constant, invalid};
use crate::analysis;
use crate::error::SearchError;
use crate::highlight::Scope;
use crate::schema::{DynamicFields, Fields};

/// What is wanted of the words of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One after the other, moved by so many places at most.
    Phrase { slop: u32 },
    /// So many of them.
    Any { minimum: Option<Minimum>, fuzziness: Fuzziness, prefix_chars: u32 },
}

impl Wanted {
    pub(super) fn is_fuzzy(self) -> bool {
        matches!(self, Self::Any { fuzziness, .. } if fuzziness != Fuzziness::Exact)
    }

    pub(super) fn fuzziness(self) -> (Fuzziness, u32) {
        match self {
            Self::Phrase { .. } => (Fuzziness::Exact, 0),
            Self::Any { fuzziness, prefix_chars, .. } => (fuzziness, prefix_chars),
        }
    }

    /// All words, as fuzzy as these.
    pub(super) fn all(self) -> Self {
        let (fuzziness, prefix_chars) = self.fuzziness();
        Self::Any { minimum: Some(Minimum::ALL), fuzziness, prefix_chars }
    }
}

/// A place where texts are.
pub(super) struct Place {
    pub(super) field: Field,
    /// The path in a JSON field.
    path: Option<String>,
    pub(super) analyzer: &'static str,
    pub(super) scope: Scope,
}

impl Place {
    /// A text of the definition.
    pub(super) fn text(fields: &Fields, name: &str, field: Field) -> Self {
        Self { field, path: None, analyzer: fields.analyzer_of(name), scope: Scope::Defined(name.to_owned()) }
    }

    /// All dynamic strings.
    fn all(dynamic: DynamicFields) -> Self {
        Self { field: dynamic.all, path: None, analyzer: analysis::STANDARD, scope: Scope::AllDynamic }
    }

    /// The dynamic strings at one path.
    pub(super) fn path(dynamic: DynamicFields, path: &str) -> Self {
        let scope = Scope::Path(path.to_owned());
        Self { field: dynamic.words, path: Some(path.to_owned()), analyzer: analysis::STANDARD, scope }
    }

    /// The word as the index holds it.
    fn term(&self, word: &str) -> Term {
        let Some(path) = &self.path else { return Term::from_field_text(self.field, word) };
        let mut term = json_term(self.field, path);
        term.append_type_and_str(word);
        term
    }

    /// What stands in front of each word in the dictionary.
    pub(super) fn before_words(&self) -> Vec<u8> {
        self.term("").serialized_value_bytes().to_vec()
    }

    /// Whether words are in lower case here.
    pub(super) fn folds(&self) -> bool {
        self.analyzer != analysis::WHOLE
    }
}

impl Planner<'_> {
    /// Where words without a field are sought, and what a match there counts.
    pub(super) fn all_places(&self) -> Result<Vec<(Place, f32)>, SearchError> {
        let fields = self.fields;
        let texts = fields.texts().map(|(name, field, weight)| (Place::text(fields, name, field), weight));
        let places: Vec<_> = texts.chain(fields.dynamic_fields.map(|dynamic| (Place::all(dynamic), 1.0))).collect();
        if places.is_empty() {
            return Err(invalid("this index has no texts: name a field, as in field:value"));
        }
        Ok(places)
    }

    /// Words without a field.
    pub(super) fn in_all_texts(&mut self, text: &str, wanted: Wanted, boost: f32) -> Result<Option<Node>, SearchError> {
        let mut nodes = Vec::new();
        for (place, weight) in self.all_places()? {
            nodes.extend(self.words(&place, text, wanted, boost * weight)?);
        }
        Ok(Node::any(nodes))
    }

    /// The same, each word by itself: it may stand in another text than the others.
    pub(super) fn in_all_texts_each(
        &mut self,
        text: &str,
        minimum: Option<Minimum>,
        wanted: Wanted,
        boost: f32,
    ) -> Result<Option<Node>, SearchError> {
        let mut nodes = Vec::new();
        for word in text.split_whitespace() {
            nodes.extend(self.in_all_texts(word, wanted.all(), boost)?);
        }
        Ok(Node::at_least(minimum, nodes))
    }

    /// The words of a text in one place; `None` if it has none.
    pub(super) fn words(&mut self, place: &Place, text: &str, wanted: Wanted, boost: f32) -> Result<Option<Node>, SearchError> {
        let mut analyzer = self
            .analyzers
            .get(place.analyzer)
            .ok_or_else(|| TantivyError::InternalError(format!("the analyzer {} is not registered", place.analyzer)))?;
        let mut words = Vec::new();
        analyzer.token_stream(text).process(&mut |token| words.push((token.position, token.text.clone())));
        self.count_terms(words.len())?;
        for (_, word) in &words {
            self.seek(place, word.clone(), place.term(word));
        }
        match wanted {
            Wanted::Phrase { slop } if words.len() > 1 && slop > 0 => self.near_each_other(place, words, slop, boost),
            Wanted::Phrase { .. } if words.len() > 1 => {
                let terms: Vec<_> = words.into_iter().map(|(position, word)| (position, place.term(&word))).collect();
                self.score_by(terms.iter().map(|(_, term)| term.clone()));
                Ok(Some(scored(PhraseQuery::new_with_offset(terms), boost)))
            }
            Wanted::Phrase { .. } => Ok(words.pop().map(|(_, word)| self.word(place, &word, boost))),
            Wanted::Any { minimum, fuzziness, prefix_chars } => {
                let mut nodes = Vec::with_capacity(words.len());
                for (_, word) in words {
                    let mut word_nodes = vec![self.word(place, &word, boost)];
                    if fuzziness.of(&word) > 0 {
                        word_nodes.push(self.near_words(place, word, fuzziness, prefix_chars, boost)?);
                    }
                    nodes.extend(Node::any(word_nodes));
                }
                Ok(Node::at_least(minimum, nodes))
            }
        }
    }

    /// A phrase whose words may stand apart: each word that near to the one before it, scored by the words. How often tantivy counts such a
    /// phrase in a document, and of three words and more whether at all, depends on which of the words are rarer in the segment; and no
    /// answer may depend on how an index is cut.
    fn near_each_other(
        &mut self,
        place: &Place,
        words: Vec<(usize, String)>,
        slop: u32,
        boost: f32,
    ) -> Result<Option<Node>, SearchError> {
        let distinct: BTreeSet<_> = words.iter().map(|(_, word)| word.clone()).collect();
        let terms: Vec<_> = words.into_iter().map(|(position, word)| (position, place.term(&word))).collect();
        let pairs = terms.windows(2).map(|pair| PhraseQuery::new_with_offset_and_slop(pair.to_vec(), slop));
        let mut clauses: Vec<_> = pairs.map(|pair| (Occur::Must, constant(pair, 0.0))).collect();
        clauses.extend(distinct.iter().map(|word| (Occur::Must, self.word(place, word, boost))));
        Ok(Node::of_clauses(clauses))
    }

    /// Notes a word for highlighting.
    pub(super) fn seek(&mut self, place: &Place, word: String, term: Term) {
        if self.silent == 0 {
            self.sought.add(&place.scope, word, term);
        }
    }

    fn word(&mut self, place: &Place, word: &str, boost: f32) -> Node {
        let term = place.term(word);
        self.score_by([term.clone()]);
        // tantivy keeps no usable block maxima for JSON fields; without frequencies it does not prune by them.
        let option = if term.typ() == Type::Json { IndexRecordOption::Basic } else { IndexRecordOption::WithFreqs };
        scored(TermQuery::new(term, option), boost)
    }

    /// Words that are near to one: they count the same everywhere, so that the word itself, which counts by its rarity too, comes first.
    fn near_words(
        &mut self,
        place: &Place,
        word: String,
        fuzziness: Fuzziness,
        prefix_chars: u32,
        boost: f32,
    ) -> Result<Node, SearchError> {
        let matcher = self.patterns.matcher(&Pattern::Fuzzy { word, fuzziness, prefix_chars }, false)?;
        if self.silent == 0 {
            self.sought.add_pattern(&place.scope, Arc::clone(&matcher));
        }
        Ok(constant(Selection::words(place.field, place.before_words(), matcher, self.patterns.budget()), boost))
    }
}
