//! Work queues on quorum queues.

use std::num::NonZeroU16;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicQosOptions, BasicRejectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel, ExchangeKind};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{sleep, timeout};
use tracing::debug;
use warren_protocol::dead_letter::Letter;
use warren_protocol::ports::{
    Binding, Deliveries, Delivery, Message, QueueError, QueueName, Settle, Settlement, Sifted, SourceQueue, Way, WorkQueue,
};

use super::connection::{Context, Link};
use super::consumer::{Attached, Source, attach};
use super::failure::{Failure, queue_error, until};
use super::message::{attempts, buried, from_amqp, retried, returned, short, to_amqp};
use super::names;
use super::pool::Pool;
use super::topology;
use crate::keeping;

/// Between two tries to put a link into a pause when the broker takes no messages.
const FULL_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct QuorumQueues {
    pub(super) context: Arc<Context>,
    /// For consumers.
    pub(super) link: Arc<Link>,
    /// For publishing.
    pub(super) publishing: Arc<Pool>,
    /// For everything else: an alarm of the broker must not keep anybody from looking or purging.
    pub(super) admin: Arc<Pool>,
    /// Held by whoever looks through a queue, until what it looked at is back: others of this process would see a part.
    pub(super) looking: Arc<Mutex<()>>,
}

/// The exchange in front of a queue.
fn exchange(queue: QueueName) -> &'static str {
    match queue {
        QueueName::Intake => names::DOCUMENTS,
        QueueName::Links => names::LINKS,
        QueueName::DeadLetters => names::DEAD,
    }
}

#[async_trait]
impl WorkQueue for QuorumQueues {
    async fn publish(&self, queue: QueueName, message: Message) -> Result<(), QueueError> {
        let error = |failure| queue_error(queue, failure);
        let properties = to_amqp(&message).map_err(error)?;
        let routing_key = short("routing key", &message.routing_key).map_err(error)?;
        self.publishing.publish(exchange(queue), routing_key.as_str(), properties, message.body).await.map_err(error)
    }

    async fn consume(&self, queue: QueueName, prefetch: NonZeroU16) -> Result<Deliveries, QueueError> {
        let attached = attach(&self.context, &self.link, &queue.to_string(), Source::Queue, prefetch.get())
            .await
            .map_err(|failure| queue_error(queue, failure))?;
        Ok(self.deliveries(queue.to_string(), prefetch.get(), attached))
    }

    async fn depth(&self, queue: QueueName) -> Result<u64, QueueError> {
        let work = async {
            let lease = self.admin.lease().await?;
            let channel = lease.channel();
            let name = queue.to_string();
            let options = QueueDeclareOptions::durable().passive();
            lease.run(channel.queue_declare(name.as_str().into(), options, FieldTable::default())).await
        };
        Ok(work.await.map_err(|failure| queue_error(queue, failure))?.message_count().into())
    }

    async fn peek(&self, queue: QueueName, limit: usize) -> Result<Vec<Message>, QueueError> {
        if queue == QueueName::Intake {
            // The broker answers 405 to whoever wants to look.
            return Err(QueueError::Unavailable("RabbitMQ shows nobody a queue with a single active consumer".to_owned()));
        }
        let _turn = self.turn().await?;
        let work = async {
            let lease = self.admin.lease().await?;
            let channel = lease.channel();
            let name = queue.to_string();
            let looking = async {
                let mut messages = Vec::new();
                while messages.len() < limit
                    && let Some(mut found) = channel.basic_get(name.as_str().into(), BasicGetOptions::default()).await?
                {
                    messages.push(from_amqp(&mut found.delivery));
                }
                // What was not acknowledged goes back to where it was.
                channel.close(200, "looked".into()).await?;
                Ok(messages)
            };
            lease.run(looking).await
        };
        work.await.map_err(|failure| queue_error(queue, failure))
    }

    async fn sift(&self, queue: QueueName) -> Result<Sifted, QueueError> {
        if queue == QueueName::Intake {
            return Err(QueueError::Unavailable("RabbitMQ shows nobody a queue with a single active consumer".to_owned()));
        }
        let turn = self.turn().await?;
        let deadline = self.context.deadline();
        let open = async { until(deadline, self.link.connection(deadline).await?.create_channel()).await };
        let channel = open.await.map_err(|failure| queue_error(queue, failure))?;
        let sieve = Arc::new(Sieve { channel: Arc::new(channel), context: Arc::clone(&self.context), turn: Some(turn) });
        let (context, pool) = (Arc::clone(&self.context), Arc::clone(&self.publishing));
        let found = stream::unfold(Some(Arc::clone(&sieve)), move |sieve| {
            let (context, pool) = (Arc::clone(&context), Arc::clone(&pool));
            async move {
                let sieve = sieve?;
                let name = queue.to_string();
                let getting = sieve.channel.basic_get(name.as_str().into(), BasicGetOptions::default());
                match until(context.deadline(), getting).await {
                    Ok(got) => Some((Ok(consumed(name, 0, context, pool, &sieve.channel, got?.delivery)), Some(sieve))),
                    Err(failure) => Some((Err(queue_error(queue, failure)), None)),
                }
            }
        });
        Ok(keeping(sieve, found))
    }

