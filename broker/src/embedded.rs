//! All five ports in one process, with the data in a folder: what makes `warren up` work on a bare machine.
//!
//! Logs and queues are kept in one fjall database; calls, claims and announcements never leave the process and live in
//! memory. One thread writes (`writer`), all others read.
//!
//! **Durability.** A confirmed append, a published or a settled message has been handed to the operating system: it
//! survives the death of the process, `kill -9` included. The files are synced to the disk in the background, twice a
//! second while there is something to sync, and on a clean close: a power failure or a crash of the machine loses at
//! most the last moment.
//!
//! **Bounds.** At most 64 MiB wait for the writer, then callers wait; memory for unwritten data is bounded by the store's
//! settings; a queue takes 100,000 messages or 1 GiB; a partition 10,000 waiting calls.

mod bulletin;
mod claims;
mod log;
mod queue;
mod rpc;
mod store;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio_util::sync::{CancellationToken, DropGuard};
use warren_protocol::ports::Ports;

use bulletin::LocalBulletin;
use claims::LocalClaims;
use log::{Logs, Sweeper};
use queue::Queues;
use rpc::Exchange;
use store::{Store, StoreError};
use writer::Writer;

/// The embedded broker: holds its folder until it is closed.
pub struct Embedded {
    ports: Ports,
    writer: Writer,
    thread: JoinHandle<()>,
    /// Ends the streams that the ports gave out, also when this is dropped without [`Embedded::close`].
    closing: DropGuard,
}

/// Why a folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process holds it: stop that one, or take another folder.
    #[error("it is in use: is another warren running?")]
    InUse,
    /// The file system refuses: no permission, no space, no folder.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Its files are not what a broker of this version left there.
    #[error("its files cannot be read: {0}")]
    Damaged(String),
}

impl From<StoreError> for EmbeddedError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked => Self::InUse,
            StoreError::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl Embedded {
    /// Opens the folder, and makes it if there is none. Does file IO, and waits some 300 ms for a folder that is in
    /// use: not for a thread of the async runtime.
    pub fn open(dir: &Path) -> Result<Self, EmbeddedError> {
        let store = Store::open(dir)?;
        let closing = CancellationToken::new();
        let sweeper = Arc::new(Sweeper::open(&store)?);
        let (writer, thread) = Writer::start(store.clone(), Arc::clone(&sweeper).into_chore(store.clone()))?;
        let ports = Ports {
            log: Arc::new(Logs::open(&store, writer.clone(), sweeper, closing.clone())?),
            queue: Arc::new(Queues::open(&store, writer.clone(), closing.clone())?),
            rpc: Arc::new(Exchange::open(&store, writer.clone(), closing.clone())?),
            claims: Arc::new(LocalClaims::new(closing.clone())),
            bulletin: Arc::new(LocalBulletin::new(closing.clone())),
        };
        Ok(Self { ports, writer, thread, closing: closing.drop_guard() })
    }

    /// The ports.
    pub fn ports(&self) -> Ports {
        self.ports.clone()
    }

    /// Ends all streams, writes what was handed over, and syncs it to the disk. The folder can be opened again once
    /// the clones of the ports, and the streams from them, are dropped, too.
    pub async fn close(self) {
        let Self { ports, writer, thread, closing } = self;
        drop(closing);
        let closed = tokio::task::spawn_blocking(move || {
            writer.close();
            // The last handles of the store may go here, and that waits for the store's own threads.
            drop((ports, writer));
            thread.join()
        });
        if !matches!(closed.await, Ok(Ok(()))) {
            tracing::warn!("the writer of the embedded broker ended early");
        }
    }
}

/// Locks; nothing that holds one of these locks can panic half way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a stream or a call of a closed broker ends.
const CLOSED: &str = "the embedded broker was closed";
