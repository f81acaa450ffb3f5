//! A thousand documents of which every tenth is bad, in eight ways in turn, and what each way in must say of them.
//!
//! The bad ones are bytes, as a client might send them; none holds a line break, so that all of them fit into lines. Each
//! comes with its mended form, which has the same id.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use warren_protocol::problem::Code;

/// The largest document, `http.max_document_bytes`, for which the documents are made.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;
/// Every so many documents, one is bad.
const EVERY: usize = 10;

/// How a document can be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Badness {
    /// It is no JSON.
    NotJson,
    /// It is JSON, and no object.
    NotAnObject,
    /// Its id is neither a string nor a whole number.
    IdOfWrongType,
    /// Its id has more than 512 bytes.
    IdTooLong,
    /// A field does not have the type that [`definition`] gives it.
    FieldOfWrongType,
    /// It has more than [`MAX_DOCUMENT_BYTES`].
    TooLarge,
    /// Its values are nested deeper than a reader follows.
    TooDeep,
    /// It holds bytes that are no UTF-8.
    NotUtf8,
}

impl Badness {
    /// All ways.
    pub const ALL: [Self; 8] = [
        Self::NotJson,
        Self::NotAnObject,
        Self::IdOfWrongType,
        Self::IdTooLong,
        Self::FieldOfWrongType,
        Self::TooLarge,
        Self::TooDeep,
        Self::NotUtf8,
    ];

    /// The code of its rejection: over HTTP, on the command line, and as `warren-reason` of its dead letter.
    pub fn code(self) -> Code {
        match self {
            Self::NotJson | Self::NotAnObject | Self::TooDeep | Self::NotUtf8 => Code::InvalidJson,
            Self::IdOfWrongType | Self::IdTooLong => Code::InvalidId,
            Self::FieldOfWrongType => Code::InvalidField,
            Self::TooLarge => Code::TooLarge,
        }
    }

    fn body(self, id: &str) -> Vec<u8> {
        match self {
            Self::NotJson => format!(r#"{{"id":"{id}","text":unquoted}}"#).into(),
            Self::NotAnObject => format!(r#""{id}""#).into(),
            Self::IdOfWrongType => format!(r#"{{"text":"{id}","id":{{"value":1.5}}}}"#).into(),
            Self::IdTooLong => format!(r#"{{"id":"{id}{}"}}"#, "x".repeat(513)).into(),
            Self::FieldOfWrongType => format!(r#"{{"id":"{id}","size":"seven"}}"#).into(),
            Self::TooLarge => format!(r#"{{"id":"{id}","text":"{}"}}"#, "large ".repeat(MAX_DOCUMENT_BYTES / 6)).into(),
            Self::TooDeep => format!(r#"{{"id":"{id}","deep":{}{}}}"#, "[".repeat(200), "]".repeat(200)).into(),
            Self::NotUtf8 => [format!(r#"{{"id":"{id}","text":""#).as_bytes(), b"caf\xe9\"}"].concat(),
        }
    }
}

/// One document.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The id that it has, or has once it is mended.
    pub id: String,
    /// As it is sent.
    pub body: Vec<u8>,
    /// What is wrong with it, if anything is.
    pub badness: Option<Badness>,
    /// As it should have been; for a good one, what `body` says.
    pub mended: Value,
}

/// The definition of the index that they are meant for.
pub fn definition() -> Value {
    json!({"partitions": 2, "fields": {"size": {"type": "integer"}}})
}

/// So many documents, in order; the tenth, the twentieth, … are bad.
pub fn documents(count: usize) -> Vec<Sample> {
    (1..=count).map(document).collect()
}

fn document(number: usize) -> Sample {
    let id = format!("sample-{number:04}");
    let mended = json!({"id": id, "text": format!("number {number}"), "size": number});
    let badness = number.is_multiple_of(EVERY).then(|| Badness::ALL[(number / EVERY - 1) % Badness::ALL.len()]);
    let body = badness.map_or_else(|| mended.to_string().into_bytes(), |badness| badness.body(&id));
    Sample { id, body, badness, mended }
}

/// The bad ones among them, with the number that each has, from 1: the line on which it stands.
pub fn bad(documents: &[Sample]) -> impl Iterator<Item = (u64, &Sample, Badness)> {
    (1..).zip(documents).filter_map(|(number, document)| Some((number, document, document.badness?)))
}

/// How many bad ones have which code.
pub fn codes(documents: &[Sample]) -> BTreeMap<&'static str, usize> {
    let mut codes = BTreeMap::new();
    for (_, _, badness) in bad(documents) {
        *codes.entry(badness.code().as_str()).or_default() += 1;
    }
    codes
}

#[cfg(test)]
mod tests {
    use warren_protocol::document::{IdSource, check};
    use warren_protocol::{IndexDefinition, IndexName};

    use super::*;

    #[test]
    fn what_is_bad_is_refused_as_it_says_and_the_rest_is_good() {
        let definition = IndexDefinition::from_json(definition().to_string().as_bytes()).unwrap();
        let index = IndexName::new("samples").unwrap();
        let documents = documents(1000);
        assert_eq!(bad(&documents).count(), 100);
        for Sample { id, body, badness, mended } in &documents {
            let found = check(&index, &definition, body, IdSource::Document);
            match badness {
                None => assert_eq!(found.unwrap().as_str(), id),
                Some(Badness::TooLarge) => assert!(body.len() > MAX_DOCUMENT_BYTES),
                Some(badness) => assert_eq!(found.unwrap_err().code, badness.code(), "{badness:?}"),
            }
            assert!(!body.contains(&b'\n') && (body.len() > MAX_DOCUMENT_BYTES) == (*badness == Some(Badness::TooLarge)));
            let mended = check(&index, &definition, mended.to_string().as_bytes(), IdSource::Document);
            assert_eq!(mended.unwrap().as_str(), id);
        }
    }
}
