//! Messages of work queues as AMQP has them, and back.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use warren_protocol::ports::{Message, QueueName};

use super::failure::Failure;
use super::names;

const PERSISTENT: u8 = 2;

/// Sets one property.
type Setter = fn(BasicProperties, ShortString) -> BasicProperties;

/// What Warren looks at, of a message that the broker delivered.
pub(super) fn from_amqp(delivery: &mut Delivery) -> Message {
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    Message {
        routing_key: delivery.routing_key.to_string(),
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        headers: properties.headers().as_ref().map(headers).unwrap_or_default(),
        body: std::mem::take(&mut delivery.data).into(),
    }
}

/// A message as it is published: persistent.
pub(super) fn to_amqp(message: &Message) -> Result<BasicProperties, Failure> {
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Some(value) = &message.message_id {
        properties = properties.with_message_id(short("message_id", value)?);
    }
    if let Some(value) = &message.kind {
        properties = properties.with_type(short("type", value)?);
    }
    if let Some(value) = &message.content_type {
        properties = properties.with_content_type(short("content_type", value)?);
    }
    if let Some(value) = &message.content_encoding {
        properties = properties.with_content_encoding(short("content_encoding", value)?);
    }
    if let Some(value) = &message.correlation_id {
        properties = properties.with_correlation_id(short("correlation_id", value)?);
    }
    if let Some(value) = &message.reply_to {
        properties = properties.with_reply_to(short("reply_to", value)?);
    }
    if !message.headers.is_empty() {
        let mut table = FieldTable::default();
        for (name, value) in &message.headers {
            table.insert(short("a header's name", name)?, text(value));
        }
        properties = properties.with_headers(table);
    }
    Ok(properties)
}

/// The properties of a dead letter: the original ones, and where, why and after how many attempts.
pub(super) fn dead_letter(original: &BasicProperties, source: QueueName, reason: &str, detail: &str) -> BasicProperties {
    let mut table = original.headers().clone().unwrap_or_default();
    let count = |name: &str| table.inner().get(name).and_then(header_text).and_then(|text| text.parse().ok()).unwrap_or(0_i64);
    let attempts = count(names::HEADER_DELIVERY_COUNT).saturating_add(count(names::HEADER_ATTEMPTS)).saturating_add(1);
    table.insert(names::HEADER_REASON.into(), text(reason));
    table.insert(names::HEADER_DETAIL.into(), text(detail));
    table.insert(names::HEADER_SOURCE.into(), text(&source.to_string()));
    table.insert(names::HEADER_ATTEMPTS.into(), AMQPValue::LongLongInt(attempts));
    copied(original, table)
}

/// The properties of a message that is published again to be retried: the original ones, with the headers that its consumer
/// gave it in place of those that speak of its way so far.
pub(super) fn retried(original: &BasicProperties, message: &Message) -> Result<BasicProperties, Failure> {
    let mut table = FieldTable::default();
    for (name, value) in original.headers().iter().flatten() {
        let of_its_way = name.as_str() == names::HEADER_DELIVERY_COUNT
            || names::HEADERS_OF_DEATH.iter().any(|prefix| name.as_str().starts_with(prefix));
        if !of_its_way {
            table.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in &message.headers {
        let known = original.headers().as_ref().and_then(|table| table.inner().get(name.as_str())).and_then(header_text);
        if known.as_ref() != Some(value) {
            table.insert(short("a header's name", name)?, text(value));
        }
    }
    Ok(copied(original, table))
}

/// The properties with these headers.
fn copied(original: &BasicProperties, headers: FieldTable) -> BasicProperties {
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    // All but `expiration`, with which it would vanish, and `user_id`, which only its own user may publish.
    let copies: [(&Option<ShortString>, Setter); 7] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.correlation_id(), BasicProperties::with_correlation_id),
        (original.reply_to(), BasicProperties::with_reply_to),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
    ];
    for (value, set) in copies {
        if let Some(value) = value {
            properties = set(properties, value.clone());
        }
    }
    if let Some(priority) = original.priority() {
        properties = properties.with_priority(*priority);
    }
    if let Some(timestamp) = original.timestamp() {
        properties = properties.with_timestamp(*timestamp);
    }
    properties
}

