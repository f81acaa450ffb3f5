//! Partition logs on streams.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, QueueDeleteOptions};
use tokio::time::timeout;
use tracing::{debug, warn};
use warren_protocol::ports::{Appended, FollowFrom, Follower, LogEntry, LogError, LogLimits, LogName, PartitionLog, Position};

use super::connection::{Context, Link, SHORTEST_PAUSE};
use super::consumer::{Attached, Source, attach};
use super::end::{end_of, last_of, position_of, time_of};
use super::failure::{Failure, until};
use super::pool::Pool;
use super::publisher::Publisher;
use super::resume::{Resume, Step};
use super::topology;

/// Messages on their way to one follower; a broker before 4.0 may send the rest of a chunk more.
const PREFETCH: u16 = 16;
/// After so long without the message that a follower attached at, it attaches again.
const SILENCE: Duration = Duration::from_secs(5);
/// After so many silences in a row, the follower looks where the stream ends.
const SILENCES: u32 = 3;

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
        let follower = StreamFollower::open(self, log, from).await?;
        let entries = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            let entry = follower.next().await;
            let follower = entry.is_ok().then_some(follower);
            Some((entry, follower))
        });
        Ok(entries.boxed())
    }

    async fn last(&self, log: &LogName) -> Result<Option<Position>, LogError> {
        Ok(end_of(&self.context, &self.link, &self.pool, &log.to_string()).await?)
    }
}

/// One follower of one stream.
struct StreamFollower {
    context: Arc<Context>,
    link: Arc<Link>,
    pool: Arc<Pool>,
    name: String,
    resume: Resume,
    /// Where a follower begins that has read nothing yet; `None`: as `resume` says.
    begin: Option<Source>,
    attached: Option<Attached>,
    /// How often in a row the stream was silent where it has to have a message.
    silences: u32,
    pause: Duration,
}

impl StreamFollower {
    async fn open(streams: &Streams, log: &LogName, from: FollowFrom) -> Result<Self, LogError> {
        let mut follower = Self {
            context: Arc::clone(&streams.context),
            link: Arc::clone(&streams.link),
            pool: Arc::clone(&streams.pool),
            name: log.to_string(),
            resume: Resume::new(from),
            begin: None,
            attached: None,
            silences: 0,
            pause: SHORTEST_PAUSE,
        };
        if let FollowFrom::Time { unix_ms } = from {
            follower.begin = Some(follower.since(unix_ms).await?);
        }
        follower.attach().await?;
        Ok(follower)
    }

    /// Where all begins that was appended since. Asked for a time behind its last message, the broker would send only what
    /// comes next, and nobody could tell that from silence.
    async fn since(&self, unix_ms: u64) -> Result<Source, Failure> {
        let since = unix_ms.saturating_sub(FollowFrom::CLOCKS_DIFFER_MS);
        let last = last_of(&self.context, &self.link, &self.pool, &self.name).await?;
        Ok(match last {
            None => Source::Stream(None),
            Some(last) if time_of(&last).is_some_and(|time| time < since) => Source::StreamEnd,
            Some(_) => Source::StreamTime { unix_s: since / 1000 },
        })
    }

    /// The next message, however often the connection is lost meanwhile.
    async fn next(&mut self) -> Result<LogEntry, LogError> {
        loop {
            let Some(delivery) = self.delivery().await? else { continue };
            let (position, appended_ms) = (position_of(&delivery)?, time_of(&delivery));
            let entry = LogEntry { position, message: delivery.data.into(), appended_ms };
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
                (self.pause, self.silences) = (SHORTEST_PAUSE, 0);
                // On a stream this is only credit for more. It fails with the connection, which the next call sees.
                let _ = until(self.context.deadline(), delivery.ack(BasicAckOptions::default())).await;
                return Ok(Some(delivery));
            }
            Ok(Some(Err(error))) => debug!(log = self.name, %error, "the follower lost its consumer"),
            Ok(None) => debug!(log = self.name, "the follower's consumer ended"),
            Err(_) => self.silent().await?,
        }
        self.attached = None;
        Ok(None)
    }

    /// The stream has said nothing where it has to have a message. It may only be slow; but one that was deleted and
    /// created again is silent until it has grown as long as the one before.
    async fn silent(&mut self) -> Result<(), LogError> {
        self.silences += 1;
        let position = self.resume.start().map(|position| position.0);
        warn!(log = self.name, position, "the stream is silent where it has to have a message; asking again");
        if !self.silences.is_multiple_of(SILENCES) {
            return Ok(());
        }
        match end_of(&self.context, &self.link, &self.pool, &self.name).await {
            Ok(end) => self.resume.compare_with_end(end),
            Err(Failure::NotFound(name)) => Err(LogError::NotFound(name)),
            Err(failure) => {
                debug!(log = self.name, error = %failure, "the end of the stream is not known");
                Ok(())
            }
        }
    }

    /// One attempt; a stream that was deleted is the end, anything else is tried again.
    async fn attach_again(&mut self) -> Result<(), LogError> {
        if self.context.stop.is_cancelled() {
            return Err(Failure::closed().into());
        }
        match self.attach().await {
            Err(Failure::NotFound(name)) => Err(LogError::NotFound(name)),
            Err(failure) => {
                // A broker that starts is silent for a while.
                self.silences = 0;
                warn!(log = self.name, error = %failure, "cannot follow the log; trying again");
                self.context.pause(&mut self.pause).await;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn attach(&mut self) -> Result<(), Failure> {
        let position = self.resume.start();
        let source = self.begin.filter(|_| position.is_none()).unwrap_or(Source::Stream(position));
        self.attached = Some(attach(&self.context, &self.link, &self.name, source, PREFETCH).await?);
        self.resume.attached();
        Ok(())
    }
}
