//! Takes the snapshots of one replica: after an interval, after so many bytes of the log, and when the worker stops.
//!
//! Of the replicas of a partition, the first one that serves takes them; the others only look what there is.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use warren_protocol::announcement::{ReplicaState, SnapshotReport};
use warren_snapshot::{Hashes, Head, Manifest, PartitionStore, StoreError};

use crate::replica::{Replica, blocking};

/// How often it is looked whether a snapshot is due.
const LOOK: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A snapshot is due when no less than this part of the log's limit is in none.
const PART_OF_LOG: u64 = 8;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Unclaimed(String),
    #[error(transparent)]
    Index(#[from] warren_index::IndexError),
    #[error("taking it panicked: see the worker's log")]
    Panicked,
}

/// Takes snapshots until this future is dropped; when the worker stops, one last one.
pub(crate) async fn run(replica: &Replica) {
    let mut snapshotter = Snapshotter {
        replica,
        hashes: Hashes::default(),
        dirty_since: None,
        known: false,
        pause: FIRST_PAUSE,
        not_before: Instant::now(),
    };
    loop {
        let stopping = replica.shared.stop.is_requested();
        snapshotter.look(stopping).await;
        if stopping {
            replica.last_snapshot.cancel();
            return std::future::pending().await;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = replica.shared.stop.requested() => {}
        }
    }
}

struct Snapshotter<'a> {
    replica: &'a Replica,
    hashes: Hashes,
    /// Since when there is something that no snapshot has.
    dirty_since: Option<Instant>,
    /// Whether the store was asked for the newest snapshot.
    known: bool,
    pause: Duration,
    /// After a failure, the next try.
    not_before: Instant,
}

impl Snapshotter<'_> {
    async fn look(&mut self, stopping: bool) {
        if Instant::now() < self.not_before && !stopping {
            return;
        }
        match self.take_if_due(stopping).await {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                self.replica.note_snapshot_error(None);
            }
            Err(error) => {
                let partition = &self.replica.partition;
                tracing::warn!(%partition, %error, pause_s = self.pause.as_secs(), "no snapshot can be taken");
                self.replica.note_snapshot_error(Some(format!("no snapshot can be taken: {error}")));
                self.not_before = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn take_if_due(&mut self, stopping: bool) -> Result<(), SnapshotError> {
        let Replica { shared, partition, entry, holding, .. } = self.replica;
        let report = holding.report();
        let (Some(_), true) = (report.position, report.state == ReplicaState::Serving) else { return Ok(()) };
        if !self.known {
            let newest = self.store()?.newest().await?;
            self.note(newest.as_ref());
            self.known = true;
        }
        let view = shared.roster.partition(partition);
        if let Some(newest) = view.snapshot {
            holding.update(|report| report.snapshot = newer(report.snapshot, Some(newest)));
        }
        let others_duty = view.replicas.iter().any(|other| {
            other.worker != shared.id
                && other.report.held
                && other.report.state == ReplicaState::Serving
                && other.report.replica < report.replica
        });
        let missing = report.log_bytes.saturating_sub(holding.report().snapshot.map_or(0, |snapshot| snapshot.log_bytes));
        if missing == 0 || others_duty {
            self.dirty_since = None;
            return Ok(());
        }
        let settings = &shared.snapshots.settings;
        let since = *self.dirty_since.get_or_insert_with(Instant::now);
        let most = settings.snapshot_log_bytes.get().min(entry.definition.log_max_bytes / PART_OF_LOG);
        let overdue = since.elapsed() >= Duration::from_millis(settings.snapshot_interval_ms.get());
        if overdue || missing >= most || stopping {
            self.take().await?;
            self.dirty_since = None;
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<(), SnapshotError> {
        let Replica { shared, partition, entry, holding, .. } = self.replica;
        let Some(index) = holding.index() else { return Ok(()) };
        // The semaphore is never closed.
        let _turn = shared.snapshots.taking.acquire().await;
        shared.snapshots.store().map_err(SnapshotError::Unclaimed)?.check().await?;
        let (began, store) = (Instant::now(), self.store()?);
        let previous = store.newest().await?;
        let folder = shared.cache.frozen(partition, entry);
        let frozen = blocking(move || index.freeze(&folder)).await.map_err(|_| SnapshotError::Panicked)??;
        let Some(last) = frozen.checkpoint.last else { return Ok(()) };
        let head = Head {
            definition: entry.definition.clone(),
            position: Some(last.position),
            digest: Some(last.digest),
            log_bytes: frozen.checkpoint.log_bytes,
            operations: frozen.checkpoint.operations,
            documents: frozen.documents,
            meta: frozen.meta,
        };
        let saved = store.save(head, &frozen.folder, &frozen.files, previous.as_ref(), &mut self.hashes).boxed().await;
        let folder = frozen.folder.clone();
        // What cannot be removed now is replaced by the next one.
        let _ = blocking(move || std::fs::remove_dir_all(folder)).await;
        let saved = saved?;
        self.note(Some(&saved.manifest));
        tracing::info!(
            %partition,
            position = %last.position,
            documents = saved.manifest.documents,
            uploaded_bytes = saved.uploaded_bytes,
            reused_bytes = saved.reused_bytes,
            milliseconds = began.elapsed().as_millis() as u64,
            "took a snapshot"
        );
        shared.news.notify_one();
        let settings = &shared.snapshots.settings;
        store.collect(settings.keep, Duration::from_millis(settings.grace_ms.get())).boxed().await?;
        Ok(())
    }

    fn store(&self) -> Result<PartitionStore, SnapshotError> {
        let Replica { shared, partition, entry, .. } = self.replica;
        shared.snapshots.of(partition, entry.creation).map_err(SnapshotError::Unclaimed)
    }

    fn note(&self, newest: Option<&Manifest>) {
        let found = newest.and_then(|manifest| {
            Some(SnapshotReport { position: manifest.position?, log_bytes: manifest.log_bytes, taken_ms: manifest.taken_ms })
        });
        self.replica.holding.update(|report| report.snapshot = newer(report.snapshot, found));
    }
}

fn newer(a: Option<SnapshotReport>, b: Option<SnapshotReport>) -> Option<SnapshotReport> {
    [a, b].into_iter().flatten().max_by_key(|snapshot| snapshot.log_bytes)
}
