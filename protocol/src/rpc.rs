//! What travels between the query service and the workers: requests that carry a list, and partial results.
//!
//! `'W' kind version=2 │ postcard`. Golden files pin the forms. Version 1 is still read, and answered in its own form, so workers are
//! updated before query services.

mod size;
mod statistics;
mod v1;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::index_name::IndexRef;
use crate::merging::MergeState;
use crate::ports::{Position, WorkerId};
use crate::query::Query;
use crate::search::{Highlight, Highlights, SortBy, SortKey, SortValue};
use crate::suggest::{Suggestions, Typed};

pub use size::key_bytes;
pub use statistics::Statistics;

/// The version of what this program writes.
pub const VERSION: u8 = 2;
/// The most queries of which one question asks the statistics: each is planned by itself.
pub const MAX_STATISTICS: usize = 16;

/// The largest reply: brokers since RabbitMQ 4.0 take messages of at most 16 MiB, and close the channel of a larger one.
pub const MAX_REPLY_BYTES: usize = 15 << 20;

/// Requests that share one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The milliseconds that were left when it was sent: what has passed its deadline is not started.
    pub remaining_ms: u32,
    /// What is asked, each of one partition; the reply answers in this order.
    pub items: Vec<Item>,
}

/// One question to one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The index.
    pub index: IndexRef,
    /// The partition.
    pub partition: u32,
    /// The position of the partition's log that the answer must have seen: it waits until then.
    pub at_least: Option<Position>,
    /// The question.
    pub question: Question,
}

/// What can be asked of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// The best hits of a query.
    Search(Box<Search>),
    /// Documents by their ids.
    Fetch(Box<Fetch>),
    /// What the scores of queries depend on, in this partition.
    Statistics {
        /// The queries, [`MAX_STATISTICS`] at most.
        queries: Vec<Query>,
    },
    /// Words like those that are being typed.
    Suggest(Typed),
    /// A merge of all segments into one.
    Merge {
        /// The ticket of an earlier answer, to ask how far it is.
        ticket: Option<u64>,
    },
}

/// The best hits of a query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The query.
    pub query: Query,
    /// What hits must match, too, without a score.
    pub filter: Option<Query>,
    /// How many hits: offset + limit of the whole search.
    pub hits: u32,
    /// Whether to count all.
    pub count: bool,
    /// The keys that hits are ordered by; none: the best scores first. What is equal in all is ordered by id.
    #[serde(with = "as_json")]
    pub sort: Vec<SortKey>,
    /// Only hits behind this one.
    pub after: Option<Place>,
    /// How documents are scored.
    pub ranking: Ranking,
    /// What comes along of each document.
    pub document: DocumentParts,
    /// The aggregations of the request, as JSON.
    pub aggregations: Option<String>,
}

/// A place in the order of hits: that of a document which may be gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Its value for each key of the sort; its score for `_score`.
    pub values: Vec<SortValue>,
    /// Its id.
    pub id: String,
}

/// How documents are scored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Ranking {
    /// By the statistics of the partition alone.
    #[default]
    Local,
    /// The same, and the answer tells them: what the index has for statistics where it has one partition.
    Only,
    /// By these statistics.
    Global(Statistics),
    /// By how often the words of the query stand in the document.
    Occurrences,
}

/// What comes along of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentParts {
    /// The parts of it, by paths that may end in `*`; `None`: all of it.
    pub fields: Option<Vec<String>>,
    /// Its passages; `None`: none.
    pub highlight: Option<Highlight>,
}

/// Documents by their ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    /// The ids.
    pub ids: Vec<String>,
    /// The view of the partition that an earlier answer of this worker names, to see what that one saw; without it, or if the worker
    /// has let go of it, the present one.
    pub view: Option<u64>,
    /// What comes along of each.
    pub document: DocumentParts,
    /// The query whose passages are wanted.
    pub query: Option<Query>,
}

/// The answers to one [`Request`], in its order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Who answers: what was left out of an answer is asked of this very worker.
    pub worker: WorkerId,
    /// One answer for each item.
    pub answers: Vec<Result<Answer, Failure>>,
}

