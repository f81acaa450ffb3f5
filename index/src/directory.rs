//! Files without fsync: the index is a cache of the log, and what a machine crash could have torn is discarded anyway.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, Lock, MmapDirectory, TerminatingWrite, WatchCallback, WatchHandle,
    WritePtr,
};

use crate::home::ORIGIN_FILE;

/// tantivy's memory-mapped directory, but for its writes: they reach the operating system and not the disk.
///
/// A process that is killed loses nothing by it, for the system keeps what was written; see [`crate::home`] for the rest.
#[derive(Clone, Debug)]
pub(crate) struct CacheDirectory {
    root: PathBuf,
    mapped: MmapDirectory,
    /// Tells the unfinished files of this opening from those of an earlier one, a merge of which may still be running.
    opening: u64,
}

impl CacheDirectory {
    pub(crate) fn open(root: &Path) -> Result<Self, OpenDirectoryError> {
        static OPENINGS: AtomicU64 = AtomicU64::new(0);
        let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { root: root.to_owned(), mapped: MmapDirectory::open(root)?, opening })
    }
}

/// The list of files from which tantivy deletes what no segment needs. It writes it again for every new file; the folder itself
/// tells the same, and does not forget what a killed process left behind.
const FILE_LIST: &str = ".managed.json";

impl CacheDirectory {
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

/// A file that is complete when the system has it.
struct UnsyncedFile(File);

impl Write for UnsyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for UnsyncedFile {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        Ok(())
    }
}

impl Directory for CacheDirectory {
    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.root.join(path)).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                OpenWriteError::FileAlreadyExists(path.to_owned())
            } else {
                OpenWriteError::wrap_io_error(error, path.to_owned())
            }
        })?;
        Ok(BufWriter::new(Box::new(UnsyncedFile(file))))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(FILE_LIST) {
            return Ok(());
        }
        replace_file(&self.root.join(path), data, self.opening)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.mapped.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.mapped.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.mapped.exists(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(FILE_LIST) {
            return self.list_files().map_err(|error| OpenReadError::wrap_io_error(error, path.to_owned()));
        }
        self.mapped.atomic_read(path)
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
    std::fs::write(&new, data)?;
    std::fs::rename(&new, path)
}
