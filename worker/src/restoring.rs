//! Where a replica begins: with the local copy; without one, with the newest snapshot that is whole; without any, with
//! the log alone.

use std::ops::Bound;
use std::path::Path;

use futures_util::FutureExt;
use tokio::time::Instant;
use warren_index::{Checkpoint, IndexError, Options, PartitionIndex};
use warren_snapshot::{Manifest, Restored, StoreError};

use crate::replica::{Replica, ReplicaError, blocking};
use crate::snapshots::sources;

/// An open index.
pub(crate) struct Opened {
    pub index: PartitionIndex,
    pub checkpoint: Option<Checkpoint>,
    /// Why it was not looked whether there is a snapshot, if so: then a log that has lost its beginning proves nothing.
    pub store_unknown: Option<String>,
}

/// Opens the local copy, or restores a snapshot in its place.
pub(crate) async fn open(replica: &Replica) -> Result<Opened, ReplicaError> {
    let (index, checkpoint) = open_local(replica).await?;
    if checkpoint.is_some() {
        return Ok(Opened { index, checkpoint, store_unknown: None });
    }
    drop(index);
    match restore(replica, 0).await {
        Ok(Some((index, checkpoint))) => Ok(Opened { index, checkpoint, store_unknown: None }),
        Ok(None) => {
            let (index, checkpoint) = open_local(replica).await?;
            Ok(Opened { index, checkpoint, store_unknown: None })
        }
        // What was restored from another catalog is in no log of this one.
        Err(ReplicaError::Store(reason)) if replica.entry.restored_from.is_none() => {
            tracing::warn!(partition = %replica.partition, reason, "no snapshot can be looked for: beginning with the log");
            let (index, checkpoint) = open_local(replica).await?;
            Ok(Opened { index, checkpoint, store_unknown: Some(reason) })
        }
        Err(error) => Err(error),
    }
}

/// Opens the newest snapshot if it holds more than the local copy, the local copy otherwise.
pub(crate) async fn open_newest(replica: &Replica) -> Result<Opened, ReplicaError> {
    let (index, checkpoint) = open_local(replica).await?;
    let local = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_bytes);
    drop(index);
    let (index, checkpoint) = match restore(replica, local).await? {
        Some(restored) => restored,
        None => open_local(replica).await?,
    };
    Ok(Opened { index, checkpoint, store_unknown: None })
}

async fn open_local(replica: &Replica) -> Result<(PartitionIndex, Option<Checkpoint>), ReplicaError> {
    let (folder, entry) = (replica.folder(), replica.entry.clone());
    let aggregation_bytes = replica.shared.config.max_aggregation_bytes.get().into();
    let options = Options { aggregation_bytes, ..Options::default() };
    Ok(blocking(move || PartitionIndex::open(&folder, &entry.definition, &options)).await??)
}

/// Puts the newest whole snapshot that holds more than `local_bytes` of the log in the place of the local copy.
async fn restore(replica: &Replica, local_bytes: u64) -> Result<Option<(PartitionIndex, Option<Checkpoint>)>, ReplicaError> {
    let snapshots = &replica.shared.snapshots;
    // The semaphore is never closed.
    let _turn = snapshots.restoring.acquire().await;
    let (began, folder) = (Instant::now(), replica.folder());
    for creation in sources(&replica.entry) {
        let store = snapshots.of(&replica.partition, creation).map_err(ReplicaError::Store)?;
        let mut newest = Bound::Unbounded;
        while let Some(Restored { manifest }) =
            store.restore_newest(&folder, (Bound::Excluded(local_bytes), newest)).boxed().await.map_err(store_error)?
        {
            adopt(replica, &folder, &manifest, creation == replica.entry.creation).await?;
            let (index, checkpoint) = open_local(replica).await?;
            if checkpoint.is_some() {
                tracing::info!(
                    partition = %replica.partition,
                    position = manifest.position.map(|position| position.0),
                    documents = manifest.documents,
                    bytes = manifest.bytes(),
                    milliseconds = began.elapsed().as_millis() as u64,
                    "restored a snapshot"
                );
                return Ok(Some((index, checkpoint)));
            }
            tracing::warn!(partition = %replica.partition, snapshot = %manifest.name(), "a snapshot is no index, trying an older one");
            newest = Bound::Excluded(manifest.log_bytes);
        }
    }
    Ok(None)
}

/// Makes an index of the files of a snapshot. One of another creation has another log: it begins with that log's first
/// message, whose writers are all new.
async fn adopt(replica: &Replica, folder: &Path, restored: &Manifest, own: bool) -> Result<(), ReplicaError> {
    let checkpoint =
        (!own).then(|| Checkpoint { log_bytes: restored.log_bytes, operations: restored.operations, ..Checkpoint::default() });
    let (folder, meta, entry) = (folder.to_owned(), restored.meta.clone(), replica.entry.clone());
    let adopted = move || PartitionIndex::adopt(&folder, &entry.definition, &meta, checkpoint.as_ref());
    match blocking(adopted).await? {
        // Nothing was adopted, and the next opening finds no index there.
        Err(IndexError::Snapshot(reason)) => tracing::warn!(partition = %replica.partition, reason, "a snapshot cannot be used"),
        adopted => adopted?,
    }
    Ok(())
}

fn store_error(error: StoreError) -> ReplicaError {
    ReplicaError::Store(error.to_string())
}
