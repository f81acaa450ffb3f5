//! Documents: the id, and the check that each one passes before it is written anywhere.

mod naming;

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::definition::{FieldType, IndexDefinition};
use crate::index_name::IndexName;
use crate::problem::{Code, Problem};

pub use naming::id_in;

/// The id of a document: 1 to 512 bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentId(String);

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a document's id has 1 to 512 bytes, this one has {0}")]
pub struct InvalidDocumentId(usize);

impl From<InvalidDocumentId> for Problem {
    fn from(error: InvalidDocumentId) -> Self {
        Self::new(Code::InvalidId, error.to_string()).with_field("id")
    }
}

impl DocumentId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 512;

    /// Takes `id` if its length fits.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidDocumentId> {
        let id = id.into();
        if (1..=Self::MAX_LEN).contains(&id.len()) { Ok(Self(id)) } else { Err(InvalidDocumentId(id.len())) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of a document that brings none: a hash of index and body.
    ///
    /// The same body sent twice stays one document, so that a redelivered message does; two equal documents collapse.
    pub fn of_content(index: &IndexName, body: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(index.as_str()).chain_update([0]).chain_update(body).finalize();
        Self(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DocumentId {
    type Error = InvalidDocumentId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::new(id)
    }
}

impl From<DocumentId> for String {
    fn from(id: DocumentId) -> Self {
        id.0
    }
}

/// Where an id comes from besides the document's own field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource<'a> {
    /// The field, else a hash of the content.
    Document,
    /// The field, else this: the AMQP property `message_id`.
    Fallback(&'a str),
    /// This, from the URL; a field with another id is a problem.
    Required(&'a DocumentId),
}

/// Checks one document against the definition of its index, in one pass and without building it, and gives its id.
///
/// `body` must be one JSON object whose defined fields have their types. The problem has one of the codes
/// `invalid_json`, `invalid_id` and `invalid_field`.
pub fn check(index: &IndexName, definition: &IndexDefinition, body: &[u8], source: IdSource<'_>) -> Result<DocumentId, Problem> {
    let found = Found::default();
    let body_text = std::str::from_utf8(body).map_err(|error| Problem::new(Code::InvalidJson, describe(&error)))?;
    let mut deserializer = serde_json::Deserializer::from_str(body_text);
    let parsed = DocumentSeed { definition, found: &found }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if let Err(error) = parsed {
        let problem = found.problem.into_inner();
        return Err(problem.unwrap_or_else(|| Problem::new(Code::InvalidJson, describe(&error))));
    }
    let own = found.id.into_inner();
    match (own, source) {
        (Some(own), IdSource::Required(required)) if own != *required => Err(id_problem(
            definition,
            format!("the id is to be {:?} and the document says {:?}: they must be equal", required.as_str(), own.as_str()),
        )),
        (Some(own), _) => Ok(own),
        (None, IdSource::Required(required)) => Ok(required.clone()),
        (None, IdSource::Fallback(id)) => {
            DocumentId::new(id).map_err(|error| id_problem(definition, format!("the message_id cannot be the id: {error}")))
        }
        (None, IdSource::Document) => Ok(DocumentId::of_content(index, body)),
    }
}

fn describe(error: &dyn fmt::Display) -> String {
    format!("a document must be one JSON object in UTF-8: {error}")
}

fn id_problem(definition: &IndexDefinition, detail: String) -> Problem {
    Problem::new(Code::InvalidId, detail).with_field(&definition.id_field)
}

/// What the pass over a document brings to light.
#[derive(Default)]
struct Found {
    id: RefCell<Option<DocumentId>>,
    problem: RefCell<Option<Problem>>,
}

impl Found {
    /// Keeps `problem` and stops the parser.
    fn stop<E: de::Error>(&self, problem: Problem) -> E {
        let error = E::custom(&problem.detail);
        self.problem.replace(Some(problem));
        error
    }
}

struct DocumentSeed<'a> {
    definition: &'a IndexDefinition,
    found: &'a Found,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == self.definition.id_field.as_str() {
                let id: serde_json::Value = map.next_value()?;
                let id = read_id(self.definition, &id).map_err(|problem| self.found.stop(problem))?;
                if self.found.id.replace(Some(id)).is_some() {
                    return Err(self.found.stop(id_problem(self.definition, "the id stands twice in the document".to_owned())));
                }
            } else if let Some(field) = self.definition.fields.get(key.as_ref()) {
                map.next_value_seed(FieldSeed { name: &key, kind: field.kind, found: self.found })?;
            } else {
                map.next_value::<Anything>()?;
            }
        }
        Ok(())
    }
}