/// What a partition answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Search`.
    Hits(Hits),
    /// To `Fetch`: in the order of the ids, `None` for those that are not there. It may end early, with at least one, where
    /// the reply would grow too large: ask again for the rest.
    Documents(Vec<Option<Found>>),
    /// To `Statistics`: in the order of the queries.
    Statistics(Vec<Statistics>),
    /// To `Suggest`.
    Suggestions(Suggestions),
    /// To `Merge`.
    Merge(MergeState),
}

/// What one partition found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hits {
    /// How many documents match; `None` if it was not asked.
    pub total: Option<u64>,
    /// The first, in order.
    pub hits: Vec<PartialHit>,
    /// If some hits came without their documents: the name of the view in which they were found, kept for a while.
    pub view: Option<u64>,
    /// The aggregations over all that match, to be merged with those of the other partitions.
    pub aggregations: Option<Vec<u8>>,
    /// To [`Ranking::Only`]: by what the hits were scored.
    pub statistics: Option<Statistics>,
}

/// One hit of one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialHit {
    /// The document's id.
    pub id: String,
    /// The score, rounded; `None` where the order does not depend on it.
    pub score: Option<f32>,
    /// Its value for each key of the sort; empty without a sort.
    pub sort: Vec<SortValue>,
    /// The document; `None` where the reply would grow too large with it: fetch it by id.
    pub found: Option<Found>,
}

impl PartialHit {
    /// The order of hits under the keys of a sort; without keys, the best scores first. Equals are ordered by id.
    pub fn compare(keys: &[SortKey], left: &Self, right: &Self) -> std::cmp::Ordering {
        let by_score = || right.score.unwrap_or(0.0).total_cmp(&left.score.unwrap_or(0.0));
        let by_keys = || {
            fn value(hit: &PartialHit, place: usize) -> &SortValue {
                hit.sort.get(place).unwrap_or(&SortValue::Missing)
            }
            let mut orders = keys.iter().enumerate().map(|(place, key)| key.compare(value(left, place), value(right, place)));
            orders.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        let order = if keys.is_empty() { by_score() } else { by_keys() };
        order.then_with(|| left.id.cmp(&right.id))
    }

    /// Where it stands in that order.
    pub fn place(&self, keys: &[SortKey]) -> Place {
        let score = || SortValue::F64(self.score.unwrap_or(0.0).into());
        let values = if keys.is_empty() { vec![score()] } else { self.sort.clone() };
        Place { values, id: self.id.clone() }
    }
}

/// The keys of a sort in force: the best scores first, if it names none.
pub fn keys_or_best(sort: &[SortKey]) -> &[SortKey] {
    const BEST: &[SortKey] = &[SortKey::BEST];
    if sort.is_empty() { BEST } else { sort }
}

/// Whether hits in this order need scores.
pub fn by_score(sort: &[SortKey]) -> bool {
    keys_or_best(sort).iter().any(|key| key.by == SortBy::Score)
}

/// A document with its passages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// One JSON object, as published.
    pub body: Vec<u8>,
    /// Passages by field.
    pub highlights: Highlights,
}

/// Why a partition has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The query is at fault: every partition says so.
    #[error("{0}")]
    InvalidQuery(String),
    /// The worker does not hold the partition (any more).
    #[error("the worker does not hold this partition")]
    NotHere,
    /// Its turn came after the deadline, or it was not done by then.
    #[error("the deadline passed before the search was done")]
    Deadline,
    /// A defect: the search panicked, or the index cannot be read.
    #[error("the search failed: {0}")]
    Internal(String),
    /// A part of the request other than its query is at fault: every partition says so.
    #[error("{detail}")]
    InvalidRequest {
        /// Which.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The partition did not get in time to the position that the search must see.
    #[error("the partition has not reached position {0} in time")]
    Behind(Position),
}

