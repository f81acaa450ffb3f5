//! What a message asks for, document by document, and why each may be refused.

use std::sync::Arc;

use bytes::Bytes;
use warren_protocol::catalog::Entry;
use warren_protocol::document::IdSource;
use warren_protocol::ports::Message;
use warren_protocol::problem::Code;
use warren_protocol::{DocumentId, IndexDefinition, IndexName, Problem, SourceDefinition};
use warren_service::config::ProducerConfig;

use super::batch::{self, Content};
use super::way::Way;
use crate::admission::{Admission, Refused};
use crate::publisher::Write;

/// A message with this header makes its handler panic, where `producer.test_panics` says so.
const PANIC_HEADER: &str = "warren-test-panic";
/// After checking so many bytes, others get their turn.
const TURN_BYTES: usize = 256 * 1024;

/// One document that a message asks to write or delete.
#[derive(Debug)]
pub(super) struct Item {
    /// Which document of a batch it is, from 1; `None`: the message is this document.
    pub ordinal: Option<u64>,
    /// As it came.
    pub body: Bytes,
    /// The write, or why there is none.
    pub asked: Result<(Arc<Entry>, Write), Refusal>,
}

/// Why a document is refused, and what is known of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub problem: Problem,
    pub index: Option<String>,
    /// The id, where it can be read all the same.
    pub id: Option<String>,
}

impl Item {
    /// A message that is refused as a whole.
    pub(super) fn refused(message: &Message, index: Option<String>, problem: Problem) -> Self {
        Self { ordinal: None, body: message.body.clone(), asked: Err(Refusal { problem, index, id: None }) }
    }
}

/// Reads a message. A problem is the index's, not the message's: every message for it has to wait.
pub(super) async fn read(
    way: &Way,
    admission: &Admission,
    config: &ProducerConfig,
    message: &Message,
) -> Result<Vec<Item>, Problem> {
    if config.test_panics && message.headers.contains_key(PANIC_HEADER) {
        panic_for_a_test();
    }
    match way {
        Way::Intake => documents(admission, config, message).await,
        Way::Source(source) => from_source(&source.definition, admission, config, message).await,
    }
}

#[expect(clippy::panic, reason = "tests show with it what becomes of a message whose handler panics")]
fn panic_for_a_test() {
    panic!("the header {PANIC_HEADER} asked for it, and producer.test_panics allows it");
}

/// The routing key names the index, the body is one document or several, and the property `type` = `delete` deletes them.
async fn documents(admission: &Admission, config: &ProducerConfig, message: &Message) -> Result<Vec<Item>, Problem> {
    let index = match IndexName::new(message.routing_key.as_str()) {
        Ok(index) => index,
        Err(error) => {
            let detail = format!("the routing key must be the name of an index: {error}");
            return Ok(vec![Item::refused(message, None, Problem::new(Code::InvalidIndexName, detail))]);
        }
    };
    let refused = |problem| Ok(vec![Item::refused(message, Some(index.to_string()), problem)]);
    let body = match batch::unpack(message, config.max_message_bytes.get() as usize).await {
        Ok(body) => body,
        Err(problem) => return refused(problem),
    };
    let delete = message.kind.as_deref() == Some("delete");
    // An id of the whole message is none of its many documents'.
    let (bodies, message_id) = match batch::split(message.content_type.as_deref(), body) {
        Ok(Content::One(body)) => (vec![(None, body)], message.message_id.as_deref()),
        Ok(Content::Several(bodies)) => ((1..).map(Some).zip(bodies).collect(), None),
        Err(problem) => return refused(problem),
    };
    let (mut items, mut checked) = (Vec::with_capacity(bodies.len()), 0);
    for (ordinal, body) in bodies {
        let asked = match delete {
            true => deletion(admission, &index, &body, message_id).map_err(Refused::Document),
            false => {
                let source = message_id.map_or(IdSource::Document, IdSource::Fallback);
                admission.put(&index, body.clone(), source).await
            }
        };
        checked += body.len();
        if checked >= TURN_BYTES {
            checked = 0;
            tokio::task::yield_now().await;
        }
        let asked = judged(&index, asked, || id_in(admission, &index, &body, message_id))?;
        items.push(Item { ordinal, body, asked });
    }
    Ok(items)
}

