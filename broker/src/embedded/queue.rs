//! Work queues in the store: every message is kept until it is settled; who holds what is in memory only, so that a
//! new process hands out again all that the last one had not settled.

mod record;
mod state;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fjall::{Keyspace, OwnedWriteBatch};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_protocol::dead_letter::{DeadLetter, Letter};
use warren_protocol::ports::{
    Deliveries, Delivery, Message, QueueError, QueueName, Settle, Settlement, Sifted, SourceQueue, Way, WorkQueue,
};

use super::store::{Store, StoreError};
use super::writer::{Failure, Writer};
use crate::keeping;
use state::{Hold, Queue, Unsettled};

/// The queues of the folder.
#[derive(Clone)]
pub(super) struct Queues {
    intake: Arc<Queue>,
    links: Arc<Queue>,
    dead_letters: Arc<Queue>,
    writer: Writer,
    closing: CancellationToken,
}

impl Queues {
    pub(super) fn open(store: &Store, writer: Writer, closing: CancellationToken) -> Result<Self, StoreError> {
        Ok(Self {
            intake: Arc::new(Queue::open(QueueName::Intake, store.intake.clone())?),
            links: Arc::new(Queue::open(QueueName::Links, store.links.clone())?),
            dead_letters: Arc::new(Queue::open(QueueName::DeadLetters, store.dead_letters.clone())?),
            writer,
            closing,
        })
    }

    fn queue(&self, name: QueueName) -> &Arc<Queue> {
        match name {
            QueueName::Intake => &self.intake,
            QueueName::Links => &self.links,
            QueueName::DeadLetters => &self.dead_letters,
        }
    }

    /// The next message for a consumer, `None` when the broker is closed.
    async fn next(&self, consumer: &Consumer) -> Option<Delivery> {
        loop {
            let hold = tokio::select! {
                hold = consumer.queue.take(consumer.id) => hold,
                () = self.closing.cancelled() => return None,
            };
            let (redelivered, attempts) = (hold.redelivered(), hold.attempts());
            match read(&consumer.queue.messages, vec![hold.sequence()]).await.map(|mut messages| messages.pop()) {
                Ok(Some(message)) => {
                    return Some(Delivery::new(
                        message,
                        redelivered,
                        attempts,
                        Box::new(LocalSettle { hold, queues: self.clone() }),
                    ));
                }
                // Nobody can read it: it stays where it is, and the others go on.
                outcome => {
                    let error = outcome.err().unwrap_or_else(|| "it is not there".into());
                    tracing::error!(queue = %consumer.queue.name, sequence = hold.sequence(), %error, "a message is damaged");
                    hold.keep();
                }
            }
        }
    }
}

#[async_trait]
impl WorkQueue for Queues {
    async fn publish(&self, queue: QueueName, message: Message) -> Result<(), QueueError> {
        self.enqueue(queue, message).await
    }

    async fn consume(&self, queue: QueueName, prefetch: NonZeroU16) -> Result<Deliveries, QueueError> {
        let queue = Arc::clone(self.queue(queue));
        let consumer = Consumer { id: queue.join(prefetch), queue };
        let queues = self.clone();
        let deliveries = stream::unfold((queues, consumer), |(queues, consumer)| async move {
            let delivery = queues.next(&consumer).await?;
            Some((delivery, (queues, consumer)))
        });
        Ok(deliveries.boxed())
    }

    async fn depth(&self, queue: QueueName) -> Result<u64, QueueError> {
        Ok(self.queue(queue).depth())
    }

    async fn peek(&self, queue: QueueName, limit: usize) -> Result<Vec<Message>, QueueError> {
        let queue = self.queue(queue);
        read(&queue.messages, queue.first(limit)).await.map_err(QueueError::Unavailable)
    }

    async fn sift(&self, queue: QueueName) -> Result<Sifted, QueueError> {
        let queue = Arc::clone(self.queue(queue));
        let visit = Arc::new(Consumer { id: queue.visit(), queue });
        let found = stream::unfold(Some((self.clone(), Arc::clone(&visit), 0)), |state| async move {
            let (queues, visit, after) = state?;
            let hold = visit.queue.take_after(visit.id, after)?;
            let sequence = hold.sequence();
            let (redelivered, attempts) = (hold.redelivered(), hold.attempts());
            match read(&visit.queue.messages, vec![sequence]).await.map(|mut messages| messages.pop()) {
                Ok(Some(message)) => {
                    let settle = Box::new(LocalSettle { hold, queues: queues.clone() });
                    Some((Ok(Delivery::new(message, redelivered, attempts, settle)), Some((queues, visit, sequence))))
                }
                outcome => {
                    let error = outcome.err().unwrap_or_else(|| "it is not there".into());
                    let error = format!("message {sequence} of {} cannot be read: {error}", visit.queue.name);
                    Some((Err(QueueError::Unavailable(error)), None))
                }
            }
        });
        Ok(keeping(visit, found))
    }

    async fn find_source(&self, _: &SourceQueue) -> Result<(), QueueError> {
        Err(NO_SOURCES)
    }

    async fn open_source(&self, _: &SourceQueue) -> Result<(), QueueError> {
        Err(NO_SOURCES)
    }

    async fn consume_source(&self, _: &SourceQueue, _: NonZeroU16) -> Result<Deliveries, QueueError> {
        Err(NO_SOURCES)
    }