/// Why a message is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a message of this kind.
    #[error("this is not a Warren {0}")]
    Foreign(&'static str),
    /// Written by a newer Warren.
    #[error("the {kind} has version {found}, this program reads up to {VERSION}: update it")]
    Version {
        /// What it is.
        kind: &'static str,
        /// The version in the message.
        found: u8,
    },
    /// The bytes end early or contradict themselves.
    #[error("the {kind} is damaged: {detail}")]
    Damaged {
        /// What it is.
        kind: &'static str,
        /// What the decoder said.
        detail: String,
    },
}

/// A message between query service and worker.
pub trait Message: Serialize + DeserializeOwned {
    /// The letter behind the 'W'.
    const LETTER: u8;
    /// Its name in errors.
    const NAME: &'static str;
    /// Its form in version 1.
    type First: Serialize + DeserializeOwned + TryInto<Self, Error = String>;

    /// The message as bytes.
    fn encode(&self) -> Result<Bytes, MessageError> {
        write(Self::LETTER, Self::NAME, VERSION, self)
    }

    /// Reads the bytes, of this version or the one before.
    fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Self::decode_versioned(bytes).map(|(message, _)| message)
    }

    /// Reads the bytes, and says of which version they are.
    fn decode_versioned(bytes: &[u8]) -> Result<(Self, u8), MessageError> {
        let damaged = |detail: String| MessageError::Damaged { kind: Self::NAME, detail };
        let unreadable = |error: postcard::Error| damaged(error.to_string());
        match bytes {
            [b'W', letter, version, rest @ ..] if *letter == Self::LETTER => match *version {
                1 => Ok((postcard::from_bytes::<Self::First>(rest).map_err(unreadable)?.try_into().map_err(damaged)?, 1)),
                VERSION => postcard::from_bytes(rest).map(|message| (message, VERSION)).map_err(unreadable),
                found => Err(MessageError::Version { kind: Self::NAME, found }),
            },
            _ => Err(MessageError::Foreign(Self::NAME)),
        }
    }
}

fn write(letter: u8, kind: &'static str, version: u8, message: &impl Serialize) -> Result<Bytes, MessageError> {
    postcard::to_extend(message, vec![b'W', letter, version])
        .map(Bytes::from)
        .map_err(|error| MessageError::Damaged { kind, detail: error.to_string() })
}

impl Reply {
    /// The reply as bytes, for whoever asked in that version.
    pub fn encode_for(self, version: u8) -> Result<Bytes, MessageError> {
        match version {
            1 => write(Self::LETTER, Self::NAME, 1, &v1::Reply::from(self)),
            _ => self.encode(),
        }
    }
}

/// Values whose own form is JSON: postcard, which does not describe itself, carries them as such.
mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Message for Request {
    const LETTER: u8 = b'Q';
    const NAME: &'static str = "request";
    type First = v1::Request;
}

impl Message for Reply {
    const LETTER: u8 = b'R';
    const NAME: &'static str = "reply";
    type First = v1::Reply;
}

#[cfg(test)]
pub(crate) mod golden {
    //! Golden files: what the wire forms were, byte by byte.
    use std::path::PathBuf;

