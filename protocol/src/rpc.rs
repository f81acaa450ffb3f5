//! What travels between the query service and the workers: requests that carry a list, and partial results.
//!
//! `'W' kind version=1 │ postcard`. Golden files pin both forms.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::index_name::IndexRef;
use crate::ports::WorkerId;
use crate::query::Query;
use crate::search::Highlights;

const VERSION: u8 = 1;

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
    /// The question.
    pub question: Question,
}

/// What can be asked of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// The best hits of a query.
    Search {
        /// The query string.
        query: String,
        /// Whether to make the best of a query that cannot be understood.
        lenient: bool,
        /// How many hits: offset + limit of the whole search.
        hits: u32,
        /// Whether to count all.
        count: bool,
        /// Whether hits carry passages.
        highlight: bool,
    },
    /// Documents by their ids; with a query, its passages in them.
    Fetch {
        /// The ids.
        ids: Vec<String>,
        /// The query whose passages are wanted.
        highlight: Option<String>,
    },
    /// The ids of all documents that match, in their order, page by page.
    Ids {
        /// What they have to match.
        filter: Query,
        /// The last id of the page before.
        after: Option<String>,
        /// How many ids a page has at most.
        limit: u32,
    },
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
    Hits {
        /// How many documents match; `None` if it was not asked.
        total: Option<u64>,
        /// The best, in order: by score, equal scores by id.
        hits: Vec<PartialHit>,
    },
    /// To `Fetch`: in the order of the ids, `None` for those that are not there. It may end early, with at least one, where
    /// the reply would grow too large: ask again for the rest.
    Documents(Vec<Option<Found>>),
    /// To `Ids`.
    Ids {
        /// One page.
        ids: Vec<String>,
        /// Whether there may be another one behind it.
        more: bool,
    },
}

/// One hit of one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialHit {
    /// The document's id.
    pub id: String,
    /// The score, rounded.
    pub score: f32,
    /// The document; `None` where the reply would grow too large with it: fetch it by id.
    pub found: Option<Found>,
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
    /// Its turn came after the deadline.
    #[error("the deadline had passed before the search could start")]
    Deadline,
    /// A defect: the search panicked, or the index cannot be read.
    #[error("the search failed: {0}")]
    Internal(String),
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

    /// The message as bytes.
    fn encode(&self) -> Result<Bytes, MessageError> {
        postcard::to_extend(self, vec![b'W', Self::LETTER, VERSION])
            .map(Bytes::from)
            .map_err(|error| MessageError::Damaged { kind: Self::NAME, detail: error.to_string() })
    }

    /// Reads the bytes.
    fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [b'W', letter, VERSION, rest @ ..] if *letter == Self::LETTER => {
                postcard::from_bytes(rest).map_err(|error| MessageError::Damaged { kind: Self::NAME, detail: error.to_string() })
            }
            [b'W', letter, found, ..] if *letter == Self::LETTER => {
                Err(MessageError::Version { kind: Self::NAME, found: *found })
            }
            _ => Err(MessageError::Foreign(Self::NAME)),
        }
    }
}

impl Message for Request {
    const LETTER: u8 = b'Q';
    const NAME: &'static str = "request";
}

impl Message for Reply {
    const LETTER: u8 = b'R';
    const NAME: &'static str = "reply";
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

    fn request() -> Request {
        let index = IndexRef { name: IndexName::new("packages").unwrap(), generation: Generation(3) };
        let question = Question::Search { query: "web server".into(), lenient: true, hits: 10, count: true, highlight: true };
        let fetch = Question::Fetch { ids: vec!["a".into()], highlight: None };
        let item = |question| Item { index: index.clone(), partition: 2, question };
        Request { remaining_ms: 2000, items: vec![item(question), item(fetch)] }
    }

    fn reply() -> Reply {
        let found = Found { body: b"{}".to_vec(), highlights: [("title".to_owned(), vec!["<b>web</b>".to_owned()])].into() };
        let hit = PartialHit { id: "a".into(), score: 1.5, found: Some(found) };
        let answers =
            vec![Ok(Answer::Hits { total: Some(1), hits: vec![hit] }), Ok(Answer::Documents(vec![None])), Err(Failure::NotHere)];
        Reply { worker: WorkerId("w1".to_owned()), answers }
    }

    #[test]
    fn golden_files_pin_both_forms() {
        golden::check("request-v1.bin", &request().encode().unwrap());
        golden::check("reply-v1.bin", &reply().encode().unwrap());
        assert_eq!(Request::decode(&golden::read("request-v1.bin")).unwrap(), request());
        assert_eq!(Reply::decode(&golden::read("reply-v1.bin")).unwrap(), reply());
    }

    #[test]
    fn golden_files_pin_pages_of_ids() {
        let mut request = request();
        request.items.truncate(1);
        request.items[0].question =
            Question::Ids { filter: Query::parse("kind:old", false).unwrap(), after: Some("a".into()), limit: 1000 };
        let ids = Answer::Ids { ids: vec!["b".into(), "c".into()], more: true };
        let reply = Reply { answers: vec![Ok(ids)], ..reply() };
        golden::check("request-ids-v1.bin", &request.encode().unwrap());
        golden::check("reply-ids-v1.bin", &reply.encode().unwrap());
        assert_eq!(Request::decode(&golden::read("request-ids-v1.bin")).unwrap(), request);
        assert_eq!(Reply::decode(&golden::read("reply-ids-v1.bin")).unwrap(), reply);
    }

    #[test]
    fn every_cut_is_an_error_and_a_newer_version_is_named() {
        let bytes = request().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Request::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        let mut newer = bytes.to_vec();
        newer[2] = 9;
        assert_eq!(Request::decode(&newer), Err(MessageError::Version { kind: "request", found: 9 }));
        assert_eq!(Reply::decode(&bytes), Err(MessageError::Foreign("reply")));
    }
}
