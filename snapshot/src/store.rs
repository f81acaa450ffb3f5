//! The whole store: whose it is, and which partitions it has.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::path::Path;
use tracing::{info, warn};
use uuid::Uuid;
use warren_protocol::IndexName;

use crate::backend::{Backend, Created};
use crate::error::StoreError;
use crate::marker::{self, Marker};
use crate::partition::PartitionStore;
use crate::settings::Settings;

/// An object store, or a folder, with snapshots. Clones are handles to the same.
///
/// Every request has a deadline of two minutes with its retries; whoever awaits less drops the future, which harms nothing.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    backend: Backend,
    /// The marker that this process goes by.
    claimed: Mutex<Option<Marker>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// One life of an index that has snapshots in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredIndex {
    /// Its name.
    pub name: IndexName,
    /// What tells this life from another one, see [`Entry::creation`](warren_protocol::catalog::Entry::creation).
    pub creation: Uuid,
}

impl fmt::Display for StoredIndex {
    /// As its folder is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.creation.simple())
    }
}

impl StoredIndex {
    fn parse(folder: &str) -> Option<Self> {
        let (name, creation) = folder.split_once('.')?;
        let index = Self { name: IndexName::new(name).ok()?, creation: Uuid::parse_str(creation).ok()? };
        (index.to_string() == folder).then_some(index)
    }

    pub(crate) fn folder(&self) -> Path {
        Path::from("indexes").join(self.to_string())
    }
}

impl Store {
    /// Prepares the store that the settings name, without asking it anything; a folder is created. Without a URL, it is the folder
    /// `store` in `data_dir`. `BadUrl` if the settings do not fit, `Local` if the folder cannot be created.
    pub fn open(settings: &Settings, data_dir: &FilePath) -> Result<Self, StoreError> {
        Ok(Self::new(Backend::open(settings, data_dir)?))
    }

    pub(crate) fn new(backend: Backend) -> Self {
        Self { shared: Arc::new(Shared { backend, claimed: Mutex::new(None) }) }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.shared.backend
    }

    /// How people call it.
    pub fn url(&self) -> &str {
        self.backend().url()
    }

    /// Makes sure that the store is the one of this catalog, and says which store it is. The first one to come marks an empty store.
    /// `Foreign` if another catalog has it.
    pub async fn claim(&self, catalog: Uuid) -> Result<Uuid, StoreError> {
        let found = match self.marker().await? {
            Some(found) => found,
            None => {
                let mine = Marker::new(catalog, Uuid::new_v4());
                match self.backend().create(&Path::from(marker::OBJECT), mine.encode().into()).await? {
                    Created::Yes => info!(store = self.url(), id = %mine.store, "the store is marked as this catalog's"),
                    Created::Existed => {}
                }
                // Who came first is what the store says now, not what the answer said: it may have been to a second attempt.
                self.marker().await?.ok_or_else(|| self.gone())?
            }
        };
        if found.catalog != catalog {
            return Err(StoreError::Foreign { found: found.catalog, expected: catalog });
        }
        self.go_by(found);
        Ok(found.store)
    }

    /// Makes sure that the store is still the one that was claimed: `Foreign` if another catalog has taken it over, `Unavailable` if it has
    /// no marker or another store is in its place (which an unmounted folder looks like). Without a claim, any marker will do.
    pub async fn check(&self) -> Result<(), StoreError> {
        let found = self.marker().await?.ok_or_else(|| self.gone())?;
        match *self.claimed() {
            Some(claimed) if found.catalog != claimed.catalog => {
                Err(StoreError::Foreign { found: found.catalog, expected: claimed.catalog })
            }
            Some(claimed) if found.store != claimed.store => Err(self.backend().unavailable(format!(
                "it is the store {}, and was {}: start again if that is right",
                found.store, claimed.store
            ))),
            _ => Ok(()),
        }
    }

    /// Gives the store to this catalog, whoever had it: for a restore. Its id stays.
    pub async fn take_over(&self, catalog: Uuid) -> Result<Uuid, StoreError> {
        let found = match self.marker().await {
            // What cannot be read cannot be kept either; a newer Warren's is not for us to replace.
            Err(StoreError::Damaged { object, detail }) => {
                warn!(store = self.url(), object, reason = detail, "the marker is written anew, with another id of the store");
                None
            }
            other => other?,
        };
        let mine = Marker::new(catalog, found.map_or_else(Uuid::new_v4, |found| found.store));
        self.backend().write(&Path::from(marker::OBJECT), mine.encode().into()).await?;
        self.go_by(mine);
        Ok(mine.store)
    }

    /// The indexes with snapshots, those of deleted ones among them, in the order of their names.
    pub async fn indexes(&self) -> Result<Vec<StoredIndex>, StoreError> {
        let folders = self.backend().folders(&Path::from("indexes")).await?;
        let mut indexes: Vec<StoredIndex> = folders.iter().filter_map(|folder| StoredIndex::parse(folder)).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    /// Deletes all snapshots of an index; as well if there are none.
    pub async fn remove_index(&self, name: &IndexName, creation: Uuid) -> Result<(), StoreError> {
        let folder = StoredIndex { name: name.clone(), creation }.folder();
        let objects = self.backend().list(&folder).await?;
        self.backend().delete(objects.into_iter().map(|object| object.location).collect()).await?;
        self.backend().sweep(&folder, Duration::ZERO).await
    }

    /// The partitions of an index that have snapshots, in order.
    pub async fn partitions(&self, name: &IndexName, creation: Uuid) -> Result<Vec<u32>, StoreError> {
        let folder = StoredIndex { name: name.clone(), creation }.folder();
        let mut partitions: Vec<u32> =
            self.backend().folders(&folder).await?.iter().filter_map(|folder| folder.parse().ok()).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The snapshots of one partition, if there are any.
    pub fn partition(&self, name: &IndexName, creation: Uuid, partition: u32) -> PartitionStore {
        PartitionStore::new(self.clone(), StoredIndex { name: name.clone(), creation }, partition)
    }

    async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        let content = self.backend().read(&Path::from(marker::OBJECT), marker::MAX_BYTES).await?;
        content.map(|content| Marker::decode(&content)).transpose()
    }

    fn gone(&self) -> StoreError {
        self.backend().unavailable(format!(
            "it has no {}: is it the right folder or bucket, and is it mounted? If it was emptied on purpose, start again",
            marker::OBJECT
        ))
    }

    fn claimed(&self) -> std::sync::MutexGuard<'_, Option<Marker>> {
        self.shared.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_by(&self, marker: Marker) {
        *self.claimed() = Some(marker);
    }
}
