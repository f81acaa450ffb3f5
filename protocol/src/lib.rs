//! What Warren's processes say to each other.
//!
//! Everything here is pure: values, their checks, their encodings, and the five [`ports`] behind which a broker
//! stands. Nothing in this crate opens a file or a socket, so every rule in it can be tested without either.
//!
//! The way of a document: [`document`] checks it and gives it an id, [`partition`] says where it belongs, [`batch`]
//! is the form in which a partition log keeps it, [`writer`] is how a follower of that log applies it once.
//! The way of a query: [`search`] is what a client sends and gets, [`query`] what it seeks, [`rpc`] what travels between the query
//! service and the workers; [`aggregations`] and [`suggest`] are what is computed on the way. [`receipt`] goes back to whoever wrote.
//! What cannot go its way becomes a [`dead_letter`]; a [`source`] is a way in for messages that were not made for Warren.

pub mod aggregations;
pub mod announcement;
pub mod batch;
pub mod catalog;
pub mod dead_letter;
pub mod definition;
mod depth;
pub mod document;
pub mod index_name;
pub mod merging;
pub mod partition;
pub mod ports;
pub mod problem;
pub mod query;
pub mod receipt;
pub mod rpc;
pub mod search;
pub mod source;
pub mod suggest;
pub mod writer;

pub use batch::{Batch, Operation, Payload, PayloadBuilder};
pub use definition::IndexDefinition;
pub use document::DocumentId;
pub use index_name::{Generation, IndexName, IndexRef};
pub use partition::{PartitionId, partition_of};
pub use problem::Problem;
pub use query::{Query, QueryInput};
pub use source::{SourceDefinition, SourceEntry, SourceName};
