//! `/status`: indexes, their partitions, how far the replicas of each are, how much room their logs have, and who is alive.

mod intakes;
mod warnings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use warren_protocol::announcement::{ReplicaState, SnapshotReport};
use warren_protocol::catalog::Entry;
use warren_protocol::{PartitionId, SourceEntry};
use warren_service::Roster;
use warren_service::roster::{PartitionView, ProducerView, Replica, WorkerView};

use crate::QueryService;
use crate::client_searches::ClientSearchesStatus;
use intakes::IntakeStatus;

/// How the system is.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// What a person should look at, in words; the worst first.
    warnings: Vec<String>,
    /// The workers that are alive.
    workers: Vec<WorkerStatus>,
    /// The producers that are alive.
    producers: Vec<ProducerStatus>,
    /// The intake queue.
    intake: IntakeStatus,
    /// By name.
    sources: Vec<IntakeStatus>,
    /// By name.
    indexes: Vec<IndexStatus>,
    /// What came over AMQP to this very process.
    amqp_searches: ClientSearchesStatus,
}

/// How a worker is.
#[derive(Serialize, ToSchema)]
struct WorkerStatus {
    /// Its name, another one after each start.
    worker: String,
    /// Whether it is about to leave: it serves until others have taken over.
    stopping: bool,
    /// The processor time that it uses, in percent of one core.
    cpu_percent: u32,
    /// How many replicas it holds.
    replicas: usize,
    /// The identity of the object store that it uses.
    store: Option<String>,
    /// The milliseconds since it was heard last.
    heard_ms: u64,
}

/// How a producer is.
#[derive(Serialize, ToSchema)]
struct ProducerStatus {
    /// Its name, another one after each start.
    producer: String,
    /// How many logs it has written to within the last minute.
    logs: usize,
    /// The milliseconds since it was heard last.
    heard_ms: u64,
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
    /// How many replicas each partition should have.
    replicas: u32,
    /// By number.
    partitions: Vec<PartitionStatus>,
}

/// How a partition is.
#[derive(Serialize, ToSchema)]
struct PartitionStatus {
    /// Its number.
    partition: u32,
    /// For how many seconds no worker has served it.
    unserved_s: Option<u64>,
    /// How full its log is; absent where no worker says it, or where workers use different object stores.
    log: Option<LogStatus>,
    /// Its newest snapshot that all workers can reach.
    snapshot: Option<SnapshotStatus>,
    /// One for each worker that holds it.
    replicas: Vec<ReplicaStatus>,
}

/// How full a log is, in bytes of messages since the index was created.
#[derive(Serialize, ToSchema)]
struct LogStatus {
    /// Its end.
    end_bytes: u64,
    /// How much the broker keeps: `log_max_bytes` of the index.
    max_bytes: u64,
    /// How much of it is in no snapshot.
    unsaved_bytes: u64,
    /// How much can be written until writes are refused, which is when half of the limit is in no snapshot.
    room_bytes: u64,
    /// The same in percent of that half.
    room_percent: u32,
}

/// A snapshot.
#[derive(Serialize, ToSchema)]
struct SnapshotStatus {
    /// The last place in the log that is in it.
    position: String,
    /// The bytes of the log that are in it.
    log_bytes: u64,
    /// The seconds since it was taken.
    age_s: u64,
}

/// How far a replica is.
#[derive(Serialize, ToSchema)]
struct ReplicaStatus {
    /// The worker that serves it.
    worker: String,
    /// Which of the partition's replicas, from 0.
    replica: u32,
    /// Whether the worker holds the replica's slot. It may have given it back, and serve until another has taken over.
    held: bool,
    /// What it does.
    state: ReplicaState,
    /// The last place in the log that a search can see.
    position: Option<String>,
    /// How many documents a search can see.
    documents: u64,
    /// How many writes are in the log and cannot be seen yet.
    lag_documents: u64,
    /// For how many milliseconds the first of them has been there, to a second or so.
    lag_ms: u64,
    /// The bytes of the log up to the last place that a search can see.
    log_bytes: u64,
    /// The bytes of its files.
    bytes: u64,
    /// The segments of its index.
    segments: u32,
    /// What the partition has lost for ever, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
    /// Why it stopped, or takes no snapshots, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How the system is
///
/// What the workers and producers that are alive said last; they say it every second.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)), tag = "operation")]
pub(super) async fn status(State(service): State<QueryService>) -> Json<Status> {
    let roster = &service.shared.roster;
    let sources = service.shared.catalog.sources();
    Json(
        Facts::of(roster, sources, service.shared.client_counts.status())
            .status(&service.shared.catalog.list(), |partition| (roster.partition(partition), roster.unserved(partition))),
    )
}

/// What all partitions have in common.
struct Facts {
    workers: Vec<WorkerView>,
    producers: Vec<ProducerView>,
    stores_differ: bool,
    amqp_searches: ClientSearchesStatus,
    sources: Vec<Arc<SourceEntry>>,
    now: SystemTime,
}

impl Facts {
    fn of(roster: &Roster, sources: Vec<Arc<SourceEntry>>, amqp_searches: ClientSearchesStatus) -> Self {
        let mut producers = roster.producers();
        producers.retain(|producer| !producer.leaving);
        let (workers, stores_differ, now) = (roster.workers(), roster.stores_differ(), SystemTime::now());
        Self { workers, producers, stores_differ, sources, amqp_searches, now }
    }

