//! The checksums of local files, read once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::manifest::{Checksum, StoredFile};

/// Remembers the checksums of the files of the last snapshot, by name, size and time of change: files of an index never change, and a
/// snapshot that has most of them in common with the one before reads only the new ones. One for each partition.
#[derive(Debug, Default)]
pub struct Hashes {
    known: HashMap<String, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    bytes: u64,
    modified: SystemTime,
    sha256: Checksum,
}

impl Hashes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The checksums of these files in `folder`; others are forgotten.
    pub(crate) async fn of(&mut self, folder: &Path, files: &[String]) -> Result<Vec<StoredFile>, StoreError> {
        let mut before = std::mem::take(&mut self.known);
        let mut stored = Vec::with_capacity(files.len());
        for name in files {
            let path = folder.join(name);
            let known = before.remove(name);
            let known = blocking(path.clone(), move |path| read(path, known)).await.map_err(StoreError::local(path))?;
            stored.push(StoredFile { name: name.clone(), bytes: known.bytes, sha256: known.sha256.clone() });
            self.known.insert(name.clone(), known);
        }
        Ok(stored)
    }
}

fn read(path: &Path, known: Option<Known>) -> io::Result<Known> {
    let meta = fs::metadata(path)?;
    let (bytes, modified) = (meta.len(), meta.modified()?);
    if let Some(known) = known
        && (known.bytes, known.modified) == (bytes, modified)
    {
        return Ok(known);
    }
    let (mut file, mut hasher, mut buffer, mut read) = (File::open(path)?, Sha256::new(), vec![0; 256 << 10], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                read += count as u64;
            }
        }
    }
    if read != bytes {
        return Err(io::Error::other(format!("it changes while it is read: {read} bytes, and {bytes} before")));
    }
    Ok(Known { bytes, modified, sha256: Checksum::from_hasher(hasher) })
}

/// Does something with a file where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(move || work(&path)).await.map_err(io::Error::other)?
}
