//! Looks up the fields of a request in the definition of the index.

use serde_json::Value;
use time::OffsetDateTime;

use super::{excerpt, refuse};
use crate::aggregations::key::Key;
use crate::aggregations::request::Source;
use crate::definition::{FieldType, IndexDefinition};
use crate::document::{date_from_millis, date_from_text};
use crate::problem::Problem;

/// The longest name of a field, in bytes.
const MAX_PATH_BYTES: usize = 1000;
/// How many fields a refusal lists.
const MAX_LISTED: usize = 10;

/// What an aggregation can compute with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Any,
    Numbers,
    Dates,
    NumbersOrDates,
}

pub(in crate::aggregations) struct Fields<'a> {
    pub(in crate::aggregations) definition: &'a IndexDefinition,
}

impl Fields<'_> {
    /// The field that an aggregation at `path` names.
    pub(super) fn find(&self, name: &str, values: Values, path: &str) -> Result<Source, Problem> {
        self.look_up(name, values).map_err(|detail| refuse(&format!("{path}.field"), detail))
    }

    /// The field of that name, for an aggregation that takes any value; the error says what to do.
    pub(in crate::aggregations) fn any(&self, name: &str) -> Result<Source, String> {
        self.look_up(name, Values::Any)
    }

    fn look_up(&self, name: &str, values: Values) -> Result<Source, String> {
        let definition = self.definition;
        if name == definition.id_field {
            return match values {
                Values::Any => Ok(Source::Id),
                _ => Err(format!("{name:?} holds the ids, which are texts: take a field of {}", wanted(values))),
            };
        }
        if let Some(field) = definition.fields.get(name) {
            check_type(name, field.kind, values)?;
            return Ok(Source::Defined { name: name.to_owned(), kind: field.kind });
        }
        let first = name.split('.').next().unwrap_or(name);
        let in_object = definition.fields.get(first).is_some_and(|field| field.kind == FieldType::Object);
        if !definition.dynamic && !in_object {
            return Err(self.unknown(name));
        }
        if name.is_empty() || name.len() > MAX_PATH_BYTES || name.chars().any(char::is_control) {
            return Err(format!("a field has a name of 1 to {MAX_PATH_BYTES} bytes without control characters"));
        }
        Ok(Source::Dynamic { path: name.to_owned() })
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.definition.fields.keys().map(String::as_str).take(MAX_LISTED).collect();
        match known.is_empty() {
            true => format!("there is no field {name:?} in this index, whose definition names none"),
            false => format!("there is no field {name:?} in this index: its definition has {}", known.join(", ")),
        }
    }
}

fn wanted(values: Values) -> &'static str {
    match values {
        Values::Any => "any type",
        Values::Numbers => "type integer or float",
        Values::Dates => "type date",
        Values::NumbersOrDates => "type integer, float or date",
    }
}

fn check_type(name: &str, kind: FieldType, values: Values) -> Result<(), String> {
    match kind {
        FieldType::Text => Err(format!(
            "{name:?} is of type text: it is searched by its words, and has no values to aggregate; publish the same in a \
             field of type keyword, and take that"
        )),
        FieldType::Object => Err(format!("{name:?} is an object: name one of its fields, as in {name}.field")),
        FieldType::Integer | FieldType::Float if values != Values::Dates => Ok(()),
        FieldType::Date if values != Values::Numbers => Ok(()),
        _ if values == Values::Any => Ok(()),
        _ => {
            let kind = serde_json::to_value(kind).ok();
            let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("another");
            Err(format!("{name:?} is of type {kind}: take a field of {}", wanted(values)))
        }
    }
}

/// Whether the values are dates; `None` if that depends on the document.
pub(super) fn is_date(source: &Source) -> Option<bool> {
    match source {
        Source::Id => Some(false),
        Source::Defined { kind, .. } => Some(*kind == FieldType::Date),
        Source::Dynamic { .. } => None,
    }
}

fn date(value: &Value) -> Option<OffsetDateTime> {
    match value {
        Value::String(text) => date_from_text(text),
        Value::Number(number) => number.as_i64().and_then(date_from_millis),
        _ => None,
    }
}

/// The Unix milliseconds of a date as requests write it.
pub(super) fn millis(value: &Value) -> Option<i64> {
    i64::try_from(date(value)?.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

fn date_key(value: &Value) -> Option<Key> {
    i64::try_from(date(value)?.unix_timestamp_nanos()).ok().map(Key::Date)
}

fn number_key(value: &Value) -> Option<Key> {
    let number = value.as_number()?;
    let whole = number.as_i64().map(Key::Integer).or_else(|| number.as_u64().map(Key::unsigned));
    whole.or_else(|| number.as_f64().map(Key::float))
}

/// The bucket of a value that a request names.
pub(super) fn key(source: &Source, value: &Value) -> Result<Key, String> {
    let (key, wanted) = match source {
        Source::Id | Source::Defined { kind: FieldType::Keyword | FieldType::Text | FieldType::Object, .. } => {
            (value.as_str().map(|text| Key::Text(text.to_owned())), "a text")
        }
        Source::Defined { kind: FieldType::Integer, .. } => (value.as_i64().map(Key::Integer), "a whole number"),
        Source::Defined { kind: FieldType::Float, .. } => (number_key(value), "a number"),
        Source::Defined { kind: FieldType::Boolean, .. } => (value.as_bool().map(Key::Boolean), "true or false"),
        Source::Defined { kind: FieldType::Date, .. } => (date_key(value), "a date, as \"2026-11-23T20:00:00Z\""),
        Source::Dynamic { .. } => match value {
            Value::Bool(truth) => (Some(Key::Boolean(*truth)), ""),
            Value::Number(_) => (number_key(value), ""),
            Value::String(text) => (date_key(value).or_else(|| Some(Key::Text(text.clone()))), ""),
            _ => (None, "a text, a number, a boolean or a date"),
        },
    };
    key.ok_or_else(|| format!("{} is not {wanted}, as the values of this field are", excerpt(value)))
}
