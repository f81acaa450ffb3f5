//! The worker: claims partitions, follows their logs, indexes them, and answers searches on them.
//!
//! It owns nothing: what it keeps on disk is a cache of the logs and of the snapshots. From the outside inwards:
//! [`assignment`] decides which replicas to hold, by the plan of [`balance`] and the slots of [`slot`]; [`replica`] is the
//! life of one of them: [`restoring`] finds where it begins, [`indexing`] turns its log into its index, [`serving`] answers
//! the questions of the query services, [`merging`] makes one segment of it when it is asked to, [`snapshotting`] keeps its
//! state in the object store; [`receipts`] tells producers what can be found, and [`announcing`] everyone how far all of
//! this is.

mod announcing;
mod assignment;
mod balance;
mod cache;
mod holdings;
mod indexing;
mod memory;
mod merging;
mod receipts;
mod replica;
mod restoring;
mod search_pool;
mod serving;
mod slot;
mod snapshots;
mod snapshotting;
mod views;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use warren_protocol::ports::{Ports, WorkerId};
use warren_service::Roster;
use warren_service::catalog::CatalogHandle;
use warren_service::config::{Config, WorkerConfig};
use warren_service::stop::Stop;
use warren_snapshot::{Store, StoreError};

use crate::cache::Cache;
use crate::holdings::Holdings;
use crate::memory::Memory;
use crate::receipts::Receipts;
use crate::search_pool::SearchPool;
use crate::snapshots::{ClaimError, Snapshots};
use crate::views::Views;

/// How long the start waits for the object store; beyond, the worker goes on without it and tries again.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// The pause before another look for snapshots of deleted indexes.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

/// What all parts of one worker share.
struct Shared {
    id: WorkerId,
    config: WorkerConfig,
    stop_timeout: Duration,
    ports: Ports,
    catalog: CatalogHandle,
    roster: Roster,
    snapshots: Snapshots,
    cache: Cache,
    holdings: Holdings,
    memory: Memory,
    receipts: Receipts,
    pool: SearchPool,
    views: Views,
    /// Notified when others should hear at once of what has changed.
    news: Notify,
    stop: Stop,
}

/// A running worker.
pub struct Worker {
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts a worker, which runs until `stop`; fails if its folder cannot be used, or if the object store belongs to
    /// another catalog.
    pub async fn start(config: &Config, ports: &Ports, catalog: CatalogHandle, stop: &Stop) -> anyhow::Result<Self> {
        let worker = config.worker.clone();
        let threads = worker.search_threads.map_or_else(cores, |threads| usize::from(threads.get()));
        let store = Store::open(&config.store, &config.data_dir)?;
        // The others are heard until the very end: a stop waits for those who take over.
        let roster = Roster::start(ports, &Stop::new()).await.context("the other workers cannot be heard")?;
        let shared = Arc::new(Shared {
            id: WorkerId::random(),
            cache: Cache::open(&config.data_dir.join("worker"))?,
            holdings: Holdings::default(),
            memory: Memory::new(worker.memory_bytes.get()),
            receipts: Receipts::new(ports.bulletin.clone()),
            pool: SearchPool::new(threads),
            views: Views::new(worker.max_views.get() as usize),
            snapshots: Snapshots::new(store, config.store.clone()),
            stop_timeout: Duration::from_millis(config.stop_timeout_ms.get()),
            ports: ports.clone(),
            catalog,
            roster,
            news: Notify::new(),
            stop: stop.clone(),
            config: worker,
        });
        match tokio::time::timeout(STORE_WITHIN, shared.snapshots.claim(&shared.catalog)).await {
            Ok(Err(ClaimError::Store(error @ StoreError::Foreign { .. }))) => return Err(error.into()),
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the object store cannot be used yet"),
            Err(_) => tracing::warn!("the object store does not answer yet"),
        }
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
    let beside = async {
        tokio::join!(
            announcing::run(shared.clone()),
            shared.receipts.run(),
            serving::serve_worker(shared.clone()),
            shared.snapshots.keep_claiming(&shared.catalog),
            sweep(&shared),
        )
    };
    tokio::select! {
        () = assignment::run(shared.clone()) => {}
        _ = beside => {}
    }
    shared.receipts.finish().await;
    announcing::leave(&shared).await;
}

/// Removes the snapshots of indexes that are deleted, or were while no worker looked.
async fn sweep(shared: &Shared) {
    let mut catalog = shared.catalog.watch();
    let mut swept = 0;
    loop {
        let seen = catalog.borrow_and_update().clone();
        if seen.deletions() != swept && shared.catalog.is_ready() && shared.snapshots.id().is_some() {
            match shared.snapshots.sweep(|creation| seen.was_deleted(creation)).await {
                Ok(()) => swept = seen.deletions(),
                Err(error) => tracing::warn!(%error, "the snapshots of deleted indexes are not removed yet"),
            }
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a worker until `stop`.
pub async fn run(config: Config, ports: Ports, stop: Stop) -> anyhow::Result<()> {
    let catalog = CatalogHandle::start(&ports).await?;
    Worker::start(&config, &ports, catalog, &stop).await?.stopped().await
}
