//! The life of one replica: open the local copy or a snapshot, follow the log, index, commit; and answer searches once
//! the end of the log is reached.
//!
//! Whatever goes wrong is told, waited out and tried again from the last commit; searches are answered meanwhile from
//! what is there. Only the end of the assignment ends a replica.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_index::IndexError;
use warren_protocol::PartitionId;
use warren_protocol::announcement::ReplicaState;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{FollowFrom, Follower, LogEntry, LogError, LogName, Message, Position, QueueName, SEGMENT_GAP};

use crate::Shared;
use crate::holdings::Holding;
use crate::indexing::{Committed, Indexer, IndexingError, Received};
use crate::memory::Share;
use crate::merging::{Next, Progress};
use crate::receipts::Owed;
use crate::restoring::{self, Opened};
use crate::{serving, snapshotting};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Messages that are there already are indexed in one go, up to this size.
const GATHER_BYTES: usize = 1024 * 1024;
/// Under load, commits take at most one part in so many of the time, ...
const COMMIT_SHARE: u32 = 8;
/// ... but no document waits longer than this for its commit.
const LONGEST_REFRESH: Duration = Duration::from_secs(3);
/// Where the log was read up to what was its end so long ago, its end is asked for again before the replica serves.
const FRESH_END: Duration = Duration::from_secs(2);
/// A replica that cannot catch up with its writers in this time serves all the same: the others lag as well.
const CATCH_UP: Duration = Duration::from_secs(60);
/// The first message of a log stands here, or before.
const BEGINNING: Position = Position(1);

/// What makes a replica start again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the log begins at position {found} only, and there is no snapshot of what was before")]
    BeginningGone { found: Position },
    #[error("the object store cannot be read: {0}")]
    Store(String),
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

/// One replica that this worker was assigned.
pub(crate) struct Replica {
    pub shared: Arc<Shared>,
    pub partition: PartitionId,
    pub entry: Arc<Entry>,
    pub holding: Arc<Holding>,
    /// Cancelled when the replica is to end.
    pub released: CancellationToken,
    /// Cancelled when the snapshot that the stop of the worker asks for is taken.
    pub last_snapshot: CancellationToken,
}

/// How the next try begins.
#[derive(Debug, PartialEq, Eq)]
enum Begin {
    /// With the local copy, or a snapshot where there is none.
    Local,
    /// With the newest snapshot, if it holds more than the local copy.
    Newest,
    /// With the local copy, and what the log still has behind it.
    WithWhatIsLeft {
        /// What that leaves out, in words; `None` if nothing.
        lost: Option<String>,
        /// Whether the log is another one, whose positions have nothing to do with those of the copy.
        another_log: bool,
    },
}

impl Replica {
    /// Follows, serves and takes snapshots until released.
    pub(crate) async fn live(&self) {
        let caught_up = CancellationToken::new();
        let serving = async {
            caught_up.cancelled().await;
            serving::serve_partition(self.shared.clone(), self.partition.clone()).await;
        };
        tokio::select! {
            () = serving => {}
            () = snapshotting::run(self) => {}
            () = self.follow_for_ever(&caught_up) => {}
        }
    }

