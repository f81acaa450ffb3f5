//! How indexes come and go: in the steps that `warren_protocol::catalog` describes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use warren_protocol::batch::{Epoch, WriterId};
use warren_protocol::catalog::{Entry, Event, MAX_INDEXES};
use warren_protocol::ports::Position;
use warren_protocol::{IndexDefinition, IndexName};

use super::{CatalogError, CatalogHandle, append, parts, upkeep};
use crate::config::IndexesConfig;

/// How long a change of the catalog may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// What became of the wish for an index.
#[derive(Debug, Clone, PartialEq)]
pub enum Creation {
    /// It did not exist; now it does.
    Created(Arc<Entry>),
    /// It exists as wished.
    Exists(Arc<Entry>),
    /// It exists, and is another.
    Differs {
        /// The index that exists.
        entry: Arc<Entry>,
        /// What differs, a line each.
        differences: Vec<String>,
    },
}

/// What is asked for.
#[derive(Clone)]
struct Wish {
    definition: IndexDefinition,
    automatic: bool,
    restored_from: Option<Uuid>,
}

impl Creation {
    /// The index, whether it is the wished one or not.
    pub fn into_entry(self) -> Arc<Entry> {
        match self {
            Self::Created(entry) | Self::Exists(entry) | Self::Differs { entry, .. } => entry,
        }
    }
}

impl CatalogHandle {
    /// Creates the index, or finds the one of that name; it is ready for use then. `automatic` says that a document
    /// asked for it.
    pub async fn create(&self, name: &IndexName, definition: IndexDefinition, automatic: bool) -> Result<Creation, CatalogError> {
        definition.validate().map_err(CatalogError::Definition)?;
        let wish = Wish { definition, automatic, restored_from: None };
        within("the index was not ready", self.create_or_find(name, wish)).await
    }

    /// Creates the index so that it begins with the snapshots of `restored_from`, a creation in a catalog that was lost.
    /// Can be repeated: an index of that name that was restored so is the answer; any other is `Taken`.
    pub async fn restore(
        &self,
        name: &IndexName,
        definition: IndexDefinition,
        restored_from: Uuid,
    ) -> Result<Arc<Entry>, CatalogError> {
        definition.validate().map_err(CatalogError::Definition)?;
        let wish = Wish { definition, automatic: false, restored_from: Some(restored_from) };
        let entry = within("the index was not ready", self.create_or_find(name, wish)).await?.into_entry();
        match entry.restored_from == Some(restored_from) {
            true => Ok(entry),
            false => Err(CatalogError::Taken(name.clone())),
        }
    }

    /// The index that a document asks for; creates it with the defaults if the configuration lets documents do that.
    pub async fn get_or_create(&self, name: &IndexName, config: &IndexesConfig) -> Result<Arc<Entry>, CatalogError> {
        if let Some(entry) = self.get(name) {
            return Ok(entry);
        }
        self.ready(Instant::now() + LIMIT).await?;
        if self.find(name).is_none() {
            if !config.auto_create {
                return Err(CatalogError::NotAutomatic(name.clone()));
            }
            let automatic = self.shared.replay.catalog().entries().filter(|entry| entry.automatic).count();
            if automatic >= config.auto_create_limit as usize {
                return Err(CatalogError::AutomaticLimit { name: name.clone(), limit: config.auto_create_limit });
            }
        }
        self.create(name, IndexDefinition::default(), true).await.map(Creation::into_entry)
    }

    /// Deletes the index with all its documents; `None` if there is none.
    pub async fn delete(&self, name: &IndexName) -> Result<Option<Arc<Entry>>, CatalogError> {
        within("the index was not deleted", async {
            self.shared.replay.ready(Instant::now() + LIMIT).await?;
            let Some(entry) = self.find(name) else { return Ok(None) };
            self.append(Event::Delete { index: entry.index.clone() }).await?;
            self.shared.replay.until(|catalog| catalog.get(name).is_none_or(|found| found.index != entry.index)).await;
            self.remove_parts(&entry).await;
            Ok(Some(entry))
        })
        .await
    }

    /// A number for a connection of `writer` that is larger than all before it.
    pub async fn next_epoch(&self, writer: WriterId) -> Result<Epoch, CatalogError> {
        let taken = self.append_own(|request| Event::Epoch { writer, request });
        within("no epoch was given", taken).await.map(|position| position.0)
    }

    async fn create_or_find(&self, name: &IndexName, wish: Wish) -> Result<Creation, CatalogError> {
        self.ready(Instant::now() + LIMIT).await?;
        let _one_at_a_time = self.shared.creating.lock().await;
        let mut own = None;
        loop {
            match self.find(name) {
                Some(entry) if entry.ready && own == Some(entry.index.generation.0) => return Ok(Creation::Created(entry)),
                Some(entry) if entry.ready => {
                    let differences = entry.definition.differences(&wish.definition);
                    return Ok(match differences.is_empty() {
                        true => Creation::Exists(entry),
                        false => Creation::Differs { entry, differences },
                    });
                }
                // Reserved by us, or by another, who may have died since.
                Some(entry) => self.complete(&entry).await?,
                None if self.shared.replay.catalog().entries().count() >= MAX_INDEXES => {
                    return Err(CatalogError::Full { limit: MAX_INDEXES });
                }
                None if own.is_some() => {
                    return Err(CatalogError::Unavailable(format!("index \"{name}\" was deleted while it was being created")));
                }
                None => {
                    let (name, Wish { definition, automatic, restored_from }) = (name.clone(), wish.clone());
                    let create = |request| Event::Create { name, definition, request, automatic, restored_from };
                    own = Some(self.append_own(create).await?.0);
                }
            }
        }
    }

    /// Makes the logs and queues of an index whose name is reserved, then says so.
    async fn complete(&self, entry: &Entry) -> Result<(), CatalogError> {
        parts::create(&self.shared.ports, entry).await?;
        self.append(Event::Ready { index: entry.index.clone() }).await?;
        let name = &entry.index.name;
        let settled = |found: Option<&Arc<Entry>>| found.is_none_or(|found| found.ready || found.index != entry.index);
        self.shared.replay.until(|catalog| settled(catalog.get(name))).await;
        if self.find(name).is_none_or(|found| found.index != entry.index) {
            // It was deleted in between, perhaps before its parts were made.
            self.remove_parts(entry).await;
        }
        Ok(())
    }

    /// What this does not manage to remove is logged, and left to the upkeep.
    async fn remove_parts(&self, entry: &Entry) {
        let _ = upkeep::remove_parts(&self.shared.ports, &self.shared.replay, entry).await;
    }

    /// Appends a record that carries a request, and waits until it is replayed here.
    pub(super) async fn append_own(&self, event: impl FnOnce(Uuid) -> Event) -> Result<Position, CatalogError> {
        let request = Uuid::new_v4();
        let expected = self.shared.replay.expect(request);
        self.append(event(request)).await?;
        expected.position().await
    }

    pub(super) async fn append(&self, event: Event) -> Result<(), CatalogError> {
        append(&self.shared.ports, &self.shared.replay, event).await
    }
}

pub(super) async fn within<T>(what: &str, work: impl Future<Output = Result<T, CatalogError>>) -> Result<T, CatalogError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => Err(CatalogError::Unavailable(format!("{what} within {} s: try again", LIMIT.as_secs()))),
    }
}
