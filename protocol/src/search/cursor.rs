//! The cursor of a page: what a client hands back, unread, to get the next one.
//!
//! It holds the place of the last hit in the order of hits, so that the next page begins behind it, whatever was added, changed or deleted
//! since; and for hits ordered by score, the statistics that they were scored by, so that scores are the same on every page.
//!
//! A partition that does not answer stays where it was: the page on which it answers again brings what it has missed. So pages may lose
//! their order, and no hit.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{SearchRequest, SortKey};
use crate::index_name::IndexRef;
use crate::problem::{Code, Problem};
use crate::rpc::{Place, Statistics, keys_or_best};

const VERSION: u8 = 2;
/// The bytes of the hash by which a cursor knows its search.
const MARK: usize = 8;

/// Where a page ended.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    version: u8,
    /// Of the search that it belongs to.
    mark: [u8; MARK],
    /// How far the pages have come.
    pub places: Places,
    /// By what hits were scored, if their order depends on it.
    pub statistics: Option<Statistics>,
}

/// How far pages have come in each partition.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Places {
    /// The last hit; `None`: none yet.
    furthest: Option<Place>,
    /// The partitions that have not come as far.
    behind: BTreeMap<u32, Option<Place>>,
}

impl Places {
    /// Where a partition goes on.
    pub fn of(&self, partition: u32) -> Option<&Place> {
        self.behind.get(&partition).unwrap_or(&self.furthest).as_ref()
    }

    fn all(&self) -> impl Iterator<Item = &Place> {
        self.behind.values().chain([&self.furthest]).flatten()
    }

    /// The same behind a page that ends with this hit; the partitions that `failed` stay where they are.
    pub fn advanced(self, last: Option<Place>, partitions: u32, failed: impl Fn(u32) -> bool, sort: &[SortKey]) -> Self {
        let further = |place: Option<&Place>| match (place, &last) {
            (Some(place), Some(last)) if order(sort, place, last).is_gt() => Some(place.clone()),
            (place, last) => last.as_ref().or(place).cloned(),
        };
        let furthest = further(self.furthest.as_ref());
        let at = |partition| match failed(partition) {
            true => self.of(partition).cloned(),
            false => further(self.of(partition)),
        };
        let behind = (0..partitions).map(|partition| (partition, at(partition))).filter(|(_, place)| *place != furthest);
        Self { behind: behind.collect(), furthest }
    }
}

fn order(sort: &[SortKey], left: &Place, right: &Place) -> Ordering {
    let values = left.values.iter().zip(&right.values);
    let mut orders = keys_or_best(sort).iter().zip(values).map(|(key, (left, right))| key.compare(left, right));
    orders.find(|order| order.is_ne()).unwrap_or_else(|| left.id.cmp(&right.id))
}

impl Cursor {
    /// The cursor behind a page of a search.
    pub fn new(index: &IndexRef, request: &SearchRequest, places: Places, statistics: Option<Statistics>) -> Self {
        Self { version: VERSION, mark: mark(index, request), places, statistics }
    }

    /// The opaque form.
    pub fn encode(&self) -> Result<String, Problem> {
        let bytes = postcard::to_stdvec(self).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads the cursor of a request, and checks that it belongs to it.
    pub fn read(text: &str, index: &IndexRef, request: &SearchRequest) -> Result<Self, Problem> {
        let refuse = |detail: &str| Problem::invalid("after", detail);
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse(DAMAGED))?;
        let (cursor, rest) = postcard::take_from_bytes::<Self>(&bytes).map_err(|_| refuse(DAMAGED))?;
        if cursor.version != VERSION || !rest.is_empty() {
            return Err(refuse(DAMAGED));
        }
        let keys = keys_or_best(&request.sort).len();
        if cursor.mark != mark(index, request) || cursor.places.all().any(|place| place.values.len() != keys) {
            return Err(refuse(FOREIGN));
        }
        Ok(cursor)
    }
}

const DAMAGED: &str = "this is no cursor: take the value of after in the response to the page before, as it is";
const FOREIGN: &str =
    "the cursor belongs to another search: index, query, fuzziness, filter, sort and scoring must be those of the page before";

/// What makes two requests pages of one search.
fn mark(index: &IndexRef, request: &SearchRequest) -> [u8; MARK] {
    let SearchRequest { query, filter, sort, scoring, lenient, .. } = request;
    let fuzziness = format!("{:?}", request.fuzziness);
    let of = (index.to_string(), query, fuzziness, filter, keys_or_best(sort), scoring, lenient);
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
        let places = Places::default().advanced(Some(place), 2, |_| false, &asked.sort);
        let text = Cursor::new(&index(1), &asked, places.clone(), None).encode().unwrap();
        let same = request(r#"{"query":"web","sort":["size",{"name":"desc"}],"limit":3,"total":false}"#);
        assert_eq!(Cursor::read(&text, &index(1), &same).unwrap().places, places);
        for (index, other) in [
            (index(2), asked.clone()),
            (index(1), request(r#"{"query":"web","sort":["size","name"]}"#)),
            (index(1), request(r#"{"query":"web","fuzziness":1,"sort":["size","-name"]}"#)),
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

    #[test]
    fn who_does_not_answer_stays_behind_until_it_has_caught_up() {
        let at = |number| Place { values: vec![SortValue::I64(number)], id: String::new() };
        let sort = [SortKey::parse("size").unwrap()];
        let positions = |places: &Places| [0, 1, 2].map(|partition| places.of(partition).cloned());
        let advanced =
            |places: Places, last, failed: &[u32]| places.advanced(last, 3, |partition| failed.contains(&partition), &sort);
        let first = advanced(Places::default(), Some(at(5)), &[1]);
        assert_eq!(positions(&first), [Some(at(5)), None, Some(at(5))]);
        let second = advanced(first, Some(at(9)), &[1, 2]);
        assert_eq!(positions(&second), [Some(at(9)), None, Some(at(5))]);
        // What was missed fills a page, and comes no further than 7.
        let third = advanced(second, Some(at(7)), &[]);
        assert_eq!(positions(&third), [Some(at(9)), Some(at(7)), Some(at(7))]);
        let nothing = advanced(third.clone(), None, &[0]);
        assert_eq!(nothing, third);
        assert_eq!(advanced(third, Some(at(10)), &[]), advanced(Places::default(), Some(at(10)), &[]));
    }
}
