//! A dead letter: a message that was refused or given up, with what is known of why, as headers.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ports::Message;

/// Tells a letter from all others.
pub const ID: &str = "warren-letter-id";
/// A stable word for why.
pub const REASON: &str = "warren-reason";
/// The same for people.
pub const DETAIL: &str = "warren-detail";
/// The way that it came by: the name of a queue of Warren's, or `warren.source.{name}`.
pub const SOURCE: &str = "warren-source";
/// How often it was tried.
pub const ATTEMPTS: &str = "warren-attempts";
/// When it was refused, in Unix milliseconds by the clock of whoever refused it.
pub const TIME: &str = "warren-time";
/// The index that it was meant for.
pub const INDEX: &str = "warren-index";
/// The id of the document that it would have written, where that could be read.
pub const DOCUMENT_ID: &str = "warren-document-id";
/// Which document of a batch it was, from 1.
pub const ORDINAL: &str = "warren-ordinal";
/// The routing key with which a message that was replayed into a source's queue once came.
pub const ROUTING_KEY: &str = "warren-routing-key";

/// All of these headers; none of them is the client's.
pub const HEADERS: [&str; 10] = [ID, REASON, DETAIL, SOURCE, ATTEMPTS, TIME, INDEX, DOCUMENT_ID, ORDINAL, ROUTING_KEY];
/// Those of them that hold whole numbers.
pub const NUMBERS: [&str; 3] = [ATTEMPTS, TIME, ORDINAL];
/// What a broker leaves in the headers of a message that it gave up, or handed out before.
pub const BROKER_HEADERS: [&str; 9] = [
    "x-death",
    "x-delivery-count",
    "x-acquired-count",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
];
const FIRST_DEATH_QUEUE: &str = "x-first-death-queue";
const FIRST_DEATH_REASON: &str = "x-first-death-reason";

/// What is said of a message when it goes to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// See [`REASON`].
    pub reason: String,
    /// See [`DETAIL`].
    pub detail: String,
    /// See [`TIME`]; the moment of the decision, however long the letter takes to be kept.
    pub time_ms: u64,
    /// See [`INDEX`].
    pub index: Option<String>,
    /// See [`DOCUMENT_ID`].
    pub document_id: Option<String>,
    /// See [`ATTEMPTS`]; `None`: as often as the broker has handed it out.
    pub attempts: Option<u32>,
    /// The part of the message that is refused, if it is not all of it. It stands in the place of the body, as JSON.
    pub part: Option<Part>,
}

/// One document of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// See [`ORDINAL`].
    pub ordinal: u64,
    /// The document.
    pub body: Bytes,
}

impl Letter {
    /// A letter that is refused now.
    pub fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        let (reason, detail, time_ms) = (reason.into(), detail.into(), now_ms());
        Self { reason, detail, time_ms, index: None, document_id: None, attempts: None, part: None }
    }

    /// The headers, for a message that came by `source` and was handed out so often.
    pub fn headers(&self, source: &str, handed_out: u32) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (ID, Uuid::new_v4().simple().to_string()),
            (REASON, self.reason.clone()),
            (DETAIL, self.detail.clone()),
            (SOURCE, source.to_owned()),
            (ATTEMPTS, self.attempts.unwrap_or(handed_out).to_string()),
            (TIME, self.time_ms.to_string()),
        ];
        headers.extend(self.index.clone().map(|index| (INDEX, index)));
        headers.extend(self.document_id.clone().map(|id| (DOCUMENT_ID, id)));
        headers.extend(self.part.as_ref().map(|part| (ORDINAL, part.ordinal.to_string())));
        headers
    }

    /// The message as it is kept.
    pub fn of(&self, mut message: Message, source: &str, handed_out: u32) -> Message {
        message.headers.retain(|name, _| !HEADERS.contains(&name.as_str()));
        message.headers.extend(self.headers(source, handed_out).into_iter().map(|(name, value)| (name.to_owned(), value)));
        if let Some(part) = &self.part {
            message.body = part.body.clone();
            // These speak of the batch: an id of all of it would become the id of each document.
            (message.message_id, message.content_encoding) = (None, None);
            message.content_type = Some("application/json".to_owned());
        }
        message
    }
}

