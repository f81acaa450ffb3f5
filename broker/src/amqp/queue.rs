//! Work queues on quorum queues.

use std::num::NonZeroU16;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel};
use tokio::time::sleep;
use tracing::debug;
use warren_protocol::ports::{Deliveries, Delivery, Message, QueueError, QueueName, Settle, Settlement, WorkQueue};

use super::connection::{Context, Link};
use super::consumer::{Source, attach};
use super::failure::{Failure, queue_error, until};
use super::message::{dead_letter, from_amqp, retried, short, to_amqp};
use super::names;
use super::pool::Pool;
use super::topology::pause_exchange;

pub(super) struct QuorumQueues {
    pub(super) context: Arc<Context>,
    /// For consumers.
    pub(super) link: Arc<Link>,
    /// For publishing.
    pub(super) publishing: Arc<Pool>,
    /// For everything else: an alarm of the broker must not keep anybody from looking or purging.
    pub(super) admin: Arc<Pool>,
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
        let (context, pool) = (Arc::clone(&self.context), Arc::clone(&self.publishing));
        let deliveries = stream::unfold(attached, move |mut attached| {
            let (context, pool) = (Arc::clone(&context), Arc::clone(&pool));
            async move {
                let mut delivery =
                    attached.consumer.next().await?.inspect_err(|error| debug!(%queue, %error, "a consumer was lost")).ok()?;
                let message = from_amqp(&mut delivery);
                let channel = Arc::downgrade(&attached.channel);
                let (acker, properties) = (delivery.acker, delivery.properties);
                let settle = Consumed { queue, prefetch: prefetch.get(), context, pool, channel, acker, properties };
                Some((Delivery::new(message, delivery.redelivered, Box::new(settle)), attached))
            }
        });
        Ok(deliveries.boxed())
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

    async fn purge(&self, queue: QueueName) -> Result<u64, QueueError> {
        let work = async {
            let lease = self.admin.lease().await?;
            let channel = lease.channel();
            lease.run(channel.queue_purge(queue.to_string().as_str().into(), QueuePurgeOptions::default())).await
        };
        Ok(work.await.map_err(|failure| queue_error(queue, failure))?.into())
    }
}

/// A message that was taken from a queue, to be settled on the channel that it came on.
struct Consumed {
    queue: QueueName,
    prefetch: u16,
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
        let Some(channel) = self.channel.upgrade() else { return Err(QueueError::Lost(self.queue)) };
        // A round trip that changes nothing: this is the prefetch that the channel has.
        let asking = channel.basic_qos(self.prefetch, BasicQosOptions::default());
        until(self.context.deadline(), asking).await.map_err(|_| QueueError::Lost(self.queue))
    }

    async fn settle(self: Box<Self>, message: Message, settlement: Settlement) -> Result<(), QueueError> {
        match settlement {
            Settlement::Done => self.ack().await,
            Settlement::Retry { after } if self.queue == QueueName::Links => {
                let properties = retried(&self.properties, &message).map_err(|failure| queue_error(self.queue, failure))?;
                self.pool
                    .publish(&pause_exchange(after), &message.routing_key, properties, message.body)
                    .await
                    .map_err(|failure| queue_error(self.queue, failure))?;
                self.ack().await
            }
            Settlement::Retry { after } => {
                sleep(after).await;
                // Rejected, not nacked: only that counts towards the delivery limit on every version.
                self.settled(self.acker.reject(BasicRejectOptions { requeue: true })).await
            }
            Settlement::DeadLetter { reason, detail } => {
                let properties = dead_letter(&self.properties, self.queue, &reason, &detail);
                self.pool
                    .publish(names::DEAD, &message.routing_key, properties, message.body)
                    .await
                    .map_err(|failure| queue_error(QueueName::DeadLetters, failure))?;
                self.ack().await
            }
        }
    }
}

impl Consumed {
    async fn ack(&self) -> Result<(), QueueError> {
        self.settled(self.acker.ack(BasicAckOptions::default())).await
    }

    /// A channel that is gone answers `false`, or not at all while it closes: its messages went back to the queue.
    async fn settled(&self, settling: impl Future<Output = lapin::Result<bool>>) -> Result<(), QueueError> {
        if !self.channel.upgrade().is_some_and(|channel| channel.status().connected()) {
            return Err(QueueError::Lost(self.queue));
        }
        match until(self.context.deadline(), settling).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(Failure::Unavailable(_)) => Err(QueueError::Lost(self.queue)),
            Err(failure) => Err(queue_error(self.queue, failure)),
        }
    }
}
