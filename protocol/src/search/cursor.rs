//! The cursor of a page: what a client hands back, unread, to get the next one.
//!
//! It holds the place of the last hit in the order of hits, so that the next page begins behind it, whatever was added, changed or deleted
//! since; and for hits ordered by score, the statistics that they were scored by, so that scores are the same on every page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::SearchRequest;
use crate::index_name::IndexRef;
use crate::problem::{Code, Problem};
use crate::rpc::{Place, Statistics, keys_or_best};

const VERSION: u8 = 1;
/// The bytes of the hash by which a cursor knows its search.
const MARK: usize = 8;

/// Where a page ended.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    version: u8,
    /// Of the search that it belongs to.
    mark: [u8; MARK],
    /// The last hit.
    pub place: Place,
    /// By what hits were scored, if their order depends on it.
    pub statistics: Option<Statistics>,
}

impl Cursor {
    /// The cursor behind a hit of a search.
    pub fn new(index: &IndexRef, request: &SearchRequest, place: Place, statistics: Option<Statistics>) -> Self {
        Self { version: VERSION, mark: mark(index, request), place, statistics }
    }

    /// The opaque form.
    pub fn encode(&self) -> Result<String, Problem> {
        let bytes = postcard::to_stdvec(self).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads the cursor of a request, and checks that it belongs to it.
    pub fn read(text: &str, index: &IndexRef, request: &SearchRequest) -> Result<Self, Problem> {
        let refuse = |detail: &str| Problem::new(Code::InvalidRequest, detail).with_field("after");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse(DAMAGED))?;
        let (cursor, rest) = postcard::take_from_bytes::<Self>(&bytes).map_err(|_| refuse(DAMAGED))?;
        if cursor.version != VERSION || !rest.is_empty() {
            return Err(refuse(DAMAGED));
        }
        if cursor.mark != mark(index, request) || cursor.place.values.len() != keys_or_best(&request.sort).len() {
            return Err(refuse(FOREIGN));
        }
        Ok(cursor)
    }
}

const DAMAGED: &str = "this is no cursor: take the value of after in the response to the page before, as it is";
const FOREIGN: &str =
    "the cursor belongs to another search: index, query, filter, sort and scoring must be those of the page before";

/// What makes two requests pages of one search.
fn mark(index: &IndexRef, request: &SearchRequest) -> [u8; MARK] {
    let SearchRequest { query, filter, sort, scoring, lenient, .. } = request;
    let of = (index.to_string(), query, filter, keys_or_best(sort), scoring, lenient);
    let text = serde_json::to_vec(&of).unwrap_or_default();
    let hash: [u8; 32] = Sha256::digest(&text).into();
    let mut mark = [0; MARK];
    mark.copy_from_slice(&hash[..MARK]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index_name::{Generation, IndexName};
    use crate::search::SortValue;

    fn index(generation: u64) -> IndexRef {
        IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(generation) }
    }

    fn request(json: &str) -> SearchRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_cursor_belongs_to_one_search() {
        let values = vec![SortValue::I64(3), SortValue::Missing];
        let place = Place { values, id: "d7".to_owned() };
        let asked = request(r#"{"query":"web","sort":["size","-name"]}"#);
        let text = Cursor::new(&index(1), &asked, place.clone(), None).encode().unwrap();
        let same = request(r#"{"query":"web","sort":["size",{"name":"desc"}],"limit":3,"total":false}"#);
        assert_eq!(Cursor::read(&text, &index(1), &same).unwrap().place, place);
        for (index, other) in [
            (index(2), asked.clone()),
            (index(1), request(r#"{"query":"web","sort":["size","name"]}"#)),
            (index(1), request(r#"{"query":"mail","sort":["size","-name"]}"#)),
            (index(1), request(r#"{"query":"web","sort":["size","-name"],"filter":"a:b"}"#)),
        ] {
            let problem = Cursor::read(&text, &index, &other).unwrap_err();
            assert_eq!((problem.field.as_deref(), problem.detail.as_str()), (Some("after"), FOREIGN));
        }
        for damaged in ["", "x", "%%", &text[1..], &format!("{text}AA")] {
            assert_eq!(Cursor::read(damaged, &index(1), &asked).unwrap_err().field.as_deref(), Some("after"));
        }
    }
}
