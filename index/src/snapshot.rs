//! An index leaves its folder, and comes into one: what a snapshot needs.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tantivy::IndexMeta;
use warren_protocol::IndexDefinition;

use crate::directory::{META_FILE, replace_file};
use crate::error::IndexError;
use crate::files;
use crate::home::{FORMAT, Origin};
use crate::partition::PartitionIndex;
use crate::writer::Checkpoint;

/// The format of the files, see [`crate::home`], among what tantivy says about them.
const FORMAT_KEY: &str = "warren_format";
/// How often a commit or a merge may come in between while the files are linked. Once tantivy has handed its list out, it keeps the files on it.
const ATTEMPTS: u32 = 20;

/// The files of one commit, in a folder of their own, where nothing changes them. Whoever has it removes the folder.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// Where the files are.
    pub folder: PathBuf,
    /// Their names, in order.
    pub files: Vec<String>,
    /// What tantivy says about exactly these files, and their format: for [`PartitionIndex::adopt`].
    pub meta: String,
    /// The checkpoint of the commit.
    pub checkpoint: Checkpoint,
    /// How many documents searches find in them.
    pub documents: u64,
}

impl PartitionIndex {
    /// Links the files of the last commit into the folder `into`, in the place of what is there; beside the folder of the index, where a link
    /// costs nothing (a file system without links copies). The writer may go on meanwhile, and merges may end. `Uncommitted` if there is no
    /// commit.
    pub fn freeze(&self, into: &Path) -> Result<Frozen, IndexError> {
        let mut attempt = 1;
        loop {
            self.save()?;
            let metas = self.tantivy().load_metas()?;
            let Some(payload) = &metas.payload else { return Err(IndexError::Uncommitted(self.directory().to_owned())) };
            let checkpoint = serde_json::from_str(payload)?;
            match self.link(&metas, into) {
                Ok(mut files) => {
                    files.sort_unstable();
                    let mut meta = serde_json::to_value(&metas)?;
                    meta[FORMAT_KEY] = FORMAT.into();
                    let documents = metas.segments.iter().map(|segment| u64::from(segment.num_docs())).sum();
                    return Ok(Frozen { folder: into.to_owned(), files, meta: meta.to_string(), checkpoint, documents });
                }
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                Err(error) => {
                    let _ = fs::remove_dir_all(into);
                    return Err(IndexError::directory(into)(error));
                }
            }
        }
    }

    fn link(&self, metas: &IndexMeta, into: &Path) -> io::Result<Vec<String>> {
        match fs::remove_dir_all(into) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(into)?,
        }
        let mut names = Vec::new();
        for file in files::of(metas) {
            let (from, to) = (self.directory().join(&file), into.join(&file));
            match fs::hard_link(&from, &to) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
                Err(_) => drop(fs::copy(&from, &to)?),
                Ok(()) => {}
            }
            names.extend(file.to_str().map(str::to_owned));
        }
        Ok(names)
    }

    /// Makes an index of the files of a snapshot, which lie in `directory` already, so that [`PartitionIndex::open`] takes it: that one
    /// verifies them. With a `checkpoint`, the index begins there instead of at the one that it was frozen at.
    ///
    /// `Snapshot` if `meta` is not of [`Frozen::meta`], or is of another format.
    pub fn adopt(
        directory: &Path,
        definition: &IndexDefinition,
        meta: &str,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), IndexError> {
        let mut meta: Map<String, Value> =
            serde_json::from_str(meta).map_err(|error| IndexError::Snapshot(format!("its description: {error}")))?;
        match meta.remove(FORMAT_KEY) {
            Some(format) if format == FORMAT => {}
            format => {
                let format = format.unwrap_or_default();
                return Err(IndexError::Snapshot(format!("it has format {format}, this program reads {FORMAT}")));
            }
        }
        if let Some(checkpoint) = checkpoint {
            meta.insert("payload".to_owned(), serde_json::to_string(checkpoint)?.into());
        }
        let file = directory.join(META_FILE);
        replace_file(&file, &serde_json::to_vec(&meta)?, 0).map_err(IndexError::directory(file))?;
        Origin::now(definition)?.sign(directory)
    }
}
