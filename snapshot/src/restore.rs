//! Getting a snapshot back: whole and verified, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::hashes::blocking;
use crate::manifest::{Checksum, Manifest, StoredFile};
use crate::partition::PartitionStore;
use crate::save::{FILES_AT_ONCE, PART_BYTES};

/// A snapshot whose files are in a folder now.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// What it holds.
    pub manifest: Manifest,
}

impl PartitionStore {
    /// Puts the files of the newest good snapshot into the folder `into`, in the place of what is there. `log_bytes` limits which ones are
    /// taken, by [`Manifest::log_bytes`]: `..` takes any, `..manifest.log_bytes` only what is older than that manifest.
    ///
    /// A snapshot that is damaged, or misses a file, is logged with the object at fault, and the next older one is tried. `None` if there is
    /// none, or no good one, in a store that is the right one (see [`Store::check`](crate::Store::check)); `Version` if what there is was
    /// written by a newer Warren; `Unavailable` means that nobody knows. `into` is untouched unless a snapshot is whole and verified; what is
    /// half done lies beside it, in a folder named `{into}.restoring`, until the next call.
    pub async fn restore_newest(&self, into: &Path, log_bytes: impl RangeBounds<u64>) -> Result<Option<Restored>, StoreError> {
        let bounds = (log_bytes.start_bound().cloned(), log_bytes.end_bound().cloned());
        self.restore_within(into, bounds).await
    }

    async fn restore_within(&self, into: &Path, within: (Bound<u64>, Bound<u64>)) -> Result<Option<Restored>, StoreError> {
        let mut newer_program = None;
        for name in self.manifests().await?.into_iter().filter(|name| within.contains(&name.log_bytes)) {
            let restored = match self.manifest(&name).await {
                Ok(manifest) => self.restore(&manifest, into).await.map(|()| manifest),
                Err(error) => Err(error),
            };
            match restored {
                Ok(manifest) => return Ok(Some(Restored { manifest })),
                Err(error) => newer_program = self.pass_over(error)?.or(newer_program),
            }
        }
        self.none(newer_program).await
    }

    /// The same for this very snapshot. `Damaged` if it is not what was written.
    pub async fn restore(&self, manifest: &Manifest, into: &Path) -> Result<(), StoreError> {
        let half = beside(into).ok_or_else(|| StoreError::local(into)(io::ErrorKind::InvalidFilename.into()))?;
        let stored = self.listed_files().await?;
        for StoredFile { name, bytes, sha256 } in &manifest.files {
            let damaged = |detail: String| StoreError::damaged(self.file_object(sha256), format!("{detail} (it is {name})"));
            match stored.get(sha256.as_str()) {
                None => return Err(damaged("it is missing".to_owned())),
                Some(object) if object.size != *bytes => {
                    return Err(damaged(format!("it has {} bytes instead of {bytes}", object.size)));
                }
                Some(_) => {}
            }
        }
        blocking(half.clone(), |half| remove(half).and_then(|()| fs::create_dir_all(half)))
            .await
            .map_err(StoreError::local(&half))?;
        // Boxed: the compiler cannot tell that futures from a closure over references may change threads.
        let downloads: Vec<_> = manifest.files.iter().map(|file| self.download(file, half.join(&file.name)).boxed()).collect();
        let downloaded = stream::iter(downloads).buffer_unordered(FILES_AT_ONCE).try_collect::<()>().await;
        let into = into.to_owned();
        let whole = downloaded.is_ok();
        let finish =
            blocking(
                half.clone(),
                move |half| {
                    if whole { remove(&into).and_then(|()| fs::rename(half, &into)) } else { remove(half) }
                },
            );
        let finished = finish.await.map_err(StoreError::local(half));
        downloaded.and(finished)
    }

    async fn download(&self, file: &StoredFile, path: PathBuf) -> Result<(), StoreError> {
        let object = self.file_object(&file.sha256);
        let create = blocking(path.clone(), |path| File::create_new(path)).await;
        let mut writing = (create.map_err(StoreError::local(&path))?, Sha256::new());
        let mut start = 0;
        while start < file.bytes {
            let end = file.bytes.min(start + PART_BYTES);
            let part = self.backend().read_range(&object, start..end).await?;
            let part = part.filter(|part| part.len() as u64 == end - start);
            let part = part.ok_or_else(|| {
                StoreError::damaged(&object, format!("it went or shrank while it was read (it is {})", file.name))
            })?;
            writing = blocking(path.clone(), move |_| append(writing, &part)).await.map_err(StoreError::local(&path))?;
            start = end;
        }
        let sha256 = Checksum::from_hasher(writing.1);
        if sha256 == file.sha256 {
            Ok(())
        } else {
            Err(StoreError::damaged(object, format!("its checksum is {sha256} (it is {})", file.name)))
        }
    }
}

fn append((mut file, mut hasher): (File, Sha256), part: &Bytes) -> io::Result<(File, Sha256)> {
    hasher.update(part);
    file.write_all(part)?;
    Ok((file, hasher))
}

fn beside(folder: &Path) -> Option<PathBuf> {
    let mut name = folder.file_name()?.to_owned();
    name.push(".restoring");
    Some(folder.with_file_name(name))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
