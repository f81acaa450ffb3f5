//! The port to queues of work.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::dead_letter::Letter;

/// Durable queues: each message is done once by one consumer, which settles it.
///
/// - **Durability.** `publish` returns `Ok` once the message is kept.
/// - **At least once.** A message whose consumer is dropped, or whose process dies, before it is settled comes again,
///   with `redelivered` set.
/// - **Order.** One consumer gets the messages in the order in which they were published, but for those that come again.
/// - **Pauses.** [`Settlement::Retry`] holds a message back. One of the links is kept by the broker meanwhile and takes no place
///   of its consumer's prefetch: it comes again as the consumer left it ([`Delivery::message`]), as a new message, behind those
///   that wait, and not before its pause is over (on RabbitMQ the pause is rounded up to the next of
///   [`QueueName::LINK_PAUSES`]; the embedded broker's ends early when its process does). The others stay with their consumer. While
///   the broker takes no messages, the settlement of a link waits.
/// - The intake queue has one active consumer at a time; the others wait for its end. [`Delivery::check`] tells a
///   consumer whether it still is that one. The same holds for the queue of a source.
#[async_trait]
pub trait WorkQueue: Send + Sync {
    /// Publishes a message; `Ok` means that it is kept.
    async fn publish(&self, queue: QueueName, message: Message) -> Result<(), QueueError>;

    /// Consumes; at most `prefetch` messages are unsettled at a time. The stream ends when the consumer is lost with its
    /// connection: its unsettled messages come again, to whoever consumes then.
    async fn consume(&self, queue: QueueName, prefetch: NonZeroU16) -> Result<Deliveries, QueueError>;

    /// How many messages wait; on RabbitMQ this may be seconds old.
    async fn depth(&self, queue: QueueName) -> Result<u64, QueueError>;

    /// Looks at the first messages, at most `limit`, and leaves them where they are.
    async fn peek(&self, queue: QueueName, limit: usize) -> Result<Vec<Message>, QueueError>;

    /// Hands out the messages that wait, the first one first, each once; the stream ends when there are no more, or behind
    /// an error: then it broke off, and there may be more. What is not settled is back in its place once the stream is
    /// dropped; until then others do not see it. Not for a queue with a single active consumer.
    async fn sift(&self, queue: QueueName) -> Result<Sifted, QueueError>;

    /// Deletes all waiting messages and says how many.
    async fn purge(&self, queue: QueueName) -> Result<u64, QueueError>;

    /// Looks whether the exchange or the queue of a source is there, and makes nothing. `NotFound` names what is missing;
    /// `Unsupported` where there are no foreign exchanges and queues.
    async fn find_source(&self, source: &SourceQueue) -> Result<(), QueueError>;

    /// Makes the source's queue and its binding, if that is Warren's own; otherwise it looks as [`WorkQueue::find_source`].
    async fn open_source(&self, source: &SourceQueue) -> Result<(), QueueError>;

    /// Consumes a source's queue, as [`WorkQueue::consume`] does. One process at a time: `Taken` if it is another one.
    async fn consume_source(&self, source: &SourceQueue, prefetch: NonZeroU16) -> Result<Deliveries, QueueError>;

    /// Removes what [`WorkQueue::open_source`] made; nothing changes if that is gone. A foreign queue stays.
    async fn remove_source(&self, source: &SourceQueue) -> Result<(), QueueError>;
}

/// The messages of a queue, as they come.
pub type Deliveries = BoxStream<'static, Delivery>;

/// The messages that [`WorkQueue::sift`] hands out.
pub type Sifted = BoxStream<'static, Result<Delivery, QueueError>>;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueName {
    /// Documents from any client: behind the exchange `warren.documents`, whose routing key is the index.
    Intake,
    /// Links to be fetched: behind the exchange `warren.links`, whose routing key is the index.
    Links,
    /// What could not be processed.
    DeadLetters,
}

impl QueueName {
    /// The pauses that a link can be given.
    pub const LINK_PAUSES: [Duration; 5] = [
        Duration::from_secs(1),
        Duration::from_secs(10),
        Duration::from_secs(60),
        Duration::from_secs(600),
        Duration::from_secs(3600),
    ];
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intake => "warren.intake",
            Self::Links => "warren.links",
            Self::DeadLetters => "warren.dead.letters",
        })
    }
}

impl FromStr for QueueName {
    type Err = ();

