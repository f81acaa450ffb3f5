//! The database: its keyspaces, its bounds, and the keys in it.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | `log/{name}` | the record of a log |
//! | `meta` | `doomed/{id}` | a deleted log, whose messages are still to be removed |
//! | `meta` | `rpc/{name}` | a partition's place for calls exists |
//! | `logs` | log id, position, bytes of the log up to here; 8 bytes each, big-endian | the message |
//! | `warren.intake`, `warren.links`, `warren.dead.letters` | sequence, 8 bytes, big-endian | properties and body |
//!
//! All logs share a keyspace: so a process holds one write buffer, not one for every partition. Values that are not
//! small lie apart from their keys, and compaction leaves them where they are.

use std::path::Path;
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

const MIB: u64 = 1024 * 1024;
/// Blocks that were read; the page cache of the system does the rest.
const CACHE_BYTES: u64 = 8 * MIB;
/// What a keyspace holds in memory before it is written to a table; at most four such wait to be written.
const LOG_BUFFER_BYTES: u64 = 8 * MIB;
const SMALL_BUFFER_BYTES: u64 = 4 * MIB;
/// Values from this size on lie apart.
const APART_BYTES: u32 = 256;
/// Beyond it, buffers are written to tables so that old journals can go; the least that the store takes.
const JOURNAL_BYTES: u64 = 64 * MIB;

/// What the store says when it fails.
pub(super) type StoreError = fjall::Error;

/// The handles of the database; cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) database: Database,
    pub(super) meta: Keyspace,
    pub(super) logs: Keyspace,
    pub(super) intake: Keyspace,
    pub(super) links: Keyspace,
    pub(super) dead_letters: Keyspace,
}

impl Store {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir)?;
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .max_cached_files(Some(128))
            .worker_threads(2)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(SMALL_BUFFER_BYTES);
        let apart = || Some(KvSeparationOptions::default().separation_threshold(APART_BYTES).file_target_size(LOG_BUFFER_BYTES));
        let large = || small().with_kv_separation(apart());
        let logs = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(LOG_BUFFER_BYTES)
                .with_kv_separation(apart())
                // Compaction is cheap here, and what was truncated is off the disk only after it.
                .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(2)))
        };
        Ok(Self {
            meta: database.keyspace("meta", small)?,
            logs: database.keyspace("logs", logs)?,
            intake: database.keyspace("warren.intake", large)?,
            links: database.keyspace("warren.links", large)?,
            dead_letters: database.keyspace("warren.dead.letters", large)?,
            database,
        })
    }
}

impl Store {
    /// Bounds the memory for what is not in tables yet. To be called after each commit: the store's own threads begin a
    /// new buffer only when they find the time, and a commit waits only for buffers that are full, not for one that grows.
    pub(super) fn bound_buffers(&self) -> Result<(), StoreError> {
        let small = [&self.intake, &self.links, &self.dead_letters].map(|keyspace| (keyspace, SMALL_BUFFER_BYTES));
        for (keyspace, limit) in [(&self.logs, LOG_BUFFER_BYTES)].into_iter().chain(small) {
            if keyspace.tree.active_memtable().size() > limit * 2 {
                keyspace.rotate_memtable()?;
            }
        }
        Ok(())
    }
}

/// The key of a message of a log. The bytes at its end let the size of any stretch be told from two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogKey {
    pub(super) log: u64,
    pub(super) position: u64,
    /// The bytes of all messages of the log up to and with this one.
    pub(super) end: u64,
}

impl LogKey {
    /// Before the message at `position`, and behind the one before it.
    pub(super) fn before(log: u64, position: u64) -> [u8; 24] {
        Self { log, position, end: 0 }.encode()
    }

    pub(super) fn encode(self) -> [u8; 24] {
        let mut key = [0; 24];
        key[..8].copy_from_slice(&self.log.to_be_bytes());
        key[8..16].copy_from_slice(&self.position.to_be_bytes());
        key[16..].copy_from_slice(&self.end.to_be_bytes());
        key
    }

    /// Reads a key; `None` if it is not one of this form.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let [log, position, end] = key.as_chunks::<8>().0 else {
            return None;
        };
        Some(Self { log: u64::from_be_bytes(*log), position: u64::from_be_bytes(*position), end: u64::from_be_bytes(*end) })
    }
}

/// Reads a sequence, the key of a queue; `None` if it is not one.
pub(super) fn decode_sequence(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_log_then_position() {
        let key = LogKey { log: 2, position: 300, end: 70_000 };
        assert_eq!(LogKey::decode(&key.encode()), Some(key));
        assert!(LogKey::before(2, 300) < key.encode() && key.encode() < LogKey::before(2, 301));
        assert!(LogKey::before(2, u64::MAX) < LogKey::before(3, 0));
        assert_eq!(LogKey::decode(b"short"), None);
    }
}