    async fn follow_for_ever(&self, caught_up: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut begin = Begin::Local;
        loop {
            let began = Instant::now();
            let run = Run { replica: self, caught_up, last_commit: Duration::ZERO, owed: Owed::default() };
            let Err(error) = run.run(&begin).await else { return };
            begin = self.recover(begin, &error);
            if begin != Begin::Local {
                // The next source is at hand: nothing has to be waited for.
                continue;
            }
            pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.released.cancelled() => return,
            }
        }
    }

    /// Where to begin after an error: with the next best source, down to what the log still has.
    fn recover(&self, tried: Begin, error: &ReplicaError) -> Begin {
        let partition = &self.partition;
        match error {
            ReplicaError::Log(LogError::Truncated { expected, found }) if found.0 <= expected.0 + 1 + SEGMENT_GAP => {
                Begin::WithWhatIsLeft { lost: None, another_log: false }
            }
            ReplicaError::Log(error @ (LogError::Truncated { .. } | LogError::Replaced { .. })) if tried == Begin::Local => {
                tracing::warn!(%partition, %error, "the local copy cannot go on from where it ends, looking for a newer snapshot");
                Begin::Newest
            }
            ReplicaError::Log(LogError::Truncated { expected, found }) => {
                tracing::error!(%partition, %expected, %found, "the log was truncated before it was read, and no snapshot has what is missing: it is lost");
                let lost = format!("the writes between positions {expected} and {found} of the log");
                Begin::WithWhatIsLeft { lost: Some(lost), another_log: false }
            }
            ReplicaError::Log(LogError::Replaced { position }) => {
                tracing::error!(%partition, %position, "the log is another one: what the old one had behind this position is lost");
                let lost = format!("what a log that is gone had behind position {position}, if anything");
                Begin::WithWhatIsLeft { lost: Some(lost), another_log: true }
            }
            ReplicaError::BeginningGone { found } => {
                tracing::error!(%partition, %found, "the log was truncated, and there is no snapshot of what is missing: it is lost");
                Begin::WithWhatIsLeft { lost: Some(format!("the writes before position {found} of the log")), another_log: false }
            }
            ReplicaError::Log(LogError::Unavailable(_) | LogError::NotFound(_)) => {
                tracing::warn!(%partition, %error, "the log cannot be followed");
                Begin::Local
            }
            ReplicaError::Store(_) => {
                tracing::warn!(%partition, %error, "the partition waits for the object store");
                self.stopped(error);
                // Whatever led to the store leads there again.
                Begin::Local
            }
            _ => {
                tracing::error!(%partition, %error, "the partition stopped");
                self.stopped(error);
                Begin::Local
            }
        }
    }

    fn stopped(&self, error: &ReplicaError) {
        self.holding.update(|report| (report.state, report.error) = (ReplicaState::Stopped, Some(error.to_string())));
    }

    /// Notes why there is no snapshot; an error of the replica itself is more important.
    pub(crate) fn note_snapshot_error(&self, error: Option<String>) {
        self.holding.update(|report| {
            if report.state != ReplicaState::Stopped {
                report.error = error;
            }
        });
    }

    /// The folder of the local copy.
    pub(crate) fn folder(&self) -> PathBuf {
        self.shared.cache.replica(&self.partition, &self.entry)
    }
}

/// One try: from opening the index to the first error, or the end of the assignment.
struct Run<'a> {
    replica: &'a Replica,
    caught_up: &'a CancellationToken,
    last_commit: Duration,
    /// The receipts for what is applied, until it is visible and the replica serves.
    owed: Owed,
}

/// What is applied and not committed.
#[derive(Default)]
struct Uncommitted {
    since: Option<Instant>,
    shares: Vec<Share>,
    /// Whether more messages were waiting when the last ones were taken.
    more: bool,
}

/// The end of the log that has to be reached before the replica serves.
struct Target {
    end: Option<Position>,
    /// When it was asked for.
    asked: Instant,
    /// When the replica began to follow.
    began: Instant,
}

