//! A source: messages that already flow through an exchange or a queue, whatever their envelope, on their way into an
//! index. JSON pointers (RFC 6901) say where in a message the document and its id are.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::IndexName;
use crate::batch::WriterId;
use crate::ports::{Binding, SourceQueue};
use crate::problem::{Code, Problem};

/// AMQP's names and routing keys hold at most so many bytes.
const MAX_NAME: usize = 255;
/// The most conditions of `delete_when`.
const MAX_CONDITIONS: usize = 16;

/// The name of a source: as of an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceName(IndexName);

/// Why a text is not the name of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a source's name has lower case letters, digits, '-' and '_', at most 100, and begins with a letter or digit: {0:?} does not"
)]
pub struct InvalidSourceName(String);

impl From<InvalidSourceName> for Problem {
    fn from(error: InvalidSourceName) -> Self {
        Self::new(Code::InvalidSource, error.to_string()).with_field("source")
    }
}

impl FromStr for SourceName {
    type Err = InvalidSourceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || InvalidSourceName(text.chars().take(IndexName::MAX_LEN + 1).collect());
        IndexName::new(text).map(Self).map_err(|_| shown())
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a source takes, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceDefinition {
    /// An exchange: its messages are copied to a queue of Warren's own, and its other consumers notice nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// With which key that queue is bound to the exchange; `#` is all of a topic exchange. Empty unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_key: Option<String>,
    /// Or a queue, which is consumed: its messages are taken, and nobody else gets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The index that the documents go to.
    #[schema(value_type = String)]
    pub index: IndexName,
    /// Where in a message the document's id is: `/order/id`. Without it, the id is in the document's own `id_field`, or
    /// else it is the message's `message_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where in a message the document is: `/message`. Empty, or not given: all of the message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub document: String,
    /// A message in which each of these pointers finds its value deletes the document of that id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub delete_when: BTreeMap<String, Value>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The id that the pointer found; `None` if the source has none.
    pub id: Option<String>,
    /// Whether the document is to be deleted.
    pub delete: bool,
    /// The document; of a deletion, it may not be there.
    pub document: Option<Bytes>,
}

impl SourceDefinition {
    /// Checks the rules; the problem names the field.
    pub fn validate(&self) -> Result<(), Problem> {
        let refuse = |field: &str, rule: String| Err(Problem::new(Code::InvalidSource, rule).with_field(field));
        match (&self.exchange, &self.queue) {
            (Some(_), Some(_)) => return refuse("queue", "give exchange (with binding_key) or queue, not both".to_owned()),
            (None, None) => return refuse("exchange", "give exchange (with binding_key) or queue".to_owned()),
            (None, Some(_)) if self.binding_key.is_some() => {
                return refuse("binding_key", "binding_key goes with exchange: a queue is bound already".to_owned());
            }
            _ => {}
        }
        for (field, name) in [("exchange", &self.exchange), ("queue", &self.queue), ("binding_key", &self.binding_key)] {
            let Some(name) = name else { continue };
            if name.len() > MAX_NAME {
                return refuse(field, format!("{field} has {} bytes: AMQP takes at most {MAX_NAME}", name.len()));
            }
            if field != "binding_key" && name.is_empty() {
                return refuse(field, format!("{field} is empty: the default exchange takes no bindings, give a name"));
            }
            if field != "binding_key" && name.starts_with("warren.") {
                return refuse(field, format!("{field} is {name:?}: what begins with \"warren.\" is Warren's own"));
            }
        }
        if self.delete_when.len() > MAX_CONDITIONS {
            return refuse("delete_when", format!("delete_when has more than {MAX_CONDITIONS} conditions"));
        }
        let pointers = self.id.iter().map(|id| ("id", id)).chain([("document", &self.document)]);
        for (field, pointer) in pointers.chain(self.delete_when.keys().map(|pointer| ("delete_when", pointer))) {
            if !is_pointer(pointer) {
                return refuse(field, format!("{field} holds {pointer:?}: a JSON pointer begins with '/', as in \"/order/id\""));
            }
        }
        if self.id.as_deref() == Some("") {
            return refuse(
                "id",
                "id points at the whole message, which is no id: give a pointer such as \"/order/id\"".to_owned(),
            );
        }
        Ok(())
    }

