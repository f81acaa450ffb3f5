//! A whole Warren: several of each role on one broker, with one object store, and load on them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::deployment::Deployment;
use crate::member::{Member, Role};
use crate::searches::{Retried, SearchLoad, Searches};
use crate::status::{self, Status};
use crate::writers::{Way, WriteLoad, Writers};
use crate::{Api, Node};

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
    /// The folder of the object store.
    pub store: PathBuf,
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
        let store = deployment.share_store(shape.snapshot_interval)?;
        let mut of = |role, count: usize| (0..count).map(|_| deployment.member(role)).collect::<Result<Vec<_>>>();
        let (mut producers, mut workers) = (of(Role::Producer, shape.producers)?, of(Role::Worker, shape.workers)?);
        let mut queries = of(Role::QueryService, shape.queries)?;
        for member in queries.iter_mut().chain(&mut producers) {
            member.start_ready().await?;
        }
        queries.first().context("no query service")?.api()?.create(index, definition).await?;
        workers.iter_mut().try_for_each(Member::start)?;
        let replicas = definition["replicas"].as_u64().unwrap_or(1) as usize;
        let stack = Self { deployment, store, producers, workers, queries, index: index.to_owned(), replicas };
        stack.whole(crate::api::PATIENCE).await?;
        Ok(stack)
    }

    /// A query service that runs.
    pub fn query(&self) -> Result<&Api> {
        self.queries.iter().find(|query| query.runs()).context("no query service runs")?.api()
    }

    /// Waits until each partition is held and served as often as it has replicas.
    pub async fn whole(&self, limit: Duration) -> Result<Status> {
        let what = "every partition has all its replicas";
        status::until(self.query()?, &self.index, what, limit, |status| status.whole(self.replicas)).await
    }

    /// Waits until that is so, and the workers that run hold equally much, but for one slot.
    pub async fn balanced(&self, limit: Duration) -> Result<Status> {
        let workers = self.workers.iter().filter(|worker| worker.runs()).count();
        let what = format!("{workers} workers share all replicas equally");
        status::until(self.query()?, &self.index, &what, limit, |status| status.balanced(self.replicas, workers)).await
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

    /// Starts searches at all query services in turn.
    pub fn search(&self, per_second: u32, retried: Retried) -> Result<Searches> {
        let addresses: Vec<_> = self.queries.iter().map(|query| Ok(query.api()?.address.clone())).collect::<Result<_>>()?;
        Searches::start(&SearchLoad { index: self.index.clone(), per_second, retried }, &addresses)
    }
}
