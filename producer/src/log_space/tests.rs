//! Producers on the embedded broker, with workers that say what a test wants.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Instant;

use bytes::Bytes;
use warren_broker::{Broker, Settings};
use warren_protocol::announcement::{Announcement, PartitionReport, ReplicaState, SnapshotReport, WorkerAnnouncement};
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{Incoming, LogName, Message, Position, QueueName, RpcTarget, WorkerId};
use warren_protocol::{DocumentId, IndexDefinition, IndexName};
use warren_service::config::Config;
use warren_service::stop::Stop;

use super::fill::{Found, Origin, Volume, Wanted};
use super::*;
use crate::Producer;
use crate::publisher::Write;

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    broker: Broker,
    catalog: CatalogHandle,
    roster: Roster,
    stop: Stop,
    entry: Arc<Entry>,
    /// The worker's queue: without it, it would be found to be gone.
    _worker: Incoming,
    folder: tempfile::TempDir,
}

impl World {
    /// An index `a` of one partition, whose log takes 64 MiB.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap();
        let stop = Stop::new();
        let catalog = CatalogHandle::start(&broker.ports).await.unwrap();
        let roster = Roster::start(&broker.ports, &stop).await.unwrap();
        let definition = IndexDefinition { partitions: NonZeroU32::MIN, log_max_bytes: 64 * MIB, ..IndexDefinition::default() };
        let name = IndexName::new("a").unwrap();
        let entry = catalog.create(&name, definition, false).await.unwrap().into_entry();
        let worker = RpcTarget::Worker(WorkerId("w".to_owned()));
        let _worker = broker.ports.rpc.serve(&worker, NonZeroU16::MIN).await.unwrap();
        Self { broker, catalog, roster, stop, entry, _worker, folder }
    }

    fn space(&self) -> LogSpace {
        LogSpace::start(&self.broker.ports, self.catalog.clone(), self.roster.clone())
    }

    fn producer(&self) -> Producer {
        let config = Config { data_dir: self.folder.path().to_owned(), ..Config::default() };
        Producer::start(&config, &self.broker.ports, self.catalog.clone(), &self.roster, &self.stop)
    }

    fn partition(&self) -> PartitionId {
        PartitionId { index: self.entry.index.clone(), partition: 0 }
    }

    /// A worker says that it has read so many bytes, and that a snapshot has so many.
    async fn say(&self, position: u64, log_bytes: u64, snapshot: Option<u64>) {
        let snapshot = snapshot.map(|log_bytes| SnapshotReport { position: Position(1), log_bytes, taken_ms: 1 });
        let report = PartitionReport {
            index: self.entry.index.clone(),
            partition: 0,
            replica: 0,
            held: true,
            state: ReplicaState::Serving,
            position: Some(Position(position)),
            documents: 0,
            log_bytes,
            operations: 0,
            segments: 1,
            bytes: 1,
            snapshot,
            lost: None,
            error: None,
        };
        let announcement = WorkerAnnouncement {
            worker: WorkerId("w".to_owned()),
            leaving: false,
            stopping: false,
            cpu_percent: 0,
            store: None,
            partitions: vec![report],
        };
        self.broker.ports.bulletin.announce(&Announcement::Worker(announcement)).await.unwrap();
    }

    async fn append(&self, message: &'static [u8]) {
        let log = LogName::Partition(self.partition());
        self.broker.ports.log.append(&log, Bytes::from_static(message)).await.unwrap().await.unwrap();
    }

    async fn publish_to_intake(&self, id: &str) {
        let body = format!(r#"{{"id":"{id}"}}"#).into();
        let message = Message { body, routing_key: "a".to_owned(), ..Message::default() };
        self.broker.ports.queue.publish(QueueName::Intake, message).await.unwrap();
    }

    async fn is_empty(&self) -> bool {
        self.broker.ports.log.last(&LogName::Partition(self.partition())).await.unwrap().is_none()
    }
}

fn write() -> Vec<Write> {
    vec![Write { id: DocumentId::new("x").unwrap(), body: Some(Bytes::from_static(b"{}")) }]
}

