//! The port to partition logs, and to the catalog, which is a log too.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::partition::PartitionId;

/// Ordered, durable, replayable logs.
///
/// - **Order.** Messages that one process appends to one log stand in it in the order of its `append` calls.
/// - **Durability.** An [`Appended`] that resolves to `Ok` means that the message survives the death of every Warren
///   process, and of the broker as far as its kind promises. Any error but `Full`, `TooLarge` and `NotFound` means
///   *unknown*: the message may be in the log, now or a little later.
/// - **Once in the log, for ever there**, but for what the log's limits truncate from its beginning.
/// - **Following** yields every message from the given place on, in order, each once, then waits for new ones. Lost
///   connections are made again, silently; the follower goes on behind the last message that it gave out.
/// - Positions grow from message to message, and are not dense; the first message of a log stands at 0 or 1.
#[async_trait]
pub trait PartitionLog: Send + Sync {
    /// Creates a log; nothing changes if it exists with the same limits.
    async fn create(&self, log: &LogName, limits: LogLimits) -> Result<(), LogError>;

    /// Deletes a log with all its messages; nothing changes if there is none.
    async fn delete(&self, log: &LogName) -> Result<(), LogError>;

    /// Hands a message over, in the order of the calls; awaits room if too many bytes are unconfirmed.
    ///
    /// The returned future is the broker's confirm. Dropping it does not take the message back.
    async fn append(&self, log: &LogName, message: Bytes) -> Result<Appended, LogError>;

    /// Follows a log. `NotFound` if there is none; what happens later arrives as the last item of the follower:
    /// `Truncated` and `Replaced` if `from` or the next message is not there any more, `NotFound` if the log is deleted.
    async fn follow(&self, log: &LogName, from: FollowFrom) -> Result<Follower, LogError>;

    /// A position that the last message has reached or passed, `None` if the log is empty: whoever has read up to
    /// it has read all that was confirmed before the call, but for at most the rest of one batch of the broker's.
    async fn last(&self, log: &LogName) -> Result<Option<Position>, LogError>;
}

/// The confirm of one message.
pub type Appended = BoxFuture<'static, Result<(), LogError>>;

/// The messages of a log, as they come; ends after the first error.
pub type Follower = BoxStream<'static, Result<LogEntry, LogError>>;

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogName {
    /// The index definitions.
    Catalog,
    /// The writes of one partition.
    Partition(PartitionId),
}

impl fmt::Display for LogName {
    /// As the stream is named: `warren.catalog`, `warren.log.{index}.{g}.{p}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.write_str("warren.catalog"),
            Self::Partition(partition) => write!(f, "warren.log.{partition}"),
        }
    }
}

/// How large a log may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Beyond it, the oldest messages are truncated, a segment at a time; `None`: never.
    pub max_bytes: Option<u64>,
}

/// The most positions that a broker takes for itself where one segment of a log ends and the next begins: what is missing
/// between two messages there is no message.
pub const SEGMENT_GAP: u64 = 3;

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One message of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub position: Position,
    /// What was appended.
    pub message: Bytes,
    /// When, in Unix milliseconds by the clock of whoever appended it; `None` where the broker keeps no times.
    pub appended_ms: Option<u64>,
}

impl LogEntry {
    /// What tells this message from the one that another log has at the same position: CRC-32 of its bytes, which
    /// hold writer, epoch and sequence.
    pub fn digest(&self) -> u32 {
        crc32fast::hash(&self.message)
    }
}

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// With the first message that the log still has.
    Start,
    /// Behind the message at `position`, which must still be there and have this [`LogEntry::digest`].
    After {
        /// The last position that was read.
        position: Position,
        /// The digest of the message there.
        digest: u32,
    },
    /// With a message that is older than this, or the first that the log still has: all that was appended since comes.
    Time {
        /// Unix milliseconds. Clocks that differ by less than [`FollowFrom::CLOCKS_DIFFER_MS`] are allowed for.
        unix_ms: u64,
    },
}

impl FollowFrom {
    /// How far the clocks of the broker and of Warren's processes may be apart.
    pub const CLOCKS_DIFFER_MS: u64 = 10_000;
}

/// What a log answers besides success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no such log: the index was deleted, read the catalog again.
    #[error("there is no log {0}")]
    NotFound(String),
    /// The broker refused the message; it is not in the log.
    #[error("the broker refused the message: the log or the broker is full")]
    Full,
    /// The message is larger than the broker takes; it is not in the log.
    #[error("the message has {bytes} bytes, the broker takes at most {limit}")]
    TooLarge {
        /// The size of the message.
        bytes: u64,
        /// The most that the broker takes.
        limit: u64,
    },
    /// The broker cannot be reached, or did not answer in time: the outcome is unknown.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// The messages behind `expected` were truncated before they were read.
    #[error("the log was truncated: the next message after {expected} stands at {found}")]
    Truncated {
        /// The last position that was read, or 0.
        expected: Position,
        /// The first position that the log has now.
        found: Position,
    },
    /// Another log stands in the place of the one that was read.
    #[error("the log is another one: the message at {position} is not the one that was read there")]
    Replaced {
        /// The position that was compared.
        position: Position,
    },
}
