//! The files of an index. Young ones stay in memory until they are saved, and no file is synced: the index is a cache of the log.
//!
//! Ten commits a second make as many small segments with seven files each, most of which a merge replaces before anybody could need them on
//! the disk ([ADR 19](../../docs/adr/0019-young-files-in-memory.md)). So what tantivy writes becomes visible at once, and reaches the folder
//! when it is saved: then the folder holds one commit. A process that is killed leaves the commit that was saved last; see [`crate::home`]
//! for a machine that goes down.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, Lock, MmapDirectory, OwnedBytes, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};

use crate::home::ORIGIN_FILE;

/// Where tantivy keeps what it knows about its files.
pub(crate) const META_FILE: &str = "meta.json";
/// The list of files from which tantivy deletes what no segment needs. It writes it again for every new file; the folder itself
/// tells the same, and does not forget what a killed process left behind.
const FILE_LIST: &str = ".managed.json";
/// A file that becomes larger goes to the folder at once.
const LARGE_FILE: usize = 256 * 1024;
/// With more bytes in memory, a commit is saved.
const MAX_UNSAVED_BYTES: usize = 4 * 1024 * 1024;

/// tantivy's memory-mapped directory, with the young files in memory. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct CacheDirectory {
    root: PathBuf,
    mapped: MmapDirectory,
    unsaved: Arc<Mutex<Unsaved>>,
    /// A commit is saved that comes so long after the last one that was.
    interval: Duration,
    /// Tells the unfinished files of this opening from those of an earlier one, a merge of which may still be running.
    opening: u64,
}

/// How the folder differs from what tantivy sees.
#[derive(Debug, Default)]
struct Unsaved {
    /// The files that are complete, and in memory only.
    young: HashMap<PathBuf, OwnedBytes>,
    /// Their bytes.
    bytes: usize,
    /// What is to stand in [`META_FILE`].
    meta: Option<Vec<u8>>,
    /// Files of the folder that are needed until `meta` stands there.
    deleted: Vec<PathBuf>,
    /// When the folder was last written, or could not be.
    tried: Option<Instant>,
    /// Whether there is no writer any more: what its merges still do must not reach the folder, which may have another owner.
    is_closed: bool,
}

/// What is read of [`META_FILE`] here.
#[derive(Deserialize)]
struct Meta {
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    segment_id: String,
}

impl CacheDirectory {
    pub(crate) fn open(root: &Path, interval: Duration) -> Result<Self, OpenDirectoryError> {
        static OPENINGS: AtomicU64 = AtomicU64::new(0);
        let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
        let (root, mapped) = (root.to_owned(), MmapDirectory::open(root)?);
        Ok(Self { root, mapped, unsaved: Arc::default(), interval, opening })
    }

    /// A writer begins.
    pub(crate) fn begin(&self) {
        self.unsaved().is_closed = false;
    }

    /// Saves, and leaves the folder alone from then on. For a writer that has ended.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut unsaved = self.unsaved();
        let saved = self.save_locked(&mut unsaved);
        unsaved.is_closed = true;
        saved
    }

    /// Brings the last commit into the folder. A kill in between leaves the one before.
    pub(crate) fn save(&self) -> io::Result<()> {
        let mut unsaved = self.unsaved();
        self.save_locked(&mut unsaved)
    }

    fn save_locked(&self, unsaved: &mut Unsaved) -> io::Result<()> {
        let Some(meta) = unsaved.meta.as_ref().filter(|_| !unsaved.is_closed) else { return Ok(()) };
        unsaved.tried = Some(Instant::now());
        let segments: HashSet<String> = serde_json::from_slice::<Meta>(meta)?
            .segments
            .into_iter()
            .map(|segment| segment.segment_id.replace('-', ""))
            .collect();
        let named = |path: &Path| {
            let name = path.to_str().and_then(|name| name.split('.').next());
            name.is_some_and(|segment| segments.contains(segment))
        };
        let files: Vec<PathBuf> = unsaved.young.keys().filter(|path| named(path)).cloned().collect();
        for path in files {
            replace_file(&self.root.join(&path), unsaved.young[&path].as_slice(), self.opening)?;
            if let Some(bytes) = unsaved.young.remove(&path) {
                unsaved.bytes -= bytes.len();
            }
        }
        replace_file(&self.root.join(META_FILE), meta, self.opening)?;
        unsaved.meta = None;
        for path in std::mem::take(&mut unsaved.deleted) {
            match self.mapped.delete(&path) {
                Ok(()) | Err(DeleteError::FileDoesNotExist(_)) => {}
                // It is looked for at the next opening.
                Err(error) => tracing::warn!(%error, "a file that is not needed any more cannot be deleted"),
            }
        }
        Ok(())
    }

    /// How large a file is; nothing if it is not there.
    pub(crate) fn size(&self, path: &Path) -> u64 {
        let young = self.unsaved().young.get(path).map(|bytes| bytes.len() as u64);
        young.unwrap_or_else(|| std::fs::metadata(self.root.join(path)).map_or(0, |meta| meta.len()))
    }

    fn unsaved(&self) -> MutexGuard<'_, Unsaved> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list_files(&self) -> io::Result<Vec<u8>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            // Those with a dot are locks.
            names.extend(name.to_str().filter(|name| !name.starts_with('.') && *name != ORIGIN_FILE).map(str::to_owned));
        }
        Ok(serde_json::to_vec(&names)?)
    }
}

