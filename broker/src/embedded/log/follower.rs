//! A follower: reads what is committed in chunks, then waits for more.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use fjall::Keyspace;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_protocol::ports::{FollowFrom, LogEntry, LogError, Position};

use super::{Log, Tail};
use crate::embedded::store::{LogKey, StoreError};

/// What one read takes at most, so that a follower holds little and starts soon.
const CHUNK_BYTES: usize = 1024 * 1024;
const CHUNK_MESSAGES: usize = 512;

/// Where a follower is.
pub(super) struct Cursor {
    log: Arc<Log>,
    messages: Keyspace,
    tail: watch::Receiver<Tail>,
    closing: CancellationToken,
    /// The message to compare before anything is read.
    resume: Option<(u64, u32)>,
    /// The last position that was given out, or 0.
    last_read: u64,
    chunk: vec::IntoIter<LogEntry>,
    ended: bool,
}

impl Cursor {
    pub(super) fn new(log: Arc<Log>, messages: Keyspace, from: FollowFrom, closing: CancellationToken) -> Self {
        let (last_read, resume) = match from {
            // It keeps no times.
            FollowFrom::Start | FollowFrom::Time { .. } => (0, None),
            FollowFrom::After { position, digest } => (position.0, Some((position.0, digest))),
        };
        let tail = log.tail.subscribe();
        Self { log, messages, tail, closing, resume, last_read, chunk: Vec::new().into_iter(), ended: false }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<LogEntry, LogError>> + Send {
        stream::unfold(self, |mut cursor| async move {
            if cursor.ended {
                return None;
            }
            let item = cursor.next().await;
            cursor.ended = item.is_err();
            Some((item, cursor))
        })
    }

    async fn next(&mut self) -> Result<LogEntry, LogError> {
        loop {
            if let Some(entry) = self.chunk.next() {
                self.last_read = entry.position.0;
                return Ok(entry);
            }
            let tail = *self.tail.borrow_and_update();
            if tail.deleted {
                return Err(LogError::NotFound(self.log.name.clone()));
            }
            if let Some((position, digest)) = self.resume.take() {
                self.compare(position, digest, tail).await?;
            }
            if self.read(tail).await?.is_break() {
                self.wait().await?;
            }
        }
    }

    /// Whether the message at `position` is still the one that was read there.
    async fn compare(&self, position: u64, digest: u32, tail: Tail) -> Result<(), LogError> {
        if position > tail.last {
            return Err(LogError::Replaced { position: Position(position) });
        }
        match self.fetch(position, position).await?.first() {
            Some(entry) if entry.digest() == digest => Ok(()),
            Some(_) => Err(LogError::Replaced { position: Position(position) }),
            None => Err(self.truncated(tail.first.max(position + 1))),
        }
    }

    /// Fills the chunk; breaks if there is nothing to read before the log changes.
    async fn read(&mut self, tail: Tail) -> Result<ControlFlow<()>, LogError> {
        let expected = self.last_read + 1;
        let from_start = self.last_read == 0;
        if expected < tail.first && !from_start {
            return Err(self.truncated(tail.first));
        }
        if expected > tail.last {
            return Ok(ControlFlow::Break(()));
        }
        let mut entries = self.fetch(expected.max(tail.first), tail.last).await?;
        // The log may be truncated under a reader. Positions are dense, so a hole shows.
        let whole = entries.windows(2).position(|pair| pair[1].position.0 != pair[0].position.0 + 1);
        entries.truncate(whole.map_or(entries.len(), |last| last + 1));
        let Some(first) = entries.first().map(|entry| entry.position.0) else {
            return Ok(ControlFlow::Break(()));
        };
        if first != expected && !from_start {
            return Err(self.truncated(first));
        }
        self.chunk = entries.into_iter();
        Ok(ControlFlow::Continue(()))
    }

    /// Reads the messages from one position to another, or as many as a chunk takes.
    async fn fetch(&self, from: u64, to: u64) -> Result<Vec<LogEntry>, LogError> {
        let range = LogKey::before(self.log.id, from)..LogKey::before(self.log.id, to + 1);
        let messages = self.messages.clone();
        let read = move || -> Result<Vec<LogEntry>, StoreError> {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for entry in messages.range(range) {
                let (key, message) = entry.into_inner()?;
                let Some(key) = LogKey::decode(&key) else {
                    return Err(StoreError::Unrecoverable);
                };
                bytes += message.len();
                entries.push(LogEntry {
                    position: Position(key.position),
                    message: Bytes::from_owner(message),
                    appended_ms: None,
                });
                if bytes >= CHUNK_BYTES || entries.len() >= CHUNK_MESSAGES {
                    break;
                }
            }
            Ok(entries)
        };
        let unavailable = |error: &dyn std::fmt::Display| LogError::Unavailable(error.to_string());
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| unavailable(&error))?;
        // A deleted log is swept: what is left of it says nothing.
        if self.log.tail.borrow().deleted {
            return Err(LogError::NotFound(self.log.name.clone()));
        }
        read.map_err(|error| unavailable(&error))
    }

    /// Waits until the log has changed since it was last looked at.
    async fn wait(&mut self) -> Result<(), LogError> {
        tokio::select! {
            // The cursor holds the log, and so the sender.
            _ = self.tail.changed() => Ok(()),
            () = self.closing.cancelled() => Err(LogError::Unavailable(crate::embedded::CLOSED.into())),
        }
    }

    fn truncated(&self, first: u64) -> LogError {
        LogError::Truncated { expected: Position(self.last_read), found: Position(first) }
    }
}
