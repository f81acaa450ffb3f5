//! The worker: claims partitions, follows their logs, indexes them, and answers searches on them.
//!
//! It owns nothing: what it keeps on disk is a cache of the logs. From the outside inwards: [`assignment`] decides which
//! replicas to hold, [`replica`] is the life of one of them, [`indexing`] turns its log into its index, [`serving`]
//! answers the questions of the query services, and [`announcing`] tells everyone how far all of this is.

mod announcing;
mod assignment;
mod cache;
mod holdings;
mod indexing;
mod memory;
mod replica;
mod search_pool;
mod serving;

use std::sync::Arc;

use tokio::task::JoinSet;
use warren_protocol::ports::{Ports, WorkerId};
use warren_service::catalog::CatalogHandle;
use warren_service::config::{Config, WorkerConfig};
use warren_service::stop::Stop;

use crate::cache::Cache;
use crate::holdings::Holdings;
use crate::memory::Memory;
use crate::search_pool::SearchPool;

/// What all parts of one worker share.
struct Shared {
    id: WorkerId,
    config: WorkerConfig,
    ports: Ports,
    catalog: CatalogHandle,
    cache: Cache,
    holdings: Holdings,
    memory: Memory,
    pool: SearchPool,
    stop: Stop,
}

/// A running worker.
pub struct Worker {
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts a worker, which runs until `stop`; fails if its folder cannot be used.
    pub fn start(config: &Config, ports: &Ports, catalog: CatalogHandle, stop: &Stop) -> anyhow::Result<Self> {
        let worker = config.worker.clone();
        let threads = worker.search_threads.map_or_else(cores, |threads| usize::from(threads.get()));
        let shared = Arc::new(Shared {
            id: WorkerId::random(),
            cache: Cache::open(&config.data_dir.join("worker"))?,
            holdings: Holdings::default(),
            memory: Memory::new(worker.memory_bytes.get()),
            pool: SearchPool::new(threads),
            ports: ports.clone(),
            catalog,
            stop: stop.clone(),
            config: worker,
        });
        tracing::info!(worker = %shared.id, search_threads = threads, "the worker starts");
        let mut tasks = JoinSet::new();
        tasks.spawn(work(shared));
        Ok(Self { tasks })
    }

    /// Waits until it has committed and given back what it holds.
    pub async fn stopped(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn work(shared: Arc<Shared>) {
    tokio::join!(assignment::run(shared.clone()), announcing::run(shared.clone()), serving::serve_worker(shared.clone()),);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a worker until `stop`.
pub async fn run(config: Config, ports: Ports, stop: Stop) -> anyhow::Result<()> {
    let catalog = CatalogHandle::start(&ports).await?;
    Worker::start(&config, &ports, catalog, &stop)?.stopped().await
}
