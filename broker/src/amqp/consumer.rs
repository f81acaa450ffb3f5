//! Consumers: how each kind attaches, and one that attaches again when it is lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tracing::{debug, warn};
use warren_protocol::ports::Position;

use super::connection::{Context, Link, SHORTEST_PAUSE};
use super::failure::{Failure, until};
use super::names;
use super::topology;

/// What is consumed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A durable queue.
    Queue,
    /// A foreign queue, which nobody consumes who does not have its lock. The lock goes with the connection, as the
    /// unsettled messages do: whoever gets it next finds them in the queue again.
    Locked,
    /// A worker's queue, which is declared first.
    Worker,
    /// A watcher's queue of the bulletin, which is declared first.
    Watcher,
    /// A listener's queue of words, which is declared first.
    Listener,
    /// A stream, from a position or, without one, from its first message on.
    Stream(Option<Position>),
    /// A stream, from about this time on.
    StreamTime {
        /// In Unix seconds.
        unix_s: u64,
    },
    /// A stream, with a message near its end.
    StreamEnd,
}

/// A consumer with its channel. Dropped, it closes the channel: what was not settled goes back to its queue.
pub(super) struct Attached {
    pub(super) consumer: Consumer,
    pub(super) channel: Arc<Channel>,
    context: Arc<Context>,
}

impl Drop for Attached {
    /// Closes the channel before lapin can cancel the consumer: a queue gives the next consumer what comes behind the
    /// unsettled messages of a cancelled one, and these only later.
    fn drop(&mut self) {
        let (channel, consumer) = (Arc::clone(&self.channel), self.consumer.clone());
        if !channel.status().connected() {
            return;
        }
        let deadline = self.context.deadline();
        let closing = async move {
            if let Err(error) = until(deadline, channel.close(200, "done".into())).await {
                debug!(%error, "a consumer's channel was not closed");
            }
            drop(consumer);
        };
        self.context.tasks.spawn_on(closing, &self.context.runtime);
    }
}

/// Consumes `name`, at most `prefetch` unsettled messages at a time. `NotFound` if there is no such queue.
pub(super) async fn attach(
    context: &Arc<Context>,
    link: &Link,
    name: &str,
    source: Source,
    prefetch: u16,
) -> Result<Attached, Failure> {
    let deadline = context.deadline();
    let channel = until(deadline, link.connection(deadline).await?.create_channel()).await?;
    until(deadline, channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let mut arguments = FieldTable::default();
    match source {
        Source::Queue => {}
        Source::Locked => until(deadline, topology::declare_source_lock(&channel, &names::lock_of(name))).await?,
        Source::Worker => until(deadline, topology::declare_worker(&channel, name)).await?,
        Source::Watcher => until(deadline, topology::declare_watcher(&channel, name)).await?,
        Source::Listener => until(deadline, topology::declare_listener(&channel, name)).await?,
        Source::Stream(position) => {
            arguments = topology::table([("x-stream-offset", position.map_or_else(|| text("first"), number))]);
        }
        Source::StreamTime { unix_s } => arguments = topology::table([("x-stream-offset", AMQPValue::Timestamp(unix_s))]),
        Source::StreamEnd => arguments = topology::table([("x-stream-offset", text("last"))]),
    }
    let consuming = channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), arguments);
    let consumer = until(deadline, consuming).await?;
    Ok(Attached { consumer, channel: Arc::new(channel), context: Arc::clone(context) })
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Any other type than a whole number would end the connection.
fn number(position: Position) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(position.0).unwrap_or(i64::MAX))
}

/// A consumer that attaches again, silently, when its connection or its channel is lost.
pub(super) struct Subscription {
    context: Arc<Context>,
    link: Arc<Link>,
    name: String,
    source: Source,
    prefetch: u16,
    attached: Option<Attached>,
    pause: Duration,
}

impl Subscription {
    /// Attaches for the first time.
    pub(super) async fn open(
        context: &Arc<Context>,
        link: &Arc<Link>,
        name: String,
        source: Source,
        prefetch: u16,
    ) -> Result<Self, Failure> {
        let attached = Some(attach(context, link, &name, source, prefetch).await?);
        let (context, link) = (Arc::clone(context), Arc::clone(link));
        Ok(Self { context, link, name, source, prefetch, attached, pause: SHORTEST_PAUSE })
    }

    pub(super) fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// The next message; `None` once the broker was closed.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        loop {
            match &mut self.attached {
                Some(attached) => match attached.consumer.next().await {
                    Some(Ok(delivery)) => {
                        self.pause = SHORTEST_PAUSE;
                        return Some(delivery);
                    }
                    Some(Err(error)) => {
                        debug!(queue = self.name, %error, "the consumer was lost");
                        self.attached = None;
                    }
                    None => self.attached = None,
                },
                None => self.attach_again().await?,
            }
        }
    }

    async fn attach_again(&mut self) -> Option<()> {
        if self.context.stop.is_cancelled() {
            return None;
        }
        match attach(&self.context, &self.link, &self.name, self.source, self.prefetch).await {
            Ok(attached) => {
                debug!(queue = self.name, "consuming again");
                self.attached = Some(attached);
                Some(())
            }
            Err(failure) => {
                warn!(queue = self.name, error = %failure, "cannot consume; trying again");
                self.context.pause(&mut self.pause).await.then_some(())
            }
        }
    }
}
