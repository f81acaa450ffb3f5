//! A whole Warren: several of each role on one broker, with one object store, and load on them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::member::{Member, Role};
use crate::searches::{Retried, SearchLoad, Searches};
use crate::status::{self, Status};
use crate::store::{StoreFolder, StoredPartition};
use crate::writers::{Way, WriteLoad, Writers};
use crate::{Api, Node, eventually, ledger};

/// Documents of one upload.
const CHUNK: usize = 1000;

/// How many of each role there are, and what they share.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Producers.
    pub producers: usize,
    /// Workers.
    pub workers: usize,
    /// Query services.
    pub queries: usize,
    /// How often partitions that are written to get a snapshot.
    pub snapshot_interval: Duration,
    /// Where the processes write what they say; without it, it is shown at their end.
    pub logs: Option<PathBuf>,
}

/// A running Warren with one index.
pub struct Stack {
    /// Where it runs.
    pub deployment: Deployment,
    /// The object store.
    pub store: StoreFolder,
    /// The producers.
    pub producers: Vec<Member>,
    /// The workers.
    pub workers: Vec<Member>,
    /// The query services.
    pub queries: Vec<Member>,
    /// The name of the index.
    pub index: String,
    replicas: usize,
}

impl Stack {
    /// Starts everything, creates the index, and waits until every slot is held and served.
    pub async fn start(node: Node, shape: &Shape, index: &str, definition: &Value) -> Result<Self> {
        let mut deployment = Deployment::on(node).await?;
        if let Some(logs) = &shape.logs {
            deployment.log_to(logs);
        }
        let store = StoreFolder(deployment.share_store(shape.snapshot_interval)?);
        let mut of = |role, count: usize| (0..count).map(|_| deployment.member(role)).collect::<Result<Vec<_>>>();
        let (mut producers, mut workers) = (of(Role::Producer, shape.producers)?, of(Role::Worker, shape.workers)?);
        let mut queries = of(Role::QueryService, shape.queries)?;
        for member in queries.iter_mut().chain(&mut producers) {
            member.start_ready().await?;
        }
        queries.first().context("no query service")?.api()?.create(index, definition).await?;
        workers.iter_mut().try_for_each(Member::start)?;
        let replicas = usize::try_from(definition["replicas"].as_u64().unwrap_or(1))?;
        let stack = Self { deployment, store, producers, workers, queries, index: index.to_owned(), replicas };
        stack.whole(crate::api::PATIENCE).await?;
        Ok(stack)
    }

    /// A query service that runs.
    pub fn query(&self) -> Result<&Api> {
        self.queries.iter().find(|query| query.runs()).context("no query service runs")?.api()
    }

    /// Waits until each partition is held and served as often as it has replicas, or there are workers.
    pub async fn whole(&self, limit: Duration) -> Result<Status> {
        let replicas = self.replicas.min(self.running_workers());
        let what = format!("every partition has {replicas} replicas");
        status::until(self.query()?, &self.index, &what, limit, |status| status.whole(replicas)).await
    }

    /// Waits until that is so, and the workers that run hold equally much, but for one slot.
    pub async fn balanced(&self, limit: Duration) -> Result<Status> {
        let workers = self.running_workers();
        let what = format!("{workers} workers share all replicas equally");
        let balanced = |status: &Status| status.balanced(self.replicas.min(workers), workers);
        status::until(self.query()?, &self.index, &what, limit, balanced).await
    }

    fn running_workers(&self) -> usize {
        self.workers.iter().filter(|worker| worker.runs()).count()
    }

    /// Waits until every copy of each partition is at one place of its log, and a snapshot there.
    pub async fn saved(&self, limit: Duration) -> Result<()> {
        let asked = Instant::now();
        eventually("everything is in a snapshot", limit, async || {
            // What workers said before this was asked says nothing about what was written until then.
            let age = asked.elapsed();
            let status = Status::of(self.query()?, &self.index).await?;
            ensure!(status.is_younger_than(age), "the workers have not spoken since");
            let stored = self.store.partitions()?;
            for (number, copies) in status.partitions().iter().enumerate() {
                let saved = stored.get(&(number as u64)).map_or(Ok(0), StoredPartition::log_bytes)?;
                let all = !copies.is_empty() && copies.iter().all(|copy| copy.log_bytes == saved);
                ensure!(all, "partition {number}: {saved} bytes of the log are in a snapshot: {copies:?}");
            }
            Ok(())
        })
        .await
    }

    /// Publishes so many documents, which nobody changes later, and waits until they are found.
    pub async fn fill(&self, documents: usize) -> Result<()> {
        let producer = self.producers.first().context("no producer")?.api()?;
        let mut random = Rng::with_seed(documents as u64);
        for first in (0..documents).step_by(CHUNK) {
            let numbers = first..documents.min(first + CHUNK);
            let chunk: Vec<_> =
                numbers.map(|number| json!({"id": format!("f-{number:08}"), "text": ledger::text(&mut random)})).collect();
            producer.publish(&self.index, &chunk).await?;
        }
        self.query()?.found(&self.index, documents).await
    }

    /// One more worker, with an empty folder.
    pub fn add_worker(&mut self) -> Result<&mut Member> {
        let mut worker = self.deployment.member(Role::Worker)?;
        worker.start()?;
        self.workers.push(worker);
        self.workers.last_mut().context("it was just added")
    }

    /// Fails if a process has ended that nobody has ended.
    pub fn check(&mut self) -> Result<()> {
        self.producers.iter_mut().chain(&mut self.workers).chain(&mut self.queries).try_for_each(Member::check)
    }

    /// Starts writers: so many through each producer, and so many through the intake queue.
    pub async fn write(&self, load: &WriteLoad, of_each_producer: usize, of_intake: usize) -> Result<Writers> {
        let mut ways = Vec::new();
        for producer in &self.producers {
            ways.extend(std::iter::repeat_n(Way::Http(producer.api()?.address.clone()), of_each_producer));
        }
        ways.extend(std::iter::repeat_n(Way::Intake(self.deployment.url().to_owned()), of_intake));
        Writers::start(load, &ways).await
    }

    /// Starts searches at all query services in turn, each of which may take so long.
    pub fn search(&self, per_second: u32, timeout: Duration, retried: Retried) -> Result<Searches> {
        let addresses: Vec<_> = self.queries.iter().map(|query| Ok(query.api()?.address.clone())).collect::<Result<_>>()?;
        Searches::start(&SearchLoad { index: self.index.clone(), per_second, timeout, retried }, &addresses)
    }
}
