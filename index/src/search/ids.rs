//! The ids of everything that a query matches, in their order, page by page: whoever goes on behind the last id of a page
//! misses none and gets none twice, whatever is written, merged or deleted meanwhile.

use std::collections::BinaryHeap;
use std::ops::Bound;

use tantivy::columnar::StrColumn;
use tantivy::query::{EnableScoring, Weight};
use tantivy::{SegmentReader, TantivyError};
use warren_protocol::Query;

use crate::error::SearchError;
use crate::partition::PartitionIndex;
use crate::schema::ID;

impl PartitionIndex {
    /// The first `limit` ids behind `after` of documents that match.
    pub fn matching_ids(&self, query: &Query, after: Option<&str>, limit: usize) -> Result<Vec<String>, SearchError> {
        let searcher = self.searcher();
        let query = self.plan(query, None)?.query();
        let weight = query.weight(EnableScoring::disabled_from_searcher(&searcher))?;
        let mut ids = Vec::new();
        for segment in searcher.segment_readers() {
            let Some(column) = segment.fast_fields().str(ID)? else { continue };
            let first = first_ordinal(&column, after)?;
            let ordinals = smallest(weight.as_ref(), segment, &column, first, limit)?;
            let mut valid = true;
            let known = column.dictionary().sorted_ords_to_term_cb(&ordinals, |id| match std::str::from_utf8(id) {
                Ok(id) => ids.push(id.to_owned()),
                Err(_) => valid = false,
            });
            if !(known.map_err(TantivyError::from)? && valid) {
                return Err(TantivyError::InternalError("a document has no id".to_owned()).into());
            }
        }
        // An id is live in one segment only.
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }
}

/// Ordinals of a segment's dictionary are in the order of its ids: the one behind `after`.
fn first_ordinal(column: &StrColumn, after: Option<&str>) -> Result<u64, TantivyError> {
    let Some(after) = after else { return Ok(0) };
    let (lower, _) = column.dictionary().term_bounds_to_ord(Bound::Excluded(after), Bound::Unbounded)?;
    Ok(match lower {
        Bound::Included(ordinal) => ordinal,
        Bound::Excluded(ordinal) => ordinal + 1,
        Bound::Unbounded => 0,
    })
}

/// The `limit` smallest ordinals from `first` on, in order, of live documents that match.
fn smallest(
    weight: &dyn Weight,
    segment: &SegmentReader,
    column: &StrColumn,
    first: u64,
    limit: usize,
) -> Result<Vec<u64>, TantivyError> {
    let mut heap = BinaryHeap::new();
    weight.for_each_no_score(segment, &mut |documents| {
        for document in documents {
            let ordinal = column.ords().first(*document).filter(|ordinal| *ordinal >= first);
            let Some(ordinal) = ordinal.filter(|_| !segment.is_deleted(*document)) else { continue };
            if heap.len() < limit {
                heap.push(ordinal);
            } else if let Some(mut largest) = heap.peek_mut()
                && ordinal < *largest
            {
                *largest = ordinal;
            }
        }
    })?;
    Ok(heap.into_sorted_vec())
}
