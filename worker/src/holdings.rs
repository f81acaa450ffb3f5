//! What this worker holds: each replica's index for those who search, and its state for those who ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use warren_index::PartitionIndex;
use warren_protocol::PartitionId;
use warren_protocol::announcement::{PartitionReport, ReplicaState};
use warren_protocol::ports::Position;
use warren_protocol::rpc::Failure;

use crate::merging::Merges;

/// How many searches of one replica wait for a commit at a time. Each of them keeps one of the requests that the worker has
/// unanswered, and the others must get their turn.
const MAX_WAITING: usize = 8;

/// All replicas of this worker.
#[derive(Default)]
pub(crate) struct Holdings {
    replicas: RwLock<HashMap<PartitionId, Arc<Holding>>>,
}

/// One replica.
pub(crate) struct Holding {
    index: Mutex<Option<PartitionIndex>>,
    report: Mutex<PartitionReport>,
    /// The last position that the index has.
    committed: watch::Sender<Option<Position>>,
    waiting: Semaphore,
    /// The merges that were asked of it.
    pub(crate) merges: Merges,
}

impl Holdings {
    /// Adds a replica, whose slot is held and which has no index yet.
    pub(crate) fn add(&self, partition: &PartitionId, replica: u32) -> Arc<Holding> {
        let report = PartitionReport {
            index: partition.index.clone(),
            partition: partition.partition,
            replica,
            held: true,
            state: ReplicaState::CatchingUp,
            position: None,
            documents: 0,
            log_bytes: 0,
            operations: 0,
            segments: 0,
            bytes: 0,
            snapshot: None,
            lost: None,
            error: None,
        };
        let holding = Arc::new(Holding {
            index: Mutex::new(None),
            report: Mutex::new(report),
            committed: watch::Sender::new(None),
            waiting: Semaphore::new(MAX_WAITING),
            merges: Merges::default(),
        });
        self.replicas.write().unwrap_or_else(PoisonError::into_inner).insert(partition.clone(), holding.clone());
        holding
    }

    /// Takes a replica out.
    pub(crate) fn remove(&self, partition: &PartitionId) {
        self.replicas.write().unwrap_or_else(PoisonError::into_inner).remove(partition);
    }

    /// A replica, `None` if this worker does not hold it.
    pub(crate) fn holding(&self, partition: &PartitionId) -> Option<Arc<Holding>> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).get(partition).cloned()
    }

    /// The state of all replicas.
    pub(crate) fn reports(&self) -> Vec<PartitionReport> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.values().map(|holding| holding.report()).collect()
    }
}

impl Holding {
    /// The index, once it is open.
    pub(crate) fn index(&self) -> Option<PartitionIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The index, once it has what stands at `position` of the log; waits for that until `until`, as long as few others do.
    pub(crate) async fn index_at(&self, position: Position, until: Instant) -> Result<PartitionIndex, Failure> {
        let mut committed = self.committed.subscribe();
        let mut turn = None;
        loop {
            if *committed.borrow_and_update() >= Some(position) {
                let index = self.index().ok_or(Failure::NotHere)?;
                // It may have been replaced since the look by one that has less.
                if *committed.borrow_and_update() >= Some(position) {
                    return Ok(index);
                }
            }
            if turn.is_none() {
                turn = Some(self.waiting.try_acquire().map_err(|_| Failure::Behind(position))?);
            }
            // The sender lives as long as this.
            if !matches!(tokio::time::timeout_at(until, committed.changed()).await, Ok(Ok(()))) {
                return Err(Failure::Behind(position));
            }
        }
    }

    /// Notes up to which position searches see the log; before an index that has less takes the place of another one.
    pub(crate) fn set_committed(&self, position: Option<Position>) {
        self.committed.send_replace(position);
    }

    /// Sets the index that searches use from now on; `None` while it is being replaced.
    pub(crate) fn set_index(&self, index: Option<PartitionIndex>) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// Changes the state.
    pub(crate) fn update(&self, change: impl FnOnce(&mut PartitionReport)) {
        change(&mut self.locked());
    }

    /// The state.
    pub(crate) fn report(&self) -> PartitionReport {
        let mut report = self.locked().clone();
        if let Some(size) = self.index().map(|index| index.size()) {
            (report.segments, report.bytes) = (size.segments, size.bytes);
        }
        report
    }

    fn locked(&self) -> MutexGuard<'_, PartitionReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warren_index::Options;
    use warren_protocol::{Generation, IndexDefinition, IndexName, IndexRef};

    use super::*;

    fn holding() -> Arc<Holding> {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        Holdings::default().add(&PartitionId { index, partition: 0 }, 0)
    }

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn a_search_waits_for_the_commit_that_it_must_see() {
        let folder = tempfile::tempdir().unwrap();
        let (index, _) = PartitionIndex::open(folder.path(), &IndexDefinition::default(), &Options::default()).unwrap();
        let holding = holding();
        holding.set_committed(Some(Position(4)));
        holding.set_index(Some(index));
        assert!(holding.index_at(Position(4), soon(0)).await.is_ok(), "it is there");
        let behind = holding.index_at(Position(5), soon(20)).await;
        assert_eq!(behind.err(), Some(Failure::Behind(Position(5))));
        let commit = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            holding.set_committed(Some(Position(6)));
        };
        let (seen, ()) = tokio::join!(holding.index_at(Position(5), soon(10_000)), commit);
        assert!(seen.is_ok());
    }

    #[tokio::test]
    async fn few_wait_at_a_time_and_the_others_are_told_at_once() {
        let holding = holding();
        let waits: Vec<_> = (0..MAX_WAITING).map(|_| holding.index_at(Position(1), soon(60_000))).collect();
        let mut waiting = std::pin::pin!(futures_util::future::join_all(waits));
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        let beyond = tokio::time::timeout(Duration::from_secs(10), holding.index_at(Position(1), soon(60_000))).await.unwrap();
        assert_eq!(beyond.err(), Some(Failure::Behind(Position(1))));
        holding.set_committed(Some(Position(1)));
        let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
        assert!(ended.into_iter().all(|ended| ended.err() == Some(Failure::NotHere)), "there is no index");
    }
}
