//! Messages of work queues as AMQP has them, and back.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use warren_protocol::dead_letter::{self, Letter};
use warren_protocol::ports::Message;

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

/// How often a message was handed out, this time included, as far as its queue counts.
pub(super) fn attempts(properties: &BasicProperties, redelivered: bool) -> u32 {
    let table = properties.headers().as_ref();
    let before = table.and_then(|table| table.inner().get(names::HEADER_DELIVERY_COUNT)).and_then(whole_number);
    u32::try_from(before.unwrap_or_else(|| redelivered.into())).unwrap_or(u32::MAX).saturating_add(1)
}

/// The properties of a dead letter: the original ones, and where, why and after how many attempts.
pub(super) fn buried(original: &BasicProperties, source: &str, handed_out: u32, letter: &Letter) -> BasicProperties {
    let mut table = without(original, &dead_letter::HEADERS);
    for (name, value) in letter.headers(source, handed_out) {
        let number = value.parse().ok().filter(|_| dead_letter::NUMBERS.contains(&name));
        table.insert(name.into(), number.map_or_else(|| text(&value), AMQPValue::LongLongInt));
    }
    match &letter.part {
        None => copy(original, table, |_| true),
        // An id of all of the batch would become the id of each document.
        Some(_) => copy(original, table, |property| !matches!(property, "message_id" | "content_encoding"))
            .with_content_type("application/json".into()),
    }
}

/// The properties of a dead letter as the message had them before, but for `reply_to`. The routing key is kept in the
/// headers if the way back has another one.
pub(super) fn returned(letter: &BasicProperties, routing_key: Option<&str>) -> BasicProperties {
    let mut table = without(letter, &[&dead_letter::HEADERS[..], &dead_letter::BROKER_HEADERS[..]].concat());
    if let Some(key) = routing_key {
        table.insert(dead_letter::ROUTING_KEY.into(), text(key));
    }
    copy(letter, table, |property| property != "reply_to")
}

/// The properties of a message that is published again to be retried: the original ones, with the headers that its consumer
/// gave it in place of those that speak of its way so far.
pub(super) fn retried(original: &BasicProperties, message: &Message) -> Result<BasicProperties, Failure> {
    let mut table = without(original, &dead_letter::BROKER_HEADERS);
    for (name, value) in &message.headers {
        let of_its_way = dead_letter::BROKER_HEADERS.contains(&name.as_str());
        let known = table.inner().get(name.as_str()).and_then(header_text);
        if !of_its_way && known.as_ref() != Some(value) {
            table.insert(short("a header's name", name)?, text(value));
        }
    }
    Ok(copy(original, table, |_| true))
}

/// The headers but for these.
fn without(properties: &BasicProperties, names: &[&str]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in properties.headers().iter().flatten() {
        if !names.contains(&name.as_str()) {
            table.insert(name.clone(), value.clone());
        }
    }
    table
}

/// A copy, persistent, with other headers and of the texts only those that are wanted. It has neither `expiration`, with
/// which it would vanish, nor `user_id`, which only its own user may publish.
fn copy(original: &BasicProperties, headers: FieldTable, wanted: impl Fn(&str) -> bool) -> BasicProperties {
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    let texts: [(&str, &Option<ShortString>, Setter); 7] = [
        ("content_type", original.content_type(), BasicProperties::with_content_type),
        ("content_encoding", original.content_encoding(), BasicProperties::with_content_encoding),
        ("correlation_id", original.correlation_id(), BasicProperties::with_correlation_id),
        ("reply_to", original.reply_to(), BasicProperties::with_reply_to),
        ("message_id", original.message_id(), BasicProperties::with_message_id),
        ("type", original.kind(), BasicProperties::with_type),
        ("app_id", original.app_id(), BasicProperties::with_app_id),
    ];
    for (name, value, set) in texts {
        if let Some(value) = value.as_ref().filter(|_| wanted(name)) {
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
        assert_eq!(attempts(&original, true), 3);
        let letter = buried(&original, "warren.intake", 3, &Letter::new("invalid", "no id"));
        assert_eq!((letter.expiration(), letter.user_id()), (&None, &None));
        assert_eq!((letter.priority(), letter.delivery_mode()), (&Some(3), &Some(PERSISTENT)));
        assert_eq!(letter.message_id().as_ref().unwrap().as_str(), "m");
        let headers = super::headers(letter.headers().as_ref().unwrap());
        let of = |name: &str| headers.get(name).map(String::as_str);
        assert_eq!((of("warren-reason"), of("warren-detail")), (Some("invalid"), Some("no id")));
        assert_eq!((of("warren-source"), of("warren-attempts"), of("own")), (Some("warren.intake"), Some("3"), Some("kept")));
        let back = returned(&letter, Some("orders"));
        let kept: Vec<_> = super::headers(back.headers().as_ref().unwrap()).into_keys().collect();
        assert_eq!(kept, ["own", "warren-routing-key"]);
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
