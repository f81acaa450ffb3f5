//! The best documents of a query: by rounded score, equal scores by id.
//!
//! Block-max pruning finds the best by score without looking at most of the others, but knows nothing of ids. So it is asked for one hit more than is
//! wanted; only if that one may be equal to the last that is wanted, a second pass looks at all that may be equal to it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use tantivy::query::{Bm25StatisticsProvider, EnableScoring, Query, Weight};
use tantivy::schema::Field;
use tantivy::{DocAddress, DocId, Searcher, SegmentReader, TantivyError};
use warren_protocol::rpc::Place;
use warren_protocol::search::{SortValue, round_score};

use super::Ranked;
use super::ids::{IdColumn, Ids};
use super::scoring::{Scoring, SegmentScoring};
use super::statistics::Basis;
use crate::error::SearchError;
use crate::query::Plan;

/// The best `wanted` documents, in order; of those behind `after`.
pub(super) fn best(
    plan: &Plan,
    query: &dyn Query,
    basis: &Basis<'_>,
    wanted: usize,
    after: Option<&Place>,
) -> Result<Vec<Ranked>, SearchError> {
    let searcher = basis.searcher;
    let wanted = wanted.min(usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX));
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let Some(scoring) = Scoring::new(plan, searcher, basis)? else {
        return Ok(Vec::new());
    };
    let search = Search {
        weight: query.weight(EnableScoring::enabled_from_statistics_provider(basis, searcher))?,
        margin: scoring.margin(),
        skews: skews(basis, &plan.sought.text_fields())?,
        after: after.map(Cursor::at).transpose()?,
        ids: Ids::new(searcher),
        scoring,
        searcher,
    };
    let first = search.first_pass(wanted + 1)?;
    let least = (first.len() > wanted).then(|| first.iter().map(|candidate| candidate.score).fold(f32::MAX, f32::min));
    let mut ranked = search.round(first)?;
    ranked.sort_unstable_by(|(left, _), (right, _)| right.total_cmp(left));
    if let Some(least) = least {
        let last = ranked[wanted - 1].0;
        // Whatever the first pass left out has at most this score.
        if round_score((f64::from(least) * (1.0 + search.margin)) as f32) < last {
            ranked.truncate(wanted);
        } else {
            ranked = search.second_pass(wanted, last)?;
        }
    }
    Ok(in_order(&search.ids, ranked, wanted)?)
}

struct Search<'a> {
    weight: Box<dyn Weight>,
    scoring: Scoring,
    margin: f64,
    /// For each segment, by what factor the scores in it may exceed the block maxima.
    skews: Vec<f64>,
    after: Option<Cursor<'a>>,
    ids: Ids<'a>,
    searcher: &'a Searcher,
}

/// Where the page before ended.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    score: f32,
    id: &'a str,
}

impl<'a> Cursor<'a> {
    fn at(place: &'a Place) -> Result<Self, SearchError> {
        match place.values.as_slice() {
            [SortValue::F64(score)] => Ok(Self { score: *score as f32, id: &place.id }),
            _ => Err(SearchError::InvalidRequest { field: "after", detail: "the cursor belongs to another sort".to_owned() }),
        }
    }
}

/// The documents of one segment that are behind the cursor.
struct Behind<'a> {
    score: f32,
    /// The scores that surely round to less than the cursor's, those that surely round to it, and those that surely round to more.
    surely: (f64, std::ops::Range<f64>, f64),
    scoring: SegmentScoring<'a>,
    ids: &'a IdColumn,
    first_id: u64,
}

impl Behind<'_> {
    /// Documents must come in ascending order.
    fn has(&mut self, document: DocId, score: f32) -> bool {
        let (less, same, more) = &self.surely;
        let exact = f64::from(score);
        if exact <= *less || exact >= *more {
            return exact <= *less;
        }
        let rounded = if same.contains(&exact) { self.score } else { self.scoring.rounded(document, score) };
        rounded < self.score || (rounded == self.score && self.ids.ordinal(document) >= self.first_id)
    }
}

/// Compared by the score of tantivy, then by the address.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: f32,
    address: DocAddress,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.address.cmp(&self.address))
    }
}

