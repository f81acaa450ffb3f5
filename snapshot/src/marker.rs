//! The marker: whose store it is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StoreError;

/// Where it lies.
pub(crate) const OBJECT: &str = "warren.json";
pub(crate) const MAX_BYTES: u64 = 64 << 10;

/// `{"version":1,"catalog":"…","store":"…"}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    version: u64,
    /// The catalog whose indexes are stored.
    pub(crate) catalog: Uuid,
    /// The store itself; stays when another catalog takes it over.
    pub(crate) store: Uuid,
}

/// What every form of the marker and of a manifest has.
#[derive(Deserialize)]
pub(crate) struct Version {
    version: u64,
}

impl Version {
    /// Whether the object is one that this program reads.
    pub(crate) fn check(object: &str, content: &[u8]) -> Result<(), StoreError> {
        match serde_json::from_slice(content) {
            Ok(Self { version: 1 }) => Ok(()),
            Ok(Self { version }) => Err(StoreError::Version { object: object.to_owned(), version }),
            Err(error) => Err(StoreError::damaged(object, error.to_string())),
        }
    }
}

impl Marker {
    pub(crate) fn new(catalog: Uuid, store: Uuid) -> Self {
        Self { version: 1, catalog, store }
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, StoreError> {
        Version::check(OBJECT, content)?;
        serde_json::from_slice(content).map_err(|error| StoreError::damaged(OBJECT, error.to_string()))
    }

    pub(crate) fn encode(&self) -> String {
        let Self { version, catalog, store } = self;
        format!("{{\"version\":{version},\"catalog\":\"{catalog}\",\"store\":\"{store}\"}}\n")
    }
}
