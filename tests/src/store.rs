//! The object store of a deployment, seen as the folder that it is: for one index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The folder.
#[derive(Clone, Debug)]
pub struct StoreFolder(pub PathBuf);

/// The snapshots of one partition.
#[derive(Clone, Debug)]
pub struct StoredPartition {
    /// The manifests, the newest last.
    pub manifests: Vec<PathBuf>,
    /// What they name.
    pub files: Vec<PathBuf>,
}

impl StoredPartition {
    /// The bytes of the log that are in the newest snapshot; 0 without one.
    pub fn log_bytes(&self) -> Result<u64> {
        let Some(newest) = self.manifests.last() else { return Ok(0) };
        let name = newest.file_name().and_then(|name| name.to_str()).context("a manifest's name is text")?;
        let (log_bytes, _) = name.split_once('-').with_context(|| name.to_owned())?;
        Ok(log_bytes.parse()?)
    }
}

impl StoreFolder {
    /// The partitions that have a place in it, by number.
    pub fn partitions(&self) -> Result<BTreeMap<u64, StoredPartition>> {
        let mut partitions = BTreeMap::new();
        for index in entries(&self.0.join("indexes"))? {
            for folder in entries(&index)? {
                let number = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().parse()?;
                let stored =
                    StoredPartition { manifests: entries(&folder.join("manifests"))?, files: entries(&folder.join("files"))? };
                ensure!(partitions.insert(number, stored).is_none(), "more than one index is in the store");
            }
        }
        Ok(partitions)
    }
}

/// What is in a folder, by name; nothing if it is not there. What is still being written, to be renamed, has a `#` in its name and is not
/// in the store yet.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = match std::fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().contains('#')));
    paths.sort();
    Ok(paths)
}
