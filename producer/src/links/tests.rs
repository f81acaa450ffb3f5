//! Fetchers on the embedded broker, against servers that behave badly and a name service that lies.

mod hostile;
mod polite;
mod server;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use warren_broker::{Broker, Settings};
use warren_protocol::batch::{Batch, Operation};
use warren_protocol::ports::{FollowFrom, LogName, Message, QueueName};
use warren_protocol::{IndexDefinition, IndexName, PartitionId};
use warren_service::catalog::CatalogHandle;
use warren_service::config::{Config, LinksConfig};
use warren_service::roster::Roster;
use warren_service::stop::Stop;

use super::fetch::Fetcher;
use super::fetchers::{Fetchers, World};
use super::guard::Guard;
use super::pauses::Pauses;
use super::resolve::Resolve;
use crate::Producer;

/// What takes longer on a busy machine is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Stands for a public address: the only one that may be asked in these tests.
const PUBLIC: &str = "127.0.0.2";

fn public() -> IpAddr {
    PUBLIC.parse().unwrap()
}

/// A name service in memory: for each host the answers, one after the other, the last for ever.
#[derive(Default)]
struct Table {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    lookups: AtomicU64,
}

impl Table {
    fn new(hosts: &[(&str, &[&str])]) -> Arc<Self> {
        let table = Self::default();
        for (host, answers) in hosts {
            table.answer(host, answers);
        }
        Arc::new(table)
    }

    /// Each answer is a list of addresses, parted by blanks.
    fn answer(&self, host: &str, answers: &[&str]) {
        let parse = |answer: &&str| answer.split(' ').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect();
        self.answers.lock().unwrap().insert(host.to_owned(), answers.iter().map(parse).collect());
    }
}

impl Resolve for Table {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        if host == "silent.test" {
            return Box::pin(std::future::pending());
        }
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.get_mut(host).and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        Box::pin(std::future::ready(answer.ok_or_else(|| io::Error::other(format!("{host} is not known")))))
    }
}

/// Short limits.
fn config() -> LinksConfig {
    LinksConfig {
        timeout_ms: NonZeroU64::new(60_000).unwrap(),
        max_bytes: NonZeroU32::new(64 * 1024).unwrap(),
        host_pause_ms: 0,
        attempts: NonZeroU16::MIN,
        ..LinksConfig::default()
    }
}

fn fetcher(config: &LinksConfig, table: &Arc<Table>) -> Fetcher {
    let pauses = Arc::new(Pauses::new(Duration::from_millis(config.host_pause_ms)));
    Fetcher::new(config, table.clone(), Guard::permitting(public()), pauses).unwrap()
}

/// A producer on the embedded broker, with fetchers of its own.
struct Running {
    broker: Broker,
    producer: Producer,
    index: IndexName,
    fetchers: Fetchers,
    stop: Stop,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(links: LinksConfig, table: &Arc<Table>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap();
        let stop = Stop::new();
        let catalog = CatalogHandle::start(&broker.ports).await.unwrap();
        let roster = Roster::start(&broker.ports, &stop).await.unwrap();
        let index = IndexName::new("pages").unwrap();
        let definition = IndexDefinition { partitions: NonZeroU32::MIN, ..IndexDefinition::default() };
        catalog.create(&index, definition, false).await.unwrap();
        // Those of the producer itself would ask the real name service.
        let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
        config.links.fetch = false;
        let producer = Producer::start(&config, &broker.ports, catalog.clone(), &roster, &stop);
        let admission = crate::admission::Admission::new(catalog, config);
        let world = World { queue: broker.ports.queue.clone(), admission, publisher: producer.publisher.clone() };
        let fetchers = Fetchers::with(links, world, table.clone(), Guard::permitting(public()), stop.clone());
        Self { broker, producer, index, fetchers, stop, _folder: folder }
    }

    /// Feeds a link as any client might: unchecked.
    async fn feed(&self, link: &str) {
        let body = serde_json::json!({ "url": link }).to_string();
        let message = Message { body: body.into(), routing_key: self.index.to_string(), ..Message::default() };
        self.broker.ports.queue.publish(QueueName::Links, message).await.unwrap();
    }

    /// The dead letters once there are so many: link, reason, detail, attempts.
    async fn dead_letters(&self, count: usize) -> BTreeMap<String, (String, String, String)> {
        let start = Instant::now();
        loop {
            let letters = self.broker.ports.queue.peek(QueueName::DeadLetters, count + 1).await.unwrap();
            if letters.len() >= count {
                return letters.into_iter().map(told).collect();
            }
            assert!(start.elapsed() < PATIENCE, "{} of {count} dead letters", letters.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The first so many documents of the log.
    async fn documents(&self, count: usize) -> Vec<(String, Value)> {
        let entry = self.producer.catalog.get(&self.index).unwrap();
        let partition = PartitionId { index: entry.index.clone(), partition: 0 };
        let mut log = self.broker.ports.log.follow(&LogName::Partition(partition), FollowFrom::Start).await.unwrap();
        let mut documents = Vec::new();
        while documents.len() < count {
            let entry = tokio::time::timeout(PATIENCE, log.next()).await.expect("a document in time").unwrap().unwrap();
            let operations = Batch::decode(&entry.message).unwrap().operations().unwrap();
            for operation in operations.iter() {
                let Operation::Put { id, body } = operation.unwrap() else { panic!("a deletion") };
                documents.push((id.to_owned(), serde_json::from_slice(body).unwrap()));
            }
        }
        documents
    }

    async fn close(self) {
        self.stop.request();
        tokio::time::timeout(PATIENCE, self.fetchers.stopped()).await.expect("the fetchers stop");
        self.producer.close().await;
        self.broker.close().await;
    }
}

fn told(letter: Message) -> (String, (String, String, String)) {
    let header = |name: &str| letter.headers.get(name).cloned().unwrap_or_default();
    let body: Value = serde_json::from_slice(&letter.body).unwrap_or_default();
    assert_eq!(header("warren-source"), "warren.links");
    let link = body["url"].as_str().unwrap_or_default().to_owned();
    (link, (header("warren-reason"), header("warren-detail"), header("warren-attempts")))
}
