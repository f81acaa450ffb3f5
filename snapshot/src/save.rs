//! Taking a snapshot: new files first, the manifest last.

use std::fs::File;
use std::io;
use std::num::TryFromIntError;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tracing::warn;
use warren_protocol::IndexDefinition;
use warren_protocol::ports::Position;

use crate::backend::Created;
use crate::error::StoreError;
use crate::hashes::{Hashes, blocking};
use crate::manifest::{Manifest, StoredFile, is_plain};
use crate::partition::PartitionStore;

/// What is in memory of one file on its way; not less, for S3 refuses smaller parts.
pub(crate) const PART_BYTES: u64 = 5 << 20;
/// What S3 allows in one object is 10,000.
const MAX_PARTS: u64 = 9000;
/// Files on their way at the same time.
pub(crate) const FILES_AT_ONCE: usize = 3;

/// What a snapshot holds besides its files; see [`Manifest`] for the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What the index is made of.
    pub definition: IndexDefinition,
    /// The last message of the log that is in it.
    pub position: Option<Position>,
    /// What tells that message from one of another log.
    pub digest: Option<u32>,
    /// The bytes of all messages up to there, since the index was created.
    pub log_bytes: u64,
    /// The operations of all batches up to there, since the index was created.
    pub operations: u64,
    /// How many documents searches find in it.
    pub documents: u64,
    /// What the index says about the files.
    pub meta: String,
}

/// A snapshot that is in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Its manifest.
    pub manifest: Manifest,
    /// The bytes of the files that were not in the store before.
    pub uploaded_bytes: u64,
    /// The bytes of the files that were.
    pub reused_bytes: u64,
}

impl PartitionStore {
    /// Puts a snapshot of `files`, which lie in `folder` and do not change meanwhile, into the store. When it returns, the snapshot is
    /// durable.
    ///
    /// `previous` is the newest manifest, read just before: what it names is not uploaded again. If there is a snapshot of the same place
    /// already, that one is the answer. A call that fails or is dropped leaves files that [`PartitionStore::collect`] finds; it must not
    /// take longer than the grace time of that. Memory: 5 MiB for each of three files at once.
    pub async fn save(
        &self,
        head: Head,
        folder: &Path,
        files: &[String],
        previous: Option<&Manifest>,
        hashes: &mut Hashes,
    ) -> Result<Saved, StoreError> {
        if let Some(strange) = files.iter().find(|name| !is_plain(name)) {
            return Err(StoreError::local(folder.join(strange))(io::ErrorKind::InvalidFilename.into()));
        }
        let manifest = self.describe(head, hashes.of(folder, files).await?);
        let (mut uploaded_bytes, mut reused_bytes) = (0, 0);
        if let Some(same) = previous.filter(|previous| previous.name() == manifest.name()) {
            return Ok(Saved { manifest: same.clone(), uploaded_bytes, reused_bytes });
        }
        let stored = self.listed_files().await?;
        let mut new = Vec::new();
        for file in &manifest.files {
            // The listing makes good what somebody deleted by hand.
            let reuse = previous.is_some_and(|previous| previous.has(file))
                && stored.get(file.sha256.as_str()).is_some_and(|object| object.size == file.bytes);
            if reuse {
                reused_bytes += file.bytes;
            } else {
                uploaded_bytes += file.bytes;
                new.push(file);
            }
        }
        // Boxed: the compiler cannot tell that futures from a closure over references may change threads.
        let uploads: Vec<_> = new.into_iter().map(|file| self.upload(folder, file).boxed()).collect();
        stream::iter(uploads).buffer_unordered(FILES_AT_ONCE).try_collect::<()>().await?;
        Ok(Saved { manifest: self.publish(manifest).await?, uploaded_bytes, reused_bytes })
    }

    fn describe(&self, head: Head, files: Vec<StoredFile>) -> Manifest {
        let Head { definition, position, digest, log_bytes, operations, documents, meta } = head;
        let (index, creation, partition) = (self.index().name.clone(), self.index().creation, self.number());
        let taken_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        Manifest {
            index,
            creation,
            partition,
            definition,
            position,
            digest,
            log_bytes,
            operations,
            documents,
            taken_ms,
            meta,
            files,
        }
    }

    async fn upload(&self, folder: &Path, file: &StoredFile) -> Result<(), StoreError> {
        let path = folder.join(&file.name);
        let open = blocking(path.clone(), |path| File::open(path)).await;
        let content = Content { file: Arc::new(open.map_err(StoreError::local(&path))?), path: &path, bytes: file.bytes };
        let object = self.file_object(&file.sha256);
        if file.bytes <= PART_BYTES {
            return self.backend().write(&object, content.part(0, file.bytes).await?).await;
        }
        let mut parts = self.backend().begin(&object).await?;
        let sent = async {
            for part in content.parts() {
                parts.add(part.await?).await?;
            }
            parts.complete().await
        };
        let sent = sent.await;
        if sent.is_err() {
            parts.abort().await;
        }
        sent
    }

    /// Writes the manifest, unless there is one of the same place; the answer is the one that is there.
    async fn publish(&self, manifest: Manifest) -> Result<Manifest, StoreError> {
        let name = manifest.name();
        let object = self.manifest_object(&name);
        let content: Bytes = manifest.encode().map_err(|error| StoreError::damaged(&object, error.to_string()))?.into();
        if self.backend().create(&object, content.clone()).await? == Created::Yes {
            return Ok(manifest);
        }
        match self.manifest(&name).await {
            Err(StoreError::Damaged { object: damaged, detail }) => {
                warn!(store = self.store().url(), object = damaged, reason = detail, "a damaged manifest is written anew");
                self.backend().write(&object, content).await?;
                Ok(manifest)
            }
            there => there,
        }
    }
}

impl Manifest {
    fn has(&self, file: &StoredFile) -> bool {
        self.files.iter().any(|mine| mine.sha256 == file.sha256 && mine.bytes == file.bytes)
    }
}

/// A local file that is read in parts.
struct Content<'a> {
    file: Arc<File>,
    path: &'a Path,
    bytes: u64,
}

impl Content<'_> {
    fn parts(&self) -> impl Iterator<Item = impl Future<Output = Result<Bytes, StoreError>>> {
        let part_bytes = PART_BYTES.max(self.bytes.div_ceil(MAX_PARTS));
        (0..self.bytes.div_ceil(part_bytes)).map(move |number| {
            let start = number * part_bytes;
            self.part(start, part_bytes.min(self.bytes - start))
        })
    }

    async fn part(&self, start: u64, bytes: u64) -> Result<Bytes, StoreError> {
        let file = self.file.clone();
        let read = blocking(self.path.to_owned(), move |_| {
            let mut part = vec![0; usize::try_from(bytes).map_err(|error: TryFromIntError| io::Error::other(error))?];
            file.read_exact_at(&mut part, start)?;
            Ok(Bytes::from(part))
        });
        read.await.map_err(StoreError::local(self.path))
    }
}