fn read_id(definition: &IndexDefinition, value: &serde_json::Value) -> Result<DocumentId, Problem> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        other => {
            let kind = json_kind(other);
            return Err(id_problem(definition, format!("the id must be a string or a whole number, not {kind}")));
        }
    };
    DocumentId::new(text).map_err(|error| id_problem(definition, error.to_string()))
}

fn json_kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a fraction",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// Checks the value, or the array of values, of one defined field.
#[derive(Clone, Copy)]
struct FieldSeed<'a> {
    name: &'a str,
    kind: FieldType,
    found: &'a Found,
}

impl FieldSeed<'_> {
    fn wrong<E: de::Error>(&self, got: &str) -> E {
        let expected = match self.kind {
            FieldType::Text | FieldType::Keyword => "a string",
            FieldType::Integer => "a whole number of 64 bits",
            FieldType::Float => "a number",
            FieldType::Boolean => "true or false",
            FieldType::Date => "a date as RFC 3339 text (\"2026-11-23T20:00:00Z\") or Unix milliseconds",
            FieldType::Object => "an object",
        };
        let detail = format!("{} must be {expected}, or an array of such; this is {got}", self.name);
        self.found.stop(Problem::new(Code::InvalidField, detail).with_field(self.name))
    }

    fn expect<E: de::Error>(&self, fits: bool, got: impl FnOnce() -> String) -> Result<(), E> {
        if fits { Ok(()) } else { Err(self.wrong(&got())) }
    }
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value of {}", self.name)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(()) // null is the same as absent
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.expect(self.kind == FieldType::Boolean, || value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        let fits = match self.kind {
            FieldType::Integer | FieldType::Float => true,
            FieldType::Date => date_from_millis(value).is_some(),
            _ => false,
        };
        self.expect(fits, || value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.expect(self.kind == FieldType::Float, || value.to_string()),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.expect(self.kind == FieldType::Float, || value.to_string())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        let fits = match self.kind {
            FieldType::Text | FieldType::Keyword => true,
            FieldType::Date => date_from_text(value).is_some(),
            _ => false,
        };
        self.expect(fits, || format!("{:?}", value.chars().take(40).collect::<String>()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.expect(self.kind == FieldType::Object, || "an object".to_owned())?;
        while map.next_entry::<Anything, Anything>()?.is_some() {}
        Ok(())
    }
}

/// Any value, read in full and dropped. serde's `IgnoredAny` skips what it does not look at, such as half of a
/// surrogate pair or a number out of range, and a worker that reads the document would then stumble over it.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Anything {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self, A::Error> {
        while sequence.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// A date from RFC 3339 text, in the years that nanoseconds in 64 bits can hold (1678 to 2262).
pub fn date_from_text(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().filter(fits_nanoseconds)
}

/// A date from Unix milliseconds, in the same years.
pub fn date_from_millis(millis: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok().filter(fits_nanoseconds)
}

fn fits_nanoseconds(date: &OffsetDateTime) -> bool {
    i64::try_from(date.unix_timestamp_nanos()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: &str) -> IndexDefinition {
        IndexDefinition::from_json(json.as_bytes()).unwrap()
    }

    fn checked(definition: &IndexDefinition, body: &str) -> Result<String, Problem> {
        let index = IndexName::new("test").unwrap();
        check(&index, definition, body.as_bytes(), IdSource::Document).map(String::from)
    }

    #[test]
    fn ids_are_strings_or_whole_numbers() {
        let plain = IndexDefinition::default();
        assert_eq!(checked(&plain, r#"{"id":"a","x":1}"#).unwrap(), "a");
        assert_eq!(checked(&plain, r#"{"x":1,"id":18446744073709551615}"#).unwrap(), "18446744073709551615");
        assert_eq!(checked(&plain, r#"{"\u0069d":"escaped"}"#).unwrap(), "escaped");
        for body in [r#"{"id":1.5}"#, r#"{"id":null}"#, r#"{"id":""}"#, r#"{"id":["a"]}"#, r#"{"id":"a","id":"b"}"#] {
            let problem = checked(&plain, body).unwrap_err();
            assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidId, Some("id")), "{body}");
        }
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(513));
        assert_eq!(checked(&plain, &long).unwrap_err().code, Code::InvalidId);
        assert_eq!(checked(&definition(r#"{"id_field":"name"}"#), r#"{"id":"a","name":"b"}"#).unwrap(), "b");
    }

    #[test]
    fn without_an_id_the_content_or_the_message_names_it() {
        let (index, plain) = (IndexName::new("test").unwrap(), IndexDefinition::default());
        let body = br#"{"x":1}"#;
        let hashed = check(&index, &plain, body, IdSource::Document).unwrap();
        assert_eq!(hashed.as_str().len(), 32);
        assert_eq!(check(&index, &plain, body, IdSource::Document).unwrap(), hashed);
        let other = IndexName::new("other").unwrap();
        assert_ne!(check(&other, &plain, body, IdSource::Document).unwrap(), hashed);
        assert_eq!(check(&index, &plain, body, IdSource::Fallback("m")).unwrap().as_str(), "m");
        assert_eq!(check(&index, &plain, br#"{"id":"a"}"#, IdSource::Fallback("m")).unwrap().as_str(), "a");
        let url = DocumentId::new("a").unwrap();
        assert_eq!(check(&index, &plain, body, IdSource::Required(&url)).unwrap(), url);
        let problem = check(&index, &plain, br#"{"id":"b"}"#, IdSource::Required(&url)).unwrap_err();
        assert_eq!(problem.code, Code::InvalidId);
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for body in [
            "",
            "[]",
            "1",
            "\"x\"",
            "{\"a\":}",
            "{} {}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":1e999}",
            &format!("{}1", "[".repeat(200)),
        ] {
            assert_eq!(checked(&IndexDefinition::default(), body).unwrap_err().code, Code::InvalidJson, "{body}");
        }
        let index = IndexName::new("test").unwrap();
        let problem = check(&index, &IndexDefinition::default(), b"{\"a\":\"\xff\"}", IdSource::Document).unwrap_err();
        assert_eq!(problem.code, Code::InvalidJson);
    }

    #[test]
    fn defined_fields_hold_their_types() {
        let definition = definition(
            r#"{"fields":{"t":{"type":"text"},"k":{"type":"keyword"},"i":{"type":"integer"},"f":{"type":"float"},
            "b":{"type":"boolean"},"d":{"type":"date"},"o":{"type":"object"}}}"#,
        );
        for good in [
            r#"{"t":"x","k":"y","i":1,"f":1.5,"b":true,"d":"2026-11-23T20:00:00Z","o":{"a":[1,{"b":2}]}}"#,
            r#"{"t":["x",null,"y"],"i":[1,-9223372036854775808],"f":[1,18446744073709551615],"d":[0,1700000000000]}"#,
            r#"{"t":null,"i":null,"other":{"whatever":[]}}"#,
        ] {
            checked(&definition, good).unwrap();
        }
        for (bad, field) in [
            (r#"{"t":1}"#, "t"),
            (r#"{"k":{"a":1}}"#, "k"),
            (r#"{"i":1.5}"#, "i"),
            (r#"{"i":"1"}"#, "i"),
            (r#"{"i":9223372036854775808}"#, "i"),
            (r#"{"i":[1,"x"]}"#, "i"),
            (r#"{"f":"x"}"#, "f"),
            (r#"{"b":0}"#, "b"),
            (r#"{"d":"yesterday"}"#, "d"),
            (r#"{"d":"9999-01-01T00:00:00Z"}"#, "d"),
            (r#"{"o":"x"}"#, "o"),
        ] {
            let problem = checked(&definition, bad).unwrap_err();
            assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidField, Some(field)), "{bad}");
            assert!(problem.detail.contains(field), "{problem}");
        }
    }
}