    async fn find_source(&self, source: &SourceQueue) -> Result<(), QueueError> {
        let error = |failure| source_error(source, failure);
        let lease = self.admin.lease().await.map_err(error)?;
        let channel = lease.channel();
        let Some(Binding { exchange, .. }) = &source.binding else {
            let options = QueueDeclareOptions::durable().passive();
            let looking = channel.queue_declare(source.queue.as_str().into(), options, FieldTable::default());
            return lease.run(looking).await.map(|_| ()).map_err(error);
        };
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let looking = channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, options, FieldTable::default());
        lease.run(looking).await.map_err(|failure| match failure {
            Failure::NotFound(_) => QueueError::NotFound(format!("there is no exchange {exchange:?} in this virtual host")),
            failure => error(failure),
        })
    }

    async fn open_source(&self, source: &SourceQueue) -> Result<(), QueueError> {
        self.find_source(source).await?;
        let Some(binding) = &source.binding else { return Ok(()) };
        let error = |failure| source_error(source, failure);
        let lease = self.admin.lease().await.map_err(error)?;
        let channel = lease.channel();
        lease.run(topology::declare_source(&channel, &source.queue, binding)).await.map_err(error)
    }

    async fn consume_source(&self, source: &SourceQueue, prefetch: NonZeroU16) -> Result<Deliveries, QueueError> {
        let kind = if source.binding.is_some() { Source::Queue } else { Source::Locked };
        let attached = attach(&self.context, &self.link, &source.queue, kind, prefetch.get())
            .await
            .map_err(|failure| source_error(source, failure))?;
        Ok(self.deliveries(source.label.clone(), prefetch.get(), attached))
    }

    async fn remove_source(&self, source: &SourceQueue) -> Result<(), QueueError> {
        let queue = match &source.binding {
            Some(_) => source.queue.clone(),
            None => names::lock_of(&source.queue),
        };
        let lease = self.admin.lease().await.map_err(|failure| source_error(source, failure))?;
        let channel = lease.channel();
        // The broker answers "deleted" if there is none.
        let deleted = lease.run(channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default())).await;
        match deleted {
            Ok(_) => Ok(()),
            // The lock of another connection: it goes with it.
            Err(Failure::Locked) if source.binding.is_none() => Ok(()),
            Err(failure) => Err(source_error(source, failure)),
        }
    }

    async fn purge(&self, queue: QueueName) -> Result<u64, QueueError> {
        let _turn = self.turn().await?;
        let work = async {
            let lease = self.admin.lease().await?;
            let channel = lease.channel();
            lease.run(channel.queue_purge(queue.to_string().as_str().into(), QueuePurgeOptions::default())).await
        };
        Ok(work.await.map_err(|failure| queue_error(queue, failure))?.into())
    }
}

impl QuorumQueues {
    /// One looks at a time.
    async fn turn(&self) -> Result<OwnedMutexGuard<()>, QueueError> {
        let busy = |_| QueueError::Unavailable("somebody else is looking through the queue: try again".to_owned());
        timeout(self.context.timeout, Arc::clone(&self.looking).lock_owned()).await.map_err(busy)
    }

    /// What a consumer is handed; `label` is what dead letters name as the way that they came by.
    fn deliveries(&self, label: String, prefetch: u16, attached: Attached) -> Deliveries {
        let (context, pool) = (Arc::clone(&self.context), Arc::clone(&self.publishing));
        let deliveries = stream::unfold(attached, move |mut attached| {
            let (label, context, pool) = (label.clone(), Arc::clone(&context), Arc::clone(&pool));
            async move {
                let next = attached.consumer.next().await?;
                let delivery = next.inspect_err(|error| debug!(label, %error, "a consumer was lost")).ok()?;
                Some((consumed(label, prefetch, context, pool, &attached.channel, delivery), attached))
            }
        });
        deliveries.boxed()
    }
}

fn consumed(
    label: String,
    prefetch: u16,
    context: Arc<Context>,
    pool: Arc<Pool>,
    channel: &Arc<Channel>,
    mut delivery: lapin::message::Delivery,
) -> Delivery {
    let message = from_amqp(&mut delivery);
    let attempts = attempts(&delivery.properties, delivery.redelivered);
    let (acker, properties) = (delivery.acker, delivery.properties);
    let settle = Consumed { label, prefetch, attempts, context, pool, channel: Arc::downgrade(channel), acker, properties };
    Delivery::new(message, delivery.redelivered, attempts, Box::new(settle))
}

