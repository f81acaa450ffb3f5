//! Scores that count: how often the words of a query stand in a document.
//!
//! A count needs no statistics, so partitions agree on it without asking each other. A word counts in each field in which it is sought, and
//! once there, however often the query names it.

use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::{IndexRecordOption, Term};
use tantivy::{DocId, DocSet, SegmentReader, TantivyError};

use crate::highlight::Sought;

/// The words that are counted.
pub(super) struct Occurrences {
    terms: Vec<Term>,
}

impl Occurrences {
    pub(super) fn new(sought: &Sought) -> Self {
        Self { terms: sought.terms().cloned().collect() }
    }

    pub(super) fn in_segment(&self, segment: &SegmentReader) -> Result<SegmentOccurrences, TantivyError> {
        let mut postings = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            postings.extend(segment.inverted_index(term.field())?.read_postings(term, IndexRecordOption::WithFreqs)?);
        }
        Ok(SegmentOccurrences { postings })
    }
}

/// Their places in one segment.
pub(super) struct SegmentOccurrences {
    postings: Vec<SegmentPostings>,
}

impl SegmentOccurrences {
    /// How often they stand in a document. Documents must come in ascending order.
    pub(super) fn count(&mut self, document: DocId) -> f32 {
        let counts = self.postings.iter_mut().map(|postings| {
            let at = if postings.doc() < document { postings.seek(document) } else { postings.doc() };
            if at == document { u64::from(postings.term_freq()) } else { 0 }
        });
        // Exact up to 16 million.
        counts.sum::<u64>() as f32
    }
}
