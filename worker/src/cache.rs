//! The worker's folder: one index a replica. A cache of the logs, which may vanish at any time.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context;
use warren_protocol::PartitionId;
use warren_protocol::catalog::Entry;

/// The folder, locked for this process.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Released by the system with the process, however it ends.
    _lock: File,
}

impl Cache {
    /// Takes the folder for this process.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {shown}"))?;
        let lock = File::create(folder.join("lock")).with_context(|| format!("cannot write into the folder {shown}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("another worker uses the folder {shown}: give each its own data_dir (WARREN__DATA_DIR, --data-dir)")
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock the folder {shown}")),
        }
    }

    /// The folder of a replica. It carries the id of the index's creation: what another catalog called by the same name
    /// and generation is another folder.
    pub(crate) fn replica(&self, partition: &PartitionId, entry: &Entry) -> PathBuf {
        self.folder.join(format!("{partition}.{}", entry.creation.simple()))
    }

    /// Whether there is a copy of a replica.
    pub(crate) fn has(&self, partition: &PartitionId, entry: &Entry) -> bool {
        self.replica(partition, entry).is_dir()
    }

    /// The folder beside a replica's in which a snapshot of it is made ready.
    pub(crate) fn frozen(&self, partition: &PartitionId, entry: &Entry) -> PathBuf {
        self.folder.join(format!("{partition}.frozen.{}", entry.creation.simple()))
    }

    /// Removes the replicas of indexes that are no more. What cannot be removed is told and left.
    pub(crate) fn remove_all_but(&self, entries: &[std::sync::Arc<Entry>]) {
        let keep: HashSet<_> = entries.iter().map(|entry| format!("{}", entry.creation.simple())).collect();
        let folders = match std::fs::read_dir(&self.folder) {
            Ok(folders) => folders,
            Err(error) => return tracing::warn!(folder = %self.folder.display(), %error, "cannot read the worker's folder"),
        };
        for path in folders.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let creation = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if !keep.contains(creation) {
                remove(&path);
            }
        }
    }
}

/// Removes a replica's folder, if it is there.
pub(crate) fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => tracing::info!(folder = %folder.display(), "removed the local copy of a partition"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot remove the local copy of a partition"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_worker() {
        let folder = std::env::temp_dir().join(format!("warren-cache-{}", std::process::id()));
        let first = Cache::open(&folder).unwrap();
        let refused = Cache::open(&folder).err().unwrap().to_string();
        assert!(refused.contains("WARREN__DATA_DIR"), "{refused}");
        std::fs::create_dir(folder.join("gone.1.0.abc")).unwrap();
        first.remove_all_but(&[]);
        assert!(!folder.join("gone.1.0.abc").exists() && folder.join("lock").exists());
        drop(first);
        Cache::open(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
