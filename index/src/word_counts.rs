//! How many words a field has in all documents: with the number of documents, the average length that BM25 compares with.
//!
//! tantivy counts them when it writes a segment. When it merges segments with deleted documents, it estimates the words that are left from the
//! rounded lengths of documents, and scores would then depend on which documents were merged with which. So where something was ever deleted,
//! they are counted again, once for each segment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tantivy::columnar::ColumnValues;
use tantivy::index::SegmentId;
use tantivy::postings::Postings;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet, Searcher, SegmentReader, TERMINATED, TantivyError};

/// The words of one index.
#[derive(Debug)]
pub(crate) struct WordCounts {
    /// Whether merges may have estimated.
    doubtful: AtomicBool,
    counted: Mutex<HashMap<(SegmentId, Field), u64>>,
}

impl WordCounts {
    /// Of an index whose past is known, because it is empty, or is not.
    pub(crate) fn new(doubtful: bool) -> Self {
        Self { doubtful: AtomicBool::new(doubtful), counted: Mutex::default() }
    }

    /// Notes that a document was deleted.
    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// The words of a field in all documents that a searcher counts.
    pub(crate) fn of(&self, searcher: &Searcher, field: Field) -> Result<u64, TantivyError> {
        let doubtful = self.doubtful.load(Ordering::Relaxed);
        let mut words = 0;
        for segment in searcher.segment_readers() {
            words += if doubtful { self.counted(segment, field)? } else { segment.inverted_index(field)?.total_num_tokens() };
        }
        Ok(words)
    }

    /// Counts the fields that were asked about in the segments that are new, so that no search has to; forgets the segments that are gone.
    pub(crate) fn refresh(&self, searcher: &Searcher) -> Result<(), TantivyError> {
        let segments: Vec<SegmentId> = searcher.segment_readers().iter().map(SegmentReader::segment_id).collect();
        let mut fields: Vec<Field> = self.lock().keys().map(|(_, field)| *field).collect();
        fields.sort_unstable();
        fields.dedup();
        for field in fields {
            self.of(searcher, field)?;
        }
        self.lock().retain(|(segment, _), _| segments.contains(segment));
        Ok(())
    }

    fn counted(&self, segment: &SegmentReader, field: Field) -> Result<u64, TantivyError> {
        let key = (segment.segment_id(), field);
        if let Some(words) = self.lock().get(&key) {
            return Ok(*words);
        }
        let words = count(segment, field)?;
        self.lock().insert(key, words);
        Ok(words)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SegmentId, Field), u64>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(segment: &SegmentReader, field: Field) -> Result<u64, TantivyError> {
    let entry = segment.schema().get_field_entry(field);
    let keeps_counts = entry.field_type().get_index_record_option().is_some_and(IndexRecordOption::has_freq);
    if !keeps_counts && let Some(values) = segment.fast_fields().str(entry.name())? {
        // Whole values, of which one may stand several times in a document.
        return Ok(values.ords().values.num_vals().into());
    }
    let index = segment.inverted_index(field)?;
    let mut terms = index.terms().stream()?;
    let mut words = 0;
    while terms.advance() {
        let mut postings = index.read_postings_from_terminfo(terms.value(), IndexRecordOption::WithFreqs)?;
        while postings.doc() != TERMINATED {
            words += u64::from(postings.term_freq());
            postings.advance();
        }
    }
    Ok(words)
}
