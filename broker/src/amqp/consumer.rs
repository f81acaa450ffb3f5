//! Consumers: how each kind attaches, and one that attaches again when it is lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::time::Instant;
use tracing::{debug, warn};
use warren_protocol::ports::Position;

use super::connection::{Context, Link, SHORTEST_PAUSE};
use super::failure::{Failure, until};
use super::topology;

/// What is consumed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A durable queue.
    Queue,
    /// A worker's queue, which is declared first.
    Worker,
    /// A watcher's queue of the bulletin, which is declared first.
    Watcher,
    /// A stream, from a position or, without one, from its first message on.
    Stream(Option<Position>),
    /// A stream, with a message near its end.
    StreamEnd,
}

/// A consumer with its channel. Dropping both closes the channel: what was not settled goes back to its queue.
pub(super) struct Attached {
    pub(super) consumer: Consumer,
    /// Open for as long as this lives, so nothing else may keep a clone of it for long.
    pub(super) channel: Arc<Channel>,
}

/// Consumes `name`, at most `prefetch` unsettled messages at a time. `NotFound` if there is no such queue.
pub(super) async fn attach(link: &Link, name: &str, source: Source, prefetch: u16, deadline: Instant) -> Result<Attached, Failure> {
    let channel = until(deadline, link.connection(deadline).await?.create_channel()).await?;
    until(deadline, channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let mut arguments = FieldTable::default();
    match source {
        Source::Queue => {}
        Source::Worker => until(deadline, topology::declare_worker(&channel, name)).await?,
        Source::Watcher => until(deadline, topology::declare_watcher(&channel, name)).await?,
        Source::Stream(position) => {
            arguments = topology::table([("x-stream-offset", position.map_or_else(|| text("first"), number))]);
        }
        Source::StreamEnd => arguments = topology::table([("x-stream-offset", text("last"))]),
    }
    let consuming = channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), arguments);
    let consumer = until(deadline, consuming).await?;
    Ok(Attached { consumer, channel: Arc::new(channel) })
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
        let attached = Some(attach(link, &name, source, prefetch, context.deadline()).await?);
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
        match attach(&self.link, &self.name, self.source, self.prefetch, self.context.deadline()).await {
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
