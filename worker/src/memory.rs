//! The memory that all partitions of a worker share for documents that are not committed yet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What an uncommitted document takes in memory for each of its bytes: its terms, positions and columns in tantivy's
/// arena, and its text in the document store's open block.
const BYTES_PER_DOCUMENT_BYTE: u64 = 2;
const UNIT: u64 = 1024;

/// The budget. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    units: Arc<Semaphore>,
    total: u32,
}

/// A part of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// What `document_bytes` cost; at most the whole budget, so that one huge batch can still be indexed, alone.
    fn cost(&self, document_bytes: u64) -> u32 {
        let units = (document_bytes * BYTES_PER_DOCUMENT_BYTE).div_ceil(UNIT);
        u32::try_from(units).unwrap_or(u32::MAX).min(self.total)
    }

    /// Takes a share if there is room for it now.
    pub(crate) fn try_take(&self, document_bytes: u64) -> Option<Share> {
        let permit = self.units.clone().try_acquire_many_owned(self.cost(document_bytes)).ok()?;
        Some(Share { _permit: Some(permit) })
    }

    /// Waits for a share. It comes, as long as those who wait hold nothing: every other partition commits within its
    /// refresh interval, and gives back what it holds.
    pub(crate) async fn take(&self, document_bytes: u64) -> Share {
        // The semaphore is never closed.
        Share { _permit: self.units.clone().acquire_many_owned(self.cost(document_bytes)).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_budget_is_shared_and_given_back() {
        let memory = Memory::new(1024 * 1024);
        let first = memory.try_take(400 * 1024).unwrap();
        assert!(memory.try_take(400 * 1024).is_none());
        drop(first);
        let _second = memory.try_take(400 * 1024).unwrap();
    }

    #[tokio::test]
    async fn one_huge_batch_takes_it_all_and_no_more() {
        let memory = Memory::new(1024 * 1024);
        let all = memory.take(1 << 40).await;
        assert!(memory.try_take(1).is_none());
        drop(all);
        assert!(memory.try_take(1).is_some());
    }
}
