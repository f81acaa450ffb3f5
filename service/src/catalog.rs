//! The live catalog: every process replays the catalog's log, and asks for changes by appending to it.

mod error;
mod lifecycle;
mod replay;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;
use warren_protocol::IndexName;
use warren_protocol::catalog::{Catalog, Entry};
use warren_protocol::ports::Ports;

pub use error::CatalogError;
pub use lifecycle::Creation;

use replay::{Replay, follow};

/// The catalog as this process knows it, and the way to change it. All clones are one; the last one ends the replay.
#[derive(Clone)]
pub struct CatalogHandle {
    shared: Arc<Shared>,
}

struct Shared {
    ports: Ports,
    replay: Arc<Replay>,
    /// One creation at a time: the others then find the index.
    creating: tokio::sync::Mutex<()>,
    _task: JoinSet<()>,
}

impl CatalogHandle {
    /// Creates the catalog's log if there is none, and follows it until the last handle is dropped: what is finished
    /// during a stop still needs it.
    pub async fn start(ports: &Ports) -> Result<Self, CatalogError> {
        let replay = Arc::new(Replay::new());
        let target = replay::prepare(ports).await?;
        let mut task = JoinSet::new();
        task.spawn(follow(ports.log.clone(), replay.clone(), target));
        let shared = Shared { ports: ports.clone(), replay, creating: tokio::sync::Mutex::new(()), _task: task };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether all that was confirmed before the start is replayed, and the catalog can still be followed.
    pub fn is_ready(&self) -> bool {
        self.shared.replay.state().is_ok_and(|ready| ready)
    }

    /// The same for `/readyz`, with the reason.
    pub fn readiness(&self) -> impl Fn() -> Result<(), String> + Send + Sync + use<> {
        let catalog = self.clone();
        move || if catalog.is_ready() { Ok(()) } else { Err("the catalog of indexes is not read yet".to_owned()) }
    }

    /// Waits until the catalog is ready; `Unavailable` at the deadline, `Broken` if it never will be.
    pub async fn ready(&self, deadline: Instant) -> Result<(), CatalogError> {
        self.shared.replay.ready(deadline).await
    }

    /// The index of that name, if it is ready for use.
    pub fn get(&self, name: &IndexName) -> Option<Arc<Entry>> {
        self.find(name).filter(|entry| entry.ready)
    }

    /// The indexes that are ready for use, by name.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        self.shared.replay.catalog().entries().filter(|entry| entry.ready).cloned().collect()
    }

    /// The catalog and its changes; it holds indexes that are not ready, too.
    pub fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.shared.replay.watch()
    }

    /// The index of that name, ready or not.
    fn find(&self, name: &IndexName) -> Option<Arc<Entry>> {
        self.shared.replay.catalog().get(name).cloned()
    }
}