async fn from_source(
    source: &SourceDefinition,
    admission: &Admission,
    config: &ProducerConfig,
    message: &Message,
) -> Result<Vec<Item>, Problem> {
    let index = &source.index;
    let refused = |problem| Ok(vec![Item::refused(message, Some(index.to_string()), problem)]);
    let body = match batch::unpack(message, config.max_message_bytes.get() as usize).await {
        Ok(body) => body,
        Err(problem) => return refused(problem),
    };
    let taken = match source.take(&body) {
        Ok(taken) => taken,
        Err(problem) => return refused(problem),
    };
    let message_id = message.message_id.as_deref();
    let document = taken.document.unwrap_or_default();
    let id = match taken.id.map(DocumentId::new).transpose() {
        Ok(id) => id,
        Err(error) => return refused(error.into()),
    };
    let asked = match (taken.delete, &id) {
        (true, Some(id)) => admission.delete(index, id.clone()).map_err(Refused::Document),
        (true, None) => deletion(admission, index, &document, message_id).map_err(Refused::Document),
        (false, id) => {
            let fallback = || message_id.map_or(IdSource::Document, IdSource::Fallback);
            admission.put(index, document.clone(), id.as_ref().map_or_else(fallback, IdSource::Required)).await
        }
    };
    let known = || id.map(String::from).or_else(|| id_in(admission, index, &document, message_id));
    let asked = judged(index, asked, known)?;
    Ok(vec![Item { ordinal: None, body: message.body.clone(), asked }])
}

/// What a client has to mend is a refusal; what the broker has to, holds the queue up.
fn judged(
    index: &IndexName,
    asked: Result<(Arc<Entry>, Write), Refused>,
    id: impl FnOnce() -> Option<String>,
) -> Result<Result<(Arc<Entry>, Write), Refusal>, Problem> {
    match asked {
        Ok(asked) => Ok(Ok(asked)),
        Err(Refused::Index(problem)) if problem.status >= 500 => Err(problem),
        Err(Refused::Index(problem) | Refused::Document(problem)) => {
            Ok(Err(Refusal { problem, index: Some(index.to_string()), id: id() }))
        }
    }
}

/// The id of a refused document, if one can be read: of an object, the string or whole number in the index's id field.
fn id_in(admission: &Admission, index: &IndexName, body: &[u8], message_id: Option<&str>) -> Option<String> {
    let default = IndexDefinition::default;
    let id_field = admission.known(index).map_or_else(|| default().id_field, |entry| entry.definition.id_field.clone());
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let id = match body.as_object()?.get(&id_field) {
        Some(serde_json::Value::String(id)) => id.clone(),
        Some(serde_json::Value::Number(id)) if !id.is_f64() => id.to_string(),
        Some(_) => return None,
        None => message_id?.to_owned(),
    };
    DocumentId::new(id).ok().map(String::from)
}

/// Deletes by the id in the body, else by the `message_id`.
fn deletion(
    admission: &Admission,
    index: &IndexName,
    body: &[u8],
    message_id: Option<&str>,
) -> Result<(Arc<Entry>, Write), Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidId, detail);
    let body_id = match admission.known(index) {
        Some(entry) if !body.is_empty() => {
            let body: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
                Problem::new(Code::InvalidJson, format!("a deletion's body is empty or a JSON object: {error}"))
            })?;
            match body.get(&entry.definition.id_field) {
                Some(serde_json::Value::String(id)) => Some(id.clone()),
                Some(serde_json::Value::Number(id)) if !id.is_f64() => Some(id.to_string()),
                Some(_) => return Err(invalid(format!("{} must be a string or a whole number", entry.definition.id_field))),
                None => None,
            }
        }
        _ => None,
    };
    let id = body_id.or_else(|| message_id.map(str::to_owned));
    let id = id.ok_or_else(|| invalid("a deletion needs an id in its body or the property message_id".to_owned()))?;
    let id = DocumentId::new(id).map_err(|error| invalid(error.to_string()))?;
    admission.delete(index, id)
}
