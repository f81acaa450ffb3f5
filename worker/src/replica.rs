//! The life of one replica: open the local copy, follow the log, index, commit; and answer searches once the end of the
//! log, as it was at the start, is reached.
//!
//! Whatever goes wrong is told, waited out and tried again from the last commit; searches are answered meanwhile from
//! what is there. Only the end of the claim ends a replica.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_index::{IndexError, Options, PartitionIndex};
use warren_protocol::PartitionId;
use warren_protocol::announcement::ReplicaState;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{Follower, HeldSlot, LogError, LogName, Message, Position, QueueName};

use crate::Shared;
use crate::cache;
use crate::holdings::Holding;
use crate::indexing::{Committed, Indexer, IndexingError, Received};
use crate::memory::Share;
use crate::serving;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Messages that are there already are indexed in one go, up to this size.
const GATHER_BYTES: usize = 1024 * 1024;
/// Under load, commits take at most one part in so many of the time, ...
const COMMIT_SHARE: u32 = 8;
/// ... but no document waits longer than this for its commit.
const LONGEST_REFRESH: Duration = Duration::from_secs(3);

/// What makes a replica start again.
#[derive(Debug, thiserror::Error)]
enum ReplicaError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Indexing(#[from] IndexingError),
    #[error("indexing panicked: see the worker's log")]
    Panicked,
    #[error("a document that cannot be indexed could not be kept as a dead letter: {0}")]
    DeadLetter(#[from] warren_protocol::ports::QueueError),
}

impl From<IndexError> for ReplicaError {
    fn from(error: IndexError) -> Self {
        Self::Indexing(error.into())
    }
}

/// One claimed replica.
pub(crate) struct Replica {
    pub shared: Arc<Shared>,
    pub partition: PartitionId,
    pub entry: Arc<Entry>,
    /// Cancelled when the replica is to be given back.
    pub released: CancellationToken,
}

impl Replica {
    /// Holds the replica until it is to be given back, or the slot is lost.
    pub(crate) async fn hold(self, mut slot: Box<dyn HeldSlot>) {
        let partition = self.partition.clone();
        let holding = self.shared.holdings.add(&partition);
        let lost = tokio::select! {
            () = self.live(&holding) => false,
            () = slot.lost() => true,
        };
        self.shared.holdings.remove(&partition);
        if lost {
            tracing::warn!(%partition, "the claim is lost with its connection");
        } else if let Err(error) = slot.release().await {
            tracing::warn!(%partition, %error, "the claim could not be given back, it ends with the connection");
        }
    }

    /// Follows and serves until released.
    async fn live(&self, holding: &Arc<Holding>) {
        let caught_up = CancellationToken::new();
        let serving = async {
            caught_up.cancelled().await;
            serving::serve_partition(self.shared.clone(), self.partition.clone()).await;
        };
        tokio::select! {
            () = serving => {}
            () = self.follow_for_ever(holding, &caught_up) => {}
        }
    }

    async fn follow_for_ever(&self, holding: &Arc<Holding>, caught_up: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut from_start = false;
        loop {
            let began = Instant::now();
            let run = Run { replica: self, holding, caught_up, last_commit: Duration::ZERO };
            let Err(error) = run.run(std::mem::take(&mut from_start)).await else { return };
            let partition = &self.partition;
            match &error {
                ReplicaError::Log(LogError::Truncated { expected, found }) => {
                    tracing::error!(%partition, %expected, %found, "the broker truncated the log before it was read: writes are lost");
                    from_start = true;
                }
                ReplicaError::Log(LogError::Replaced { position }) => {
                    tracing::error!(%partition, %position, "the log is another one: the local copy is discarded");
                    self.discard().await;
                }
                ReplicaError::Log(LogError::Unavailable(_) | LogError::NotFound(_)) => {
                    tracing::warn!(%partition, %error, "the log cannot be followed");
                }
                _ => {
                    tracing::error!(%partition, %error, "the partition stopped");
                    holding.update(|report| (report.state, report.error) = (ReplicaState::Stopped, Some(error.to_string())));
                }
            }
            pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.released.cancelled() => return,
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.shared.cache.replica(&self.partition, &self.entry)
    }

    async fn discard(&self) {
        let folder = self.folder();
        // A panic in there is told by the next opening of the folder.
        let _ = tokio::task::spawn_blocking(move || cache::remove(&folder)).await;
    }
}

/// One try: from opening the local copy to the first error, or the end of the claim.
struct Run<'a> {
    replica: &'a Replica,
    holding: &'a Arc<Holding>,
    caught_up: &'a CancellationToken,
    last_commit: Duration,
}

/// What is applied and not committed.
#[derive(Default)]
struct Uncommitted {
    since: Option<Instant>,
    shares: Vec<Share>,
    /// Whether more messages were waiting when the last ones were taken.
    more: bool,
}

impl Run<'_> {
    async fn run(mut self, from_start: bool) -> Result<(), ReplicaError> {
        let log = LogName::Partition(self.replica.partition.clone());
        let ports = &self.replica.shared.ports;
        let mut indexer = self.open().await?;
        let end = ports.log.last(&log).await?;
        let mut committed = indexer.committed();
        self.report(committed, end);
        let from = if from_start { warren_protocol::ports::FollowFrom::Start } else { indexer.follow_from() };
        let mut follower = ports.log.follow(&log, from).await?;
        let mut uncommitted = Uncommitted::default();
        loop {
            let due = self.commit_due(&uncommitted);
            tokio::select! {
                biased;
                () = self.replica.released.cancelled() => {
                    self.commit(indexer).await?;
                    return Ok(());
                }
                () = tokio::time::sleep_until(due), if uncommitted.since.is_some() => {
                    (indexer, committed) = self.commit(indexer).await?;
                    uncommitted = Uncommitted::default();
                    self.report(committed, end);
                }
                first = follower.next() => {
                    let (received, error) = gather(first, &mut follower, &mut uncommitted.more);
                    let bytes = received.iter().map(Received::document_bytes).sum();
                    let memory = &self.replica.shared.memory;
                    let share = match memory.try_take(bytes) {
                        Some(share) => share,
                        None => {
                            (indexer, committed) = self.commit(indexer).await?;
                            self.report(committed, end);
                            uncommitted = Uncommitted { more: uncommitted.more, ..Uncommitted::default() };
                            memory.take(bytes).await
                        }
                    };
                    uncommitted.shares.push(share);
                    uncommitted.since.get_or_insert_with(Instant::now);
                    indexer = self.apply(indexer, received).await?;
                    if indexer.uncommitted_bytes() as u64 >= self.replica.shared.config.memory_bytes.get() {
                        (indexer, committed) = self.commit(indexer).await?;
                        uncommitted = Uncommitted { more: uncommitted.more, ..Uncommitted::default() };
                        self.report(committed, end);
                    }
                    if let Some(error) = error {
                        self.commit(indexer).await?;
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<Indexer, ReplicaError> {
        let (folder, entry) = (self.replica.folder(), self.replica.entry.clone());
        let options = Options::default();
        let opened = blocking(move || {
            let (index, checkpoint) = PartitionIndex::open(&folder, &entry.definition, &options)?;
            Ok::<_, IndexError>((index.clone(), Indexer::new(index, checkpoint, entry.index.name.clone())?))
        });
        let (index, indexer) = opened.await??;
        self.holding.set_index(index);
        Ok(indexer)
    }

    async fn apply(&mut self, mut indexer: Indexer, received: Vec<Received>) -> Result<Indexer, ReplicaError> {
        let applied = blocking(move || {
            let mut dead: Vec<Message> = Vec::new();
            let failed = received.iter().find_map(|received| match indexer.apply(received) {
                Ok(letters) => {
                    dead.extend(letters);
                    None
                }
                Err(error) => Some(error),
            });
            (indexer, dead, failed)
        });
        let (indexer, dead, failed) = applied.await?;
        for letter in dead {
            self.replica.shared.ports.queue.publish(QueueName::DeadLetters, letter).await?;
        }
        match failed {
            None => Ok(indexer),
            Some(error) => {
                if let IndexingError::Batch(_) = &error {
                    // What came before the batch that cannot be read is searchable all the same.
                    self.commit(indexer).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn commit(&mut self, mut indexer: Indexer) -> Result<(Indexer, Committed), ReplicaError> {
        let began = Instant::now();
        let outcome = blocking(move || indexer.commit().map(|committed| (indexer, committed))).await??;
        self.last_commit = began.elapsed();
        Ok(outcome)
    }

    /// When what is uncommitted has to be committed: after the refresh interval; later while more keeps coming, since
    /// each commit costs and a few large ones cost less than many small ones.
    fn commit_due(&self, uncommitted: &Uncommitted) -> Instant {
        let refresh = Duration::from_millis(self.replica.shared.config.refresh_interval_ms.get());
        let wait = if uncommitted.more {
            refresh.max(self.last_commit * COMMIT_SHARE).min(LONGEST_REFRESH.max(refresh))
        } else {
            refresh
        };
        uncommitted.since.unwrap_or_else(Instant::now) + wait
    }

    /// Notes a commit, and joins the partition's search queue once the log's end at the start is reached.
    fn report(&self, committed: Committed, end: Option<Position>) {
        let caught_up = end <= committed.position;
        if caught_up && !self.caught_up.is_cancelled() {
            let Committed { position, documents, .. } = committed;
            tracing::info!(partition = %self.replica.partition, ?position, documents, "the partition is searchable here");
            self.caught_up.cancel();
        }
        self.holding.update(|report| {
            report.state = if caught_up { ReplicaState::Serving } else { ReplicaState::CatchingUp };
            report.error = None;
            report.position = committed.position;
            report.documents = committed.documents;
            report.log_bytes = committed.log_bytes;
        });
    }
}

/// Takes the messages that are there already; the error that ends them, if there is one, after those that came before.
fn gather(
    first: Option<Result<warren_protocol::ports::LogEntry, LogError>>,
    follower: &mut Follower,
    more: &mut bool,
) -> (Vec<Received>, Option<ReplicaError>) {
    let ended = || ReplicaError::Log(LogError::Unavailable("the follower has ended".to_owned()));
    let mut received = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(item) = next {
        let entry = match item {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => return (received, Some(error.into())),
            None => return (received, Some(ended())),
        };
        bytes += entry.message.len();
        match Received::new(entry) {
            Ok(message) => received.push(message),
            Err(failure) => return (received, Some(IndexingError::from(failure).into())),
        }
        if bytes >= GATHER_BYTES {
            *more = true;
            return (received, None);
        }
        next = follower.next().now_or_never();
    }
    *more = false;
    (received, None)
}

/// Runs what blocks on a thread for such work; a panic there is an error here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ReplicaError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "indexing panicked");
        ReplicaError::Panicked
    })
}