    fn path(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "golden", name].iter().collect()
    }

    pub(crate) fn read(name: &str) -> Vec<u8> {
        std::fs::read(path(name)).unwrap_or_else(|error| panic!("golden/{name}: {error}; WARREN_GOLDEN=write makes new ones"))
    }

    /// Compares with the file; with WARREN_GOLDEN=write in the environment, writes a file that does not exist yet.
    #[expect(clippy::disallowed_methods, reason = "the variable is for whoever changes a wire form, not a setting")]
    pub(crate) fn check(name: &str, now: &[u8]) {
        if std::env::var_os("WARREN_GOLDEN").is_some() && !path(name).exists() {
            std::fs::write(path(name), now).unwrap();
        }
        assert_eq!(now, read(name), "golden/{name}: the wire form changed; a new form needs a new version");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index_name::{Generation, IndexName};

    fn request(questions: Vec<Question>) -> Request {
        let index = IndexRef { name: IndexName::new("packages").unwrap(), generation: Generation(3) };
        let item = |question| Item { index: index.clone(), partition: 2, at_least: None, question };
        Request { remaining_ms: 2000, items: questions.into_iter().map(item).collect() }
    }

    fn web_server() -> Query {
        Query::parse("web server", true).unwrap()
    }

    fn plain() -> Search {
        let document = DocumentParts { fields: None, highlight: Some(Highlight::default()) };
        Search { query: web_server(), hits: 10, count: true, document, ..Search::default() }
    }

    fn statistics() -> Statistics {
        Statistics { documents: 9, words: [(2, 40)].into(), terms: [(b"web".to_vec(), 3)].into() }
    }

    fn full() -> Request {
        let search = Search {
            filter: Some(Query::parse("section:net", false).unwrap()),
            sort: vec![SortKey::BEST, SortKey::parse("size").unwrap()],
            after: Some(Place { values: vec![SortValue::F64(1.5), SortValue::Missing], id: "a".into() }),
            ranking: Ranking::Global(statistics()),
            aggregations: Some("{}".into()),
            ..plain()
        };
        let fetch = Fetch { ids: vec!["a".into()], view: Some(7), query: Some(web_server()), ..Fetch::default() };
        let mut request = request(vec![
            Question::Search(search.into()),
            Question::Fetch(fetch.into()),
            Question::Statistics { queries: vec![web_server()] },
        ]);
        request.items[0].at_least = Some(Position(12));
        request
    }

    fn found() -> Found {
        Found { body: b"{}".to_vec(), highlights: [("title".to_owned(), vec!["<b>web</b>".to_owned()])].into() }
    }

    fn reply(hits: Hits) -> Reply {
        let answers = vec![Ok(Answer::Hits(hits)), Ok(Answer::Documents(vec![None])), Err(Failure::NotHere)];
        Reply { worker: WorkerId("w1".to_owned()), answers }
    }

    fn plain_hits() -> Hits {
        let hit = PartialHit { id: "a".into(), score: Some(1.5), sort: vec![], found: Some(found()) };
        Hits { total: Some(1), hits: vec![hit], ..Hits::default() }
    }

    fn full_reply() -> Reply {
        let sort = vec![SortValue::Bool(true), SortValue::U64(1), SortValue::Date(5), SortValue::Str("x".into())];
        let hit = PartialHit { id: "a".into(), score: None, sort, found: None };
        let hits =
            Hits { total: None, hits: vec![hit], view: Some(7), aggregations: Some(vec![1]), statistics: Some(statistics()) };
        let mut reply = reply(hits);
        reply.answers.push(Ok(Answer::Statistics(vec![statistics()])));
        reply.answers.push(Err(Failure::Behind(Position(12))));
        reply.answers.push(Err(Failure::InvalidRequest { field: "sort".into(), detail: "no".into() }));
        reply
    }

    #[test]
    fn golden_files_pin_the_forms() {
        golden::check("request-v2.bin", &full().encode().unwrap());
        golden::check("reply-v2.bin", &full_reply().encode().unwrap());
        assert_eq!(Request::decode_versioned(&golden::read("request-v2.bin")), Ok((full(), 2)));
        assert_eq!(Reply::decode(&golden::read("reply-v2.bin")), Ok(full_reply()));
    }

    #[test]
    fn version_1_is_read_and_answered() {
        let fetch = Fetch { ids: vec!["a".into()], ..Fetch::default() };
        let asked = request(vec![Question::Search(plain().into()), Question::Fetch(fetch.into())]);
        assert_eq!(Request::decode_versioned(&golden::read("request-v1.bin")), Ok((asked, 1)));
        assert_eq!(Reply::decode(&golden::read("reply-v1.bin")), Ok(reply(plain_hits())));
        golden::check("reply-v1.bin", &reply(plain_hits()).encode_for(1).unwrap());
    }

    #[test]
    fn every_cut_is_an_error_and_a_newer_version_is_named() {
        let bytes = full().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Request::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        let mut newer = bytes.to_vec();
        newer[2] = 9;
        assert_eq!(Request::decode(&newer), Err(MessageError::Version { kind: "request", found: 9 }));
        assert_eq!(Reply::decode(&bytes), Err(MessageError::Foreign("reply")));
    }
}
