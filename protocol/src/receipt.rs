//! Receipts: how whoever writes learns that a search sees the write.
//!
//! A batch that wants a receipt says who waits for it and under which number ([`Wanted`]). A replica that serves reports
//! the number and the position once its searches see the batch ([`Report`]); the producer answers each document once, at
//! the first report ([`Receipt`]). At most once, and never on a replay: who hears nothing knows nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::index_name::Generation;
use crate::ports::{Address, Message, Position};
use crate::problem::Problem;

/// What a batch says about the receipt that it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The producer that waits; a new one with each process.
    pub producer: Uuid,
    /// The number under which it waits.
    pub batch: u64,
    /// How long it waits, in Unix milliseconds: whoever reads the log again later has nobody to tell.
    pub until_ms: u64,
}

impl Wanted {
    /// What the clocks of two machines may differ by.
    const SKEW_MS: u64 = 60_000;

    /// Where the producer listens.
    pub fn address(&self) -> Address {
        Address::of_producer(self.producer)
    }

    /// Whether nobody waits any more at this time, in Unix milliseconds.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms > self.until_ms.saturating_add(Self::SKEW_MS)
    }
}

/// What a replica tells a producer in one message. Readers skip what a newer worker adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// One for each batch.
    pub batches: Vec<Report>,
}

impl Reports {
    /// The reports as a word for their producer.
    pub fn encode(&self) -> Result<Message, serde_json::Error> {
        let (body, content_type) = (serde_json::to_vec(self)?.into(), Some("application/json".to_owned()));
        Ok(Message { body, content_type, ..Message::default() })
    }

    /// Reads them.
    pub fn decode(word: &Message) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(&word.body)
    }
}

/// That a search sees a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The number under which the producer waits.
    pub batch: u64,
    /// Where the batch stands in its log.
    pub position: Position,
    /// The documents of the batch that could not be indexed; they are dead letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
}

/// A document that passed the producer and that the worker could not index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which operation of its batch it is, from 0.
    pub operation: u32,
    /// Why.
    pub detail: String,
}

/// A place in the writes to an index: opaque to users, `generation.partition.position` to Warren.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WrittenAt {
    /// Which life of the index; no two indexes share one.
    pub generation: Generation,
    /// Which partition.
    pub partition: u32,
    /// Where in its log.
    pub position: Position,
}

impl fmt::Display for WrittenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.generation, self.partition, self.position)
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position: send one as it stands in a receipt, such as \"17.2.1043\"")]
pub struct InvalidPosition(String);

impl FromStr for WrittenAt {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten();
        let mut parts = text.split('.').map(number);
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(generation), Some(partition), Some(position), None) if u32::try_from(partition).is_ok() => Ok(Self {
                generation: Generation(generation),
                partition: u32::try_from(partition).unwrap_or_default(),
                position: Position(position),
            }),
            _ => Err(InvalidPosition(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for WrittenAt {
    type Error = InvalidPosition;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WrittenAt> for String {
    fn from(position: WrittenAt) -> Self {
        position.to_string()
    }
}

/// What an AMQP client gets for each document that it published with `reply_to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The document's id; none if the document was refused before it had one.
    pub id: Option<String>,
    /// The index, as it was written.
    pub index: String,
    /// Where the write stands: a search with `at_least` sees it. None if the document was refused.
    pub position: Option<WrittenAt>,
    /// What became of it.
    pub status: Status,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A search finds it; of a deletion, no search does any more.
    Searchable,
    /// It was refused, and stands in the dead letters.
    Rejected,
}

impl Receipt {
    /// That a write can be found.
    pub fn searchable(index: String, id: String, position: WrittenAt) -> Self {
        Self { id: Some(id), index, position: Some(position), status: Status::Searchable, problem: None }
    }

    /// That a document was refused.
    pub fn rejected(index: String, id: Option<String>, problem: Problem) -> Self {
        Self { id, index, position: None, status: Status::Rejected, problem: Some(problem) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    fn position() -> WrittenAt {
        WrittenAt { generation: Generation(17), partition: 2, position: Position(1043) }
    }

    #[test]
    fn a_position_is_one_text() {
        assert_eq!(serde_json::to_string(&position()).unwrap(), r#""17.2.1043""#);
        assert_eq!(serde_json::from_str::<WrittenAt>(r#""17.2.1043""#).unwrap(), position());
        for bad in ["", "17", "17.2", "17.2.", "17.2.1043.0", "17.+2.1", "17.-2.1", "a.b.c", "1.4294967296.1", " 17.2.1043"] {
            let error = bad.parse::<WrittenAt>().unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn golden_files_pin_what_producers_and_clients_get() {
        let failed = vec![Failed { operation: 3, detail: "no".to_owned() }];
        let reports = Reports {
            batches: vec![
                Report { batch: 7, position: Position(1043), failed: Vec::new() },
                Report { batch: 8, position: Position(1044), failed },
            ],
        };
        let searchable = Receipt::searchable("packages".to_owned(), "a".to_owned(), position());
        let problem = Problem::new(Code::InvalidField, "size must be an integer").with_field("size");
        let rejected = Receipt::rejected("packages".to_owned(), None, problem);
        crate::rpc::golden::check("reports-v1.json", &reports.encode().unwrap().body);
        crate::rpc::golden::check("receipt-searchable.json", &serde_json::to_vec(&searchable).unwrap());
        crate::rpc::golden::check("receipt-rejected.json", &serde_json::to_vec(&rejected).unwrap());
        let kept: Reports = serde_json::from_slice(&crate::rpc::golden::read("reports-v1.json")).unwrap();
        assert_eq!(kept, reports);
        let newer = r#"{"batches":[{"batch":1,"position":2,"mood":"good"}],"more":[]}"#;
        assert_eq!(serde_json::from_str::<Reports>(newer).unwrap().batches[0].position, Position(2));
    }

    #[test]
    fn nobody_is_told_of_what_is_read_again_much_later() {
        let wanted = Wanted { producer: Uuid::nil(), batch: 1, until_ms: 1_000_000 };
        assert!(!wanted.is_over(1_000_000));
        assert!(!wanted.is_over(1_050_000), "clocks differ");
        assert!(wanted.is_over(1_100_000));
    }
}
