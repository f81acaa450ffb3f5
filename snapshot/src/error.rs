//! What can go wrong, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or refused: the network, its rights, a full disk, a folder that is not mounted. It says nothing about
    /// what is stored. Retry after a pause.
    #[error("the store at {url} is unavailable: {detail}")]
    Unavailable {
        /// The store.
        url: String,
        /// What was asked for, and what the store said.
        detail: String,
    },
    /// The store belongs to another catalog: nothing of it may be used or changed.
    #[error(
        "the store belongs to the Warren with the catalog {found}, and this one has {expected}: set store.url to a folder or prefix of its \
         own; or, if the broker of that Warren is lost, `warren restore` takes over its indexes"
    )]
    Foreign {
        /// The catalog in the marker.
        found: Uuid,
        /// The catalog of this Warren.
        expected: Uuid,
    },
    /// The settings name no store that can be used; the text names the key and what to write there.
    #[error("{0}")]
    BadUrl(String),
    /// An object is missing, or is not what was written. An older snapshot may be good.
    #[error("{object} in the store is damaged: {detail}")]
    Damaged {
        /// The object's path below the URL of the store.
        object: String,
        /// What is wrong.
        detail: String,
    },
    /// An object was written by a newer Warren. Update this one.
    #[error("{object} in the store has version {version}, this program reads version 1: update it")]
    Version {
        /// The object's path below the URL of the store.
        object: String,
        /// The version in the object.
        version: u64,
    },
    /// A local file or folder cannot be read or written. Retry after it was mended.
    #[error("{}: {source}", .path.display())]
    Local {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn local(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Local { path, source }
    }

    pub(crate) fn damaged(object: impl ToString, detail: impl Into<String>) -> Self {
        Self::Damaged { object: object.to_string(), detail: detail.into() }
    }
}
