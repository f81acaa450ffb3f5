//! Receipts: who waits to hear that a search sees its writes, and who is told.
//!
//! A lane registers each batch that wants a receipt, and the batch carries the number and this process's address. The first
//! replica that reports it answers for all; whatever else comes for that number, a replay above all, finds nobody. Both
//! how many documents wait and how long is bounded: what does not fit, and what is not heard of in time, is unknown.

mod gathering;
mod reply;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warren_protocol::ports::{Address, Bulletin, Message};
use warren_protocol::receipt::{Failed, Report, Reports, Wanted, WrittenAt};
use warren_protocol::{DocumentId, PartitionId};
use warren_service::config::ProducerConfig;

pub(crate) use gathering::Gathering;
pub use gathering::{Found, Lost};
pub(crate) use reply::Reply;

/// How often it is looked whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
/// After a failed try to listen, nobody waits for another one for so long.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// How long a stop waits for what is about to be found.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// Receipts for AMQP clients that wait for their turn.
const UNTOLD: usize = 10_000;
/// Between two warnings of one process about receipts that are not given.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// The receipts of one process. Cheap to clone.
#[derive(Clone)]
pub struct Receipts {
    shared: Arc<Shared>,
}

struct Shared {
    bulletin: Arc<dyn Bulletin>,
    id: Uuid,
    next: AtomicU64,
    patience: Duration,
    /// A permit for each document that waits.
    room: Arc<Semaphore>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    listening: tokio::sync::Mutex<Listening>,
    untold: mpsc::Sender<(Address, Message)>,
    teller: Mutex<Option<mpsc::Receiver<(Address, Message)>>>,
    warned: Mutex<Option<Instant>>,
    tasks: TaskTracker,
    /// Those who still have to tell a client something.
    promises: TaskTracker,
    closing: CancellationToken,
}

enum Listening {
    Never,
    Failed(Instant),
    Now,
}

/// One batch of which nothing was heard yet.
struct Waiting {
    until: Instant,
    /// In the order of the batch.
    wishes: Vec<(u32, Wish)>,
}

/// The wish of one parcel, on its way with it.
pub(crate) struct Wish {
    partition: PartitionId,
    operations: u32,
    seen: oneshot::Sender<Seen>,
    _room: OwnedSemaphorePermit,
}

/// That a search sees the writes of one parcel.
#[derive(Debug)]
pub(crate) struct Seen {
    pub position: WrittenAt,
    /// Those that could not be indexed, numbered within the parcel.
    pub failed: Vec<Failed>,
}

/// What whoever wrote waits with.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The documents, in the order of the parcel.
    pub ids: Vec<DocumentId>,
    /// `None`: nobody will say.
    seen: Option<oneshot::Receiver<Seen>>,
}

impl Ticket {
    /// Waits until a search sees the writes; `None` if that cannot be known. It ends within the time limit of receipts.
    pub(crate) async fn seen(&mut self) -> Option<Seen> {
        self.seen.take()?.await.ok()
    }
}

