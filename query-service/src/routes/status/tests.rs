//! What is said of which state.

use std::num::NonZeroU32;
use std::time::Instant;

use serde_json::{Value, json};
use warren_protocol::announcement::{AppendReport, PartitionReport, ProducerId};
use warren_protocol::ports::{Position, WorkerId};
use warren_protocol::{Generation, IndexDefinition, IndexName, IndexRef};

use super::*;

const GB: u64 = 1_000_000_000;

fn index() -> IndexRef {
    IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) }
}

fn entry(partitions: u32, replicas: u32) -> Arc<Entry> {
    let number = |number| NonZeroU32::new(number).unwrap();
    let definition = IndexDefinition { partitions: number(partitions), replicas: number(replicas), ..IndexDefinition::default() };
    let creation = uuid::Uuid::nil();
    Arc::new(Entry { index: index(), definition, creation, ready: true, automatic: false, restored_from: None })
}

fn report(partition: u32, documents: u64) -> PartitionReport {
    PartitionReport {
        index: index(),
        partition,
        replica: 0,
        held: true,
        state: ReplicaState::Serving,
        position: Some(Position(7)),
        documents,
        log_bytes: 9 * GB,
        operations: documents,
        segments: 1,
        bytes: 5,
        snapshot: None,
        lost: None,
        error: None,
    }
}

fn snapshot(log_bytes: u64) -> SnapshotReport {
    SnapshotReport { position: Position(3), log_bytes, taken_ms: 1_000_000 }
}

fn replica(worker: &str, report: PartitionReport) -> Replica {
    Replica { worker: WorkerId(worker.to_owned()), report, heard: Instant::now(), lag_operations: 0, lag: Duration::ZERO }
}

fn view(replicas: Vec<Replica>, snapshot: Option<SnapshotReport>) -> PartitionView {
    PartitionView { replicas, snapshot, end_bytes: 0, end_operations: 0 }
}

fn worker(name: &str, replicas: u64) -> WorkerView {
    WorkerView {
        id: WorkerId(name.to_owned()),
        stopping: false,
        cpu_percent: 12,
        store: None,
        heard: Instant::now(),
        partitions: Arc::new((0..replicas).map(|partition| report(partition as u32, 0)).collect()),
    }
}

fn facts(workers: Vec<WorkerView>) -> Facts {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1035);
    let amqp_searches = crate::client_searches::Counts::default().status();
    Facts { workers, producers: Vec::new(), stores_differ: false, sources: Vec::new(), amqp_searches, now }
}

fn warnings(status: &Status) -> Vec<&str> {
    status.warnings.iter().map(String::as_str).collect()
}

#[test]
fn replicas_stand_at_their_partition_and_count_once() {
    let mut facts = facts(vec![worker("w1", 2), worker("w2", 1)]);
    let log = AppendReport {
        index: index(),
        partition: 0,
        appended_bytes: 0,
        appended_operations: 0,
        end_bytes: 10 * GB,
        end_operations: 0,
    };
    facts.producers = vec![ProducerView {
        id: ProducerId("p".to_owned()),
        leaving: false,
        heard: Instant::now(),
        logs: Arc::new(vec![log]),
        intakes: Arc::default(),
    }];
    let status = facts.status(&[entry(2, 1)], |partition| match partition.partition {
        0 => {
            let handed_over = PartitionReport { held: false, ..report(0, 6) };
            (view(vec![replica("w1", report(0, 5)), replica("w2", handed_over)], Some(snapshot(8 * GB))), None)
        }
        _ => (view(vec![Replica { lag_operations: 3, lag: Duration::from_secs(2), ..replica("w1", report(1, 10)) }], None), None),
    });
    let json: Value = serde_json::to_value(&status).unwrap();
    assert_eq!(json["indexes"][0]["documents"], 16);
    assert_eq!((&json["workers"][0]["worker"], &json["workers"][0]["replicas"]), (&json!("w1"), &json!(2)));
    assert_eq!((&json["producers"][0]["producer"], &json["producers"][0]["logs"]), (&json!("p"), &json!(1)));
    let partitions = &json["indexes"][0]["partitions"];
    let log =
        json!({"end_bytes": 10 * GB, "max_bytes": 20 * GB, "unsaved_bytes": 2 * GB, "room_bytes": 8 * GB, "room_percent": 80});
    assert_eq!(partitions[0]["log"], log);
    assert_eq!(partitions[0]["snapshot"], json!({"position": "3", "log_bytes": 8 * GB, "age_s": 35}));
    assert_eq!((&partitions[0]["replicas"][0]["held"], &partitions[0]["replicas"][1]["held"]), (&json!(true), &json!(false)));
    let lags = (&partitions[1]["replicas"][0]["lag_documents"], &partitions[1]["replicas"][0]["lag_ms"]);
    assert_eq!(lags, (&json!(3), &json!(2000)));
    assert_eq!(
        warnings(&status),
        ["index \"a\", partition 1: the log fills up, 1.0 GB until writes are refused; there is no snapshot"]
    );
}

#[test]
fn a_healthy_system_has_no_warnings() {
    let status = facts(vec![worker("w1", 2), worker("w2", 1)]).status(&[entry(3, 1)], |partition| {
        (view(vec![replica("w1", report(partition.partition, 5))], Some(snapshot(9 * GB))), None)
    });
    assert_eq!(warnings(&status), Vec::<&str>::new());
}

#[test]
fn what_is_wrong_is_said_the_worst_first() {
    let facts = Facts { stores_differ: true, ..facts(vec![worker("w1", 9), worker("w2", 0)]) };
    let status = facts.status(&[entry(4, 2)], |partition| match partition.partition {
        0 => (view(Vec::new(), None), Some(Duration::from_secs(12))),
        1 => {
            let stopped = PartitionReport { error: Some("the disk is full".to_owned()), ..report(1, 5) };
            (view(vec![replica("0123456789", stopped)], None), None)
        }
        2 => {
            let lost = PartitionReport { lost: Some("3 batches".to_owned()), ..report(2, 5) };
            (view(vec![replica("w1", lost), replica("w2", report(2, 5))], None), None)
        }
        _ => {
            let late = Replica { lag_operations: 1000, lag: Duration::from_secs(200), ..replica("w1", report(3, 5)) };
            (view(vec![late, replica("w2", report(3, 5))], None), None)
        }
    });
    assert_eq!(
        warnings(&status),
        [
            "index \"a\", partition 2: writes are lost: 3 batches",
            "index \"a\", partition 0: no worker answers for 12s",
            "the workers use different object stores, so no snapshot counts: set WARREN__STORE__URL alike for all of them",
            "index \"a\", partition 1, worker 01234567: the disk is full",
            "index \"a\", partition 3, worker w1: 1000 documents wait to be indexed, for 3m",
            "index \"a\", partition 1: fewer replicas than 2, with 2 workers",
            "the workers are not balanced: one holds 9 replicas, another 0",
        ]
    );
}

#[test]
fn a_full_log_and_missing_workers_are_named() {
    let full = facts(vec![worker("w", 2)]).status(&[entry(2, 1)], |partition| {
        let report = PartitionReport { log_bytes: 10 * GB, ..report(partition.partition, 1) };
        (view(vec![replica("w", report)], None), None)
    });
    assert_eq!(warnings(&full), ["index \"a\", all partitions: writes are refused, half of the log is in no snapshot"]);
    let nobody = facts(Vec::new()).status(&[entry(2, 1)], |_| (view(Vec::new(), None), Some(Duration::from_secs(9))));
    assert_eq!(warnings(&nobody), ["no worker runs: nothing can be found"]);
}
