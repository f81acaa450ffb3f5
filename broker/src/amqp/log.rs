//! Partition logs on streams.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;
use tracing::{debug, warn};
use warren_protocol::ports::{Appended, FollowFrom, Follower, LogEntry, LogError, LogLimits, LogName, PartitionLog, Position};

use super::connection::{Context, Link, SHORTEST_PAUSE};
use super::consumer::{Attached, Source, attach};
use super::failure::{Failure, until};
use super::names;
use super::pool::Pool;
use super::publisher::Publisher;
use super::resume::{Resume, Step};
use super::topology;

/// Messages on their way to one follower; a broker before 4.0 may send the rest of a chunk more.
const PREFETCH: u16 = 16;
/// After so long without the message that a follower attached at, it attaches again.
const SILENCE: Duration = Duration::from_secs(5);
/// A stream that has messages delivers one within a few milliseconds.
const EMPTY: Duration = Duration::from_millis(400);

pub(super) struct Streams {
    pub(super) context: Arc<Context>,
    pub(super) publisher: Publisher,
    /// For consumers.
    pub(super) link: Arc<Link>,
    pub(super) pool: Arc<Pool>,
}

#[async_trait]
impl PartitionLog for Streams {
    async fn create(&self, log: &LogName, limits: LogLimits) -> Result<(), LogError> {
        let lease = self.pool.lease().await?;
        let channel = lease.channel();
        Ok(lease.run(topology::declare_log(&channel, log, limits)).await?)
    }

    async fn delete(&self, log: &LogName) -> Result<(), LogError> {
        let name = log.to_string();
        let lease = self.pool.lease().await?;
        let channel = lease.channel();
        // The broker answers "deleted" if there is none.
        lease.run(channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default())).await?;
        Ok(())
    }

    async fn append(&self, log: &LogName, message: Bytes) -> Result<Appended, LogError> {
        let bytes = message.len() as u64;
        let error = move |failure| match failure {
            // Others on the channel that the message took with it may be in the log.
            Failure::TooLarge(limit) if bytes > limit => LogError::TooLarge { bytes, limit },
            other => other.into(),
        };
        let confirm = self.publisher.append(log.to_string(), message).await.map_err(error)?;
        Ok(confirm.map(move |outcome| outcome.map_err(error)).boxed())
    }

    async fn follow(&self, log: &LogName, from: FollowFrom) -> Result<Follower, LogError> {
        let follower = StreamFollower::open(&self.context, &self.link, log, from).await?;
        let entries = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            let entry = follower.next().await;
            let follower = entry.is_ok().then_some(follower);
            Some((entry, follower))
        });
        Ok(entries.boxed())
    }

    async fn last(&self, log: &LogName) -> Result<Option<Position>, LogError> {
        let name = log.to_string();
        let deadline = self.context.deadline();
        let mut attached = attach(&self.context, &self.link, &name, Source::StreamEnd, PREFETCH).await?;
        let delivery = match timeout(EMPTY, attached.consumer.next()).await {
            Ok(delivery) => delivery,
            // The count lags behind what is in the stream, so it proves that there is something, not that there is nothing.
            Err(_) if self.count(&name).await? == 0 => return Ok(None),
            Err(_) => tokio::time::timeout_at(deadline, attached.consumer.next())
                .await
                .map_err(|_| Failure::Unavailable("the stream did not deliver in time".to_owned()))?,
        };
        match delivery {
            Some(Ok(delivery)) => Ok(Some(position_of(&delivery)?)),
            Some(Err(error)) => Err(Failure::from(error).into()),
            None => Err(LogError::NotFound(name)),
        }
    }
}

impl Streams {
    async fn count(&self, name: &str) -> Result<u32, Failure> {
        let lease = self.pool.lease().await?;
        let channel = lease.channel();
        let declare = channel.queue_declare(name.into(), QueueDeclareOptions::durable().passive(), FieldTable::default());
        Ok(lease.run(declare).await?.message_count())
    }
}

/// One follower of one stream.
struct StreamFollower {
    context: Arc<Context>,
    link: Arc<Link>,
    name: String,
    resume: Resume,
    attached: Option<Attached>,
    pause: Duration,
}

impl StreamFollower {
    async fn open(context: &Arc<Context>, link: &Arc<Link>, log: &LogName, from: FollowFrom) -> Result<Self, LogError> {
        let mut follower = Self {
            context: Arc::clone(context),
            link: Arc::clone(link),
            name: log.to_string(),
            resume: Resume::new(from),
            attached: None,
            pause: SHORTEST_PAUSE,
        };
        follower.attach().await?;
        Ok(follower)
    }

    /// The next message, however often the connection is lost meanwhile.
    async fn next(&mut self) -> Result<LogEntry, LogError> {
        loop {
            let Some(delivery) = self.delivery().await? else { continue };
            let entry = LogEntry { position: position_of(&delivery)?, message: delivery.data.into() };
            match self.resume.judge(entry.position, entry.digest())? {
                Step::Give => return Ok(entry),
                Step::Skip => {}
                Step::Look => {
                    debug!(
                        log = self.name,
                        position = entry.position.0,
                        "a gap: looking whether the messages before it are there"
                    );
                    self.attached = None;
                }
            }
        }
    }

    /// The next delivery, acknowledged; `None` if the consumer has to be attached again, or just was.
    async fn delivery(&mut self) -> Result<Option<Delivery>, LogError> {
        let Some(attached) = &mut self.attached else {
            self.attach_again().await?;
            return Ok(None);
        };
        let next = attached.consumer.next();
        let delivery = if self.resume.expects_last() { timeout(SILENCE, next).await } else { Ok(next.await) };
        match delivery {
            Ok(Some(Ok(delivery))) => {
                self.pause = SHORTEST_PAUSE;
                // On a stream this is only credit for more. It fails with the connection, which the next call sees.
                let _ = until(self.context.deadline(), delivery.ack(BasicAckOptions::default())).await;
                return Ok(Some(delivery));
            }
            Ok(Some(Err(error))) => debug!(log = self.name, %error, "the follower lost its consumer"),
            Ok(None) => debug!(log = self.name, "the follower's consumer ended"),
            Err(_) => warn!(
                log = self.name,
                position = self.resume.start().map(|position| position.0),
                "the stream is silent where it has to have a message; asking again"
            ),
        }
        self.attached = None;
        Ok(None)
    }

    /// One attempt; a stream that was deleted is the end, anything else is tried again.
    async fn attach_again(&mut self) -> Result<(), LogError> {
        if self.context.stop.is_cancelled() {
            return Err(Failure::closed().into());
        }
        match self.attach().await {
            Err(Failure::NotFound(name)) => Err(LogError::NotFound(name)),
            Err(failure) => {
                warn!(log = self.name, error = %failure, "cannot follow the log; trying again");
                self.context.pause(&mut self.pause).await;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn attach(&mut self) -> Result<(), Failure> {
        let source = Source::Stream(self.resume.start());
        self.attached = Some(attach(&self.context, &self.link, &self.name, source, PREFETCH).await?);
        self.resume.attached();
        Ok(())
    }
}

fn position_of(delivery: &Delivery) -> Result<Position, Failure> {
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(names::HEADER_STREAM_OFFSET)) {
        Some(AMQPValue::LongLongInt(offset)) => {
            u64::try_from(*offset).map(Position).map_err(|_| Failure::Unavailable("a negative stream offset".to_owned()))
        }
        _ => Err(Failure::Unavailable("a message without a stream offset: the queue is no stream".to_owned())),
    }
}
