//! Everything that Warren declares on RabbitMQ, with its arguments, in one place.
//!
//! A declaration with other arguments than the existing ones is an error of the broker's, so these are part of the
//! contract with every other Warren on the same virtual host: to change one means to give it a new name.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use warren_protocol::ports::{Binding, LogLimits, LogName, QueueName};

use super::names;

/// The intake refuses beyond it: what waits there is on the broker's disk.
const INTAKE_MAX_BYTES: i64 = 2 * 1024 * 1024 * 1024;
/// A message that came back so often is poison, and goes to the dead letters.
const INTAKE_DELIVERY_LIMIT: i64 = 20;
/// Links wait for fetchers up to so many bytes, and as many again in each of the pauses.
const LINKS_MAX_BYTES: i64 = 512 * 1024 * 1024;
/// A link that came back so often, not because it was retried, kills who fetches it.
const LINKS_DELIVERY_LIMIT: i64 = 20;
/// As for the intake: beyond it, whoever publishes to the exchange with confirms is refused, and nothing is lost.
const SOURCE_MAX_BYTES: i64 = INTAKE_MAX_BYTES;
/// Searches that wait beyond it are refused: nobody would await their answers.
const SEARCH_MAX_LENGTH: i64 = 10_000;
/// The oldest announcements and words go first.
const BULLETIN_MAX_LENGTH: i64 = 10_000;
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=64 * 1024 * 1024;

/// How many dead letters there may be. Their queue has the limits that it was first declared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadLetterLimits {
    pub(super) messages: u32,
    pub(super) bytes: u64,
}

/// What every process declares when it connects, but for the queue of the dead letters, which comes before.
pub(super) async fn declare_shared(channel: &Channel) -> lapin::Result<()> {
    for (name, kind) in [
        (names::DEAD, ExchangeKind::Fanout),
        (names::DOCUMENTS, ExchangeKind::Topic),
        (names::LINKS, ExchangeKind::Topic),
        (names::SEARCH_EXCHANGE, ExchangeKind::Topic),
        (names::BULLETIN, ExchangeKind::Fanout),
    ] {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await?;
    }
    let dead_letters = QueueName::DeadLetters.to_string();
    bind(channel, &dead_letters, names::DEAD, "#").await?;
    declare_and_bind(channel, &QueueName::Intake.to_string(), names::DOCUMENTS, intake_arguments()).await?;
    declare_links(channel).await?;
    declare_and_bind(channel, names::SEARCH_QUEUE, names::SEARCH_EXCHANGE, search_arguments()).await?;
    declare_log(channel, &LogName::Catalog, LogLimits { max_bytes: None }).await
}

/// The queue of links, and one for each pause, from which messages go back to it when their time has passed. One time to live for
/// each queue: a message expires only at its head. An exchange before each, so that the routing key stays the index.
async fn declare_links(channel: &Channel) -> lapin::Result<()> {
    declare_and_bind(channel, &QueueName::Links.to_string(), names::LINKS, links_arguments()).await?;
    for pause in QueueName::LINK_PAUSES {
        let name = pause_name(pause);
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = name.as_str().into();
        channel.exchange_declare(exchange, ExchangeKind::Fanout, options, FieldTable::default()).await?;
        declare_and_bind(channel, &name, &name, pause_arguments(pause)).await?;
    }
    Ok(())
}

/// The name of the exchange and of the queue of a pause.
fn pause_name(pause: Duration) -> String {
    format!("{}.after.{}s", names::LINKS, pause.as_secs())
}

/// The exchange to the queue of the shortest pause that is at least so long; the longest, if none is.
pub(super) fn pause_exchange(pause: Duration) -> String {
    let [.., longest] = QueueName::LINK_PAUSES;
    pause_name(QueueName::LINK_PAUSES.into_iter().find(|each| *each >= pause).unwrap_or(longest))
}

async fn declare_and_bind(channel: &Channel, queue: &str, exchange: &str, arguments: FieldTable) -> lapin::Result<()> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    bind(channel, queue, exchange, "#").await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    channel.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), FieldTable::default()).await
}

/// The queue of the dead letters. An error of the kind `Refused` means that it exists with other limits.
pub(super) async fn declare_dead_letters(channel: &Channel, limits: DeadLetterLimits) -> lapin::Result<()> {
    let name = QueueName::DeadLetters.to_string();
    channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), dead_letters_arguments(limits)).await?;
    Ok(())
}

/// The queue of a source, and its binding.
pub(super) async fn declare_source(channel: &Channel, queue: &str, binding: &Binding) -> lapin::Result<()> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), source_arguments()).await?;
    bind(channel, queue, &binding.exchange, &binding.key).await
}

/// A queue that is there while this connection is: whoever has it consumes the source.
pub(super) async fn declare_source_lock(channel: &Channel, queue: &str) -> lapin::Result<()> {
    declare_slot(channel, queue).await
}

/// One stream.
pub(super) async fn declare_log(channel: &Channel, log: &LogName, limits: LogLimits) -> lapin::Result<()> {
    let name = log.to_string();
    channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), log_arguments(limits)).await?;
    Ok(())
}

