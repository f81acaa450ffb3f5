//! What a word, a value or a range means in each kind of field.

use std::ops::Bound;

use tantivy::columnar::NumericalValue;
use tantivy::query::{BoostQuery, ExistsQuery, PhraseQuery, RangeQuery, TermQuery};
use tantivy::query_grammar::UserInputBound;
use tantivy::schema::{IndexRecordOption, Term, Type};
use tantivy::{DateTime, TantivyError};
use warren_protocol::document::{date_from_millis, date_from_text};

use super::{Node, Planner, all, constant, invalid};
use crate::analysis;
use crate::error::SearchError;
use crate::highlight::Scope;
use crate::schema::{DynamicFields, Fields, Kind, MAX_PATH_BYTES, VALUES};

/// How far apart the words of a phrase may be asked to stand (`"a b"~5`).
const MAX_SLOP: u32 = 1000;

/// What a field name in a query stands for.
enum Target {
    Id,
    Defined(Kind),
    Dynamic(DynamicFields),
    /// A name that no document can have.
    Nowhere,
}

impl Planner<'_> {
    /// A word or a phrase without a field.
    pub(super) fn in_all_texts(&mut self, phrase: &str, slop: u32, boost: f32) -> Result<Option<Node>, SearchError> {
        let fields = self.fields;
        let mut nodes = Vec::new();
        for (name, field, weight) in fields.texts() {
            let analyzer = fields.analyzer_of(name);
            let scope = Scope::Defined(name.to_owned());
            nodes.extend(self.words(analyzer, scope, phrase, slop, boost * weight, |word| Term::from_field_text(field, word))?);
        }
        match fields.dynamic_fields {
            Some(dynamic) => {
                nodes.extend(self.words(analysis::STANDARD, Scope::AllDynamic, phrase, slop, boost, |word| {
                    Term::from_field_text(dynamic.all, word)
                })?);
            }
            None if fields.texts().next().is_none() => {
                return Err(invalid("this index has no texts: name a field, as in field:value"));
            }
            None => {}
        }
        Ok(Node::any(nodes))
    }

    /// A word, a phrase or a value in one field.
    pub(super) fn in_field(&mut self, name: &str, phrase: &str, slop: u32, boost: f32) -> Result<Option<Node>, SearchError> {
        let exact = |planner: &mut Self, term: Term| {
            planner.count_terms(1)?;
            Ok(Some(constant(TermQuery::new(term, IndexRecordOption::Basic), boost)))
        };
        match self.target(name)? {
            Target::Nowhere => Ok(None),
            Target::Id => exact(self, Term::from_field_text(self.fields.id, phrase)),
            Target::Defined(Kind::Text(field)) => {
                let (analyzer, scope) = (self.fields.analyzer_of(name), Scope::Defined(name.to_owned()));
                self.words(analyzer, scope, phrase, slop, boost, |word| Term::from_field_text(field, word))
            }
            Target::Defined(Kind::Keyword(field)) => {
                self.count_terms(1)?;
                Ok(Some(scored(TermQuery::new(Term::from_field_text(field, phrase), IndexRecordOption::Basic), boost)))
            }
            Target::Defined(Kind::Boolean(field)) => {
                let truth = phrase.parse().map_err(|_| invalid(format!("{name} is true or false, not {phrase:?}")))?;
                exact(self, Term::from_field_bool(field, truth))
            }
            Target::Defined(Kind::Integer(field)) => exact(self, Term::from_field_i64(field, whole_number(name, phrase)?)),
            Target::Defined(Kind::Float(field)) => exact(self, Term::from_field_f64(field, number(name, phrase)?)),
            Target::Defined(Kind::Date(field)) => {
                self.count_terms(1)?;
                Ok(Some(only(Term::from_field_date(field, date(name, phrase)?), boost)))
            }
            Target::Defined(Kind::Object) => {
                Err(invalid(format!("{name} is an object: name one of its fields, as in {name}.field")))
            }
            Target::Dynamic(dynamic) => self.in_dynamic(dynamic, name, phrase, slop, boost),
        }
    }

    /// A dynamic field holds words, and also numbers, booleans and dates.
    fn in_dynamic(
        &mut self,
        dynamic: DynamicFields,
        path: &str,
        phrase: &str,
        slop: u32,
        boost: f32,
    ) -> Result<Option<Node>, SearchError> {
        let words = Term::from_field_json_path(dynamic.words, path, true);
        let as_words = self.words(analysis::STANDARD, Scope::Path(path.to_owned()), phrase, slop, boost, |word| {
            let mut term = words.clone();
            term.append_type_and_str(word);
            term
        })?;
        let value = Term::from_field_json_path(dynamic.values, path, true);
        let as_value = if let Some(date) = date_from_text(phrase).and_then(DateTime::try_from_utc) {
            Some(only(with_value(value, date), boost))
        } else if let Some(number) = json_number(phrase) {
            Some(only(with_number(value, number), boost))
        } else if let Ok(truth) = phrase.parse::<bool>() {
            Some(constant(TermQuery::new(with_value(words, truth), IndexRecordOption::Basic), boost))
        } else {
            None
        };
        self.count_terms(usize::from(as_value.is_some()))?;
        Ok(Node::any(as_words.into_iter().chain(as_value).collect()))
    }

    /// The words of a phrase, cut by an analyzer; `None` if it has none.
    fn words(
        &mut self,
        analyzer: &str,
        scope: Scope,
        phrase: &str,
        slop: u32,
        boost: f32,
        term: impl Fn(&str) -> Term,
    ) -> Result<Option<Node>, SearchError> {
        let mut analyzer = self
            .analyzers
            .get(analyzer)
            .ok_or_else(|| TantivyError::InternalError(format!("the analyzer {analyzer} is not registered")))?;
        let mut terms = Vec::new();
        let mut texts = Vec::new();
        analyzer.token_stream(phrase).process(&mut |token| {
            terms.push((token.position, term(&token.text)));
            texts.push(token.text.clone());
        });
        self.count_terms(terms.len())?;
        if self.excluded == 0 {
            for ((_, term), text) in terms.iter().zip(texts) {
                self.sought.add(&scope, text, term.clone());
            }
        }
        if terms.len() > 1 {
            return Ok(Some(scored(PhraseQuery::new_with_offset_and_slop(terms, slop.min(MAX_SLOP)), boost)));
        }
        Ok(terms.pop().map(|(_, term)| {
            let is_json = term.typ() == Type::Json;
            // tantivy keeps no usable block maxima for JSON fields; without frequencies it does not prune by them.
            let option = if is_json { IndexRecordOption::Basic } else { IndexRecordOption::WithFreqs };
            scored(TermQuery::new(term, option), boost)
        }))
    }

    /// Values between two bounds.
    pub(super) fn range(
        &mut self,
        name: &str,
        lower: &UserInputBound,
        upper: &UserInputBound,
        boost: f32,
    ) -> Result<Option<Node>, SearchError> {
        if let (None, None) = (bound_text(lower), bound_text(upper)) {
            return self.exists(name, boost);
        }
        self.count_terms(1)?;
        let range = |convert: &dyn Fn(&str) -> Result<Term, SearchError>| {
            Ok(Some(constant(RangeQuery::new(bound(lower, convert)?, bound(upper, convert)?), boost)))
        };
        match self.target(name)? {
            Target::Nowhere => Ok(None),
            Target::Id => range(&|text| Ok(Term::from_field_text(self.fields.id, text))),
            Target::Defined(Kind::Keyword(field)) => range(&|text| Ok(Term::from_field_text(field, text))),
            Target::Defined(Kind::Integer(field)) => range(&|text| Ok(Term::from_field_i64(field, whole_number(name, text)?))),
            Target::Defined(Kind::Float(field)) => range(&|text| Ok(Term::from_field_f64(field, number(name, text)?))),
            Target::Defined(Kind::Date(field)) => range(&|text| Ok(Term::from_field_date(field, date(name, text)?))),
            Target::Defined(Kind::Text(_) | Kind::Boolean(_) | Kind::Object) => {
                Err(invalid(format!("{name} has no order: ranges go with keywords, numbers and dates")))
            }
            Target::Dynamic(dynamic) => {
                let value = Term::from_field_json_path(dynamic.values, name, true);
                let bounds = || [lower, upper].into_iter().filter_map(bound_text);
                // Both bounds must be of one type: that of the column that is searched.
                if bounds().all(|text| date_from_text(text).is_some()) {
                    return range(&|text| Ok(with_value(value.clone(), date(name, text)?)));
                }
                if bounds().all(|text| matches!(json_number(text), Some(NumericalValue::I64(_)))) {
                    return range(&|text| Ok(with_value(value.clone(), whole_number(name, text)?)));
                }
                if bounds().all(|text| json_number(text).is_some()) {
                    return range(&|text| Ok(with_value(value.clone(), number(name, text)?)));
                }
                range(&|text| {
                    let mut term = value.clone();
                    term.append_type_and_str(text);
                    Ok(term)
                })
            }
        }
    }

    /// Documents that have a value in the field.
    pub(super) fn exists(&mut self, name: &str, boost: f32) -> Result<Option<Node>, SearchError> {
        self.count_terms(1)?;
        match self.target(name)? {
            Target::Nowhere => Ok(None),
            Target::Id => Ok(Some(all(boost))),
            Target::Defined(Kind::Text(_)) => {
                Err(invalid(format!("{name}:* : whether a document has a text cannot be searched")))
            }
            Target::Defined(Kind::Object) => Ok(Some(constant(ExistsQuery::new(format!("{VALUES}.{name}"), true), boost))),
            Target::Defined(_) => Ok(Some(constant(ExistsQuery::new(name.to_owned(), false), boost))),
            Target::Dynamic(_) => Ok(Some(constant(ExistsQuery::new(format!("{VALUES}.{name}"), true), boost))),
        }
    }

    fn target(&self, name: &str) -> Result<Target, SearchError> {
        if name == self.fields.id_field {
            return Ok(Target::Id);
        }
        if let Some(field) = self.fields.defined.get(name) {
            return Ok(Target::Defined(field.kind));
        }
        match self.fields.dynamic_at(name) {
            Some(_) if name.is_empty() || name.len() > MAX_PATH_BYTES || !Fields::is_path_key(name) => Ok(Target::Nowhere),
            Some(dynamic) => Ok(Target::Dynamic(dynamic)),
            None => Err(invalid(format!("there is no field {name:?} in this index"))),
        }
    }
}

