//! The object store of this worker: claimed for its catalog first, in the background if it cannot be reached at the start.

use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use uuid::Uuid;
use warren_protocol::PartitionId;
use warren_protocol::catalog::Entry;
use warren_service::catalog::{CatalogError, CatalogHandle};
use warren_snapshot::{PartitionStore, Settings, Store, StoreError};

/// How many snapshots are taken, and how many are restored, at a time.
const AT_A_TIME: usize = 2;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the catalog may take to say who it is.
const IDENTITY_WITHIN: Duration = Duration::from_secs(30);

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The store, and whether it may be used.
pub(crate) struct Snapshots {
    store: Store,
    pub settings: Settings,
    state: watch::Sender<Claim>,
    /// Held while a snapshot is taken.
    pub taking: Semaphore,
    /// Held while a snapshot is restored.
    pub restoring: Semaphore,
}

/// Whether the store's marker names this catalog.
#[derive(Clone, Debug)]
enum Claim {
    Unknown(String),
    Claimed(Uuid),
}

impl Snapshots {
    pub(crate) fn new(store: Store, settings: Settings) -> Self {
        let state = watch::Sender::new(Claim::Unknown("the object store has not answered yet".to_owned()));
        let (taking, restoring) = (Semaphore::new(AT_A_TIME), Semaphore::new(AT_A_TIME));
        Self { store, settings, state, taking, restoring }
    }

    /// Claims the store once.
    pub(crate) async fn claim(&self, catalog: &CatalogHandle) -> Result<(), ClaimError> {
        let claimed = async {
            let identity = catalog.identity(Instant::now() + IDENTITY_WITHIN).await?;
            Ok(self.store.claim(identity).await?)
        };
        let claimed: Result<Uuid, ClaimError> = claimed.await;
        self.state.send_replace(match &claimed {
            Ok(store) => Claim::Claimed(*store),
            Err(error) => Claim::Unknown(error.to_string()),
        });
        claimed.map(drop)
    }

    /// Claims the store, again and again until it works.
    pub(crate) async fn keep_claiming(&self, catalog: &CatalogHandle) {
        let mut pause = FIRST_PAUSE;
        while self.id().is_none() {
            match self.claim(catalog).await {
                Ok(()) => tracing::info!("the object store can be used"),
                Err(error @ ClaimError::Store(StoreError::Foreign { .. })) => {
                    tracing::error!(%error, "no snapshots are taken");
                }
                Err(error) => tracing::warn!(%error, "the object store cannot be used yet, no snapshots are taken"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The identity of the store, once it is claimed.
    pub(crate) fn id(&self) -> Option<Uuid> {
        match &*self.state.borrow() {
            Claim::Claimed(id) => Some(*id),
            Claim::Unknown(_) => None,
        }
    }

    /// The store; while it is not claimed, the reason.
    pub(crate) fn store(&self) -> Result<&Store, String> {
        match &*self.state.borrow() {
            Claim::Claimed(_) => Ok(&self.store),
            Claim::Unknown(reason) => Err(reason.clone()),
        }
    }

    /// The snapshots of a partition, by the creation of its index.
    pub(crate) fn of(&self, partition: &PartitionId, creation: Uuid) -> Result<PartitionStore, String> {
        Ok(self.store()?.partition(&partition.index.name, creation, partition.partition))
    }

    /// Removes the snapshots of deleted indexes; what the catalog does not know is left alone.
    pub(crate) async fn sweep(&self, was_deleted: impl Fn(Uuid) -> bool) -> Result<(), StoreError> {
        let Ok(store) = self.store() else { return Ok(()) };
        for index in store.indexes().await? {
            if was_deleted(index.creation) {
                store.remove_index(&index.name, index.creation).await?;
                tracing::info!(index = %index.name, creation = %index.creation, "removed the snapshots of a deleted index");
            }
        }
        Ok(())
    }
}

/// The snapshots with which an index begins: its own; before it has any, those that it was restored from.
pub(crate) fn sources(entry: &Entry) -> impl Iterator<Item = Uuid> {
    [Some(entry.creation), entry.restored_from].into_iter().flatten()
}