/// Unix milliseconds, now.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A letter as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// See [`ID`]. Of a letter that the broker wrote, a hash of all it holds: two that are alike in everything share one.
    pub id: String,
    /// See [`REASON`]; the broker's own word if it gave the message up.
    pub reason: Option<String>,
    /// See [`DETAIL`].
    pub detail: Option<String>,
    /// See [`SOURCE`].
    pub source: Option<String>,
    /// See [`ATTEMPTS`].
    pub attempts: Option<u64>,
    /// See [`TIME`].
    pub time_ms: Option<u64>,
    /// See [`INDEX`].
    pub index: Option<String>,
    /// See [`DOCUMENT_ID`].
    pub document_id: Option<String>,
    /// See [`ORDINAL`].
    pub ordinal: Option<u64>,
    /// The message, with its own headers only.
    pub message: Message,
}

impl From<Message> for DeadLetter {
    fn from(mut message: Message) -> Self {
        let id = message.headers.get(ID).cloned().unwrap_or_else(|| hash(&message));
        let mut take = |name: &str| message.headers.remove(name);
        let (own_reason, own_source) = (take(REASON), take(SOURCE));
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let (detail, index, document_id, routing_key) = (take(DETAIL), take(INDEX), take(DOCUMENT_ID), take(ROUTING_KEY));
        let (attempts, time_ms, ordinal) = (number(take(ATTEMPTS)), number(take(TIME)), number(take(ORDINAL)));
        let (given_up, from_queue) = (take(FIRST_DEATH_REASON), take(FIRST_DEATH_QUEUE));
        message.headers.retain(|name, _| name != ID && !BROKER_HEADERS.contains(&name.as_str()));
        if let Some(key) = routing_key {
            message.routing_key = key;
        }
        Self {
            id,
            reason: own_reason.or(given_up),
            detail,
            source: own_source.or(from_queue),
            attempts,
            time_ms,
            index,
            document_id,
            ordinal,
            message,
        }
    }
}

fn hash(message: &Message) -> String {
    let mut hash = Sha256::new();
    let message_id = message.message_id.as_deref().unwrap_or_default();
    // What a look at it changes does not count.
    let headers = message.headers.iter().filter(|(name, _)| !["x-delivery-count", "x-acquired-count"].contains(&name.as_str()));
    for text in [&*message.routing_key, message_id].into_iter().chain(headers.flat_map(|(name, value)| [&**name, &**value])) {
        hash.update(text);
        hash.update([0]);
    }
    hash.update(&message.body);
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            body: "[{},{}]".into(),
            routing_key: "notes".into(),
            message_id: Some("m".into()),
            content_encoding: Some("gzip".into()),
            headers: [("own".to_owned(), "1".to_owned()), (REASON.to_owned(), "forged".to_owned())].into(),
            ..Message::default()
        }
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let mut letter = Letter::new("invalid_json", "no object");
        letter.document_id = Some("a".to_owned());
        let found = DeadLetter::from(letter.of(message(), "warren.intake", 2));
        assert_eq!((found.reason.as_deref(), found.attempts), (Some("invalid_json"), Some(2)));
        assert_eq!((found.source.as_deref(), found.time_ms), (Some("warren.intake"), Some(letter.time_ms)));
        let mut original = message();
        original.headers.remove(REASON);
        assert_eq!(found.message, original);
    }

    #[test]
    fn a_part_of_a_batch_is_a_message_of_its_own() {
        let mut letter = Letter::new("invalid_json", "no object");
        letter.part = Some(Part { ordinal: 7, body: "{".into() });
        let found = DeadLetter::from(letter.of(message(), "warren.intake", 1));
        assert_eq!((found.ordinal, &*found.message.body), (Some(7), b"{".as_slice()));
        assert_eq!((found.message.message_id, found.message.content_encoding), (None, None));
    }

    #[test]
    fn a_letter_of_the_brokers_has_its_words_and_an_id_that_looking_does_not_change() {
        let mut message = message();
        message.headers =
            [(FIRST_DEATH_QUEUE, "warren.intake"), (FIRST_DEATH_REASON, "delivery_limit"), ("x-delivery-count", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let found = DeadLetter::from(message.clone());
        assert_eq!((found.reason.as_deref(), found.source.as_deref()), (Some("delivery_limit"), Some("warren.intake")));
        message.headers.insert("x-delivery-count".to_owned(), "4".to_owned());
        assert_eq!(DeadLetter::from(message).id, found.id);
        assert!(found.message.headers.is_empty());
    }
}
