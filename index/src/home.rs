//! Whether the files of an index can be trusted: they are a cache, and whatever casts doubt on them discards them.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use warren_protocol::IndexDefinition;

use crate::directory::replace_file;
use crate::error::IndexError;

/// Raise it when the schema, the analyzers or the checkpoint change in a way that old files do not fit.
pub(crate) const FORMAT: u32 = 2;
/// Where it is said what the files beside it were made by and for.
pub(crate) const ORIGIN_FILE: &str = "warren.json";

/// What the files of one index were made by and for; stands beside them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    format: u32,
    /// Nothing is synced to the disk, so a machine that went down may have torn any file.
    boot: String,
    definition: IndexDefinition,
}

impl Origin {
    /// What an index made now, for this definition, comes from.
    pub(crate) fn now(definition: &IndexDefinition) -> Result<Self, IndexError> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(BOOT_ID).map_err(IndexError::directory(BOOT_ID))?;
        Ok(Self { format: FORMAT, boot: boot.trim().to_owned(), definition: definition.clone() })
    }

    /// Why the files in `directory`, which exists, are not of this origin; `None` if they are.
    pub(crate) fn doubt(&self, directory: &Path) -> Option<String> {
        let found = match fs::read(directory.join(ORIGIN_FILE)) {
            Ok(bytes) => bytes,
            Err(error) => return Some(format!("{ORIGIN_FILE} cannot be read: {error}")),
        };
        let found: Self = match serde_json::from_slice(&found) {
            Ok(found) => found,
            Err(error) => return Some(format!("{ORIGIN_FILE} cannot be understood: {error}")),
        };
        if found.format != self.format {
            return Some(format!("it has format {}, this program writes {}", found.format, self.format));
        }
        if found.definition != self.definition {
            return Some(format!("it has another definition: {}", found.definition.differences(&self.definition).join(", ")));
        }
        (found.boot != self.boot).then(|| "the machine was started again since, which may have torn its files".to_owned())
    }

    /// Empties `directory`, or creates it, and signs it.
    pub(crate) fn settle(&self, directory: &Path) -> Result<(), IndexError> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(IndexError::directory(directory)(error)),
            _ => {}
        }
        fs::create_dir_all(directory).map_err(IndexError::directory(directory))?;
        self.sign(directory)
    }

    /// Says that what lies in `directory` is of this origin.
    pub(crate) fn sign(&self, directory: &Path) -> Result<(), IndexError> {
        let file = directory.join(ORIGIN_FILE);
        replace_file(&file, &serde_json::to_vec_pretty(self)?, 0).map_err(IndexError::directory(file))
    }
}
