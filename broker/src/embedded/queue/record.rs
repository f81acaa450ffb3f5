//! How a queued message stands in the store: a version, the properties, and the body as it came.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use warren_protocol::ports::Message;

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Properties {
    routing_key: String,
    message_id: Option<String>,
    kind: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    headers: BTreeMap<String, String>,
}

/// Why a value is not a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("the message has version {0}, this program reads version {VERSION}: update it")]
    Version(u8),
    #[error("the message is damaged: {0}")]
    Damaged(#[from] postcard::Error),
}

pub(super) fn encode(message: &Message) -> Result<Vec<u8>, RecordError> {
    let message = message.clone();
    let properties = Properties {
        routing_key: message.routing_key,
        message_id: message.message_id,
        kind: message.kind,
        content_type: message.content_type,
        content_encoding: message.content_encoding,
        correlation_id: message.correlation_id,
        reply_to: message.reply_to,
        headers: message.headers,
    };
    let mut value = postcard::to_extend(&properties, vec![VERSION])?;
    value.extend_from_slice(&message.body);
    Ok(value)
}

pub(super) fn decode(value: &Bytes) -> Result<Message, RecordError> {
    let (version, rest) = value.split_first().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    if *version != VERSION {
        return Err(RecordError::Version(*version));
    }
    let (properties, body): (Properties, _) = postcard::take_from_bytes(rest)?;
    Ok(Message {
        body: value.slice_ref(body),
        routing_key: properties.routing_key,
        message_id: properties.message_id,
        kind: properties.kind,
        content_type: properties.content_type,
        content_encoding: properties.content_encoding,
        correlation_id: properties.correlation_id,
        reply_to: properties.reply_to,
        headers: properties.headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let message = Message {
            body: Bytes::from_static(b"{}"),
            routing_key: "packages".into(),
            kind: Some("delete".into()),
            reply_to: Some("there".into()),
            headers: [("warren-reason".to_owned(), "x".to_owned())].into(),
            ..Message::default()
        };
        let value = encode(&message).unwrap();
        assert_eq!(decode(&value.clone().into()).unwrap(), message);
        let newer = [&[9], &value[1..]].concat();
        assert!(matches!(decode(&newer.into()), Err(RecordError::Version(9))));
        assert!(matches!(decode(&Bytes::copy_from_slice(&value[..4])), Err(RecordError::Damaged(_))));
    }
}
