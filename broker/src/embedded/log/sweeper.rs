//! Removes the messages of deleted logs, a piece at a time, while the writer has nothing else to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use fjall::{Keyspace, OwnedWriteBatch};

use crate::embedded::lock;
use crate::embedded::store::{LogKey, Store, StoreError};

/// The messages that one piece removes.
const PIECE: usize = 1024;
const PREFIX: &[u8] = b"doomed/";

/// The deleted logs whose messages are still there.
pub(in crate::embedded) struct Sweeper {
    doomed: Mutex<VecDeque<Doomed>>,
    highest_id: u64,
}

struct Doomed {
    log: u64,
    /// All messages before this position are removed.
    next: u64,
}

impl Sweeper {
    /// Finds what a former process left.
    pub(in crate::embedded) fn open(store: &Store) -> Result<Self, StoreError> {
        let mut doomed = VecDeque::new();
        for entry in store.meta.prefix(PREFIX) {
            let key = entry.key()?;
            let id = key[PREFIX.len()..].try_into().map_err(|_| StoreError::Unrecoverable)?;
            doomed.push_back(Doomed { log: u64::from_be_bytes(id), next: 0 });
        }
        let highest_id = doomed.iter().map(|doomed| doomed.log).max().unwrap_or(0);
        Ok(Self { doomed: Mutex::new(doomed), highest_id })
    }

    /// The highest id of a doomed log at the start: new logs need others.
    pub(super) fn highest_id(&self) -> u64 {
        self.highest_id
    }

    /// Notes in the store that the messages of a log are to go.
    pub(super) fn doom(&self, batch: &mut OwnedWriteBatch, meta: &Keyspace, log: u64) {
        batch.insert(meta, key(log), b"");
    }

    /// Goes to work on them.
    pub(super) fn sweep(&self, log: u64) {
        lock(&self.doomed).push_back(Doomed { log, next: 0 });
    }

    /// The work, piece by piece: answers whether some was done.
    pub(in crate::embedded) fn into_chore(self: Arc<Self>, store: Store) -> impl FnMut() -> bool + Send + 'static {
        move || {
            let Some(doomed) = lock(&self.doomed).pop_front() else {
                return false;
            };
            match remove_piece(&store, &doomed) {
                Ok(Some(next)) => lock(&self.doomed).push_front(Doomed { next, ..doomed }),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, log = doomed.log, "the messages of a deleted log stay until the next start");
                }
            }
            true
        }
    }
}

/// Removes a piece, and with the last one the note; answers where to go on.
fn remove_piece(store: &Store, doomed: &Doomed) -> Result<Option<u64>, StoreError> {
    let mut batch = store.database.batch();
    let mut next = None;
    let rest = LogKey::before(doomed.log, doomed.next)..LogKey::before(doomed.log, u64::MAX);
    for entry in store.logs.range(rest).take(PIECE) {
        let message = entry.key()?;
        next = LogKey::decode(&message).map(|key| key.position + 1);
        batch.remove(&store.logs, message);
    }
    if batch.len() < PIECE {
        batch.remove(&store.meta, key(doomed.log));
        next = None;
    }
    batch.commit()?;
    Ok(next)
}

fn key(log: u64) -> Vec<u8> {
    [PREFIX, &log.to_be_bytes()].concat()
}
