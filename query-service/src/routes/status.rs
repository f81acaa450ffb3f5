//! `/status`: indexes, their partitions, and how far the replicas of each are.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use warren_protocol::PartitionId;
use warren_protocol::announcement::{PartitionReport, ReplicaState};
use warren_protocol::catalog::Entry;
use warren_service::roster::WorkerView;

use crate::QueryService;

/// How the system is.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// How many workers are alive and hold a partition.
    workers: usize,
    /// By name.
    indexes: Vec<IndexStatus>,
}

/// How an index is.
#[derive(Serialize, ToSchema)]
struct IndexStatus {
    /// Its name.
    name: String,
    /// Which life of that name this is.
    generation: u64,
    /// How many documents a search can find, as far as the partitions are held.
    documents: u64,
    /// By number.
    partitions: Vec<PartitionStatus>,
}

/// How a partition is.
#[derive(Serialize, ToSchema)]
struct PartitionStatus {
    /// Its number.
    partition: u32,
    /// One for each worker that holds it.
    replicas: Vec<ReplicaStatus>,
}

/// How far a replica is.
#[derive(Serialize, ToSchema)]
struct ReplicaStatus {
    /// The worker that holds it.
    worker: String,
    /// What it does.
    state: ReplicaState,
    /// The last place in the log that a search can see.
    position: Option<String>,
    /// How many documents a search can see.
    documents: u64,
    /// The bytes of the log up to that place.
    log_bytes: u64,
    /// Why it stopped, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

type Replicas = HashMap<PartitionId, Vec<ReplicaStatus>>;

/// How the system is
///
/// What the workers that are alive said last; they say it every second.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)), tag = "operation")]
pub(super) async fn status(State(service): State<QueryService>) -> Json<Status> {
    Json(assemble(&service.shared.catalog.list(), &service.shared.roster.workers()))
}

fn assemble(indexes: &[Arc<Entry>], workers: &[WorkerView]) -> Status {
    let mut replicas = Replicas::new();
    for worker in workers {
        for report in worker.partitions.iter().cloned() {
            let PartitionReport { index, partition, state, position, documents, log_bytes, error, .. } = report;
            let position = position.map(|position| position.to_string());
            let replica = ReplicaStatus { worker: worker.id.0.clone(), state, position, documents, log_bytes, error };
            replicas.entry(PartitionId { index, partition }).or_default().push(replica);
        }
    }
    Status { workers: workers.len(), indexes: indexes.iter().map(|entry| index_status(entry, &mut replicas)).collect() }
}

fn index_status(entry: &Entry, replicas: &mut Replicas) -> IndexStatus {
    let partitions: Vec<_> = (0..entry.definition.partitions.get())
        .map(|partition| {
            let id = PartitionId { index: entry.index.clone(), partition };
            PartitionStatus { partition, replicas: replicas.remove(&id).unwrap_or_default() }
        })
        .collect();
    let documents = |partition: &PartitionStatus| partition.replicas.iter().map(|replica| replica.documents).max();
    IndexStatus {
        name: entry.index.name.to_string(),
        generation: entry.index.generation.0,
        documents: partitions.iter().filter_map(documents).sum(),
        partitions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use warren_protocol::ports::{Position, WorkerId};
    use warren_protocol::{Generation, IndexDefinition, IndexName, IndexRef};

    #[test]
    fn replicas_stand_at_their_partition_and_count_once() {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        let definition = IndexDefinition { partitions: std::num::NonZeroU32::new(3).unwrap(), ..IndexDefinition::default() };
        let entry = Entry {
            index: index.clone(),
            definition,
            creation: uuid::Uuid::nil(),
            ready: true,
            automatic: false,
            restored_from: None,
        };
        let report = |generation, partition, documents| PartitionReport {
            index: IndexRef { generation: Generation(generation), ..index.clone() },
            partition,
            replica: 0,
            held: true,
            state: ReplicaState::Serving,
            position: Some(Position(7)),
            documents,
            log_bytes: 9,
            operations: documents,
            segments: 1,
            bytes: 1,
            snapshot: None,
            lost: None,
            error: None,
        };
        let worker = |name: &str, partitions| WorkerView {
            id: WorkerId(name.to_owned()),
            stopping: false,
            cpu_percent: 0,
            store: None,
            heard: Instant::now(),
            partitions: Arc::new(partitions),
        };
        let workers =
            [worker("w1", vec![report(1, 0, 5), report(1, 1, 10)]), worker("w2", vec![report(1, 0, 6), report(9, 1, 99)])];
        let status = serde_json::to_value(assemble(&[Arc::new(entry)], &workers)).unwrap();
        assert_eq!((&status["workers"], &status["indexes"][0]["documents"]), (&2.into(), &16.into()));
        let partitions = &status["indexes"][0]["partitions"];
        let counts: Vec<_> = (0..3).map(|p| partitions[p]["replicas"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [2, 1, 0], "a report of another generation is not of this index");
        let replica = serde_json::json!({"worker": "w1", "state": "serving", "position": "7", "documents": 5, "log_bytes": 9});
        assert_eq!(partitions[0]["replicas"][0], replica);
    }
}