    /// What a message with this body asks for.
    pub fn take(&self, body: &Bytes) -> Result<Taken, Problem> {
        let no_json = |why: &dyn fmt::Display| Problem::new(Code::InvalidJson, format!("the message is not JSON: {why}"));
        let text = std::str::from_utf8(body).map_err(|error| no_json(&error))?;
        let message: &RawValue = serde_json::from_str(text).map_err(|error| no_json(&error))?;
        let id = match &self.id {
            Some(pointer) => Some(id_at(message, pointer)?),
            None => None,
        };
        let is = |(pointer, value): (&String, &Value)| {
            find(message, pointer).and_then(|found| serde_json::from_str::<Value>(found.get()).ok()).as_ref() == Some(value)
        };
        let delete = !self.delete_when.is_empty() && self.delete_when.iter().all(is);
        let document = find(message, &self.document).map(|found| body.slice_ref(found.get().as_bytes()));
        if document.is_none() && !delete {
            return Err(missing("document", &self.document));
        }
        Ok(Taken { id, delete, document })
    }

    /// What differs from another definition, a line each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |definition: &Self| match serde_json::to_value(definition) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (here, asked) = (fields(self), fields(other));
        let names: std::collections::BTreeSet<_> = here.keys().chain(asked.keys()).collect();
        let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        names
            .into_iter()
            .filter(|name| here.get(*name) != asked.get(*name))
            .map(|name| format!("{name}: {} here, {} asked", shown(here.get(name)), shown(asked.get(name))))
            .collect()
    }
}

/// One source of the catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceEntry {
    /// Its name.
    pub name: SourceName,
    /// Which life of that name this is: the catalog position of its creation.
    pub generation: u64,
    /// Unique for ever; it is also the writer that this source is in the logs.
    pub creation: Uuid,
    /// What it takes.
    pub definition: SourceDefinition,
}

impl SourceEntry {
    /// What dead letters name as the way that they came by; the same in each life of the name.
    pub fn label(&self) -> String {
        format!("{LABEL}{}", self.name)
    }

    /// The source that a dead letter names.
    pub fn name_of(label: &str) -> Option<SourceName> {
        label.strip_prefix(LABEL)?.parse().ok()
    }

    /// Who it is in the logs: one writer, whichever process consumes it.
    pub fn writer(&self) -> WriterId {
        WriterId(self.creation)
    }

    /// The queue that it consumes, and how that one gets its messages.
    pub fn queue(&self) -> SourceQueue {
        let label = self.label();
        let SourceDefinition { exchange, binding_key, queue, .. } = &self.definition;
        match (queue, exchange) {
            (Some(queue), _) => SourceQueue { label, queue: queue.clone(), binding: None },
            (None, exchange) => SourceQueue {
                // Each life has a queue of its own: what is left of the one before can be deleted at any time.
                queue: format!("{label}.{}", self.generation),
                label,
                binding: Some(Binding {
                    exchange: exchange.clone().unwrap_or_default(),
                    key: binding_key.clone().unwrap_or_default(),
                }),
            },
        }
    }
}

const LABEL: &str = "warren.source.";

fn is_pointer(text: &str) -> bool {
    let escapes_are_good = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escapes_are_good
}

fn missing(field: &str, pointer: &str) -> Problem {
    let detail = format!("the source's pointer {field} = {pointer:?} finds nothing in the message");
    Problem::new(Code::MissingPointer, detail).with_field(pointer)
}

