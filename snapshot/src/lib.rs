//! Snapshots: the files of a partition's index in an object store, with the place in the log that they contain.
//!
//! A [`Store`] is one object store, or a folder, of one Warren: its marker says whose. A [`PartitionStore`] is the part of one partition:
//!
//! ```text
//! warren.json                                                          the marker
//! indexes/{name}.{creation}/{partition}/manifests/{log_bytes}-{position}.json
//! indexes/{name}.{creation}/{partition}/files/{sha256}
//! ```
//!
//! A snapshot is its manifest, which names the files by their checksums. Files come first and the manifest last, so that what is found is
//! whole; a file that another snapshot has is not uploaded again. Whoever takes a snapshot of the same place writes the same manifest, and
//! the first one stays: two workers that hold a partition for a while do no harm.
//!
//! A process that is killed in the middle of an upload leaves parts of it behind: [`PartitionStore::collect`] deletes them in a folder, and
//! in a bucket its own rule for unfinished uploads does.
//!
//! Nothing here knows what the files mean: that is the business of the index, which checks them once more.

mod backend;
mod collect;
mod error;
mod hashes;
mod manifest;
mod marker;
mod partition;
mod restore;
mod save;
mod settings;
mod store;
#[cfg(test)]
mod tests;

pub use collect::Collected;
pub use error::StoreError;
pub use hashes::Hashes;
pub use manifest::{Checksum, Manifest, ManifestName, StoredFile};
pub use partition::PartitionStore;
pub use restore::Restored;
pub use save::{Head, Saved};
pub use settings::Settings;
pub use store::{Store, StoredIndex};