/// A file that is being written: in memory, and from a certain size on in the folder.
struct NewFile {
    path: PathBuf,
    bytes: Vec<u8>,
    file: Option<File>,
    directory: CacheDirectory,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            return file.write(bytes);
        }
        if self.bytes.len() + bytes.len() > LARGE_FILE {
            let mut file = OpenOptions::new().write(true).create_new(true).open(self.directory.root.join(&self.path))?;
            file.write_all(&std::mem::take(&mut self.bytes))?;
            return self.file.insert(file).write(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for NewFile {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        if self.file.is_none() {
            self.bytes.shrink_to_fit();
            let bytes = OwnedBytes::new(std::mem::take(&mut self.bytes));
            let mut unsaved = self.directory.unsaved();
            unsaved.bytes += bytes.len();
            unsaved.young.insert(self.path.clone(), bytes);
        }
        Ok(())
    }
}

impl Directory for CacheDirectory {
    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        if self.unsaved().young.contains_key(path) {
            return Err(OpenWriteError::FileAlreadyExists(path.to_owned()));
        }
        match std::fs::remove_file(self.root.join(path)) {
            // tantivy writes no file twice: a killed process left it, whose work is being done again.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenWriteError::wrap_io_error(error, path.to_owned())),
        }
        let new = NewFile { path: path.to_owned(), bytes: Vec::new(), file: None, directory: self.clone() };
        Ok(BufWriter::new(Box::new(new)))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(FILE_LIST) {
            return Ok(());
        }
        if path != Path::new(META_FILE) {
            return replace_file(&self.root.join(path), data, self.opening);
        }
        let mut unsaved = self.unsaved();
        if unsaved.is_closed {
            return Err(io::Error::other("the writer has ended"));
        }
        unsaved.meta = Some(data.to_vec());
        let is_full = unsaved.bytes > MAX_UNSAVED_BYTES;
        if !is_full && unsaved.tried.is_some_and(|tried| tried.elapsed() < self.interval) {
            return Ok(());
        }
        match self.save_locked(&mut unsaved) {
            Err(error) if !is_full => {
                tracing::warn!(folder = %self.root.display(), %error, "the index is kept in memory, since its folder cannot be written");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let young = self.unsaved().young.get(path).cloned();
        match young {
            Some(bytes) => Ok(Arc::new(bytes)),
            None => self.mapped.get_file_handle(path),
        }
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let mut unsaved = self.unsaved();
        match unsaved.young.remove(path) {
            Some(bytes) => unsaved.bytes -= bytes.len(),
            None if unsaved.is_closed => {}
            // What stands in the folder may be needed until there is another commit.
            None if unsaved.meta.is_some() => unsaved.deleted.push(path.to_owned()),
            None => return self.mapped.delete(path),
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        let unsaved = self.unsaved();
        let young = unsaved.young.contains_key(path) || (path == Path::new(META_FILE) && unsaved.meta.is_some());
        if young { Ok(true) } else { self.mapped.exists(path) }
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(FILE_LIST) {
            return self.list_files().map_err(|error| OpenReadError::wrap_io_error(error, path.to_owned()));
        }
        let unsaved = if path == Path::new(META_FILE) { self.unsaved().meta.clone() } else { None };
        unsaved.map_or_else(|| self.mapped.atomic_read(path), Ok)
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.mapped.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.mapped.watch(callback)
    }
}

/// Puts `data` in the place of the file, so that a reader, or a kill in between, finds the old content or the new one.
///
/// Whoever replaces the same file at the same time passes another `writer`; tantivy's own locks see to it inside one opening.
pub(crate) fn replace_file(path: &Path, data: &[u8], writer: u64) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{writer}"));
    let new = PathBuf::from(name);
    let replaced = std::fs::write(&new, data).and_then(|()| std::fs::rename(&new, path));
    if replaced.is_err() {
        // It may be in nobody's list.
        let _ = std::fs::remove_file(&new);
    }
    replaced
}