    /// The queue that a dead letter names.
    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Intake, Self::Links, Self::DeadLetters].into_iter().find(|queue| queue.to_string() == name).ok_or(())
    }
}

/// The queue of a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceQueue {
    /// What dead letters name as the way that they came by.
    pub label: String,
    /// The name of the queue.
    pub queue: String,
    /// How the queue gets its messages, if it is Warren's own.
    pub binding: Option<Binding>,
}

/// A binding to a foreign exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The exchange.
    pub exchange: String,
    /// The binding key.
    pub key: String,
}

/// The way that a message came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A queue of Warren's.
    Queue(QueueName),
    /// A source.
    Source(SourceQueue),
}

/// A message with the properties that Warren looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The bytes.
    pub body: Bytes,
    /// The routing key: for the intake, the name of the index.
    pub routing_key: String,
    /// AMQP `message_id`.
    pub message_id: Option<String>,
    /// AMQP `type`: `delete` makes it a deletion.
    pub kind: Option<String>,
    /// AMQP `content_type`.
    pub content_type: Option<String>,
    /// AMQP `content_encoding`.
    pub content_encoding: Option<String>,
    /// AMQP `correlation_id`.
    pub correlation_id: Option<String>,
    /// AMQP `reply_to`.
    pub reply_to: Option<String>,
    /// Headers that hold text or whole numbers, as text.
    pub headers: BTreeMap<String, String>,
}

/// One message in the hands of its consumer.
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Whether it was handed out before: its consumer may have died of it.
    pub redelivered: bool,
    /// How often it was handed out, this time included, as far as the queue counts.
    pub attempts: u32,
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// For implementations: a message and the way to settle it.
    pub fn new(message: Message, redelivered: bool, attempts: u32, settle: Box<dyn Settle>) -> Self {
        Self { message, redelivered, attempts, settle }
    }

    /// Asks the broker whether this consumer still holds the message: `Ok` means that no other consumer had it when
    /// the broker answered, `Lost` that the connection has gone.
    pub async fn check(&self) -> Result<(), QueueError> {
        self.settle.check().await
    }

    /// Puts the message, or a part of it, into the dead letters, and leaves it unsettled: it is to be settled as `Done` once
    /// all that was refused of it is kept. A message that comes again in between is there twice then.
    pub async fn bury(&self, letter: Letter) -> Result<(), QueueError> {
        self.settle.bury(&self.message, letter).await
    }

    /// Settles the message, once. An error means that the consumer lost it: it comes again, here or elsewhere.
    pub async fn settle(self, settlement: Settlement) -> Result<(), QueueError> {
        self.settle.settle(self.message, settlement).await
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("message", &self.message).field("redelivered", &self.redelivered).finish_non_exhaustive()
    }
}

/// How an implementation settles its messages.
#[async_trait]
pub trait Settle: Send + Sync {
    /// See [`Delivery::check`]: a round trip on the channel of the consumer.
    async fn check(&self) -> Result<(), QueueError>;

    /// See [`Delivery::bury`].
    async fn bury(&self, message: &Message, letter: Letter) -> Result<(), QueueError>;

    /// Carries the settlement out.
    async fn settle(self: Box<Self>, message: Message, settlement: Settlement) -> Result<(), QueueError>;
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done, and leaves the queue.
    Done,
    /// It comes again after a pause.
    Retry {
        /// The pause.
        after: Duration,
    },
    /// It goes to the dead letters, with its body and properties; it leaves the queue once it is kept there.
    DeadLetter {
        /// A stable word: header `warren-reason`.
        reason: String,
        /// For people: header `warren-detail`.
        detail: String,
    },
    /// A dead letter goes back to the way that it came by, with its body, properties and own headers, and without
    /// `reply_to`: whoever waited for an answer has had one. It leaves the dead letters once it is kept there.
    Return(Way),
}

/// What a queue answers besides success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The queue takes no more; the message is not kept.
    #[error("the queue {0} is full")]
    Full(QueueName),
    /// The consumer's connection is gone: what it held comes again.
    #[error("the consumer of {0} has lost this message: it comes again")]
    Lost(String),
    /// Another process consumes the source.
    #[error("another process consumes {0}")]
    Taken(String),
    /// A foreign queue or exchange is not there, or is not what it is taken for.
    #[error("{0}")]
    NotFound(String),
    /// This broker cannot do that at all.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The broker cannot be reached, or did not answer in time: the outcome is unknown.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
}
