//! Logs in the store: dense positions from 1 on, given out by the writer's thread in the order of the appends.

mod follower;
mod sweeper;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_protocol::ports::{Appended, FollowFrom, Follower, LogError, LogLimits, LogName, PartitionLog, Position};

use super::lock;
use super::store::{LogKey, Store, StoreError};
use super::writer::{Failure, Writer};
use follower::Cursor;
pub(super) use sweeper::Sweeper;

/// The largest message: what RabbitMQ 4 takes by default, so that whatever fits here fits there.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// What one append truncates at most, in messages; the next one goes on.
const MAX_TRUNCATED_AT_ONCE: usize = 4096;

/// All logs of the folder.
pub(super) struct Logs {
    store: Store,
    writer: Writer,
    logs: Arc<Mutex<Table>>,
    sweeper: Arc<Sweeper>,
    closing: CancellationToken,
}

struct Table {
    by_name: HashMap<String, Arc<Log>>,
    next_id: u64,
}

/// One log.
struct Log {
    name: String,
    id: u64,
    /// Where the next message goes; only the writer's thread changes it.
    head: Mutex<Head>,
    /// What followers may read: set after each commit.
    tail: watch::Sender<Tail>,
}

struct Head {
    record: Record,
    /// The position of the next message.
    next: u64,
    /// The bytes of all messages that were ever appended.
    end: u64,
}

/// What the store keeps of a log besides its messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    id: u64,
    max_bytes: Option<u64>,
    /// The position of the first message that was not truncated.
    first: u64,
    /// The bytes of the messages that were.
    truncated_bytes: u64,
}

#[derive(Clone, Copy)]
struct Tail {
    first: u64,
    /// The last committed position, 0 if there is none.
    last: u64,
    deleted: bool,
}

impl Logs {
    pub(super) fn open(
        store: &Store,
        writer: Writer,
        sweeper: Arc<Sweeper>,
        closing: CancellationToken,
    ) -> Result<Self, StoreError> {
        let mut table = Table { by_name: HashMap::new(), next_id: sweeper.highest_id() + 1 };
        for entry in store.meta.prefix(RECORD_PREFIX) {
            let (key, value) = entry.into_inner()?;
            let (Ok(name), Ok(record)) = (std::str::from_utf8(&key[RECORD_PREFIX.len()..]), postcard::from_bytes(&value)) else {
                return Err(StoreError::Unrecoverable);
            };
            let log = Log::open(&store.logs, name, record)?;
            table.next_id = table.next_id.max(log.id + 1);
            table.by_name.insert(name.into(), Arc::new(log));
        }
        // What all processes share is there before any of them asks; on RabbitMQ every process declares it.
        let mut batch = store.database.batch();
        table.create(&mut batch, &store.meta, LogName::Catalog.to_string(), LogLimits { max_bytes: None });
        batch.commit()?;
        Ok(Self { store: store.clone(), writer, logs: Arc::new(Mutex::new(table)), sweeper, closing })
    }

    fn find(&self, log: &LogName) -> Result<Arc<Log>, LogError> {
        let name = log.to_string();
        lock(&self.logs).by_name.get(&name).cloned().ok_or(LogError::NotFound(name))
    }
}

impl Table {
    fn create(&mut self, batch: &mut OwnedWriteBatch, meta: &Keyspace, name: String, limits: LogLimits) {
        if self.by_name.contains_key(&name) {
            return;
        }
        let record = Record { id: self.next_id, max_bytes: limits.max_bytes, first: 1, truncated_bytes: 0 };
        self.next_id += 1;
        record.write(batch, meta, &name);
        self.by_name.insert(name.clone(), Arc::new(Log::new(name, record, 1, 0)));
    }
}

#[async_trait]
impl PartitionLog for Logs {
    async fn create(&self, log: &LogName, limits: LogLimits) -> Result<(), LogError> {
        let (name, logs, meta) = (log.to_string(), Arc::clone(&self.logs), self.store.meta.clone());
        let prepare = move |batch: &mut OwnedWriteBatch| {
            lock(&logs).create(batch, &meta, name, limits);
            || ()
        };
        self.writer.commit(0, prepare).await.map_err(unavailable)
    }

    async fn delete(&self, log: &LogName) -> Result<(), LogError> {
        let (name, logs, meta) = (log.to_string(), Arc::clone(&self.logs), self.store.meta.clone());
        let sweeper = Arc::clone(&self.sweeper);
        let prepare = move |batch: &mut OwnedWriteBatch| {
            let deleted = lock(&logs).by_name.remove(&name);
            if let Some(log) = &deleted {
                batch.remove(&meta, record_key(&name));
                sweeper.doom(batch, &meta, log.id);
            }
            move || {
                if let Some(log) = deleted {
                    log.tail.send_modify(|tail| tail.deleted = true);
                    sweeper.sweep(log.id);
                }
            }
        };
        self.writer.commit(0, prepare).await.map_err(unavailable)
    }

