//! The snapshots of one partition: which there are, and what their manifests say.

use std::collections::HashMap;
use std::fmt;

use object_store::ObjectMeta;
use object_store::path::Path;
use tracing::warn;

use crate::backend::Backend;
use crate::error::StoreError;
use crate::manifest::{Checksum, MAX_BYTES, Manifest, ManifestName};
use crate::store::{Store, StoredIndex};

/// The snapshots of one partition. Clones are handles to the same.
#[derive(Clone)]
pub struct PartitionStore {
    store: Store,
    index: StoredIndex,
    partition: u32,
}

impl fmt::Debug for PartitionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStore")
            .field("store", &self.store)
            .field("index", &self.index)
            .field("partition", &self.partition)
            .finish()
    }
}

impl PartitionStore {
    pub(crate) fn new(store: Store, index: StoredIndex, partition: u32) -> Self {
        Self { store, index, partition }
    }

    /// All snapshots, the newest first; none of them is read.
    pub async fn manifests(&self) -> Result<Vec<ManifestName>, StoreError> {
        Ok(self.listed_manifests().await?.into_iter().map(|(name, _)| name).collect())
    }

    /// One snapshot's manifest. `Damaged` if it is not what was written, or is gone.
    pub async fn manifest(&self, name: &ManifestName) -> Result<Manifest, StoreError> {
        let object = self.manifest_object(name);
        let Some(content) = self.backend().read(&object, MAX_BYTES).await? else {
            return Err(StoreError::damaged(object, "it is missing"));
        };
        let manifest = Manifest::decode(object.as_ref(), &content)?;
        let place = (&manifest.index, manifest.creation, manifest.partition, manifest.name());
        if place != (&self.index.name, self.index.creation, self.partition, *name) {
            return Err(StoreError::damaged(object, "it belongs elsewhere"));
        }
        Ok(manifest)
    }

    /// The newest manifest that can be read. What cannot is logged, and the next older one is taken; `None` if there is none at all, in a
    /// store that is the right one (see [`Store::check`]). `Version` if a newer Warren wrote all there are.
    pub async fn newest(&self) -> Result<Option<Manifest>, StoreError> {
        let mut newer_program = None;
        for name in self.manifests().await? {
            match self.manifest(&name).await {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(error) => newer_program = self.pass_over(error)?.or(newer_program),
            }
        }
        self.none(newer_program).await
    }

    /// Logs why a snapshot is not taken, if that is no reason to stop. Gives the error back that has to be told if there is no other one.
    pub(crate) fn pass_over(&self, error: StoreError) -> Result<Option<StoreError>, StoreError> {
        match &error {
            StoreError::Damaged { object, detail } => {
                warn!(
                    store = self.store.url(),
                    object,
                    reason = detail,
                    "a snapshot cannot be used, the next older one is tried"
                );
                Ok(None)
            }
            StoreError::Version { object, version } => {
                warn!(
                    store = self.store.url(),
                    object, version, "a snapshot is of a newer program and cannot be used, the next older one is tried"
                );
                Ok(Some(error))
            }
            _ => Err(error),
        }
    }

    /// That there is no snapshot, after a look whether the store is there at all.
    pub(crate) async fn none<T>(&self, newer_program: Option<StoreError>) -> Result<Option<T>, StoreError> {
        self.store.check().await?;
        newer_program.map_or(Ok(None), Err)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn backend(&self) -> &Backend {
        self.store.backend()
    }

    pub(crate) fn index(&self) -> &StoredIndex {
        &self.index
    }

    pub(crate) fn number(&self) -> u32 {
        self.partition
    }

    pub(crate) fn folder(&self) -> Path {
        self.index.folder().join(self.partition.to_string())
    }

    pub(crate) fn manifest_object(&self, name: &ManifestName) -> Path {
        self.folder().join("manifests").join(name.to_string())
    }

    pub(crate) fn file_object(&self, sha256: &Checksum) -> Path {
        self.folder().join("files").join(sha256.as_str())
    }

    /// All manifests, the newest first.
    pub(crate) async fn listed_manifests(&self) -> Result<Vec<(ManifestName, ObjectMeta)>, StoreError> {
        let objects = self.backend().list(&self.folder().join("manifests")).await?;
        let named = |object: ObjectMeta| Some((ManifestName::parse(object.location.filename()?)?, object));
        let mut manifests: Vec<_> = objects.into_iter().filter_map(named).collect();
        manifests.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        Ok(manifests)
    }

    /// All files, by the name that is their checksum.
    pub(crate) async fn listed_files(&self) -> Result<HashMap<String, ObjectMeta>, StoreError> {
        let objects = self.backend().list(&self.folder().join("files")).await?;
        Ok(objects.into_iter().filter_map(|object| Some((object.location.filename()?.to_owned(), object))).collect())
    }
}
