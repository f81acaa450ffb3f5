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
use warren_protocol::ports::{
    Deliveries, Delivery, HEADER_ATTEMPTS, Message, QueueError, QueueName, Settle, Settlement, WorkQueue,
};

use super::store::{Store, StoreError};
use super::writer::{Failure, Writer};
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
            let redelivered = hold.redelivered();
            match read(&consumer.queue.messages, vec![hold.sequence()]).await.map(|mut messages| messages.pop()) {
                Ok(Some(message)) => {
                    return Some(Delivery::new(message, redelivered, Box::new(LocalSettle { hold, queues: self.clone() })));
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
        let queue = Arc::clone(self.queue(queue));
        let value = record::encode(&message).map_err(|error| QueueError::Unavailable(error.to_string()))?;
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let added = queue.add(batch, value);
            move || added.map(|(sequence, item)| queue.wait(sequence, item)).ok_or(QueueError::Full(queue.name))
        };
        self.writer.commit(message.body.len(), prepare).await.map_err(unavailable)?
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

    async fn purge(&self, queue: QueueName) -> Result<u64, QueueError> {
        let queue = Arc::clone(self.queue(queue));
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let purged = queue.remove_all(batch);
            move || purged
        };
        self.writer.commit(0, prepare).await.map_err(unavailable)
    }
}

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
        if self.hold.is_held() { Ok(()) } else { Err(QueueError::Lost(self.hold.queue().name)) }
    }

    async fn settle(self: Box<Self>, message: Message, settlement: Settlement) -> Result<(), QueueError> {
        let Self { hold, queues } = *self;
        let name = hold.queue().name;
        let unsettled = hold.settle().ok_or(QueueError::Lost(name))?;
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
                let letter = dead_letter(message, reason, detail, name, unsettled.attempts());
                queues.bury(unsettled, letter).await
            }
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

    /// Moves a message to the dead letters: one commit, so that it is never in both or neither.
    async fn bury(&self, unsettled: Unsettled, letter: Message) -> Result<(), QueueError> {
        let value = record::encode(&letter).map_err(|error| QueueError::Unavailable(error.to_string()))?;
        let dead_letters = Arc::clone(&self.dead_letters);
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let added = dead_letters.add(batch, value);
            if added.is_some() {
                unsettled.remove(batch);
            }
            move || {
                // Dropped unsettled, it comes again.
                let (sequence, item) = added.ok_or(QueueError::Full(QueueName::DeadLetters))?;
                unsettled.done();
                dead_letters.wait(sequence, item);
                Ok(())
            }
        };
        self.writer.commit(letter.body.len(), prepare).await.map_err(unavailable)?
    }
}

fn dead_letter(mut message: Message, reason: String, detail: String, source: QueueName, attempts: u32) -> Message {
    let before: u32 = message.headers.get(HEADER_ATTEMPTS).and_then(|count| count.parse().ok()).unwrap_or(0);
    let attempts = attempts.saturating_add(before);
    message.headers.extend([
        ("warren-reason".to_owned(), reason),
        ("warren-detail".to_owned(), detail),
        ("warren-source".to_owned(), source.to_string()),
        (HEADER_ATTEMPTS.to_owned(), attempts.to_string()),
    ]);
    message
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