    async fn append(&self, log: &LogName, message: Bytes) -> Result<Appended, LogError> {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(LogError::TooLarge { bytes: message.len() as u64, limit: MAX_MESSAGE_BYTES as u64 });
        }
        let log = self.find(log)?;
        let store = self.store.clone();
        let bytes = message.len();
        let prepare = move |batch: &mut OwnedWriteBatch| {
            // Read here: a delete that was handed over before this append has been prepared before it, too.
            let appended = !log.tail.borrow().deleted;
            let (first, last) = if appended { log.write(batch, &store, &message) } else { (0, 0) };
            move || {
                if !appended {
                    return Err(LogError::NotFound(log.name.clone()));
                }
                log.tail.send_modify(|tail| (tail.first, tail.last) = (first, last));
                Ok(())
            }
        };
        let committed = self.writer.submit(bytes, prepare).await.map_err(unavailable)?;
        Ok(Box::pin(async { committed.wait().await.map_err(unavailable)? }))
    }

    async fn follow(&self, log: &LogName, from: FollowFrom) -> Result<Follower, LogError> {
        Ok(Cursor::new(self.find(log)?, self.store.logs.clone(), from, self.closing.clone()).into_stream().boxed())
    }

    async fn last(&self, log: &LogName) -> Result<Option<Position>, LogError> {
        let last = self.find(log)?.tail.borrow().last;
        Ok((last > 0).then_some(Position(last)))
    }
}

impl Log {
    fn new(name: String, record: Record, next: u64, end: u64) -> Self {
        let tail = watch::Sender::new(Tail { first: record.first, last: next - 1, deleted: false });
        Self { name, id: record.id, head: Mutex::new(Head { record, next, end }), tail }
    }

    fn open(messages: &Keyspace, name: &str, record: Record) -> Result<Self, StoreError> {
        let all = LogKey::before(record.id, record.first)..LogKey::before(record.id, u64::MAX);
        let last = messages.range(all).next_back().map(fjall::Guard::key).transpose()?;
        let (next, end) = match last.and_then(|key| LogKey::decode(&key)) {
            Some(last) => (last.position + 1, last.end),
            None => (record.first, record.truncated_bytes),
        };
        Ok(Self::new(name.into(), record, next, end))
    }

    /// Adds the message to the batch; what the log then spans.
    fn write(&self, batch: &mut OwnedWriteBatch, store: &Store, message: &[u8]) -> (u64, u64) {
        let mut head = lock(&self.head);
        let position = head.next;
        head.next += 1;
        head.end += message.len() as u64;
        batch.insert(&store.logs, LogKey { log: self.id, position, end: head.end }.encode(), message);
        if let Some(max_bytes) = head.record.max_bytes
            && head.end - head.record.truncated_bytes > max_bytes
        {
            // An eighth more than needed, so that not every append truncates.
            self.truncate(batch, store, &mut head, max_bytes - max_bytes / 8);
        }
        (head.record.first, position)
    }

    /// Removes the oldest messages until `goal` bytes are left, but for those that are not committed yet.
    fn truncate(&self, batch: &mut OwnedWriteBatch, store: &Store, head: &mut Head, goal: u64) {
        let committed = self.tail.borrow().last;
        let oldest = LogKey::before(self.id, head.record.first)..LogKey::before(self.id, committed);
        for entry in store.logs.range(oldest).take(MAX_TRUNCATED_AT_ONCE) {
            if head.end - head.record.truncated_bytes <= goal {
                break;
            }
            // What cannot be read now is truncated with a later append.
            let Some((key, decoded)) = entry.key().ok().and_then(|key| LogKey::decode(&key).map(|decoded| (key, decoded))) else {
                break;
            };
            batch.remove(&store.logs, key);
            head.record.first = decoded.position + 1;
            head.record.truncated_bytes = decoded.end;
        }
        head.record.write(batch, &store.meta, &self.name);
    }
}

const RECORD_PREFIX: &str = "log/";

fn record_key(name: &str) -> String {
    format!("{RECORD_PREFIX}{name}")
}

impl Record {
    fn write(&self, batch: &mut OwnedWriteBatch, meta: &Keyspace, name: &str) {
        // Four numbers always encode.
        batch.insert(meta, record_key(name).as_str(), postcard::to_stdvec(self).unwrap_or_default());
    }
}

fn unavailable(failure: Failure) -> LogError {
    LogError::Unavailable(failure.to_string())
}
