//! Searches end at their deadline: whoever asked does not wait any longer.
//!
//! tantivy runs a query to its end. So a query is guarded: what it finds ends early once the time is over, and whoever runs it looks at the clock
//! afterwards.

use std::time::Instant;

use tantivy::query::{EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, DocSet, Score, SeekDangerResult, SegmentReader, TERMINATED, TantivyError};

use crate::error::SearchError;

/// Documents between two looks at the clock: well below a millisecond, as long as a document does not take long.
const STRIDE: usize = 1024;

/// What a search may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of documents and passages that come along.
    pub bytes: usize,
    /// When it ends without an answer.
    pub deadline: Instant,
}

impl Limits {
    /// An error once the deadline has passed.
    pub(crate) fn check(&self) -> Result<(), SearchError> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(SearchError::Deadline) }
    }

    /// The same query, which finds nothing more once the deadline has passed: [`Self::check`] has to follow.
    pub(crate) fn guard(&self, query: Box<dyn Query>) -> Box<dyn Query> {
        Box::new(GuardedQuery { query, deadline: self.deadline })
    }
}

#[derive(Debug)]
struct GuardedQuery {
    query: Box<dyn Query>,
    deadline: Instant,
}

struct GuardedWeight {
    weight: Box<dyn Weight>,
    deadline: Instant,
}

/// Counts documents, and looks at the clock now and then.
struct Clock {
    deadline: Instant,
    left: usize,
    is_over: bool,
}

impl Clock {
    fn new(deadline: Instant) -> Self {
        Self { deadline, left: STRIDE, is_over: false }
    }

    /// Whether the time is over after so many documents more.
    fn is_over_after(&mut self, documents: usize) -> bool {
        match self.left.checked_sub(documents) {
            Some(left) => self.left = left,
            None => {
                self.left = STRIDE;
                self.is_over |= Instant::now() >= self.deadline;
            }
        }
        self.is_over
    }
}

impl Clone for GuardedQuery {
    fn clone(&self) -> Self {
        Self { query: self.query.box_clone(), deadline: self.deadline }
    }
}

impl Query for GuardedQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> Result<Box<dyn Weight>, TantivyError> {
        Ok(Box::new(GuardedWeight { weight: self.query.weight(scoring)?, deadline: self.deadline }))
    }
}

impl Weight for GuardedWeight {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> Result<Box<dyn Scorer>, TantivyError> {
        Ok(Box::new(Timed { found: self.weight.scorer(segment, boost)?, clock: Clock::new(self.deadline) }))
    }

    fn explain(&self, segment: &SegmentReader, document: DocId) -> Result<Explanation, TantivyError> {
        self.weight.explain(segment, document)
    }

    /// Not guarded: it takes some nanoseconds a document, and often less.
    fn count(&self, segment: &SegmentReader) -> Result<u32, TantivyError> {
        if Instant::now() < self.deadline { self.weight.count(segment) } else { Ok(0) }
    }

    fn for_each_pruning(
        &self,
        threshold: Score,
        segment: &SegmentReader,
        callback: &mut dyn FnMut(DocId, Score) -> Score,
    ) -> Result<(), TantivyError> {
        let mut clock = Clock::new(self.deadline);
        self.weight.for_each_pruning(threshold, segment, &mut |document, score| {
            if clock.is_over_after(1) { Score::INFINITY } else { callback(document, score) }
        })
    }
}

struct Timed {
    found: Box<dyn Scorer>,
    clock: Clock,
}

impl DocSet for Timed {
    fn advance(&mut self) -> DocId {
        if self.clock.is_over_after(1) { TERMINATED } else { self.found.advance() }
    }

    fn seek(&mut self, target: DocId) -> DocId {
        if self.clock.is_over_after(1) { TERMINATED } else { self.found.seek(target) }
    }

    fn seek_danger(&mut self, target: DocId) -> SeekDangerResult {
        if self.clock.is_over_after(1) {
            return SeekDangerResult::SeekLowerBound(TERMINATED);
        }
        self.found.seek_danger(target)
    }

    fn fill_buffer(&mut self, buffer: &mut [DocId; COLLECT_BLOCK_BUFFER_LEN]) -> usize {
        if self.clock.is_over_after(buffer.len()) { 0 } else { self.found.fill_buffer(buffer) }
    }

    fn doc(&self) -> DocId {
        if self.clock.is_over { TERMINATED } else { self.found.doc() }
    }

    fn size_hint(&self) -> u32 {
        self.found.size_hint()
    }

    fn cost(&self) -> u64 {
        self.found.cost()
    }
}

impl Scorer for Timed {
    fn score(&mut self) -> Score {
        self.found.score()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tantivy::collector::{Count, DocSetCollector};
    use tantivy::query::AllQuery;
    use tantivy::schema::Schema;
    use tantivy::{Index, TantivyDocument};

    #[test]
    fn a_query_finds_all_in_time_and_stops_when_it_is_over() {
        let index = Index::create_in_ram(Schema::builder().build());
        let mut writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
        let documents = 4 * STRIDE;
        for _ in 0..documents {
            writer.add_document(TantivyDocument::new()).unwrap();
        }
        writer.commit().unwrap();
        let searcher = index.reader().unwrap().searcher();
        let in_time = Limits { bytes: 0, deadline: Instant::now() + std::time::Duration::from_secs(600) };
        let over = Limits { bytes: 0, deadline: Instant::now() };
        let found = |limits: &Limits| {
            let query = limits.guard(Box::new(AllQuery));
            let ids = searcher.search(&*query, &DocSetCollector).unwrap().len();
            let weight = query.weight(EnableScoring::enabled_from_searcher(&searcher)).unwrap();
            let mut pruned = 0;
            let segment = searcher.segment_reader(0);
            weight
                .for_each_pruning(f32::MIN, segment, &mut |_, _| {
                    pruned += 1;
                    f32::MIN
                })
                .unwrap();
            (ids, searcher.search(&*query, &Count).unwrap(), pruned)
        };
        assert_eq!(found(&in_time), (documents, documents, documents));
        let (ids, count, pruned) = found(&over);
        assert!(ids <= STRIDE && count == 0 && pruned <= STRIDE, "{ids} {count} {pruned}");
        assert!(in_time.check().is_ok() && matches!(over.check(), Err(SearchError::Deadline)));
    }
}
