//! Ranges of values, whether there is one, and how values are written.

use std::ops::Bound as StdBound;

use tantivy::DateTime;
use tantivy::query::{ExistsQuery, RangeQuery};
use tantivy::schema::Term;
use warren_protocol::document::{date_from_millis, date_from_text};
use warren_protocol::query::Bound;

pub(super) use tantivy::columnar::NumericalValue as JsonNumber;

use super::fields::{Target, json_term};
use super::selection::Selection;
use super::{Node, Planner, all, constant, invalid, nothing};
use crate::document::one_zero;
use crate::error::SearchError;
use crate::schema::{Kind, VALUES};

impl Planner<'_> {
    /// Values between two bounds.
    pub(super) fn range(&mut self, name: &str, lower: &Bound, upper: &Bound, boost: f32) -> Result<Option<Node>, SearchError> {
        if let (None, None) = (bound_text(lower), bound_text(upper)) {
            return self.exists(name, boost);
        }
        self.count_terms(1)?;
        self.count_scan()?;
        let range = |convert: &dyn Fn(&str) -> Result<Term, SearchError>| {
            Ok(Some(constant(RangeQuery::new(bound(lower, convert)?, bound(upper, convert)?), boost)))
        };
        match self.target(name)? {
            Target::Nowhere => Ok(Some(nothing())),
            Target::Id => range(&|text| Ok(Term::from_field_text(self.fields.id, text))),
            Target::Defined(Kind::Keyword(field)) => range(&|text| Ok(Term::from_field_text(field, text))),
            Target::Defined(Kind::Integer(field)) => range(&|text| Ok(Term::from_field_i64(field, whole_number(name, text)?))),
            Target::Defined(Kind::Float(field)) => range(&|text| Ok(Term::from_field_f64(field, number(name, text)?))),
            Target::Defined(Kind::Date(field)) => range(&|text| Ok(Term::from_field_date(field, date(name, text)?))),
            Target::Defined(Kind::Text(_) | Kind::Boolean(_) | Kind::Object) => {
                Err(invalid(format!("{name} has no order: ranges go with keywords, numbers and dates")))
            }
            Target::Dynamic(dynamic) => {
                let value = json_term(dynamic.values, name);
                let bounds = || [lower, upper].into_iter().filter_map(bound_text);
                // Both bounds must be of one type: that of the column that is searched.
                if bounds().all(|text| date_from_text(text).is_some()) {
                    return range(&|text| Ok(with_value(value.clone(), date(name, text)?)));
                }
                // Whole ones may be written as 3.0, too.
                let whole = |text: &str| match json_number(text) {
                    Some(JsonNumber::I64(number)) => Some(number),
                    _ => None,
                };
                if bounds().all(|text| whole(text).is_some()) {
                    return range(&|text| {
                        Ok(with_value(value.clone(), whole(text).map_or_else(|| whole_number(name, text), Ok)?))
                    });
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

    /// Documents that have a value in the field; in a text, at least one word.
    pub(super) fn exists(&mut self, name: &str, boost: f32) -> Result<Option<Node>, SearchError> {
        self.count_terms(1)?;
        self.count_scan()?;
        let column = match self.target(name)? {
            Target::Nowhere => return Ok(Some(nothing())),
            Target::Id => return Ok(Some(all(boost))),
            Target::Defined(Kind::Text(field)) => {
                return Ok(Some(constant(Selection::any_word(field, self.patterns.budget()), boost)));
            }
            Target::Defined(Kind::Object) | Target::Dynamic(_) => ExistsQuery::new(format!("{VALUES}.{name}"), true),
            Target::Defined(_) => ExistsQuery::new(name.to_owned(), false),
        };
        Ok(Some(constant(column, boost)))
    }
}

pub(super) fn with_value(mut term: Term, value: impl tantivy::fastfield::FastValue) -> Term {
    term.append_type_and_fast_value(value);
    term
}

fn bound_text(bound: &Bound) -> Option<&str> {
    match bound {
        Bound::Included(text) | Bound::Excluded(text) => Some(text),
        Bound::Unbounded => None,
    }
}

fn bound(bound: &Bound, convert: &dyn Fn(&str) -> Result<Term, SearchError>) -> Result<StdBound<Term>, SearchError> {
    Ok(match bound {
        Bound::Unbounded => StdBound::Unbounded,
        Bound::Included(text) => StdBound::Included(convert(text)?),
        Bound::Excluded(text) => StdBound::Excluded(convert(text)?),
    })
}

pub(super) fn whole_number(name: &str, text: &str) -> Result<i64, SearchError> {
    text.parse().map_err(|_| invalid(format!("{name} takes whole numbers of 64 bits, not {text:?}")))
}

pub(super) fn number(name: &str, text: &str) -> Result<f64, SearchError> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .map(one_zero)
        .ok_or_else(|| invalid(format!("{name} takes numbers, not {text:?}")))
}

pub(super) fn date(name: &str, text: &str) -> Result<DateTime, SearchError> {
    let date = date_from_text(text).or_else(|| text.parse().ok().and_then(date_from_millis));
    date.and_then(DateTime::try_from_utc)
        .ok_or_else(|| invalid(format!("{name} takes dates, as \"2026-11-23T20:00:00Z\" or Unix milliseconds, not {text:?}")))
}

/// A number as dynamic fields hold it: in the smallest type that takes it.
pub(super) fn json_number(text: &str) -> Option<JsonNumber> {
    match text.parse().ok()? {
        JsonNumber::F64(float) => float.is_finite().then(|| JsonNumber::F64(one_zero(float))),
        whole => Some(whole),
    }
}
