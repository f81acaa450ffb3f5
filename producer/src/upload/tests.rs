//! An upload that goes on, on the embedded broker with a log that refuses now and then.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use warren_broker::Settings;
use warren_protocol::PartitionId;
use warren_protocol::batch::{Batch, Operation};
use warren_protocol::ports::{Appended, FollowFrom, Follower, LogError, LogLimits, LogName, PartitionLog, Position};
use warren_service::catalog::CatalogHandle;
use warren_service::config::Config;
use warren_service::roster::Roster;
use warren_service::stop::Stop;

use super::*;
use crate::Producer;

/// A log that counts appends to partitions, and refuses some.
struct Refusing {
    log: Arc<dyn PartitionLog>,
    appends: AtomicU32,
    refuses: fn(u32) -> bool,
}

#[async_trait]
impl PartitionLog for Refusing {
    async fn create(&self, log: &LogName, limits: LogLimits) -> Result<(), LogError> {
        self.log.create(log, limits).await
    }

    async fn delete(&self, log: &LogName) -> Result<(), LogError> {
        self.log.delete(log).await
    }

    async fn append(&self, log: &LogName, message: Bytes) -> Result<Appended, LogError> {
        if *log != LogName::Catalog && (self.refuses)(self.appends.fetch_add(1, Ordering::SeqCst)) {
            return Err(LogError::Full);
        }
        self.log.append(log, message).await
    }

    async fn follow(&self, log: &LogName, from: FollowFrom) -> Result<Follower, LogError> {
        self.log.follow(log, from).await
    }

    async fn last(&self, log: &LogName) -> Result<Option<Position>, LogError> {
        self.log.last(log).await
    }
}

fn piece(number: u64, body: &str) -> Piece {
    Piece { line: number, number, content: Ok(Bytes::copy_from_slice(body.as_bytes())) }
}

#[tokio::test]
async fn what_is_refused_is_written_again_in_its_order_and_counted_once() {
    const DOCUMENTS: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let broker = warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap();
    let mut ports = broker.ports.clone();
    // Also in the middle of several that are on their way. If all of them are, each takes two appends, since it has to open an epoch: then
    // what is written again is refused again.
    let refuses = |append| append % 3 == 1 && append < 200;
    let refusing = Arc::new(Refusing { log: ports.log.clone(), appends: AtomicU32::new(0), refuses });
    ports.log = refusing.clone();
    let stop = Stop::new();
    let catalog = CatalogHandle::start(&ports).await.unwrap();
    let roster = Roster::start(&ports, &stop).await.unwrap();
    let index = IndexName::new("a").unwrap();
    let definition = IndexDefinition { partitions: NonZeroU32::MIN, ..IndexDefinition::default() };
    let entry = catalog.create(&index, definition, false).await.unwrap().into_entry();
    let config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    let producer = Producer::start(&config, &ports, catalog.clone(), &roster, &stop);
    let admission = Admission::new(catalog, config);
    let mut upload = Upload::new(admission, producer.publisher.clone(), index, 9).that_goes_on();

    let (started, mut refused) = (Instant::now(), 0);
    let mut go_on = async |upload: &mut Upload, mut outcome: Result<(), Problem>| {
        while let Err(problem) = outcome {
            assert!([Code::LogFull, Code::Unavailable].contains(&problem.code), "{problem}");
            assert!(started.elapsed() < Duration::from_secs(60));
            refused += 1;
            outcome = upload.go_on().await;
        }
    };
    // A chunk each, all of them states of one document.
    let padding = "x".repeat(CHUNK_BYTES);
    for state in 0..DOCUMENTS {
        let body = format!(r#"{{"id":"one","state":{state},"padding":"{padding}"}}"#);
        let outcome = upload.take(piece(state + 1, &body)).await;
        go_on(&mut upload, outcome).await;
    }
    loop {
        match upload.flush().await {
            Ok(()) => break,
            outcome => go_on(&mut upload, outcome).await,
        }
    }
    let summary = upload.finish().await.unwrap();
    assert_eq!((summary.accepted, summary.rejected_count), (DOCUMENTS, 0));
    assert!(refused > 1, "refused {refused} times");

    let log = LogName::Partition(PartitionId { index: entry.index.clone(), partition: 0 });
    let last = ports.log.last(&log).await.unwrap().unwrap();
    let mut follower = ports.log.follow(&log, FollowFrom::Start).await.unwrap();
    let mut states = Vec::new();
    loop {
        let entry = follower.next().await.unwrap().unwrap();
        let batch = Batch::decode(&entry.message).unwrap();
        if let Ok(operations) = batch.operations() {
            states.extend(operations.iter().map(|operation| match operation.unwrap() {
                Operation::Put { body, .. } => {
                    serde_json::from_slice::<serde_json::Value>(body).unwrap()["state"].as_u64().unwrap()
                }
                Operation::Delete { .. } => panic!("a deletion"),
            }));
        }
        if entry.position >= last {
            break;
        }
    }
    let last_of = |state| states.iter().rposition(|other| *other == state);
    let places: Vec<_> = (0..DOCUMENTS).map(last_of).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "each state stands last behind the one before: {states:?}");
    stop.request();
    producer.close().await;
    broker.close().await;
}
