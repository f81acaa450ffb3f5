//! What this worker holds: each replica's index for those who search, and its state for those who ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use warren_index::PartitionIndex;
use warren_protocol::PartitionId;
use warren_protocol::announcement::{PartitionReport, ReplicaState};

use crate::merging::Merges;

/// All replicas of this worker.
#[derive(Default)]
pub(crate) struct Holdings {
    replicas: RwLock<HashMap<PartitionId, Arc<Holding>>>,
}

/// One replica.
pub(crate) struct Holding {
    index: Mutex<Option<PartitionIndex>>,
    report: Mutex<PartitionReport>,
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
        let holding = Arc::new(Holding { index: Mutex::new(None), report: Mutex::new(report), merges: Merges::default() });
        self.replicas.write().unwrap_or_else(PoisonError::into_inner).insert(partition.clone(), holding.clone());
        holding
    }

    /// Takes a replica out.
    pub(crate) fn remove(&self, partition: &PartitionId) {
        self.replicas.write().unwrap_or_else(PoisonError::into_inner).remove(partition);
    }

    /// The index of a replica, `None` if this worker does not hold it.
    pub(crate) fn index(&self, partition: &PartitionId) -> Option<PartitionIndex> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.get(partition)?.index()
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
