//! Merges on demand: what travels, and what the client gets.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a replica is with a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeState {
    /// With which to ask again.
    pub ticket: u64,
    /// Whether all that was written before the ticket was given is in one segment.
    pub done: bool,
    /// The segments that it has now.
    pub segments: u32,
    /// The documents that searches see.
    pub documents: u64,
    /// Those that are deleted and still take room.
    pub deleted: u64,
}

/// The answer to `POST /indexes/{index}/merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeResponse {
    /// Milliseconds from the request's arrival to the answer.
    pub took_ms: u64,
    /// Whether every replica is done; if not, they go on, and asking again tells how far they are.
    pub done: bool,
    /// Every replica of every partition.
    pub replicas: Vec<MergedReplica>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergedReplica {
    /// Its partition.
    pub partition: u32,
    /// The worker that holds it.
    pub worker: String,
    /// Whether it is done.
    pub done: bool,
    /// Its segments: one, or more if it is not done or if more was written meanwhile; none if the partition is empty.
    pub segments: u32,
    /// Its documents.
    pub documents: u64,
    /// The deleted documents that still take room.
    pub deleted: u64,
}