    async fn remove_source(&self, _: &SourceQueue) -> Result<(), QueueError> {
        Err(NO_SOURCES)
    }

    async fn purge(&self, queue: QueueName) -> Result<u64, QueueError> {
        let queue = Arc::clone(self.queue(queue));
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let purged = queue.remove_all(batch);
            move || purged
        };
        self.writer.commit(0, prepare).await.map_err(unavailable)
    }
}

const NO_SOURCES: QueueError =
    QueueError::Unsupported("the embedded broker has no foreign exchanges and queues: sources need RabbitMQ (broker.url)");

/// A consumer; what it holds goes back when it is dropped.
struct Consumer {
    id: u64,
    queue: Arc<Queue>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.queue.leave(self.id);
    }
}

struct LocalSettle {
    hold: Hold,
    queues: Queues,
}

#[async_trait]
impl Settle for LocalSettle {
    async fn check(&self) -> Result<(), QueueError> {
        if self.hold.is_held() { Ok(()) } else { Err(QueueError::Lost(self.hold.queue().name.to_string())) }
    }

    async fn bury(&self, message: &Message, letter: Letter) -> Result<(), QueueError> {
        let source = self.hold.queue().name.to_string();
        let letter = letter.of(message.clone(), &source, self.hold.attempts());
        self.queues.enqueue(QueueName::DeadLetters, letter).await
    }

    async fn settle(self: Box<Self>, message: Message, settlement: Settlement) -> Result<(), QueueError> {
        let Self { hold, queues } = *self;
        let name = hold.queue().name;
        let unsettled = hold.settle().ok_or_else(|| QueueError::Lost(name.to_string()))?;
        match settlement {
            Settlement::Done => queues.remove(unsettled).await,
            Settlement::Retry { after } if name == QueueName::Links => {
                queues.put_back(unsettled, message, Instant::now() + after.min(MAX_PAUSE)).await
            }
            Settlement::Retry { after } => {
                unsettled.retry(Instant::now() + after.min(MAX_PAUSE));
                Ok(())
            }
            Settlement::DeadLetter { reason, detail } => {
                let letter = Letter::new(reason, detail).of(message, &name.to_string(), unsettled.attempts());
                queues.pass_on(unsettled, QueueName::DeadLetters, letter).await
            }
            Settlement::Return(Way::Queue(queue)) => {
                let original = Message { reply_to: None, ..DeadLetter::from(message).message };
                queues.pass_on(unsettled, queue, original).await
            }
            Settlement::Return(Way::Source(_)) => Err(NO_SOURCES),
        }
    }
}

/// The longest pause of a retry.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

impl Queues {
    async fn remove(&self, unsettled: Unsettled) -> Result<(), QueueError> {
        let prepare = move |batch: &mut OwnedWriteBatch| {
            unsettled.remove(batch);
            move || unsettled.done()
        };
        self.writer.commit(0, prepare).await.map_err(unavailable)
    }

    /// Keeps a message as its consumer leaves it, and lets it wait for a pause.
    async fn put_back(&self, unsettled: Unsettled, message: Message, due: Instant) -> Result<(), QueueError> {
        let value = record::encode(&message).map_err(|error| QueueError::Unavailable(error.to_string()))?;
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let replaced = unsettled.replace(batch, value);
            move || replaced.retry(due)
        };
        self.writer.commit(message.body.len(), prepare).await.map_err(unavailable)
    }

    async fn enqueue(&self, queue: QueueName, message: Message) -> Result<(), QueueError> {
        let queue = Arc::clone(self.queue(queue));
        let value = record::encode(&message).map_err(|error| QueueError::Unavailable(error.to_string()))?;
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let added = queue.add(batch, value);
            move || added.map(|(sequence, item)| queue.wait(sequence, item)).ok_or(QueueError::Full(queue.name))
        };
        self.writer.commit(message.body.len(), prepare).await.map_err(unavailable)?
    }

    /// Moves a message to another queue: one commit, so that it is never in both or neither.
    async fn pass_on(&self, unsettled: Unsettled, to: QueueName, message: Message) -> Result<(), QueueError> {
        let value = record::encode(&message).map_err(|error| QueueError::Unavailable(error.to_string()))?;
        let to = Arc::clone(self.queue(to));
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let added = to.add(batch, value);
            if added.is_some() {
                unsettled.remove(batch);
            }
            move || {
                // Dropped unsettled, it comes again.
                let (sequence, item) = added.ok_or(QueueError::Full(to.name))?;
                unsettled.done();
                to.wait(sequence, item);
                Ok(())
            }
        };
        self.writer.commit(message.body.len(), prepare).await.map_err(unavailable)?
    }
}

/// Reads messages by their sequences; those that are not there any more are left out.
async fn read(messages: &Keyspace, sequences: Vec<u64>) -> Result<Vec<Message>, String> {
    let messages = messages.clone();
    let read = move || {
        let mut found = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            if let Some(value) = messages.get(sequence.to_be_bytes()).map_err(|error| error.to_string())? {
                found.push(record::decode(&bytes::Bytes::from_owner(value)).map_err(|error| error.to_string())?);
            }
        }
        Ok(found)
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
}

fn unavailable(failure: Failure) -> QueueError {
    QueueError::Unavailable(failure.to_string())
}
