//! How a published document becomes what tantivy indexes.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};
use tantivy::DateTime;
use tantivy::schema::{Document, Field, OwnedValue};
use time::OffsetDateTime;
use warren_protocol::document::{date_from_millis, date_from_text};

use crate::schema::{DynamicFields, Fields, Kind, MAX_DYNAMIC_VALUE_BYTES, MAX_KEYWORD_BYTES, MAX_PATH_BYTES, MAX_PATH_DEPTH};
use crate::writer::InFlight;

/// A document on its way to the indexing thread.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) values: Vec<(Field, OwnedValue)>,
    #[expect(
        dead_code,
        reason = "its drop gives the room in the queue back, when the indexing thread is done with the document"
    )]
    pub(crate) in_flight: InFlight,
}

/// The values of a document, by field.
pub(crate) struct PreparedValues<'a>(std::slice::Iter<'a, (Field, OwnedValue)>);

impl<'a> Iterator for PreparedValues<'a> {
    type Item = (Field, &'a OwnedValue);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(field, value)| (*field, value))
    }
}

impl Document for Prepared {
    type Value<'a> = &'a OwnedValue;
    type FieldsValuesIter<'a> = PreparedValues<'a>;

    fn iter_fields_and_values(&self) -> PreparedValues<'_> {
        PreparedValues(self.values.iter())
    }
}

/// The values of a document for each field of the index; the error says what does not fit.
pub(crate) fn convert(fields: &Fields, id: &str, body: &[u8]) -> Result<Vec<(Field, OwnedValue)>, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| format!("a document must be one JSON object: {error}"))?;
    let mut values = vec![(fields.id, OwnedValue::Str(id.to_owned())), (fields.source, OwnedValue::Bytes(body.to_vec()))];
    let mut dynamic = Dynamic::default();
    for (name, value) in object {
        if name == fields.id_field {
            continue;
        }
        match fields.defined.get(&name).map(|field| field.kind) {
            Some(Kind::Object) => {
                check_object(&name, &value)?;
                dynamic.add(name, value);
            }
            Some(kind) => add_defined(&mut values, &name, kind, value)?,
            None if fields.dynamic => dynamic.add(name, value),
            None => {}
        }
    }
    if let Some(places) = fields.dynamic_fields {
        dynamic.finish(places, &mut values);
    }
    Ok(values)
}

fn check_object(name: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Null | Value::Object(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(|item| check_object(name, item)),
        other => Err(format!("{name} must be an object, not {other}")),
    }
}

fn add_defined(values: &mut Vec<(Field, OwnedValue)>, name: &str, kind: Kind, value: Value) -> Result<(), String> {
    let (field, converted) = match (kind, value) {
        (_, Value::Null) => return Ok(()),
        (_, Value::Array(items)) => {
            return items.into_iter().try_for_each(|item| add_defined(values, name, kind, item));
        }
        (Kind::Keyword(_), Value::String(text)) if text.len() > MAX_KEYWORD_BYTES => return Ok(()),
        (Kind::Text(field) | Kind::Keyword(field), Value::String(text)) => (field, OwnedValue::Str(text)),
        (Kind::Boolean(field), Value::Bool(truth)) => (field, OwnedValue::Bool(truth)),
        (Kind::Date(field), Value::String(text)) => {
            (field, date_from_text(&text).and_then(date_value).ok_or_else(|| format!("{name} is not a date: {text:?}"))?)
        }
        (Kind::Date(field), Value::Number(number)) => {
            let date = number.as_i64().and_then(date_from_millis).and_then(date_value);
            (field, date.ok_or_else(|| format!("{name} is not a date: {number}"))?)
        }
        (Kind::Integer(field), Value::Number(number)) => {
            (field, OwnedValue::I64(number.as_i64().ok_or_else(|| format!("{name} is not a whole number of 64 bits: {number}"))?))
        }
        (Kind::Float(field), Value::Number(number)) => {
            let number = number.as_f64().ok_or_else(|| format!("{name} is not a number of 64 bits: {number}"))?;
            (field, OwnedValue::F64(one_zero(number)))
        }
        (_, other) => return Err(format!("{name} does not have its defined type: {}", excerpt(&other))),
    };
    values.push((field, converted));
    Ok(())
}

fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

fn date_value(date: OffsetDateTime) -> Option<OwnedValue> {
    DateTime::try_from_utc(date).map(OwnedValue::Date)
}

/// The dynamic values of one document.
#[derive(Default)]
struct Dynamic {
    all: Vec<String>,
    words: Vec<(String, OwnedValue)>,
    values: Vec<(String, OwnedValue)>,
}

/// One value twice: its strings, to be cut into words, with its booleans; and everything as exact values.
struct Views {
    words: Option<OwnedValue>,
    values: Option<OwnedValue>,
}

impl Views {
    const NONE: Self = Self { words: None, values: None };
}

/// Where a dynamic value stands.
#[derive(Clone, Copy)]
struct Place {
    path_bytes: usize,
    depth: usize,
    /// Whether a query can name it.
    named: bool,
}

impl Place {
    const TOP: Self = Self { path_bytes: 0, depth: 0, named: true };

