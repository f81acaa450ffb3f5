//! What can go wrong, by what the caller can do about it.

use std::io::ErrorKind;
use std::path::PathBuf;

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError};
use warren_protocol::rpc::Failure;

use crate::query::TOO_MUCH;

/// Why an index cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// One document does not fit its index: nothing of it was written, the others are unharmed. Dead-letter it.
    #[error("document {id:?} cannot be indexed: {reason}")]
    Document {
        /// The document's id.
        id: String,
        /// What does not fit.
        reason: String,
    },
    /// Another writer, in this process or in another one, holds the directory. Close it first.
    #[error("another writer holds {}", .0.display())]
    Busy(PathBuf),
    /// The directory cannot be read or written: a full disk, or missing rights. Retry after it was mended.
    #[error("{}: {source}", .path.display())]
    Directory {
        /// The directory or the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The writer broke down; what was not committed is lost to it. Open the index again and follow the log from its checkpoint.
    #[error("the index writer failed: {0}")]
    Writer(#[from] TantivyError),
    /// There is nothing to freeze: commit first.
    #[error("nothing was committed to {} yet", .0.display())]
    Uncommitted(PathBuf),
    /// The snapshot is not one that this program can open. Take another one, or follow the log from its beginning.
    #[error("the snapshot cannot be opened: {0}")]
    Snapshot(String),
    /// The checkpoint cannot be kept.
    #[error("the checkpoint cannot be written: {0}")]
    Checkpoint(#[from] serde_json::Error),
}

impl IndexError {
    pub(crate) fn directory(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Directory { path, source }
    }

    pub(crate) fn open(error: OpenDirectoryError) -> Self {
        Self::Writer(error.into())
    }

    /// Whether the files are at fault, and not the system's refusal to read them (open files, rights): those may be good.
    pub(crate) fn is_damage(&self) -> bool {
        let io = match self {
            Self::Writer(TantivyError::IoError(error)) => error.kind(),
            Self::Writer(TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })) => io_error.kind(),
            Self::Writer(TantivyError::OpenDirectoryError(_) | TantivyError::LockFailure(..)) | Self::Directory { .. } => {
                return false;
            }
            _ => return true,
        };
        matches!(io, ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::NotFound)
    }

    pub(crate) fn writer(directory: PathBuf, error: TantivyError) -> Self {
        match error {
            TantivyError::LockFailure(LockError::LockBusy, _) => Self::Busy(directory),
            error => Self::Writer(error),
        }
    }
}

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The query is at fault; the text is for whoever wrote it, and names the place or the field.
    #[error("{0}")]
    InvalidQuery(String),
    /// Another part of the request is at fault.
    #[error("{detail}")]
    InvalidRequest {
        /// Which.
        field: &'static str,
        /// What is wrong with it, and what to do.
        detail: String,
    },
    /// The time was over before it was done.
    #[error("the deadline has passed")]
    Deadline,
    /// The index cannot be read: a defect, or a broken disk.
    #[error("the index cannot be read: {0}")]
    Internal(TantivyError),
}

impl From<TantivyError> for SearchError {
    fn from(error: TantivyError) -> Self {
        match error {
            // Found out while it ran.
            TantivyError::InvalidArgument(text) if text.starts_with(TOO_MUCH) => Self::InvalidQuery(text),
            error => Self::Internal(error),
        }
    }
}

impl From<std::io::Error> for SearchError {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(TantivyError::from(error))
    }
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::InvalidQuery(text) => Self::InvalidQuery(text),
            SearchError::InvalidRequest { field, detail } => Self::InvalidRequest { field: field.to_owned(), detail },
            SearchError::Deadline => Self::Deadline,
            SearchError::Internal(error) => Self::Internal(error.to_string()),
        }
    }
}
