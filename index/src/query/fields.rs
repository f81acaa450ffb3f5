//! What a clause means in each kind of field.

use std::ops::Bound as StdBound;

use tantivy::query::{BoostQuery, RangeQuery, TermQuery, TermSetQuery};
use tantivy::schema::{IndexRecordOption, Term};
use warren_protocol::document::date_from_text;
use warren_protocol::query::{Kind as ClauseKind, Minimum};

use super::selection::{Pick, Selection};
use super::values::{JsonNumber, date, json_number, number, whole_number, with_value};
use super::words::{Place, Wanted};
use super::{Node, Planner, all, constant, invalid, nothing};
use crate::error::SearchError;
use crate::schema::{DynamicFields, Fields, Kind, MAX_DYNAMIC_VALUE_BYTES, MAX_PATH_BYTES};

/// What a field name in a query stands for.
pub(super) enum Target {
    Id,
    Defined(Kind),
    Dynamic(DynamicFields),
    /// A name that no document can have.
    Nowhere,
}

impl Planner<'_> {
    pub(super) fn leaf(&mut self, kind: &ClauseKind, boost: f32) -> Result<Option<Node>, SearchError> {
        match kind {
            ClauseKind::All => Ok(Some(all(boost))),
            ClauseKind::Match { field, text, minimum, fuzziness } => {
                let wanted = Wanted::Any { minimum: *minimum, fuzziness: *fuzziness, prefix_chars: 0 };
                match field {
                    Some(name) => self.in_field(name, text, wanted, boost),
                    None => self.in_all_texts_each(text, *minimum, wanted, boost),
                }
            }
            ClauseKind::Phrase { field: Some(name), text, slop } => {
                self.in_field(name, text, Wanted::Phrase { slop: *slop }, boost)
            }
            ClauseKind::Phrase { field: None, text, slop } => self.in_all_texts(text, Wanted::Phrase { slop: *slop }, boost),
            ClauseKind::Terms { field, values } => self.terms(field, values, boost),
            ClauseKind::Range { field, lower, upper } => self.range(field, lower, upper, boost),
            ClauseKind::Pattern { field, pattern } => self.pattern(field.as_deref(), pattern, boost),
            ClauseKind::Exists { field } => self.exists(field, boost),
            ClauseKind::Ids(ids) => {
                let terms: Vec<Term> = ids.iter().map(|id| Term::from_field_text(self.fields.id, id)).collect();
                Ok(Some(self.among(terms, boost)?))
            }
            // The others are no leaves.
            ClauseKind::Nothing | ClauseKind::Bool(_) | ClauseKind::Constant(_) | ClauseKind::Lenient(_) => Ok(Some(nothing())),
        }
    }

    /// Words or a value in one field.
    pub(super) fn in_field(&mut self, name: &str, text: &str, wanted: Wanted, boost: f32) -> Result<Option<Node>, SearchError> {
        let target = match self.target(name) {
            // What people type may have a colon and mean no field.
            Err(_) if self.lenient => {
                let all = wanted.all();
                return self.in_all_texts_each(&format!("{name} {text}"), Some(Minimum::ALL), all, boost);
            }
            target => target?,
        };
        match target {
            Target::Nowhere => Ok(Some(nothing())),
            Target::Defined(Kind::Text(field)) => self.words(&Place::text(self.fields, name, field), text, wanted, boost),
            Target::Dynamic(dynamic) => {
                let as_words = self.words(&Place::path(dynamic, name), text, wanted, boost)?;
                let as_value = self.dynamic_value(dynamic, name, text, boost)?;
                Ok(Node::any(as_words.into_iter().chain(as_value).collect()))
            }
            Target::Id | Target::Defined(_) => {
                if wanted.is_fuzzy() && matches!(target, Target::Id | Target::Defined(Kind::Keyword(_))) {
                    return self.near_value(name, text, wanted, boost);
                }
                self.value(name, target, text, boost).map(Some)
            }
        }
    }

    /// A value of a field that has no words.
    fn value(&mut self, name: &str, target: Target, text: &str, boost: f32) -> Result<Node, SearchError> {
        let term = match target {
            Target::Id => Term::from_field_text(self.fields.id, text),
            Target::Defined(Kind::Keyword(field)) => {
                self.count_terms(1)?;
                let term = Term::from_field_text(field, text);
                self.score_by([term.clone()]);
                return Ok(scored(TermQuery::new(term, IndexRecordOption::Basic), boost));
            }
            Target::Defined(Kind::Date(field)) => return self.only(Term::from_field_date(field, date(name, text)?), boost),
            Target::Defined(Kind::Boolean(field)) => Term::from_field_bool(field, truth(name, text)?),
            Target::Defined(Kind::Integer(field)) => Term::from_field_i64(field, whole_number(name, text)?),
            Target::Defined(Kind::Float(field)) => Term::from_field_f64(field, number(name, text)?),
            Target::Defined(Kind::Object) => {
                return Err(invalid(format!("{name} is an object: name one of its fields, as in {name}.field")));
            }
            Target::Defined(Kind::Text(_)) | Target::Dynamic(_) | Target::Nowhere => return Ok(nothing()),
        };
        self.count_terms(1)?;
        Ok(constant(TermQuery::new(term, IndexRecordOption::Basic), boost))
    }

    /// The text as a number, a date or a boolean, which a dynamic field may hold as well as words.
    fn dynamic_value(&mut self, dynamic: DynamicFields, path: &str, text: &str, boost: f32) -> Result<Option<Node>, SearchError> {
        let value = json_term(dynamic.values, path);
        let term = if let Some(date) = date_from_text(text).and_then(tantivy::DateTime::try_from_utc) {
            with_value(value, date)
        } else if let Some(number) = json_number(text) {
            match number {
                JsonNumber::I64(number) => with_value(value, number),
                JsonNumber::U64(number) => with_value(value, number),
                JsonNumber::F64(number) => with_value(value, number),
            }
        } else if let Ok(truth) = text.parse::<bool>() {
            self.count_terms(1)?;
            let term = with_value(json_term(dynamic.words, path), truth);
            return Ok(Some(constant(TermQuery::new(term, IndexRecordOption::Basic), boost)));
        } else {
            return Ok(None);
        };
        self.only(term, boost).map(Some)
    }

    /// Exact values; in a text, words as the analyzer leaves them.
    fn terms(&mut self, name: &str, values: &[String], boost: f32) -> Result<Option<Node>, SearchError> {
        let target = self.target(name)?;
        let (field, option) = match target {
            Target::Defined(Kind::Text(field)) => (field, IndexRecordOption::WithFreqs),
            Target::Defined(Kind::Keyword(field)) => (field, IndexRecordOption::Basic),
            Target::Dynamic(dynamic) => return self.dynamic_terms(dynamic, name, values, boost),
            Target::Id => {
                let terms: Vec<Term> = values.iter().map(|value| Term::from_field_text(self.fields.id, value)).collect();
                return self.among(terms, boost).map(Some);
            }
            Target::Nowhere => return Ok(Some(nothing())),
            Target::Defined(kind) => {
                let mut nodes = Vec::with_capacity(values.len());
                for value in values {
                    nodes.push(self.value(name, Target::Defined(kind), value, 1.0)?);
                }
                return Ok(Some(Node::any(nodes).map_or_else(nothing, |node| node.constant(boost))));
            }
        };
        let terms: Vec<Term> = values.iter().map(|value| Term::from_field_text(field, value)).collect();
        if let Target::Defined(Kind::Text(field)) = target {
            let place = Place::text(self.fields, name, field);
            for (value, term) in values.iter().zip(&terms) {
                self.seek(&place, value.clone(), term.clone());
            }
        }
        if let [term] = &terms[..] {
            self.count_terms(1)?;
            self.score_by([term.clone()]);
            return Ok(Some(scored(TermQuery::new(term.clone(), option), boost)));
        }
        self.among(terms, boost).map(Some)
    }

    /// Any of these indexed terms of one field, with one score.
    fn among(&mut self, terms: Vec<Term>, boost: f32) -> Result<Node, SearchError> {
        self.count_terms(terms.len())?;
        Ok(if terms.is_empty() { nothing() } else { constant(TermSetQuery::new(terms), boost) })
    }

    fn dynamic_terms(
        &mut self,
        dynamic: DynamicFields,
        path: &str,
        values: &[String],
        boost: f32,
    ) -> Result<Option<Node>, SearchError> {
        let mut nodes = Vec::new();
        for value in values {
            nodes.extend(self.dynamic_value(dynamic, path, value, 1.0)?);
        }
        let strings = values.iter().filter(|value| value.len() <= MAX_DYNAMIC_VALUE_BYTES && date_from_text(value).is_none());
        let strings: Vec<String> = strings.cloned().collect();
        if !strings.is_empty() {
            self.count_terms(strings.len())?;
            self.count_scan()?;
            nodes.push(constant(Selection::values(path, Pick::Among(strings), self.patterns.budget()), 1.0));
        }
        Ok(Some(Node::any(nodes).map_or_else(nothing, |node| node.constant(boost))))
    }

    /// Exactly this value of a column.
    fn only(&mut self, term: Term, boost: f32) -> Result<Node, SearchError> {
        self.count_terms(1)?;
        self.count_scan()?;
        Ok(constant(RangeQuery::new(StdBound::Included(term.clone()), StdBound::Included(term)), boost))
    }

    pub(super) fn target(&self, name: &str) -> Result<Target, SearchError> {
        if name == self.fields.id_field {
            return Ok(Target::Id);
        }
        if let Some(field) = self.fields.defined.get(name) {
            return Ok(Target::Defined(field.kind));
        }
        match self.fields.dynamic_at(name) {
            Some(_) if name.is_empty() || name.len() > MAX_PATH_BYTES || !Fields::is_path_key(name) => Ok(Target::Nowhere),
            Some(dynamic) => Ok(Target::Dynamic(dynamic)),
            None => Err(invalid(format!("there is no field {name:?} in this index{}", self.known_fields()))),
        }
    }

    /// Some fields that there are, for errors.
    fn known_fields(&self) -> String {
        let names: Vec<&str> = self.fields.defined.keys().map(String::as_str).take(20).collect();
        if names.is_empty() { String::new() } else { format!(": there are {}", names.join(", ")) }
    }
}

pub(super) fn scored(query: impl tantivy::query::Query, boost: f32) -> Node {
    Node::Leaf(if boost == 1.0 { Box::new(query) } else { Box::new(BoostQuery::new(Box::new(query), boost)) })
}

/// The beginning of all terms at that path of a JSON field.
pub(super) fn json_term(field: tantivy::schema::Field, path: &str) -> Term {
    Term::from_field_json_path(field, path, true)
}

fn truth(name: &str, text: &str) -> Result<bool, SearchError> {
    text.parse().map_err(|_| invalid(format!("{name} is true or false, not {text:?}")))
}
