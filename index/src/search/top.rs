//! The best documents of a query: by rounded score, equal scores by id.
//!
//! Block-max pruning finds the best by score without looking at most of the others, but knows nothing of ids. So it is asked for one hit more than is
//! wanted; only if that one may be equal to the last that is wanted, a second pass looks at all that may be equal to it.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use tantivy::query::{EnableScoring, Query, Weight};
use tantivy::schema::Field;
use tantivy::{DocAddress, DocId, Searcher, SegmentReader, TantivyError};
use warren_protocol::search::round_score;

use super::scoring::Scoring;
use crate::query::Plan;
use crate::schema::{Fields, ID};

/// A document among the best.
#[derive(Debug)]
pub(crate) struct Best {
    pub(crate) id: String,
    /// Rounded.
    pub(crate) score: f32,
    pub(crate) address: DocAddress,
}

/// The best `wanted` documents, in order.
pub(crate) fn best(
    plan: &Plan,
    query: &dyn Query,
    searcher: &Searcher,
    fields: &Fields,
    wanted: usize,
) -> Result<Vec<Best>, TantivyError> {
    let wanted = wanted.min(usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX));
    let Some(scoring) = Scoring::new(plan, searcher)?.filter(|_| wanted > 0) else {
        return Ok(Vec::new());
    };
    let search = Search {
        weight: query.weight(EnableScoring::enabled_from_searcher(searcher))?,
        margin: scoring.margin(),
        skews: skews(searcher, &plan.sought.text_fields())?,
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
            ranked = search.second_pass(wanted, last, fields)?;
        }
    }
    let mut best = with_ids(searcher, ranked)?;
    best.sort_unstable_by(|left, right| right.score.total_cmp(&left.score).then_with(|| left.id.cmp(&right.id)));
    best.truncate(wanted);
    Ok(best)
}

struct Search<'a> {
    weight: Box<dyn Weight>,
    scoring: Scoring,
    margin: f64,
    /// For each segment, by what factor the scores in it may exceed the block maxima.
    skews: Vec<f64>,
    searcher: &'a Searcher,
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

    /// The best `limit` documents by the scores of tantivy. The others have no better score than the worst of these, within the margin.
    fn first_pass(&self, limit: usize) -> Result<Vec<Candidate>, TantivyError> {
        let mut heap = BinaryHeap::with_capacity(limit);
        for (number, segment) in self.segments() {
            let threshold = |heap: &BinaryHeap<Reverse<Candidate>>| match heap.peek() {
                Some(Reverse(worst)) if heap.len() == limit => self.threshold(number, worst.score),
                _ => f32::MIN,
            };
            let mut known = threshold(&heap);
            self.weight.for_each_pruning(known, segment, &mut |document, score| {
                if segment.is_deleted(document) {
                    return known;
                }
                if heap.len() == limit {
                    if heap.peek().is_some_and(|Reverse(worst)| score <= worst.score) {
                        return known;
                    }
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
    fn second_pass(&self, wanted: usize, least: f32, fields: &Fields) -> Result<Vec<(f32, DocAddress)>, TantivyError> {
        let lowest = lowest_score(|score| round_score(score) >= least);
        let above = lowest_score(|score| round_score(score) > least);
        // Between these a score surely rounds to `least`, without the cost of rounding it.
        let tied = f64::from(lowest) * (1.0 + self.margin)..f64::from(above) * (1.0 - self.margin);
        let mut ranked = Vec::new();
        for (number, segment) in self.segments() {
            let ids = segment.fast_fields().str(fields.schema.get_field_name(fields.id))?;
            let Some(ids) = ids else { continue };
            // Ordinals of a dictionary are in the order of its entries.
            let ordinals = ids.ords();
            let mut scoring = self.scoring.in_segment(segment)?;
            let mut heap: BinaryHeap<Reverse<(OrderedScore, Reverse<u64>, DocId)>> = BinaryHeap::with_capacity(wanted);
            let threshold = self.threshold(number, lowest);
            self.weight.for_each_pruning(threshold, segment, &mut |document, score| {
                if segment.is_deleted(document) {
                    return threshold;
                }
                let rounded = if tied.contains(&f64::from(score)) { least } else { scoring.rounded(document, score) };
                let full = heap.len() == wanted;
                if rounded < least || (full && heap.peek().is_some_and(|Reverse((worst, ..))| rounded < worst.0)) {
                    return threshold;
                }
                let ordinal = ordinals.first(document).unwrap_or(u64::MAX);
                let entry = Reverse((OrderedScore(rounded), Reverse(ordinal), document));
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
/// A block keeps the word frequency and the field length that score best under the average length of the segment; under the average over all
/// segments another document of the block may be the best. Its score exceeds that of the kept one by no more than the ratio of the two averages.
fn skews(searcher: &Searcher, texts: &[Field]) -> Result<Vec<f64>, TantivyError> {
    let segments = searcher.segment_readers();
    let mut skews = vec![1.0_f64; segments.len()];
    let documents: u64 = segments.iter().map(|segment| u64::from(segment.max_doc())).sum();
    for field in texts {
        let words = segments
            .iter()
            .map(|segment| Ok(segment.inverted_index(*field)?.total_num_tokens()))
            .collect::<Result<Vec<_>, TantivyError>>()?;
        let average = words.iter().sum::<u64>() as f64 / documents as f64;
        for ((skew, segment), words) in skews.iter_mut().zip(segments).zip(words) {
            if words > 0 {
                let own = words as f64 / f64::from(segment.max_doc());
                *skew = skew.max(own / average).max(average / own);
            }
        }
    }
    Ok(skews)
}

fn with_ids(searcher: &Searcher, mut ranked: Vec<(f32, DocAddress)>) -> Result<Vec<Best>, TantivyError> {
    ranked.sort_unstable_by_key(|(_, address)| *address);
    let mut best = Vec::with_capacity(ranked.len());
    for of_segment in ranked.chunk_by(|(_, left), (_, right)| left.segment_ord == right.segment_ord) {
        let segment = searcher.segment_reader(of_segment[0].1.segment_ord);
        let ids = segment.fast_fields().str(ID)?;
        let ids = ids.ok_or_else(|| TantivyError::InternalError("a segment has no ids".to_owned()))?;
        let mut id = String::new();
        for (score, address) in of_segment {
            let ordinal = ids.ords().first(address.doc_id);
            let known = ordinal.map(|ordinal| ids.ord_to_str(ordinal, &mut id)).transpose()?;
            if known != Some(true) {
                return Err(TantivyError::InternalError(format!("{address:?} has no id")));
            }
            best.push(Best { id: id.clone(), score: *score, address: *address });
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
