//! Merges on demand: all segments into one, without the documents that were deleted.
//!
//! The merge runs on tantivy's own thread, beside the writer and beside searches. tantivy's policy may have begun to merge some of the same
//! segments: then the later of the two merges fails, and is tried again with the policy held back, so that no third one comes between.

use tantivy::indexer::NoMergePolicy;
use tantivy::{FutureResult, SegmentMeta};

use crate::error::IndexError;
use crate::partition::PartitionIndex;
use crate::writer::{PartitionWriter, merge_policy};

/// A merge that runs.
pub struct Merging {
    index: PartitionIndex,
    outcome: FutureResult<Option<SegmentMeta>>,
}

impl std::fmt::Debug for Merging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merging").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Merging {
    /// Waits until it has ended, and lets searches see it. If another merge came before it: an error, try again.
    pub fn wait(self) -> Result<(), IndexError> {
        self.outcome.wait()?;
        Ok(self.index.reload()?)
    }
}

impl PartitionWriter {
    /// Begins to merge what is committed; `None` if it is one segment without deleted documents already. What is written meanwhile goes into
    /// segments of its own.
    pub fn merge(&mut self) -> Result<Option<Merging>, IndexError> {
        let index = self.index().clone();
        let metas = index.tantivy().load_metas()?;
        if metas.segments.len() <= 1 && metas.segments.iter().all(|segment| segment.num_deleted_docs() == 0) {
            index.reload()?;
            return Ok(None);
        }
        let segments: Vec<_> = metas.segments.iter().map(SegmentMeta::id).collect();
        let outcome = self.tantivy_mut().merge(&segments);
        Ok(Some(Merging { index, outcome }))
    }

    /// Whether tantivy may merge by its policy; at first it may.
    pub fn merge_by_policy(&mut self, may: bool) {
        let writer = self.tantivy_mut();
        if may {
            writer.set_merge_policy(Box::new(merge_policy()));
        } else {
            writer.set_merge_policy(Box::new(NoMergePolicy));
        }
    }
}
