//! Deleting what no snapshot needs.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use object_store::ObjectMeta;
use tracing::warn;

use crate::error::StoreError;
use crate::partition::PartitionStore;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests.
    pub manifests: u64,
    /// Files.
    pub files: u64,
    /// The bytes of the files.
    pub file_bytes: u64,
}

impl PartitionStore {
    /// Deletes all but the newest `keep` good snapshots, and the files that no remaining one names.
    ///
    /// A snapshot stays for `grace` after a newer one has come: somebody may be reading it, or take its files for another one. A file stays
    /// for `grace` after it was uploaded: its manifest may be on its way. Ages are by the store's clock, up to its newest object of this
    /// partition. Nothing at all is deleted while what a remaining manifest needs is unknown: an error if the store fails or a newer program wrote
    /// it; one that is damaged is logged, and goes unread once `keep` good ones are newer.
    pub async fn collect(&self, keep: NonZeroU32, grace: Duration) -> Result<Collected, StoreError> {
        // Files first: those of a snapshot that comes in between are not in the list.
        let files = self.listed_files().await?;
        let manifests = self.listed_manifests().await?;
        let objects = || files.values().chain(manifests.iter().map(|(_, object)| object));
        let Some(now) = objects().map(|object| object.last_modified).max() else { return Ok(Collected::default()) };
        let is_old = |object: &ObjectMeta| now.signed_duration_since(object.last_modified).to_std().is_ok_and(|age| age >= grace);

        let mut named = HashSet::new();
        let mut good = 0;
        let mut successor_is_old = false;
        let mut doomed = Vec::new();
        let mut unknown = false;
        for (name, object) in &manifests {
            if good >= keep.get() && successor_is_old && is_old(object) {
                doomed.push(object.location.clone());
                continue;
            }
            match self.manifest(name).await {
                Ok(manifest) => {
                    good += 1;
                    successor_is_old = is_old(object);
                    named.extend(manifest.files.into_iter().map(|file| file.sha256.to_string()));
                }
                Err(StoreError::Damaged { object, detail }) => {
                    warn!(
                        store = self.store().url(),
                        object,
                        reason = detail,
                        "a snapshot cannot be used, nothing is deleted beside it"
                    );
                    unknown = true;
                }
                Err(error) => return Err(error),
            }
        }

        if unknown {
            return Ok(Collected::default());
        }
        let unneeded: Vec<_> = files.iter().filter(|(name, object)| !named.contains(*name) && is_old(object)).collect();
        let collected = Collected {
            manifests: doomed.len() as u64,
            files: unneeded.len() as u64,
            file_bytes: unneeded.iter().map(|(_, object)| object.size).sum(),
        };
        // Manifests first: none that remains may miss a file.
        self.backend().delete(doomed).await?;
        self.backend().delete(unneeded.into_iter().map(|(_, object)| object.location.clone()).collect()).await?;
        self.backend().sweep(&self.folder(), grace).await?;
        Ok(collected)
    }
}