fn scored(query: impl tantivy::query::Query, boost: f32) -> Node {
    Node::Leaf(if boost == 1.0 { Box::new(query) } else { Box::new(BoostQuery::new(Box::new(query), boost)) })
}

/// Exactly this value of a fast field.
fn only(term: Term, boost: f32) -> Node {
    constant(RangeQuery::new(Bound::Included(term.clone()), Bound::Included(term)), boost)
}

fn with_value(mut term: Term, value: impl tantivy::fastfield::FastValue) -> Term {
    term.append_type_and_fast_value(value);
    term
}

fn bound_text(bound: &UserInputBound) -> Option<&str> {
    match bound {
        UserInputBound::Inclusive(text) | UserInputBound::Exclusive(text) => Some(text.as_str()).filter(|text| *text != "*"),
        UserInputBound::Unbounded => None,
    }
}

fn bound(bound: &UserInputBound, convert: &dyn Fn(&str) -> Result<Term, SearchError>) -> Result<Bound<Term>, SearchError> {
    match (bound_text(bound), bound) {
        (None, _) => Ok(Bound::Unbounded),
        (Some(text), UserInputBound::Exclusive(_)) => Ok(Bound::Excluded(convert(text)?)),
        (Some(text), _) => Ok(Bound::Included(convert(text)?)),
    }
}

fn whole_number(name: &str, text: &str) -> Result<i64, SearchError> {
    text.parse().map_err(|_| invalid(format!("{name} takes whole numbers of 64 bits, not {text:?}")))
}

fn number(name: &str, text: &str) -> Result<f64, SearchError> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| invalid(format!("{name} takes numbers, not {text:?}")))
}

fn date(name: &str, text: &str) -> Result<DateTime, SearchError> {
    let date = date_from_text(text).or_else(|| text.parse().ok().and_then(date_from_millis));
    date.and_then(DateTime::try_from_utc)
        .ok_or_else(|| invalid(format!("{name} takes dates, as \"2026-11-23T20:00:00Z\" or Unix milliseconds, not {text:?}")))
}

/// A number as dynamic fields hold it: in the smallest type that takes it.
fn json_number(text: &str) -> Option<NumericalValue> {
    let number = text.parse().ok()?;
    let finite = !matches!(number, NumericalValue::F64(float) if !float.is_finite());
    finite.then_some(number)
}

fn with_number(term: Term, number: NumericalValue) -> Term {
    match number {
        NumericalValue::I64(value) => with_value(term, value),
        NumericalValue::U64(value) => with_value(term, value),
        NumericalValue::F64(value) => with_value(term, value),
    }
}
