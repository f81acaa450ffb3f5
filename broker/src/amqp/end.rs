//! Where a stream ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::{timeout, timeout_at};
use warren_protocol::ports::Position;

use super::connection::{Context, Link};
use super::consumer::{Source, attach};
use super::failure::Failure;
use super::names;
use super::pool::Pool;

/// As many as a broker before 4.0 sends at least.
const PREFETCH: u16 = 16;
/// A stream that has messages delivers one within a few milliseconds.
const EMPTY: Duration = Duration::from_millis(400);

/// The first position of the last messages that the broker has taken together; `None` if the stream is empty,
/// `NotFound` if there is none.
pub(super) async fn end_of(
    context: &Arc<Context>,
    link: &Arc<Link>,
    pool: &Pool,
    name: &str,
) -> Result<Option<Position>, Failure> {
    last_of(context, link, pool, name).await?.as_ref().map(position_of).transpose()
}

/// The message at that position.
pub(super) async fn last_of(
    context: &Arc<Context>,
    link: &Arc<Link>,
    pool: &Pool,
    name: &str,
) -> Result<Option<Delivery>, Failure> {
    let deadline = context.deadline();
    let mut attached = attach(context, link, name, Source::StreamEnd, PREFETCH).await?;
    let delivery = match timeout(EMPTY, attached.consumer.next()).await {
        Ok(delivery) => delivery,
        // The count lags behind what is in the stream, so it proves that there is something, not that there is nothing.
        Err(_) if count(pool, name).await? == 0 => return Ok(None),
        Err(_) => timeout_at(deadline, attached.consumer.next())
            .await
            .map_err(|_| Failure::Unavailable("the stream did not deliver in time".to_owned()))?,
    };
    match delivery {
        Some(Ok(delivery)) => Ok(Some(delivery)),
        Some(Err(error)) => Err(error.into()),
        None => Err(Failure::NotFound(name.to_owned())),
    }
}

async fn count(pool: &Pool, name: &str) -> Result<u32, Failure> {
    let lease = pool.lease().await?;
    let channel = lease.channel();
    let declare = channel.queue_declare(name.into(), QueueDeclareOptions::durable().passive(), FieldTable::default());
    Ok(lease.run(declare).await?.message_count())
}

/// The position that a stream gives to a message.
pub(super) fn position_of(delivery: &Delivery) -> Result<Position, Failure> {
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(names::HEADER_STREAM_OFFSET)) {
        Some(AMQPValue::LongLongInt(offset)) => {
            u64::try_from(*offset).map(Position).map_err(|_| Failure::Unavailable("a negative stream offset".to_owned()))
        }
        _ => Err(Failure::Unavailable("a message without a stream offset: the queue is no stream".to_owned())),
    }
}

/// When a message of a log was appended.
pub(super) fn time_of(delivery: &Delivery) -> Option<u64> {
    match delivery.properties.headers().as_ref()?.inner().get(names::HEADER_TIME)? {
        AMQPValue::LongLongInt(time) => u64::try_from(*time).ok(),
        _ => None,
    }
}
