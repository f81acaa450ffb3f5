//! The port to queues of work.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// Durable queues: each message is done once by one consumer, which settles it.
///
/// - **Durability.** `publish` returns `Ok` once the message is kept.
/// - **At least once.** A message whose consumer is dropped, or whose process dies, before it is settled comes again,
///   with `redelivered` set.
/// - **Order.** One consumer gets the messages in the order in which they were published, but for those that come again.
/// - **Pauses.** [`Settlement::Retry`] holds a message back. One of the links is kept by the broker meanwhile and takes no place
///   of its consumer's prefetch: it comes again as the consumer left it ([`Delivery::message`]), as a new message, behind those
///   that wait, and not before its pause is over (on RabbitMQ the pause is rounded up to the next of
///   [`QueueName::LINK_PAUSES`]; the embedded broker's ends early when its process does). The others stay with their consumer.
/// - **Attempts.** A dead letter's header `warren-attempts` is how often the message was handed out, and what its own header of
///   that name said before.
/// - The intake queue has one active consumer at a time; the others wait for its end. [`Delivery::check`] tells a
///   consumer whether it still is that one.
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

    /// Deletes all waiting messages and says how many.
    async fn purge(&self, queue: QueueName) -> Result<u64, QueueError>;
}

/// The messages of a queue, as they come.
pub type Deliveries = BoxStream<'static, Delivery>;

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

/// The header that counts attempts, in a message that is retried and in a dead letter.
pub const HEADER_ATTEMPTS: &str = "warren-attempts";

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
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// For implementations: a message and the way to settle it.
    pub fn new(message: Message, redelivered: bool, settle: Box<dyn Settle>) -> Self {
        Self { message, redelivered, settle }
    }

    /// Asks the broker whether this consumer still holds the message: `Ok` means that no other consumer had it when
    /// the broker answered, `Lost` that the connection has gone.
    pub async fn check(&self) -> Result<(), QueueError> {
        self.settle.check().await
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
}

/// What a queue answers besides success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The queue takes no more; the message is not kept.
    #[error("the queue {0} is full")]
    Full(QueueName),
    /// The consumer's connection is gone: what it held comes again.
    #[error("the consumer of {0} has lost this message: it comes again")]
    Lost(QueueName),
    /// The broker cannot be reached, or did not answer in time: the outcome is unknown.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
}
