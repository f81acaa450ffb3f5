//! What the processes say goes to files: they stay if something went wrong.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// A folder of logs.
pub(crate) struct Logs {
    folder: PathBuf,
}

impl Logs {
    /// A new one, which is told.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("warren-logs.").tempdir()?.keep();
        println!("the processes' logs: {}", folder.display());
        Ok(Self { folder })
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Deletes them: all went well.
    pub(crate) fn discard(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder)?)
    }
}
