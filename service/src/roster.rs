//! The roster: which workers and producers are alive, what they hold, and how far they are; from what they announce.
//!
//! Silence tells slowly that a worker has died. So one whose announcement is overdue is asked, and one whose queue is
//! gone is forgotten at once: others take over what it held within a second or two.

mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warren_protocol::PartitionId;
use warren_protocol::announcement::{
    Announcement, AppendReport, INTERVAL_MS, IntakeReport, PartitionReport, ProducerId, SnapshotReport,
};
use warren_protocol::ports::{Bulletin, BulletinError, Ports, RpcError, RpcTarget, WorkerId};
use warren_protocol::rpc::{Message, Request};

use crate::stop::Stop;
use table::Table;

/// The pause before watching again after the broker gave up.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked who is overdue.
const LOOK: Duration = Duration::from_millis(250);
/// A worker that was silent for so long is asked whether it lives.
const OVERDUE: Duration = Duration::from_millis(INTERVAL_MS * 3 / 2);
/// How long a worker has to answer that.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Who is alive. All clones are one; the last one ends the watching.
#[derive(Clone)]
pub struct Roster {
    shared: Arc<Shared>,
    _tasks: Arc<JoinSet<()>>,
}

struct Shared {
    table: Mutex<Table>,
    changes: watch::Sender<()>,
}

/// A worker that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Its name.
    pub id: WorkerId,
    /// Whether it is about to leave.
    pub stopping: bool,
    /// The processor time that it uses, in percent of one core.
    pub cpu_percent: u32,
    /// The object store that it uses.
    pub store: Option<uuid::Uuid>,
    /// When it was heard last.
    pub heard: Instant,
    /// What it holds.
    pub partitions: Arc<Vec<PartitionReport>>,
}

/// A producer that is alive, or has just left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerView {
    /// Its name.
    pub id: ProducerId,
    /// Whether that was its last word. What it appended counts all the same, for those who have not heard of it yet.
    pub leaving: bool,
    /// When it was heard last.
    pub heard: Instant,
    /// The logs that it has written to lately.
    pub logs: Arc<Vec<AppendReport>>,
    /// What it takes from queues.
    pub intakes: Arc<Vec<IntakeReport>>,
}

/// What is known of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// What the workers that hold it say, by worker.
    pub replicas: Vec<Replica>,
    /// The newest snapshot that all workers can reach; `None` if there is none, or workers use different stores.
    pub snapshot: Option<SnapshotReport>,
    /// The furthest end of the log that anybody has announced, in bytes; see [`PartitionReport::log_bytes`].
    pub end_bytes: u64,
    /// The same in operations.
    pub end_operations: u64,
}

/// A replica and how far it lags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Who holds it.
    pub worker: WorkerId,
    /// What the worker says.
    pub report: PartitionReport,
    /// When the worker was heard last.
    pub heard: Instant,
    /// The operations that are in the log and not in the replica.
    pub lag_operations: u64,
    /// How long the oldest of them is known to be in the log: whole announcements, so about a second exact.
    pub lag: Duration,
}

impl Roster {
    /// Watches the bulletin until `stop` is requested. A process appears with its next announcement.
    pub async fn start(ports: &Ports, stop: &Stop) -> Result<Self, BulletinError> {
        let announcements = ports.bulletin.watch().await?;
        let shared = Arc::new(Shared { table: Mutex::new(Table::new(Instant::now())), changes: watch::Sender::new(()) });
        let mut tasks = JoinSet::new();
        let (bulletin, heard, watch_stop) = (ports.bulletin.clone(), shared.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = heard.watch(bulletin.as_ref(), announcements) => {}
                () = watch_stop.requested() => {}
            }
        });
        let (ports, asked, ask_stop) = (ports.clone(), shared.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = asked.ask_the_overdue(&ports) => {}
                () = ask_stop.requested() => {}
            }
        });
        Ok(Self { shared, _tasks: Arc::new(tasks) })
    }

    /// The workers that were heard within their lifetime, by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        self.shared.lock().workers(Instant::now())
    }

    /// The producers that were heard within their lifetime, by name.
    pub fn producers(&self) -> Vec<ProducerView> {
        self.shared.lock().producers(Instant::now())
    }

    /// What is known of a partition.
    pub fn partition(&self, partition: &PartitionId) -> PartitionView {
        self.shared.lock().partition(partition, Instant::now())
    }

    /// How many workers may have questions to the partition: those that serve it, and those that did until they fell silent a short while ago.
    pub fn servers(&self, partition: &PartitionId) -> usize {
        self.shared.lock().servers(partition, Instant::now())
    }

    /// How long nobody has served the partition; `None` if somebody does, or the roster has not listened for a lifetime yet.
    pub fn unserved(&self, partition: &PartitionId) -> Option<Duration> {
        self.shared.lock().unserved(partition, Instant::now())
    }

    /// Whether the workers that are alive use different object stores: then no snapshot counts.
    pub fn stores_differ(&self) -> bool {
        self.shared.lock().stores_differ(Instant::now())
    }

    /// Is notified of each announcement, and when a worker is found to be gone.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes.subscribe()
    }
}

impl Shared {
    async fn watch(&self, bulletin: &dyn Bulletin, mut announcements: BoxStream<'static, Announcement>) {
        loop {
            while let Some(announcement) = announcements.next().await {
                self.lock().hear(announcement, Instant::now());
                self.changes.send_replace(());
            }
            announcements = again(bulletin).await;
        }
    }

    async fn ask_the_overdue(&self, ports: &Ports) {
        let mut asking = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                Some(gone) = asking.join_next() => {
                    if let Ok(Some(worker)) = gone {
                        tracing::info!(%worker, "a worker is gone");
                        self.lock().forget(&worker);
                        self.changes.send_replace(());
                    }
                    continue;
                }
            }
            for worker in self.lock().overdue(Instant::now(), OVERDUE) {
                let ports = ports.clone();
                asking.spawn(async move { is_gone(&ports, &worker).await.then_some(worker) });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a worker's queue is gone. One that is only slow, or frozen, is not gone.
async fn is_gone(ports: &Ports, worker: &WorkerId) -> bool {
    let nothing = Request { remaining_ms: u32::try_from(ANSWER_WITHIN.as_millis()).unwrap_or(u32::MAX), items: Vec::new() };
    let Ok(nothing) = nothing.encode() else { return false };
    let answer = ports.rpc.call(&RpcTarget::Worker(worker.clone()), nothing, Instant::now() + ANSWER_WITHIN).await;
    matches!(answer, Err(RpcError::NotFound(_)))
}

async fn again(bulletin: &dyn Bulletin) -> BoxStream<'static, Announcement> {
    loop {
        tokio::time::sleep(PAUSE).await;
        match bulletin.watch().await {
            Ok(announcements) => return announcements,
            Err(error) => tracing::warn!(%error, "announcements are not being heard; trying again"),
        }
    }
}
