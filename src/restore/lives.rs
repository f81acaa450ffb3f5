//! What a store holds: the lives of indexes, and which of several lives of one name is taken.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use warren_protocol::{IndexDefinition, IndexName};
use warren_snapshot::{Manifest, Store, StoreError, StoredIndex};

/// How many partitions are looked up at a time.
const AT_ONCE: usize = 16;

/// One life of an index, from its creation on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Life {
    pub index: StoredIndex,
    pub definition: IndexDefinition,
    /// The newest snapshot of each partition, in order.
    pub partitions: Vec<Option<Snapshot>>,
}

/// The newest snapshot of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub documents: u64,
    /// In Unix milliseconds.
    pub taken_ms: u64,
}

/// All that was found under one name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The life whose newest snapshot is the newest of all.
    pub newest: Option<Life>,
    /// The others.
    pub older: Vec<Life>,
    /// Those with snapshots of which none can be read.
    pub unreadable: Vec<StoredIndex>,
}

/// Reads the manifests of the whole store. Fails if the store does not answer: what it did not say is not "nothing".
pub(super) async fn read(store: &Store) -> Result<BTreeMap<IndexName, Found>, StoreError> {
    let mut all: BTreeMap<IndexName, Found> = BTreeMap::new();
    for index in store.indexes().await? {
        match Life::read(store, &index).await? {
            Read::Life(life) => all.entry(index.name).or_default().add(life),
            Read::Unreadable => all.entry(index.name.clone()).or_default().unreadable.push(index),
            Read::NoSnapshot => {}
        }
    }
    Ok(all)
}

enum Read {
    Life(Life),
    Unreadable,
    /// Perhaps the files of a first one, which never got its manifest.
    NoSnapshot,
}

impl Life {
    async fn read(store: &Store, index: &StoredIndex) -> Result<Read, StoreError> {
        let numbers = store.partitions(&index.name, index.creation).await?;
        let stores: Vec<_> = numbers.iter().map(|number| store.partition(&index.name, index.creation, *number)).collect();
        let newest = stream::iter(&stores).map(|partition| partition.newest()).buffered(AT_ONCE);
        let manifests: Vec<Manifest> = newest.try_filter_map(async |manifest| Ok(manifest)).try_collect().await?;
        if let Some(life) = Self::of(index, &manifests) {
            return Ok(Read::Life(life));
        }
        for partition in &stores {
            if !partition.manifests().await?.is_empty() {
                return Ok(Read::Unreadable);
            }
        }
        Ok(Read::NoSnapshot)
    }

    /// `None` if there are no manifests.
    fn of(index: &StoredIndex, manifests: &[Manifest]) -> Option<Self> {
        let definition = manifests.iter().max_by_key(|manifest| manifest.taken_ms)?.definition.clone();
        let snapshot = |number| {
            let manifest = manifests.iter().find(|manifest| manifest.partition == number)?;
            Some(Snapshot { documents: manifest.documents, taken_ms: manifest.taken_ms })
        };
        let partitions = (0..definition.partitions.get()).map(snapshot).collect();
        Some(Self { index: index.clone(), definition, partitions })
    }

    /// When its newest snapshot was taken.
    pub(super) fn taken_ms(&self) -> u64 {
        self.partitions.iter().flatten().map(|snapshot| snapshot.taken_ms).max().unwrap_or_default()
    }

    pub(super) fn documents(&self) -> u64 {
        self.partitions.iter().flatten().map(|snapshot| snapshot.documents).sum()
    }
}

impl Found {
    pub(super) fn add(&mut self, life: Life) {
        match &mut self.newest {
            Some(newest) if newest.taken_ms() >= life.taken_ms() => self.older.push(life),
            Some(newest) => self.older.push(std::mem::replace(newest, life)),
            None => self.newest = Some(life),
        }
    }

    /// Whether one of the lives is that of this creation.
    pub(super) fn has(&self, creation: uuid::Uuid) -> bool {
        let lives = self.newest.iter().chain(&self.older).map(|life| &life.index);
        lives.chain(&self.unreadable).any(|index| index.creation == creation)
    }
}
