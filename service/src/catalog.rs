//! The live catalog: every process replays the catalog's log, and asks for changes by appending to it.

mod error;
mod lifecycle;
mod parts;
mod replay;
mod sources;
#[cfg(test)]
mod tests;
mod upkeep;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;
use warren_protocol::IndexName;
use warren_protocol::catalog::{Catalog, Entry, Event, Record};
use warren_protocol::ports::{LogName, Ports};

pub use error::CatalogError;
pub use lifecycle::Creation;
pub use sources::SourceCreation;

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
    _tasks: JoinSet<()>,
}

impl CatalogHandle {
    /// Creates the catalog's log if there is none, and follows it until the last handle is dropped: what is finished
    /// during a stop still needs it. Once it is ready, this process sees to it that the catalog has an identity, and that
    /// deletions which others began are finished.
    pub async fn start(ports: &Ports) -> Result<Self, CatalogError> {
        let replay = Arc::new(Replay::new());
        let target = replay::prepare(ports).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(ports.log.clone(), replay.clone(), target));
        tasks.spawn(upkeep::run(ports.clone(), replay.clone()));
        let shared = Shared { ports: ports.clone(), replay, creating: tokio::sync::Mutex::new(()), _tasks: tasks };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether all that was confirmed before the start is replayed, and the catalog can still be followed.
    pub fn is_ready(&self) -> bool {
        self.shared.replay.state().is_ok_and(|ready| ready)
    }

    /// Waits until the catalog is ready; `Unavailable` at the deadline, `Broken` if it never will be.
    pub async fn ready(&self, deadline: Instant) -> Result<(), CatalogError> {
        self.shared.replay.ready(deadline).await
    }

    /// What tells this catalog from every other one. A new catalog gets it within moments; `Unavailable` at the deadline,
    /// `Broken` if it never will have one.
    pub async fn identity(&self, deadline: Instant) -> Result<Uuid, CatalogError> {
        self.ready(deadline).await?;
        let replay = &self.shared.replay;
        let given = replay.until(|catalog| catalog.identity().is_some());
        // Whether it came in time, or just behind the deadline, is all the same.
        let _ = tokio::time::timeout_at(deadline.into(), given).await;
        replay.state()?;
        let missing = || CatalogError::Unavailable("the catalog has no identity yet".to_owned());
        replay.catalog().identity().ok_or_else(missing)
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

/// Appends a record; whoever needs to see it in the catalog waits for the replay.
async fn append(ports: &Ports, replay: &Replay, event: Event) -> Result<(), CatalogError> {
    replay.state()?;
    let record = Record::new(event).encode().map_err(unavailable)?;
    let confirm = ports.log.append(&LogName::Catalog, record).await.map_err(unavailable)?;
    confirm.await.map_err(unavailable)
}

fn unavailable(error: impl std::fmt::Display) -> CatalogError {
    CatalogError::Unavailable(error.to_string())
}