    fn status(&self, indexes: &[Arc<Entry>], view: impl Fn(&PartitionId) -> (PartitionView, Option<Duration>)) -> Status {
        let ends = self.announced_ends();
        let index = |entry: &Arc<Entry>| {
            let partitions: Vec<_> = (0..entry.definition.partitions.get())
                .map(|partition| {
                    let id = PartitionId { index: entry.index.clone(), partition };
                    let (view, unserved) = view(&id);
                    let end = ends.get(&id).copied().unwrap_or_default();
                    self.partition(partition, view, unserved, end, entry.definition.log_max_bytes)
                })
                .collect();
            let documents = |partition: &PartitionStatus| partition.replicas.iter().map(|replica| replica.documents).max();
            IndexStatus {
                name: entry.index.name.to_string(),
                generation: entry.index.generation.0,
                documents: partitions.iter().filter_map(documents).sum(),
                replicas: entry.definition.replicas.get(),
                partitions,
            }
        };
        let mut status = Status {
            warnings: Vec::new(),
            workers: self.workers.iter().map(WorkerStatus::from).collect(),
            producers: self.producers.iter().map(ProducerStatus::from).collect(),
            intake: intakes::intake(&self.producers),
            sources: self
                .sources
                .iter()
                .map(|source| intakes::source(&self.producers, &source.label(), source.name.to_string()))
                .collect(),
            indexes: indexes.iter().map(index).collect(),
            amqp_searches: self.amqp_searches.clone(),
        };
        status.warnings = warnings::of(&status, self.stores_differ);
        status
    }

    /// Where producers believe the logs to end that they write to.
    fn announced_ends(&self) -> HashMap<PartitionId, u64> {
        let mut ends = HashMap::new();
        for log in self.producers.iter().flat_map(|producer| producer.logs.iter()) {
            let end: &mut u64 = ends.entry(PartitionId { index: log.index.clone(), partition: log.partition }).or_default();
            *end = log.end_bytes.max(*end);
        }
        ends
    }

    fn partition(
        &self,
        partition: u32,
        view: PartitionView,
        unserved: Option<Duration>,
        announced_end: u64,
        max_bytes: u64,
    ) -> PartitionStatus {
        let end_bytes = view.replicas.iter().map(|replica| replica.report.log_bytes).max();
        let log = end_bytes.filter(|_| !self.stores_differ).map(|end| {
            let end_bytes = end.max(announced_end);
            let unsaved_bytes = end_bytes.saturating_sub(view.snapshot.map_or(0, |snapshot| snapshot.log_bytes));
            let limit = max_bytes / 2;
            let room_bytes = limit.saturating_sub(unsaved_bytes);
            let room_percent = u32::try_from(room_bytes.saturating_mul(100) / limit.max(1)).unwrap_or(100);
            LogStatus { end_bytes, max_bytes, unsaved_bytes, room_bytes, room_percent }
        });
        PartitionStatus {
            partition,
            unserved_s: unserved.map(|unserved| unserved.as_secs()),
            log,
            snapshot: view.snapshot.map(|snapshot| self.snapshot(snapshot)),
            replicas: view.replicas.into_iter().map(ReplicaStatus::from).collect(),
        }
    }

    fn snapshot(&self, snapshot: SnapshotReport) -> SnapshotStatus {
        let taken = SystemTime::UNIX_EPOCH + Duration::from_millis(snapshot.taken_ms);
        SnapshotStatus {
            position: snapshot.position.to_string(),
            log_bytes: snapshot.log_bytes,
            age_s: self.now.duration_since(taken).unwrap_or_default().as_secs(),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&WorkerView> for WorkerStatus {
    fn from(view: &WorkerView) -> Self {
        Self {
            worker: view.id.to_string(),
            stopping: view.stopping,
            cpu_percent: view.cpu_percent,
            replicas: view.partitions.iter().filter(|report| report.held).count(),
            store: view.store.map(|store| store.to_string()),
            heard_ms: milliseconds(view.heard.elapsed()),
        }
    }
}

impl From<&ProducerView> for ProducerStatus {
    fn from(view: &ProducerView) -> Self {
        Self { producer: view.id.to_string(), logs: view.logs.len(), heard_ms: milliseconds(view.heard.elapsed()) }
    }
}

impl From<Replica> for ReplicaStatus {
    fn from(Replica { worker, report, heard: _, lag_operations, lag }: Replica) -> Self {
        Self {
            worker: worker.to_string(),
            replica: report.replica,
            held: report.held,
            state: report.state,
            position: report.position.map(|position| position.to_string()),
            documents: report.documents,
            lag_documents: lag_operations,
            lag_ms: milliseconds(lag),
            log_bytes: report.log_bytes,
            bytes: report.bytes,
            segments: report.segments,
            lost: report.lost,
            error: report.error,
        }
    }
}

#[cfg(test)]
mod tests;