fn id_at(message: &RawValue, pointer: &str) -> Result<String, Problem> {
    let found = find(message, pointer).ok_or_else(|| missing("id", pointer))?;
    match serde_json::from_str(found.get()) {
        Ok(Value::String(id)) => Ok(id),
        Ok(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        _ => {
            let shown: String = found.get().chars().take(40).collect();
            let detail = format!("the id at {pointer:?} must be a string or a whole number, not {shown}");
            Err(Problem::new(Code::InvalidId, detail).with_field(pointer))
        }
    }
}

/// The part of a JSON text at a pointer, untouched.
fn find<'a>(json: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    let mut at = json;
    for token in pointer.split('/').skip(1) {
        let text = at.get();
        at = if text.starts_with('{') {
            let token = token.replace("~1", "/").replace("~0", "~");
            serde_json::from_str::<BTreeMap<String, &RawValue>>(text).ok()?.remove(&token)?
        } else if text.starts_with('[') {
            // No sign, and no zeros in front.
            let place = token.parse::<usize>().ok().filter(|place| place.to_string() == token)?;
            serde_json::from_str::<Vec<&RawValue>>(text).ok()?.get(place)?
        } else {
            return None;
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(json: Value) -> SourceDefinition {
        serde_json::from_value(json).unwrap()
    }

    fn orders() -> SourceDefinition {
        source(json!({"exchange": "shop", "binding_key": "#", "index": "orders", "id": "/message/orderId",
            "document": "/message", "delete_when": {"/messageType/0": "urn:message:Shop:OrderCancelled"}}))
    }

    #[test]
    fn pointers_find_the_document_in_its_envelope_and_leave_it_as_it_is() {
        let body = Bytes::from_static(
            br#"{"messageType":["urn:message:Shop:OrderPlaced"],"message": {"orderId": 17 ,"price":1.50,"z":1,"a":2}, "host":{}}"#,
        );
        let taken = orders().take(&body).unwrap();
        assert_eq!((taken.id.as_deref(), taken.delete), (Some("17"), false));
        assert_eq!(taken.document.unwrap(), r#"{"orderId": 17 ,"price":1.50,"z":1,"a":2}"#);
        let whole = source(json!({"queue": "q", "index": "orders", "id": "/a~1b/1/~0"}));
        let body = Bytes::from_static(br#" {"a/b":[0,{"~":"x"}]} "#);
        let taken = whole.take(&body).unwrap();
        assert_eq!((taken.id.as_deref(), taken.document.unwrap()), (Some("x"), r#"{"a/b":[0,{"~":"x"}]}"#.into()));
    }

    #[test]
    fn a_message_deletes_when_all_conditions_hold() {
        let body = |kind: &str| Bytes::from(format!(r#"{{"messageType":["{kind}"],"message":{{"orderId":"a"}}}}"#));
        assert!(orders().take(&body("urn:message:Shop:OrderCancelled")).unwrap().delete);
        assert!(!orders().take(&body("urn:message:Shop:OrderPlaced")).unwrap().delete);
        let two = source(
            json!({"queue": "q", "index": "a", "id": "/id", "document": "/new", "delete_when": {"/gone": true, "/new": null}}),
        );
        assert!(two.take(&Bytes::from_static(br#"{"id":1,"gone":true,"new":null}"#)).unwrap().delete);
        assert!(!two.take(&Bytes::from_static(br#"{"id":1,"gone":true,"new":{}}"#)).unwrap().delete);
    }

    #[test]
    fn what_cannot_be_taken_says_which_pointer_is_at_fault() {
        for (body, code, field) in [
            ("no json", Code::InvalidJson, None),
            (r#"{"message":{"orderId":1}"#, Code::InvalidJson, None),
            (r#"{"message":{}}"#, Code::MissingPointer, Some("/message/orderId")),
            (r#"{"message":{"orderId":{"a":1}}}"#, Code::InvalidId, Some("/message/orderId")),
            (r#"{"message":{"orderId":1.5}}"#, Code::InvalidId, Some("/message/orderId")),
            (r#"[1]"#, Code::MissingPointer, Some("/message/orderId")),
        ] {
            let problem = orders().take(&Bytes::from_static(body.as_bytes())).unwrap_err();
            assert_eq!((problem.code, problem.field.as_deref()), (code, field), "{body}");
        }
        let apart = source(json!({"queue": "q", "index": "a", "id": "/id", "document": "/new"}));
        let problem = apart.take(&Bytes::from_static(br#"{"id":1}"#)).unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::MissingPointer, Some("/new")));
    }

    #[test]
    fn each_rule_names_its_field() {
        orders().validate().unwrap();
        for (json, field) in [
            (json!({"index": "a"}), "exchange"),
            (json!({"index": "a", "exchange": "e", "queue": "q"}), "queue"),
            (json!({"index": "a", "queue": "q", "binding_key": "#"}), "binding_key"),
            (json!({"index": "a", "exchange": ""}), "exchange"),
            (json!({"index": "a", "queue": "warren.intake"}), "queue"),
            (json!({"index": "a", "exchange": "e", "id": "order"}), "id"),
            (json!({"index": "a", "exchange": "e", "id": "/~2"}), "id"),
            (json!({"index": "a", "exchange": "e", "document": "order"}), "document"),
            (json!({"index": "a", "exchange": "e", "delete_when": {"x": 1}}), "delete_when"),
            (json!({"index": "a", "exchange": "e".repeat(256)}), "exchange"),
        ] {
            let problem = source(json.clone()).validate().unwrap_err();
            assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidSource, Some(field)), "{json}");
        }
        assert_eq!(orders().differences(&orders()), [""; 0]);
        let other = source(json!({"exchange": "shop", "index": "orders", "id": "/message/orderId", "document": "/message",
            "delete_when": {"/messageType/0": "urn:message:Shop:OrderCancelled"}}));
        assert_eq!(orders().differences(&other), [r##"binding_key: "#" here, nothing asked"##]);
    }
}
