//! What an AMQP message from any client asks for, and why it may be refused.

use std::sync::Arc;

use warren_protocol::catalog::Entry;
use warren_protocol::document::IdSource;
use warren_protocol::ports::Message;
use warren_protocol::problem::Code;
use warren_protocol::{DocumentId, IndexDefinition, IndexName, Problem};

use crate::admission::{Admission, Refused};
use crate::publisher::Write;

/// The write that a message asks for: the routing key names the index, the body is the document, and the property
/// `type` = `delete` makes it a deletion.
pub(crate) async fn write_of(admission: &Admission, message: &Message) -> Result<(Arc<Entry>, Write), Refused> {
    let refuse = |code, detail: String| Refused::Document(Problem::new(code, detail));
    let index = IndexName::new(message.routing_key.as_str())
        .map_err(|error| refuse(Code::InvalidIndexName, format!("the routing key must be the name of an index: {error}")))?;
    if let Some(encoding) = message.content_encoding.as_deref().filter(|encoding| !is_plain(encoding)) {
        let detail = format!("content_encoding is {encoding:?}: publish the JSON as it is");
        return Err(refuse(Code::UnsupportedMediaType, detail));
    }
    if message.kind.as_deref() == Some("delete") {
        let id = id_to_delete(admission, &index, message).map_err(Refused::Document)?;
        return admission.delete(&index, id).map_err(Refused::Document);
    }
    let source = message.message_id.as_deref().map_or(IdSource::Document, IdSource::Fallback);
    admission.put(&index, message.body.clone(), source).await
}

/// The id of a document that was refused, as far as it can be read.
pub(crate) fn id_of_refused(admission: &Admission, message: &Message) -> Option<String> {
    let index = IndexName::new(message.routing_key.as_str()).ok()?;
    let id_field =
        admission.known(&index).map_or_else(|| IndexDefinition::default().id_field, |entry| entry.definition.id_field.clone());
    let body: serde_json::Value = serde_json::from_slice(&message.body).ok()?;
    match body.get(&id_field)? {
        serde_json::Value::String(id) => Some(id.clone()),
        serde_json::Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn is_plain(encoding: &str) -> bool {
    matches!(encoding.to_ascii_lowercase().as_str(), "" | "identity" | "utf-8" | "utf8")
}

/// The id in the body, else the `message_id`.
fn id_to_delete(admission: &Admission, index: &IndexName, message: &Message) -> Result<DocumentId, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidId, detail);
    let body_id = match admission.known(index) {
        Some(entry) if !message.body.is_empty() => {
            let body: serde_json::Value = serde_json::from_slice(&message.body).map_err(|error| {
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
    let id = body_id.or_else(|| message.message_id.clone());
    let id = id.ok_or_else(|| invalid("a deletion needs an id in its body or the property message_id".to_owned()))?;
    DocumentId::new(id).map_err(|error| invalid(error.to_string()))
}
