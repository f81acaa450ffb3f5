//! What workers and producers say about themselves, to all: alive, holding what, and how far.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::index_name::IndexRef;
use crate::ports::{Position, WorkerId};

/// The milliseconds between two announcements of a process. What others wait for is announced at once.
pub const INTERVAL_MS: u64 = 1000;
/// A process that was silent for so many milliseconds counts as gone.
pub const LIFETIME_MS: u64 = 5000;

/// One announcement, as JSON on the bulletin; fields that a reader does not know are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Announcement {
    /// A worker's.
    Worker(WorkerAnnouncement),
    /// A producer's.
    Producer(ProducerAnnouncement),
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAnnouncement {
    /// Who speaks.
    pub worker: WorkerId,
    /// Whether this is its last word.
    #[serde(default)]
    pub leaving: bool,
    /// Whether it is about to leave: it takes no slots any more, and serves on until others have taken over.
    #[serde(default)]
    pub stopping: bool,
    /// The processor time that it used since its last announcement, in percent of one core.
    #[serde(default)]
    pub cpu_percent: u32,
    /// The object store that it uses, by the identity in the store's marker. Snapshots count only where all workers
    /// use one store.
    #[serde(default)]
    pub store: Option<Uuid>,
    /// What it holds.
    pub partitions: Vec<PartitionReport>,
}

/// How far one replica of a partition is.
///
/// `log_bytes` and `operations` count from the index's creation on, so they also order what different replicas,
/// snapshots and producers say about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// The index.
    pub index: IndexRef,
    /// The partition.
    pub partition: u32,
    /// Which of the partition's replicas, from 0.
    pub replica: u32,
    /// Whether the worker holds the replica's slot. It may have given it back and serve on until another has caught up.
    pub held: bool,
    /// What the replica does.
    pub state: ReplicaState,
    /// The last position that a search can see; `None` before the first commit.
    #[serde(default)]
    pub position: Option<Position>,
    /// How many documents a search can see.
    pub documents: u64,
    /// The bytes of all messages of the log up to that position.
    pub log_bytes: u64,
    /// The operations of all batches of the log up to that position.
    pub operations: u64,
    /// The segments of the index.
    #[serde(default)]
    pub segments: u32,
    /// The bytes of the index's files.
    #[serde(default)]
    pub bytes: u64,
    /// The newest snapshot of the partition that this worker knows.
    #[serde(default)]
    pub snapshot: Option<SnapshotReport>,
    /// What the partition has lost for ever, in words: writes that no log and no snapshot has any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Why it stopped, or why it takes no snapshots, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A snapshot in the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotReport {
    /// The last position of the log that is in it.
    #[schema(value_type = u64)]
    pub position: Position,
    /// The bytes of all messages of the log that are in it.
    pub log_bytes: u64,
    /// When it was taken, in Unix milliseconds.
    pub taken_ms: u64,
}

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It restores a snapshot or reads the log, and does not answer searches yet.
    CatchingUp,
    /// It follows the log and answers searches.
    Serving,
    /// It cannot go on; `error` says why. It answers searches with what it has.
    Stopped,
}

/// The name of a running producer: unique, chosen anew at each start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerId(pub String);

impl ProducerId {
    /// A name that no other producer has.
    pub fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a producer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerAnnouncement {
    /// Who speaks.
    pub producer: ProducerId,
    /// Whether this is its last word.
    #[serde(default)]
    pub leaving: bool,
    /// The logs that it has written to lately.
    pub logs: Vec<AppendReport>,
    /// What it takes from queues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intakes: Vec<IntakeReport>,
}

/// What a producer has taken from the intake queue, or from a source, since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeReport {
    /// `warren.intake`, or `warren.source.{name}`.
    pub name: String,
    /// Whether this process is the one that consumes it now.
    pub active: bool,
    /// Documents that were written.
    pub indexed: u64,
    /// Documents that were deleted.
    pub deleted: u64,
    /// Documents, and messages that are none, that went to the dead letters.
    pub refused: u64,
    /// Why it does not go on for now, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The last thing that went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What a producer appended to one partition's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendReport {
    /// The index.
    pub index: IndexRef,
    /// The partition.
    pub partition: u32,
    /// The bytes of the messages that this producer has appended since its start.
    pub appended_bytes: u64,
    /// The operations in them.
    pub appended_operations: u64,
    /// Where it believes the log's end to be: the bytes of all messages, as in [`PartitionReport::log_bytes`].
    pub end_bytes: u64,
    /// The operations of all batches, as in [`PartitionReport::operations`].
    pub end_operations: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_skip_what_a_newer_worker_adds() {
        let json = r#"{"worker":"w1","mood":0.5,"partitions":[{"index":{"name":"a","generation":1},"partition":0,
            "replica":0,"held":true,"state":"serving","position":7,"documents":2,"log_bytes":9,"operations":2,"shiny":true}]}"#;
        let Announcement::Worker(announcement) = serde_json::from_str(json).unwrap() else { panic!("a worker speaks") };
        assert_eq!(announcement.partitions[0].position, Some(Position(7)));
    }

    #[test]
    fn a_producer_is_told_from_a_worker() {
        let said = Announcement::Producer(ProducerAnnouncement {
            producer: ProducerId("p1".to_owned()),
            leaving: false,
            logs: Vec::new(),
            intakes: Vec::new(),
        });
        let json = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Announcement>(&json).unwrap(), said);
    }
}
