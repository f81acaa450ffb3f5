//! What workers say about themselves, to all: alive, holding what, and how far.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::index_name::IndexRef;
use crate::ports::{Position, WorkerId};

/// The milliseconds between two announcements of a worker.
pub const INTERVAL_MS: u64 = 1000;
/// A worker that was silent for so many milliseconds counts as gone.
pub const LIFETIME_MS: u64 = 5000;

/// One worker's announcement, as JSON on the bulletin; fields that a reader does not know are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Who speaks.
    pub worker: WorkerId,
    /// Whether this is its last word: it stops.
    #[serde(default)]
    pub leaving: bool,
    /// What it holds.
    pub partitions: Vec<PartitionReport>,
}

/// How far one replica of a partition is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// The index.
    pub index: IndexRef,
    /// The partition.
    pub partition: u32,
    /// What the replica does.
    pub state: ReplicaState,
    /// The last position that a search can see; `None` before the first commit.
    #[serde(default)]
    pub position: Option<Position>,
    /// How many documents a search can see.
    pub documents: u64,
    /// The bytes of all messages of the log up to that position.
    pub log_bytes: u64,
    /// Why it stopped, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It reads the log and does not answer searches yet.
    CatchingUp,
    /// It follows the log and answers searches.
    Serving,
    /// It cannot go on; `error` says why. It answers searches with what it has.
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_skip_what_a_newer_worker_adds() {
        let json = r#"{"worker":"w1","load":0.5,"partitions":[{"index":{"name":"a","generation":1},"partition":0,
            "state":"serving","position":7,"documents":2,"log_bytes":9,"shiny":true}]}"#;
        let announcement: Announcement = serde_json::from_str(json).unwrap();
        assert_eq!(announcement.partitions[0].position, Some(Position(7)));
    }
}