    fn below(self, key: &str) -> Self {
        let (path_bytes, depth) = (self.path_bytes + key.len() + 1, self.depth + 1);
        let named = self.named && path_bytes <= MAX_PATH_BYTES && depth < MAX_PATH_DEPTH && Fields::is_path_key(key);
        Self { path_bytes, depth, named }
    }
}

impl Dynamic {
    fn add(&mut self, name: String, value: Value) {
        let views = self.views(value, Place::TOP.below(&name));
        if let Some(words) = views.words {
            self.words.push((name.clone(), words));
        }
        if let Some(values) = views.values {
            self.values.push((name, values));
        }
    }

    fn views(&mut self, value: Value, place: Place) -> Views {
        match value {
            Value::Null => Views::NONE,
            Value::Bool(truth) => {
                let view = place.named.then_some(OwnedValue::Bool(truth));
                Views { words: view.clone(), values: view }
            }
            Value::Number(number) => Views { words: None, values: number_value(&number).filter(|_| place.named) },
            Value::String(text) => self.string_views(text, place),
            Value::Array(items) => {
                let (mut words, mut values) = (Vec::new(), Vec::with_capacity(items.len()));
                for item in items {
                    let views = self.views(item, place);
                    words.extend(views.words);
                    values.extend(views.values);
                }
                let full = |items: &Vec<_>| !items.is_empty();
                Views {
                    words: Some(words).filter(full).map(OwnedValue::Array),
                    values: Some(values).filter(full).map(OwnedValue::Array),
                }
            }
            Value::Object(object) => {
                let (mut words, mut values) = (Vec::new(), Vec::with_capacity(object.len()));
                for (key, item) in object {
                    let views = self.views(item, place.below(&key));
                    words.extend(views.words.map(|view| (key.clone(), view)));
                    values.extend(views.values.map(|view| (key, view)));
                }
                let full = |entries: &Vec<_>| !entries.is_empty();
                Views {
                    words: Some(words).filter(full).map(OwnedValue::Object),
                    values: Some(values).filter(full).map(OwnedValue::Object),
                }
            }
        }
    }

    fn string_views(&mut self, text: String, place: Place) -> Views {
        let views = if place.named {
            let value = if may_be_date(&text) { date_from_text(&text).and_then(date_value) } else { None };
            let value = value.or_else(|| (text.len() <= MAX_DYNAMIC_VALUE_BYTES).then(|| OwnedValue::Str(text.clone())));
            Views { words: Some(OwnedValue::Str(text.clone())), values: value }
        } else {
            Views::NONE
        };
        self.all.push(text);
        views
    }

    fn finish(self, places: DynamicFields, values: &mut Vec<(Field, OwnedValue)>) {
        values.extend(self.all.into_iter().map(|text| (places.all, OwnedValue::Str(text))));
        let mut words = OwnedValue::Object(self.words);
        if booleans_once(&mut words, &mut String::new(), &mut HashSet::new()) {
            values.push((places.words, words));
        }
        if !self.values.is_empty() {
            values.push((places.values, OwnedValue::Object(self.values)));
        }
    }
}

/// Leaves each boolean once at its path; false if nothing is left. tantivy counts as many words as there are, but does not keep how often one stands in a
/// document: where words have to be counted again, they would be others.
fn booleans_once(value: &mut OwnedValue, path: &mut String, seen: &mut HashSet<(String, bool)>) -> bool {
    match value {
        OwnedValue::Bool(truth) => seen.insert((path.clone(), *truth)),
        OwnedValue::Array(items) => {
            items.retain_mut(|item| booleans_once(item, path, seen));
            !items.is_empty()
        }
        OwnedValue::Object(entries) => {
            entries.retain_mut(|(key, value)| {
                let outer = path.len();
                // A key with a dot is the same path for tantivy.
                path.push('.');
                path.push_str(key);
                let some = booleans_once(value, path, seen);
                path.truncate(outer);
                some
            });
            !entries.is_empty()
        }
        _ => true,
    }
}

/// Saves most strings the attempt to read them as a date.
fn may_be_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    (20..=40).contains(&bytes.len()) && bytes[0].is_ascii_digit() && bytes[4] == b'-'
}

fn number_value(number: &Number) -> Option<OwnedValue> {
    let whole = number.as_i64().map(OwnedValue::I64).or_else(|| number.as_u64().map(OwnedValue::U64));
    whole.or_else(|| number.as_f64().filter(|float| float.is_finite()).map(|float| OwnedValue::F64(one_zero(float))))
}

/// For tantivy -0 is another number than 0, and less.
pub(crate) fn one_zero(number: f64) -> f64 {
    number + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_boolean_counts_once_at_its_path_however_the_path_is_written() {
        let mut value = OwnedValue::from(json!({"a": {"b": [true, false, true]}, "a.b": true, "c": [true], "d": {"e": "text"}}));
        assert!(booleans_once(&mut value, &mut String::new(), &mut HashSet::new()));
        assert_eq!(value, OwnedValue::from(json!({"a": {"b": [true, false]}, "c": [true], "d": {"e": "text"}})));
    }
}