/// The queue in which the searches of one partition wait.
pub(super) async fn declare_search(channel: &Channel, queue: &str) -> lapin::Result<()> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), search_arguments()).await?;
    Ok(())
}

/// A queue that dies with its connection: a worker's.
pub(super) async fn declare_worker(channel: &Channel, queue: &str) -> lapin::Result<()> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::exclusive(), search_arguments()).await?;
    Ok(())
}

/// A queue that dies with its connection: a slot's, which holds nothing.
pub(super) async fn declare_slot(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let arguments = table([("x-max-length", AMQPValue::LongLongInt(1))]);
    channel.queue_declare(queue.into(), QueueDeclareOptions::exclusive(), arguments).await?;
    Ok(())
}

/// A queue that dies with its connection: one watcher's of the bulletin.
pub(super) async fn declare_watcher(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let arguments = table([("x-max-length", AMQPValue::LongLongInt(BULLETIN_MAX_LENGTH))]);
    channel.queue_declare(queue.into(), QueueDeclareOptions::exclusive(), arguments).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), names::BULLETIN.into(), "".into(), options, FieldTable::default()).await
}

/// A queue that dies with its connection: where one listens for words.
pub(super) async fn declare_listener(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let arguments = table([("x-max-length", AMQPValue::LongLongInt(BULLETIN_MAX_LENGTH))]);
    channel.queue_declare(queue.into(), QueueDeclareOptions::exclusive(), arguments).await?;
    Ok(())
}

fn intake_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-delivery-limit", AMQPValue::LongLongInt(INTAKE_DELIVERY_LIMIT)),
        ("x-max-length-bytes", AMQPValue::LongLongInt(INTAKE_MAX_BYTES)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(names::DEAD)),
        // The default strategy may lose a dead letter on its way.
        ("x-dead-letter-strategy", text("at-least-once")),
    ])
}

fn links_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(LINKS_DELIVERY_LIMIT)),
        ("x-max-length-bytes", AMQPValue::LongLongInt(LINKS_MAX_BYTES)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(names::DEAD)),
        ("x-dead-letter-strategy", text("at-least-once")),
    ])
}

fn pause_arguments(pause: Duration) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", AMQPValue::LongLongInt(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))),
        ("x-max-length-bytes", AMQPValue::LongLongInt(LINKS_MAX_BYTES)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(names::LINKS)),
        // Where the links are full, it keeps the message and tries again.
        ("x-dead-letter-strategy", text("at-least-once")),
    ])
}

fn source_arguments() -> FieldTable {
    let mut arguments = intake_arguments();
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(SOURCE_MAX_BYTES));
    arguments
}

fn dead_letters_arguments(limits: DeadLetterLimits) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-max-length", AMQPValue::LongLongInt(limits.messages.into())),
        ("x-max-length-bytes", AMQPValue::LongLongInt(i64::try_from(limits.bytes).unwrap_or(i64::MAX))),
        ("x-overflow", text("reject-publish")),
        // Looking at a message counts as a delivery, and RabbitMQ 4 drops a message after 20 of them.
        ("x-delivery-limit", AMQPValue::LongLongInt(i32::MAX.into())),
    ])
}

fn search_arguments() -> FieldTable {
    table([("x-max-length", AMQPValue::LongLongInt(SEARCH_MAX_LENGTH)), ("x-overflow", text("reject-publish"))])
}

fn log_arguments(limits: LogLimits) -> FieldTable {
    let segment =
        limits.max_bytes.map_or(*SEGMENT_BYTES.end(), |max| (max / 20).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end()));
    let number = |bytes: u64| AMQPValue::LongLongInt(i64::try_from(bytes).unwrap_or(i64::MAX));
    let mut arguments = table([("x-queue-type", text("stream")), ("x-stream-max-segment-size-bytes", number(segment))]);
    if let Some(max) = limits.max_bytes {
        arguments.insert("x-max-length-bytes".into(), number(max));
    }
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// A table of arguments.
pub(super) fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_never_shortened_but_to_the_longest() {
        for (pause, name) in [
            (Duration::ZERO, "warren.links.after.1s"),
            (Duration::from_secs(1), "warren.links.after.1s"),
            (Duration::from_millis(1001), "warren.links.after.10s"),
            (Duration::from_secs(61), "warren.links.after.600s"),
            (Duration::from_secs(7200), "warren.links.after.3600s"),
        ] {
            assert_eq!(pause_exchange(pause), name);
        }
    }

    #[test]
    fn a_bounded_log_has_many_segments_and_an_unbounded_one_no_limit() {
        let of = |max_bytes, name: &str| match log_arguments(LogLimits { max_bytes }).inner().get(name) {
            Some(AMQPValue::LongLongInt(value)) => Some(*value),
            _ => None,
        };
        assert_eq!(of(None, "x-max-length-bytes"), None);
        assert_eq!(of(Some(20_000_000_000), "x-max-length-bytes"), Some(20_000_000_000));
        assert_eq!(of(Some(20_000_000_000), "x-stream-max-segment-size-bytes"), Some(64 * 1024 * 1024));
        assert_eq!(of(Some(20_000_000), "x-stream-max-segment-size-bytes"), Some(1_000_000));
        assert_eq!(of(Some(1), "x-stream-max-segment-size-bytes"), Some(64 * 1024));
    }
}