/// AMQP's short strings hold at most 255 bytes.
pub(super) fn short(what: &str, value: &str) -> Result<ShortString, Failure> {
    ShortString::try_new(value).map_err(|_| Failure::Refused(format!("AMQP takes at most 255 bytes as {what}")))
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn headers(table: &FieldTable) -> BTreeMap<String, String> {
    table.into_iter().filter_map(|(name, value)| Some((name.to_string(), header_text(value)?))).collect()
}

fn header_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        other => whole_number(other).map(|number| number.to_string()),
    }
}

fn whole_number(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_properties_both_ways() {
        let message = Message {
            body: "{}".into(),
            routing_key: "packages".to_owned(),
            message_id: Some("m".to_owned()),
            kind: Some("delete".to_owned()),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            correlation_id: Some("c".to_owned()),
            reply_to: Some("r".to_owned()),
            headers: [("a".to_owned(), "1".to_owned())].into(),
        };
        let mut delivery = Delivery::mock(1, "".into(), "packages".into(), false, b"{}".to_vec());
        delivery.properties = to_amqp(&message).unwrap();
        assert_eq!(*delivery.properties.delivery_mode(), Some(PERSISTENT));
        assert_eq!(from_amqp(&mut delivery), message);
    }

    #[test]
    fn a_value_that_amqp_cannot_carry_is_an_error_not_a_panic() {
        let message = Message { message_id: Some("x".repeat(256)), ..Message::default() };
        assert!(matches!(to_amqp(&message), Err(Failure::Refused(_))));
    }

    #[test]
    fn a_dead_letter_says_why_and_cannot_expire() {
        let headers = super::super::topology::table([
            ("x-delivery-count", AMQPValue::LongLongInt(2)),
            ("warren-attempts", text("4")),
            ("own", text("kept")),
        ]);
        let original = BasicProperties::default()
            .with_expiration("10".into())
            .with_user_id("somebody".into())
            .with_message_id("m".into())
            .with_priority(3)
            .with_headers(headers);
        let letter = dead_letter(&original, QueueName::Intake, "invalid", "no id");
        assert_eq!((letter.expiration(), letter.user_id()), (&None, &None));
        assert_eq!((letter.priority(), letter.delivery_mode()), (&Some(3), &Some(PERSISTENT)));
        assert_eq!(letter.message_id().as_ref().unwrap().as_str(), "m");
        let headers = super::headers(letter.headers().as_ref().unwrap());
        let of = |name: &str| headers.get(name).map(String::as_str);
        assert_eq!((of("warren-reason"), of("warren-detail")), (Some("invalid"), Some("no id")));
        assert_eq!((of("warren-source"), of("warren-attempts"), of("own")), (Some("warren.intake"), Some("7"), Some("kept")));
    }

    #[test]
    fn a_retried_message_leaves_its_way_behind() {
        let table = super::super::topology::table([
            ("x-delivery-count", AMQPValue::LongLongInt(2)),
            ("x-death", text("…")),
            ("x-first-death-queue", text("q")),
            ("own", AMQPValue::Boolean(true)),
            ("number", AMQPValue::LongInt(7)),
        ]);
        let original = BasicProperties::default().with_message_id("m".into()).with_expiration("10".into()).with_headers(table);
        let mut delivery = Delivery::mock(1, "".into(), "packages".into(), false, Vec::new());
        delivery.properties = original.clone();
        let mut message = from_amqp(&mut delivery);
        message.headers.insert("warren-attempts".to_owned(), "1".to_owned());
        let again = retried(&original, &message).unwrap();
        assert_eq!((again.expiration(), again.message_id().as_ref().unwrap().as_str()), (&None, "m"));
        let table = again.headers().as_ref().unwrap().inner();
        let names: Vec<_> = table.keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["number", "own", "warren-attempts"]);
        assert_eq!((&table["number"], &table["own"]), (&AMQPValue::LongInt(7), &AMQPValue::Boolean(true)));
    }
}