impl Receipts {
    /// Receipts for one process. It listens once the first one is wanted.
    pub(crate) fn new(bulletin: Arc<dyn Bulletin>, config: &ProducerConfig) -> Self {
        let (untold, teller) = mpsc::channel(UNTOLD);
        let shared = Shared {
            bulletin,
            id: Uuid::new_v4(),
            next: AtomicU64::new(0),
            patience: Duration::from_millis(config.receipt_timeout_ms.get()),
            room: Arc::new(Semaphore::new(config.max_receipts.get() as usize)),
            waiting: Mutex::default(),
            listening: tokio::sync::Mutex::new(Listening::Never),
            untold,
            teller: Mutex::new(Some(teller)),
            warned: Mutex::default(),
            tasks: TaskTracker::new(),
            promises: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A wish for one parcel of writes; without room or a listener, a ticket that nobody answers.
    pub(crate) async fn wish(&self, partition: &PartitionId, ids: Vec<DocumentId>) -> (Option<Wish>, Ticket) {
        let operations = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let unknown = |ids| (None, Ticket { ids, seen: None });
        let Ok(room) = self.shared.room.clone().try_acquire_many_owned(operations) else {
            self.warn("as many documents as producer.max_receipts allows wait for theirs");
            return unknown(ids);
        };
        if !self.listens().await {
            self.warn("this process cannot listen for them");
            return unknown(ids);
        }
        let (seen, outcome) = oneshot::channel();
        let wish = Wish { partition: partition.clone(), operations, seen, _room: room };
        (Some(wish), Ticket { ids, seen: Some(outcome) })
    }

    /// Registers a batch with the wishes of its parcels, each with the number of its first operation.
    pub(crate) fn register(&self, wishes: Vec<(u32, Wish)>) -> Option<Wanted> {
        if wishes.is_empty() {
            return None;
        }
        let batch = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let until = SystemTime::now() + self.shared.patience;
        let until_ms = until.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.shared.waiting().insert(batch, Waiting { until: Instant::now() + self.shared.patience, wishes });
        Some(Wanted { producer: self.shared.id, batch, until_ms })
    }

    /// Forgets a batch that was not confirmed: whoever wrote it was told that.
    pub(crate) fn forget(&self, wanted: Wanted) {
        self.shared.waiting().remove(&wanted.batch);
    }

    /// Ends the listening, once the receipts that are about to come are told, or a moment has passed.
    pub(crate) async fn close(&self) {
        let shared = &self.shared;
        shared.promises.close();
        if tokio::time::timeout(LAST_WAIT, shared.promises.wait()).await.is_err() {
            tracing::info!(receipts = shared.promises.len(), "stopping without these receipts");
        }
        shared.closing.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }

    async fn listens(&self) -> bool {
        let mut listening = self.shared.listening.lock().await;
        match *listening {
            Listening::Now => return true,
            Listening::Failed(at) if at.elapsed() < LISTEN_AGAIN => return false,
            Listening::Failed(_) | Listening::Never => {}
        }
        let address = Address::of_producer(self.shared.id);
        match self.shared.bulletin.listen(&address).await {
            Ok(words) => {
                self.shared.tasks.spawn(listen(self.shared.clone(), words));
                if let Some(untold) = self.shared.teller.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    self.shared.tasks.spawn(tell(self.shared.clone(), untold));
                }
                *listening = Listening::Now;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen for receipts");
                *listening = Listening::Failed(Instant::now());
                false
            }
        }
    }

    /// Says, now and then, why receipts are not given.
    fn warn(&self, reason: &str) {
        let mut warned = self.shared.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() > WARN_AGAIN) {
            *warned = Some(Instant::now());
            tracing::warn!(reason, "receipts are not given");
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, report: Report) {
        let Some(waiting) = self.waiting().remove(&report.batch) else { return };
        for (first, wish) in waiting.wishes {
            let PartitionId { index, partition } = wish.partition;
            let within = |failed: &Failed| {
                let operation = failed.operation.checked_sub(first).filter(|operation| *operation < wish.operations)?;
                Some(Failed { operation, detail: failed.detail.clone() })
            };
            let position = WrittenAt { generation: index.generation, partition, position: report.position };
            let failed = report.failed.iter().filter_map(within).collect();
            // Whoever wrote may have stopped waiting.
            let _ = wish.seen.send(Seen { position, failed });
        }
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.waiting().retain(|_, waiting| now < waiting.until);
    }
}

async fn listen(shared: Arc<Shared>, mut words: BoxStream<'static, Message>) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.closing.cancelled() => break,
            _ = sweep.tick() => shared.sweep(),
            word = words.next() => match word.map(|word| Reports::decode(&word)) {
                Some(Ok(reports)) => reports.batches.into_iter().for_each(|report| shared.hear(report)),
                Some(Err(error)) => tracing::warn!(%error, "a report that this program cannot read"),
                None => break, // the broker was closed
            },
        }
    }
    *shared.listening.lock().await = Listening::Failed(Instant::now());
    // Nobody hears of the others any more.
    shared.waiting().clear();
}

async fn tell(shared: Arc<Shared>, mut untold: mpsc::Receiver<(Address, Message)>) {
    while let Some(Some((address, word))) = shared.closing.run_until_cancelled(untold.recv()).await {
        if let Err(error) = shared.bulletin.tell(&address, word).await {
            tracing::debug!(%address, %error, "a receipt was not told");
        }
    }
}

#[cfg(test)]
mod tests;
