//! The index of one partition, on tantivy.
//!
//! A [`PartitionIndex`] is a folder of files and the handle to search them; its [`PartitionWriter`] puts and deletes documents and commits
//! them together with their place in the partition's log. The files are a cache: whatever casts doubt on them discards them, and the log, or
//! a snapshot, builds them again.
//!
//! The way of a document: `document` turns it into values for the fields of `schema`, whose texts `analysis` cuts into words.
//! The way of a query: `query` plans it, `search` runs the plan and ranks what matches, `highlight` finds the passages;
//! `aggregate` computes the aggregations over all that matches, and `suggest` looks up words instead of documents.

mod aggregate;
mod analysis;
mod deadline;
mod directory;
mod document;
mod error;
mod files;
mod highlight;
mod home;
mod known_ids;
mod merging;
mod partition;
mod parts;
mod query;
mod schema;
mod search;
mod snapshot;
mod suggest;
#[cfg(test)]
mod tests;
mod word_counts;
mod writer;

pub use deadline::Limits;
pub use error::{IndexError, SearchError};
pub use merging::Merging;
pub use partition::{Options, PartitionIndex, Size};
pub use search::View;
pub use snapshot::Frozen;
pub use writer::{Checkpoint, LastMessage, PartitionWriter};