impl Run<'_> {
    async fn run(mut self, begin: &Begin) -> Result<(), ReplicaError> {
        let log = LogName::Partition(self.replica.partition.clone());
        let ports = &self.replica.shared.ports;
        let (mut indexer, store_unknown) = self.open(begin).await?;
        let mut target = Target { end: ports.log.last(&log).await?, asked: Instant::now(), began: Instant::now() };
        let mut committed = indexer.committed();
        self.report(&committed, &mut target).await?;
        let left = matches!(begin, Begin::WithWhatIsLeft { .. });
        let from = if left { FollowFrom::Start } else { indexer.follow_from() };
        // A log that has lost its beginning is no source for an index that has nothing.
        let mut expects_beginning = !left && from == FollowFrom::Start;
        let mut follower = ports.log.follow(&log, from).await?;
        let mut uncommitted = Uncommitted::default();
        let merges = &self.replica.holding.merges;
        let mut merging = Progress::default();
        loop {
            let due = self.commit_due(&uncommitted);
            tokio::select! {
                biased;
                () = self.replica.released.cancelled() => {
                    let (indexer, committed) = self.commit(indexer).await?;
                    if self.caught_up.is_cancelled() {
                        self.report(&committed, &mut target).await?;
                    }
                    // It saves what it has.
                    return blocking(move || drop(indexer)).await;
                }
                () = tokio::time::sleep_until(due), if uncommitted.since.is_some() => {
                    (indexer, committed) = self.commit(indexer).await?;
                    uncommitted = Uncommitted::default();
                    self.report(&committed, &mut target).await?;
                }
                next = merging.next(merges) => match next {
                    Next::Begin(ticket) => {
                        (indexer, committed) = self.commit(indexer).await?;
                        uncommitted = Uncommitted::default();
                        self.report(&committed, &mut target).await?;
                        indexer = merging.begin(indexer, ticket, merges).await?;
                    }
                    Next::Merged(ticket) => merging.done(&mut indexer, ticket, merges),
                    Next::Again => {}
                },
                first = follower.next() => {
                    let (received, error) = gather(first, &mut follower, &mut uncommitted.more);
                    if expects_beginning && let Some(first) = received.first() {
                        check_beginning(first.entry.position, store_unknown.as_deref())?;
                        expects_beginning = false;
                    }
                    let bytes = received.iter().map(Received::document_bytes).sum();
                    let memory = &self.replica.shared.memory;
                    let share = match memory.try_take(bytes) {
                        Some(share) => share,
                        None => {
                            (indexer, committed) = self.commit(indexer).await?;
                            self.report(&committed, &mut target).await?;
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
                        self.report(&committed, &mut target).await?;
                    }
                    if let Some(error) = error {
                        self.commit(indexer).await?;
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn open(&self, begin: &Begin) -> Result<(Indexer, Option<String>), ReplicaError> {
        let Replica { entry, holding, .. } = self.replica;
        let Opened { index, checkpoint, store_unknown } = match begin {
            Begin::Newest => {
                // Searches go elsewhere while the index is being replaced.
                holding.set_index(None);
                restoring::open_newest(self.replica).await?
            }
            Begin::Local | Begin::WithWhatIsLeft { .. } => restoring::open(self.replica).await?,
        };
        let (opened, name) = (index.clone(), entry.index.name.clone());
        let mut indexer = blocking(move || Indexer::new(opened, checkpoint, name)).await??;
        if let Begin::WithWhatIsLeft { lost, another_log } = begin {
            if let Some(lost) = lost {
                indexer.note_lost(lost);
            }
            if *another_log {
                indexer.begin_anew();
            }
        }
        holding.set_committed(indexer.committed().position);
        holding.set_index(Some(index));
        Ok((indexer, store_unknown))
    }

    async fn apply(&mut self, mut indexer: Indexer, received: Vec<Received>) -> Result<Indexer, ReplicaError> {
        let applied = blocking(move || {
            let (mut dead, mut reports) = (Vec::<Message>::new(), Vec::new());
            let failed = received.iter().find_map(|received| match indexer.apply(received) {
                Ok(applied) => {
                    dead.extend(applied.dead);
                    reports.extend(applied.report);
                    None
                }
                Err(error) => Some(error),
            });
            (indexer, dead, reports, failed)
        });
        let (indexer, dead, reports, failed) = applied.await?;
        self.owed.extend(reports);
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

    /// Notes a commit, and joins the partition's search queue once the log's end is reached. A replica that serves tells
    /// whoever waits for it that their writes can be found.
    async fn report(&mut self, committed: &Committed, target: &mut Target) -> Result<(), ReplicaError> {
        let Replica { shared, partition, holding, .. } = self.replica;
        let mut reached = target.end <= committed.position;
        if reached && !self.caught_up.is_cancelled() && target.asked.elapsed() > FRESH_END && target.began.elapsed() < CATCH_UP {
            // It was the end when the replica began, and writers have gone on since.
            target.end = shared.ports.log.last(&LogName::Partition(partition.clone())).await?;
            target.asked = Instant::now();
            reached = target.end <= committed.position;
        }
        let state = if reached || self.caught_up.is_cancelled() { ReplicaState::Serving } else { ReplicaState::CatchingUp };
        let mut changed = false;
        holding.update(|report| {
            changed = report.state != state;
            if changed {
                report.error = None;
            }
            report.state = state;
            report.position = committed.position;
            report.documents = committed.documents;
            report.log_bytes = committed.log_bytes;
            report.operations = committed.operations;
            report.lost.clone_from(&committed.lost);
        });
        holding.set_committed(committed.position);
        if state == ReplicaState::Serving {
            shared.receipts.settle(&mut self.owed);
        }
        if changed && state == ReplicaState::Serving {
            let milliseconds = target.began.elapsed().as_millis() as u64;
            let Committed { position, documents, .. } = committed;
            tracing::info!(%partition, position = position.map(|position| position.0), documents, milliseconds, "the partition is searchable here");
            self.caught_up.cancel();
        }
        if changed {
            shared.news.notify_one();
        }
        Ok(())
    }
}

/// Whether the first message of a log is its very first: an index that has nothing needs it. While nobody knows whether
/// there is a snapshot, that is to be found out first.
fn check_beginning(found: Position, store_unknown: Option<&str>) -> Result<(), ReplicaError> {
    match store_unknown {
        _ if found <= BEGINNING => Ok(()),
        Some(reason) => Err(ReplicaError::Store(reason.to_owned())),
        None => Err(ReplicaError::BeginningGone { found }),
    }
}

/// Takes the messages that are there already; the error that ends them, if there is one, after those that came before.
fn gather(
    first: Option<Result<LogEntry, LogError>>,
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
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ReplicaError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "indexing panicked");
        ReplicaError::Panicked
    })
}
