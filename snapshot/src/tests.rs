//! What the store promises: what is found is whole, what is needed stays, and no answer is no statement.

mod collecting;
mod faulty;
mod forms;
mod marking;
mod restoring;
mod saving;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use object_store::ObjectStore;
use tempfile::TempDir;
use tracing::subscriber::DefaultGuard;
use uuid::Uuid;
use warren_protocol::ports::Position;
use warren_protocol::{IndexDefinition, IndexName};

use crate::backend::Backend;
use crate::{Hashes, Head, Manifest, PartitionStore, Saved, Settings, Store, StoreError};

const CATALOG: Uuid = Uuid::from_u128(0xca);
const CREATION: Uuid = Uuid::from_u128(0x1e);

fn books() -> IndexName {
    IndexName::new("books").unwrap()
}

/// A store, and an index whose files are written by hand.
struct Bench {
    folder: TempDir,
    store: Store,
    partition: PartitionStore,
    hashes: Hashes,
}

impl Bench {
    /// On a folder.
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&Settings::default(), folder.path()).unwrap();
        Self::with(folder, store).await
    }

    async fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self::with(TempDir::new().unwrap(), Store::new(Backend::with(objects))).await
    }

    async fn with(folder: TempDir, store: Store) -> Self {
        store.claim(CATALOG).await.unwrap();
        fs::create_dir(folder.path().join("index")).unwrap();
        let partition = store.partition(&books(), CREATION, 3);
        Self { folder, store, partition, hashes: Hashes::new() }
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    /// Where a restore goes to.
    fn target(&self) -> PathBuf {
        self.folder.path().join("restored")
    }

    fn write(&self, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            fs::write(self.index().join(name), content).unwrap();
        }
    }

    /// Writes these files and takes a snapshot of them, after the newest one.
    async fn save(&mut self, log_bytes: u64, files: &[(&str, &[u8])]) -> Result<Saved, StoreError> {
        self.write(files);
        let previous = self.partition.newest().await?;
        let names: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.partition.save(head(log_bytes), &self.index(), &names, previous.as_ref(), &mut self.hashes).await
    }

    async fn restore(&self) -> Result<Option<Manifest>, StoreError> {
        Ok(self.partition.restore_newest(&self.target(), ..).await?.map(|restored| restored.manifest))
    }

    /// Where the objects of the partition lie, if the store is a folder.
    fn stored(&self, kind: &str) -> PathBuf {
        self.folder.path().join(format!("store/indexes/books.{}/3", CREATION.simple())).join(kind)
    }

    fn stored_file(&self, manifest: &Manifest, name: &str) -> PathBuf {
        let file = manifest.files.iter().find(|file| file.name == name).unwrap();
        self.stored("files").join(file.sha256.as_str())
    }

    fn stored_manifest(&self, manifest: &Manifest) -> PathBuf {
        self.stored("manifests").join(manifest.name().to_string())
    }
}

fn head(log_bytes: u64) -> Head {
    Head {
        definition: IndexDefinition::default(),
        position: Some(Position(log_bytes / 10)),
        digest: Some(7),
        log_bytes,
        operations: log_bytes / 5,
        documents: 2,
        meta: format!("{{\"segments\":{log_bytes}}}"),
    }
}

/// The files of a folder with their content; `None` if there is no folder.
fn content(folder: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
    let entries = fs::read_dir(folder).ok()?.map(Result::unwrap);
    Some(entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect())
}

fn of(files: &[(&str, &[u8])]) -> Option<BTreeMap<String, Vec<u8>>> {
    Some(files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect())
}

/// The names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    content(folder).unwrap_or_default().into_keys().collect()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Makes a file so many seconds old.
fn age(file: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().append(true).open(file).unwrap().set_modified(then).unwrap();
}

/// What is logged in this thread from now on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Whether one line has all these words.
    fn has(&self, words: &[&str]) -> bool {
        self.text().lines().any(|line| words.iter().all(|word| line.contains(word)))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