impl Search<'_> {
    fn segments(&self) -> impl Iterator<Item = (u32, &SegmentReader)> {
        (0..).zip(self.searcher.segment_readers())
    }

    /// What to tell tantivy so that it skips nothing of that exact score or a better one in this segment.
    fn threshold(&self, segment: u32, score: f32) -> f32 {
        ((f64::from(score) / (self.skews[segment as usize] * (1.0 + self.margin))) as f32).next_down()
    }

    fn behind(&self, segment: u32) -> Result<Option<Behind<'_>>, TantivyError> {
        let Some(Cursor { score, id }) = self.after else {
            return Ok(None);
        };
        let (lowest, same, above) = self.rounding_to(score);
        let surely = (f64::from(lowest) * (1.0 - self.margin) - f64::MIN_POSITIVE, same, f64::from(above) * (1.0 + self.margin));
        let ids = self.ids.of(segment)?;
        let first_id = ids.first_behind(id)?;
        Ok(Some(Behind {
            score,
            surely,
            scoring: self.scoring.in_segment(self.searcher.segment_reader(segment))?,
            ids,
            first_id,
        }))
    }

    /// The lowest score that rounds to this one; those of tantivy that surely do, without the cost of rounding them; and the lowest that
    /// rounds to more.
    fn rounding_to(&self, rounded: f32) -> (f32, std::ops::Range<f64>, f32) {
        let lowest = lowest_score(|score| round_score(score) >= rounded);
        let above = lowest_score(|score| round_score(score) > rounded);
        (lowest, f64::from(lowest) * (1.0 + self.margin)..f64::from(above) * (1.0 - self.margin), above)
    }

    /// The best `limit` documents by the scores of tantivy. The others have no better score than the worst of these, within the margin.
    fn first_pass(&self, limit: usize) -> Result<Vec<Candidate>, TantivyError> {
        let mut heap = BinaryHeap::with_capacity(limit);
        for (number, segment) in self.segments() {
            let threshold = |heap: &BinaryHeap<Reverse<Candidate>>| match heap.peek() {
                Some(Reverse(worst)) if heap.len() == limit => self.threshold(number, worst.score),
                _ => f32::MIN,
            };
            let mut known = threshold(&heap);
            let mut behind = self.behind(number)?;
            self.weight.for_each_pruning(known, segment, &mut |document, score| {
                let full = heap.len() == limit;
                if segment.is_deleted(document)
                    || (full && heap.peek().is_some_and(|Reverse(worst)| score <= worst.score))
                    || behind.as_mut().is_some_and(|behind| !behind.has(document, score))
                {
                    return known;
                }
                if full {
                    heap.pop();
                }
                heap.push(Reverse(Candidate { score, address: DocAddress::new(number, document) }));
                known = threshold(&heap);
                known
            })?;
        }
        Ok(heap.into_iter().map(|Reverse(candidate)| candidate).collect())
    }

    /// Replaces the scores of tantivy by the exact ones, rounded.
    fn round(&self, mut candidates: Vec<Candidate>) -> Result<Vec<(f32, DocAddress)>, TantivyError> {
        candidates.sort_unstable_by_key(|candidate| candidate.address);
        let mut rounded = Vec::with_capacity(candidates.len());
        for of_segment in candidates.chunk_by(|left, right| left.address.segment_ord == right.address.segment_ord) {
            let mut scoring = self.scoring.in_segment(self.searcher.segment_reader(of_segment[0].address.segment_ord))?;
            for candidate in of_segment {
                rounded.push((scoring.rounded(candidate.address.doc_id, candidate.score), candidate.address));
            }
        }
        Ok(rounded)
    }

    /// The best `wanted` documents of each segment, by rounded score and id, among those that round to `least` or more.
    fn second_pass(&self, wanted: usize, least: f32) -> Result<Vec<(f32, DocAddress)>, TantivyError> {
        let (lowest, tied, _) = self.rounding_to(least);
        let mut ranked = Vec::new();
        for (number, segment) in self.segments() {
            let ids = self.ids.of(number)?;
            let mut behind = self.behind(number)?;
            let mut scoring = self.scoring.in_segment(segment)?;
            let mut heap: BinaryHeap<Reverse<(OrderedScore, Reverse<u64>, DocId)>> = BinaryHeap::with_capacity(wanted);
            let threshold = self.threshold(number, lowest);
            self.weight.for_each_pruning(threshold, segment, &mut |document, score| {
                if segment.is_deleted(document) || behind.as_mut().is_some_and(|behind| !behind.has(document, score)) {
                    return threshold;
                }
                let rounded = if tied.contains(&f64::from(score)) { least } else { scoring.rounded(document, score) };
                let full = heap.len() == wanted;
                if rounded < least || (full && heap.peek().is_some_and(|Reverse((worst, ..))| rounded < worst.0)) {
                    return threshold;
                }
                let entry = Reverse((OrderedScore(rounded), Reverse(ids.ordinal(document)), document));
                if !full {
                    heap.push(entry);
                } else if let Some(mut worst) = heap.peek_mut()
                    && entry < *worst
                {
                    *worst = entry;
                }
                threshold
            })?;
            ranked.extend(heap.into_iter().map(|Reverse((score, _, document))| (score.0, DocAddress::new(number, document))));
        }
        Ok(ranked)
    }
}