/// The failure of an operation on a source's queue.
fn source_error(source: &SourceQueue, failure: Failure) -> QueueError {
    match failure {
        Failure::NotFound(_) => QueueError::NotFound(format!("there is no queue {:?} in this virtual host", source.queue)),
        Failure::Locked => QueueError::Taken(source.label.clone()),
        Failure::Refused(reason) => QueueError::NotFound(format!("{:?} cannot be consumed: {reason}", source.queue)),
        other => QueueError::Unavailable(other.to_string()),
    }
}

/// A channel on which messages were taken to look at them. Dropped, it is closed: what was not settled goes back to
/// where it was.
struct Sieve {
    channel: Arc<Channel>,
    context: Arc<Context>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Sieve {
    fn drop(&mut self) {
        let (channel, deadline, turn) = (Arc::clone(&self.channel), self.context.deadline(), self.turn.take());
        let closing = async move {
            if let Err(error) = until(deadline, channel.close(200, "looked".into())).await {
                debug!(%error, "a channel that looked was not closed");
            }
            drop(turn);
        };
        self.context.tasks.spawn_on(closing, &self.context.runtime);
    }
}

/// A message that was taken from a queue, to be settled on the channel that it came on.
struct Consumed {
    label: String,
    prefetch: u16,
    attempts: u32,
    context: Arc<Context>,
    pool: Arc<Pool>,
    /// Gone with the consumer: what it had not settled is back in the queue then.
    channel: Weak<Channel>,
    acker: Acker,
    properties: BasicProperties,
}

#[async_trait]
impl Settle for Consumed {
    async fn check(&self) -> Result<(), QueueError> {
        let Some(channel) = self.channel.upgrade() else { return Err(self.lost()) };
        // A round trip that changes nothing: this is the prefetch that the channel has.
        let asking = channel.basic_qos(self.prefetch, BasicQosOptions::default());
        until(self.context.deadline(), asking).await.map_err(|_| self.lost())
    }

    async fn bury(&self, message: &Message, letter: Letter) -> Result<(), QueueError> {
        let properties = buried(&self.properties, &self.label, self.attempts, &letter);
        let body = letter.part.map_or_else(|| message.body.clone(), |part| part.body);
        self.pool
            .publish(names::DEAD, &message.routing_key, properties, body)
            .await
            .map_err(|failure| queue_error(QueueName::DeadLetters, failure))
    }

    async fn settle(self: Box<Self>, message: Message, settlement: Settlement) -> Result<(), QueueError> {
        match settlement {
            Settlement::Done => self.ack().await,
            Settlement::Retry { after } if self.label.parse() == Ok(QueueName::Links) => {
                let error = |failure| queue_error(QueueName::Links, failure);
                let properties = retried(&self.properties, &message).map_err(error)?;
                let pause = topology::pause_exchange(after);
                let publish = || self.pool.publish(&pause, &message.routing_key, properties.clone(), message.body.clone());
                // Given back, it would count as handed out once more.
                while let Err(failure) = publish().await {
                    if !matches!(failure, Failure::Full | Failure::Alarm) {
                        return Err(error(failure));
                    }
                    debug!(%failure, "a link waits until the broker takes it again");
                    sleep(FULL_PAUSE).await;
                    self.check().await?;
                }
                self.ack().await
            }
            Settlement::Retry { after } => {
                sleep(after).await;
                // Rejected, not nacked: only that counts towards the delivery limit on every version.
                self.settled(self.acker.reject(BasicRejectOptions { requeue: true })).await
            }
            Settlement::DeadLetter { reason, detail } => {
                self.bury(&message, Letter::new(reason, detail)).await?;
                self.ack().await
            }
            Settlement::Return(way) => {
                let routing_key = message.routing_key;
                match way {
                    Way::Queue(queue) => {
                        let properties = returned(&self.properties, None);
                        let published = self.pool.publish(exchange(queue), &routing_key, properties, message.body).await;
                        published.map_err(|failure| queue_error(queue, failure))?;
                    }
                    // Straight to its queue: behind the exchange, others would get the message a second time.
                    Way::Source(source) => {
                        let properties = returned(&self.properties, Some(&routing_key));
                        let to = names::DEFAULT_EXCHANGE;
                        let published = self.pool.publish(to, &source.queue, properties, message.body).await;
                        published.map_err(|failure| source_error(&source, failure))?;
                    }
                }
                self.ack().await
            }
        }
    }
}

impl Consumed {
    async fn ack(&self) -> Result<(), QueueError> {
        self.settled(self.acker.ack(BasicAckOptions::default())).await
    }

    fn lost(&self) -> QueueError {
        QueueError::Lost(self.label.clone())
    }

    /// A channel that is gone answers `false`, or not at all while it closes: its messages went back to the queue.
    async fn settled(&self, settling: impl Future<Output = lapin::Result<bool>>) -> Result<(), QueueError> {
        if !self.channel.upgrade().is_some_and(|channel| channel.status().connected()) {
            return Err(self.lost());
        }
        match until(self.context.deadline(), settling).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(Failure::Unavailable(_)) => Err(self.lost()),
            Err(failure) => Err(QueueError::Unavailable(failure.to_string())),
        }
    }
}