/// Polls until the condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_full_log_refuses_and_goes_on_with_the_next_snapshot() {
    let world = World::new().await;
    let producer = world.producer();
    let full = async || match producer.publisher.write(&world.entry, write()).await {
        Ok(handed) => handed.confirmed().await.map(|()| None).unwrap(),
        Err(WriteError::LogFull(text)) => Some(text),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(full().await, None, "a log that was just created has room");
    world.say(0, 33 * MIB, None).await;
    until("the log is full", async || full().await.is_some()).await;
    let text = full().await.unwrap();
    assert!(text.contains("34.6 MB") && text.contains("67.1 MB") && text.contains("there is none"), "{text}");
    assert!(text.contains("None is being taken"), "{text}");
    world.say(0, 33 * MIB, Some(32 * MIB)).await;
    until("there is room again", async || full().await.is_none()).await;
    world.stop.request();
    producer.close().await;
}

#[tokio::test]
async fn the_intake_holds_its_messages_until_there_is_room() {
    let world = World::new().await;
    world.say(0, 33 * MIB, None).await;
    let producer = world.producer();
    let log = producer.space.log(&world.partition(), 64 * MIB);
    until("the log is full", async || log.is_full().is_some()).await;
    for id in ["1", "2", "3"] {
        world.publish_to_intake(id).await;
    }
    let held_until = Instant::now() + Duration::from_millis(700);
    while Instant::now() < held_until {
        assert!(world.is_empty().await, "nothing is written to a full log");
        assert_eq!(world.broker.ports.queue.depth(QueueName::DeadLetters).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.say(0, 33 * MIB, Some(33 * MIB)).await;
    until("all is written", async || log.lock().fill.said().0.operations == 3).await;
    until("all is settled", async || world.broker.ports.queue.depth(QueueName::Intake).await.unwrap() == 0).await;
    world.stop.request();
    producer.close().await;
}

#[tokio::test]
async fn an_intake_that_waits_for_room_stops_at_once_and_gives_back_what_it_holds() {
    let world = World::new().await;
    world.say(0, 33 * MIB, None).await;
    let producer = world.producer();
    let log = producer.space.log(&world.partition(), 64 * MIB);
    until("the log is full", async || log.is_full().is_some()).await;
    world.publish_to_intake("1").await;
    world.stop.request();
    tokio::time::timeout(Duration::from_secs(5), producer.close()).await.expect("it does not stop");
    assert!(world.is_empty().await);
    let mut messages = world.broker.ports.queue.consume(QueueName::Intake, NonZeroU16::MIN).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut messages)).await.unwrap().unwrap();
    assert_eq!(message.message.routing_key, "a");
}

#[tokio::test]
async fn producers_hear_each_other_to_the_last_word() {
    let world = World::new().await;
    let (a, b) = (world.space(), world.space());
    let (at_a, at_b) = (a.log(&world.partition(), 64 * MIB), b.log(&world.partition(), 64 * MIB));
    for log in [&at_a, &at_b] {
        until("an empty log is known", async || log.lock().fill.unsaved() == Some(0)).await;
    }
    at_a.append(1000);
    at_b.append(300);
    for log in [&at_a, &at_b] {
        until("both are heard", async || log.lock().fill.unsaved() == Some(1300)).await;
    }
    at_a.append(50);
    a.close().await;
    until("the last word is heard", async || at_b.lock().fill.unsaved() == Some(1350)).await;
}

#[tokio::test]
async fn the_end_of_a_log_is_found_without_a_worker_and_from_where_one_is() {
    let world = World::new().await;
    let partition = world.partition();
    let find = || finding::find(&world.broker.ports, &world.roster, &partition, Wanted::End);
    let found = |bytes| Found { volume: Volume { bytes, operations: 0 }, origin: Origin::Creation };
    assert_eq!(find().await, Ok(Some(found(0))));
    for _ in 0..5 {
        world.append(b"ten bytes!").await;
    }
    assert_eq!(find().await, Ok(Some(found(50))), "read from its first message on");
    world.say(2, 7020, None).await;
    until("the worker is heard", async || !world.roster.workers().is_empty()).await;
    let looked = finding::find(&world.broker.ports, &world.roster, &partition, Wanted::ReadEnd);
    assert_eq!(looked.await, Ok(None));
    assert_eq!(find().await, Ok(Some(found(7050))), "three messages stand behind what was read");
    world.say(5, 7050, None).await;
    let start = Instant::now();
    assert_eq!(find().await, Ok(Some(found(7050))));
    assert!(start.elapsed() < Duration::from_secs(2), "a worker at the end is believed at once");
}

#[tokio::test]
async fn a_log_goes_with_its_index() {
    let world = World::new().await;
    let space = world.space();
    space.log(&world.partition(), 64 * MIB);
    world.catalog.delete(&world.entry.index.name).await.unwrap();
    until("the log is forgotten", async || space.shared.logs().is_empty()).await;
}