/// A score in a heap.
#[derive(Clone, Copy, Debug)]
struct OrderedScore(f32);

impl PartialEq for OrderedScore {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OrderedScore {}

impl PartialOrd for OrderedScore {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedScore {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The lowest of the scores, none of which is negative, from which on `holds` holds.
fn lowest_score(holds: impl Fn(f32) -> bool) -> f32 {
    // Floats that are not negative are in the order of their bits.
    let (mut low, mut high) = (0, f32::MAX.to_bits());
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(f32::from_bits(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    f32::from_bits(low)
}

/// By what factor the scores in each segment may exceed its block maxima.
///
/// A block keeps the word frequency and the field length that score best under the average length of the segment; under the average that is
/// scored by another document of the block may be the best. Its score exceeds that of the kept one by no more than the ratio of the two
/// averages.
fn skews(basis: &Basis<'_>, texts: &[Field]) -> Result<Vec<f64>, TantivyError> {
    let segments = basis.searcher.segment_readers();
    let mut skews = vec![1.0_f64; segments.len()];
    for field in texts {
        let average = basis.total_num_tokens(*field)? as f64 / basis.total_num_docs()? as f64;
        for (skew, segment) in skews.iter_mut().zip(segments) {
            let words = segment.inverted_index(*field)?.total_num_tokens();
            if words > 0 && average > 0.0 {
                let own = words as f64 / f64::from(segment.max_doc());
                *skew = skew.max(own / average).max(average / own);
            }
        }
    }
    Ok(skews)
}

/// The first `wanted` of these, by score and id.
///
/// To read an id takes longer than to find most documents. So of those that are equal to the last one, of which there may be as many in each
/// segment, only the first ids are read: within a segment, their ordinals tell which those are.
fn in_order(ids: &Ids<'_>, mut ranked: Vec<(f32, DocAddress)>, wanted: usize) -> Result<Vec<Ranked>, TantivyError> {
    ranked.sort_unstable_by(|(left, _), (right, _)| right.total_cmp(left));
    let Some((last, _)) = ranked[..wanted.min(ranked.len())].last().copied() else {
        return Ok(Vec::new());
    };
    let named = |score: f32, address: DocAddress, id: String| Ranked { id, score: Some(score), values: Vec::new(), address };
    let (better, rest) = ranked.split_at(ranked.partition_point(|(score, _)| *score > last));
    let mut best = Vec::with_capacity(wanted);
    for &(score, address) in better {
        let ids = ids.of(address.segment_ord)?;
        best.push(named(score, address, ids.text(ids.ordinal(address.doc_id))?));
    }
    best.sort_unstable_by(|one, other| {
        let by_score = other.score.unwrap_or_default().total_cmp(&one.score.unwrap_or_default());
        by_score.then_with(|| one.id.cmp(&other.id))
    });
    let mut equal = BTreeMap::<u32, Vec<(u64, DocAddress)>>::new();
    for &(_, address) in rest.iter().take_while(|(score, _)| *score == last) {
        let ordinal = ids.of(address.segment_ord)?.ordinal(address.doc_id);
        equal.entry(address.segment_ord).or_default().push((ordinal, address));
    }
    let mut heads = BinaryHeap::with_capacity(equal.len());
    for (segment, documents) in &mut equal {
        documents.sort_unstable_by(|left, right| right.cmp(left));
        if let Some((ordinal, address)) = documents.pop() {
            heads.push(Reverse((ids.of(*segment)?.text(ordinal)?, address)));
        }
    }
    while best.len() < wanted
        && let Some(Reverse((id, address))) = heads.pop()
    {
        best.push(named(last, address, id));
        if let Some((ordinal, next)) = equal.get_mut(&address.segment_ord).and_then(Vec::pop) {
            heads.push(Reverse((ids.of(address.segment_ord)?.text(ordinal)?, next)));
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_score_that_rounds_so_is_found_bit_by_bit() {
        let scores = (0..2000_u32).map(|number| (number as f32 * 0.02 - 20.0).exp2() + number as f32 * 1e-4);
        for score in scores.chain([0.0, 1e-9, 0.001, 0.099_999_9, 0.1, 1.0, 9.999_95, 10.0, 999_995.0, 1e9]) {
            let rounded = round_score(score);
            let lowest = lowest_score(|score| round_score(score) >= rounded);
            assert!(round_score(lowest) >= rounded, "{score}");
            assert!(lowest == 0.0 || round_score(lowest.next_down()) < rounded, "{score}: {lowest}");
        }
    }
}
