//! The limit of buckets: what terms aggregations leave out when they have too many, and when they are refused.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::partial::{Bucket, Partial, Terms};
use super::request::{Aggregation, Aggregations, Kind, Order, OrderBy, TermsRequest};

/// Why aggregations are not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// They make more buckets than allowed.
    #[error(
        "the aggregation {name:?} makes more than {limit} buckets (its share of query.max_buckets): take larger intervals, fewer levels, a \
         narrower query, or for terms the order _count or _key"
    )]
    Buckets {
        /// Which aggregation at the top.
        name: String,
        /// How many it may make.
        limit: u64,
    },
    /// They take more memory than allowed.
    #[error(
        "the aggregations take more than {limit} bytes in a partition (worker.max_aggregation_bytes): take fewer levels, fields with fewer \
         values, or a narrower query"
    )]
    Memory {
        /// The bytes that they may take.
        limit: u64,
    },
    /// The answer of a partition is too large for a message.
    #[error(
        "the buckets of a partition take more than {limit} bytes: take fields with shorter or fewer values, or a narrower query"
    )]
    Reply {
        /// The bytes that it may take.
        limit: u64,
    },
    /// An interval is too small for the values.
    #[error("the interval of {name:?} is too small for its values, which are some 10^15 intervals from zero: take a larger one")]
    Interval {
        /// Which aggregation.
        name: String,
    },
}

/// Which buckets stay where not all can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The most frequent stay, equal ones by their keys.
    Count,
    /// The first keys of the order stay: nothing is wrong about them.
    Key {
        /// Whether that order begins with the greatest.
        descending: bool,
    },
}

impl Aggregations {
    /// Brings each aggregation at the top down to its share of the buckets: terms leave out those that come last in their order and say so;
    /// what cannot leave out any is refused.
    pub fn shrink(&self, partials: &mut [Partial]) -> Result<(), Refusal> {
        let share = self.share();
        for (node, partial) in self.nodes.iter().zip(partials) {
            if partial.size() <= share {
                continue;
            }
            if !node.subs.is_empty() {
                each_sub(partial, |subs| shrink_inner(&node.subs, subs));
            }
            if let (Kind::Terms(request), Partial::Terms(terms)) = (&node.kind, &mut *partial) {
                keep(request, terms, share);
            }
            if partial.size() > share {
                return Err(Refusal::Buckets { name: node.name.clone(), limit: share as u64 });
            }
        }
        Ok(())
    }
}

/// Inner terms keep what Elasticsearch's shards keep: half as many more than are asked for, and ten.
fn shrink_inner(nodes: &[Aggregation], partials: &mut [Partial]) {
    for (node, partial) in nodes.iter().zip(partials) {
        if let (Kind::Terms(request), Partial::Terms(terms)) = (&node.kind, &mut *partial) {
            let most = request.size as usize + request.size as usize / 2 + 10;
            if let Some(cut) = request.cut() {
                cut_to(terms, cut, most);
            }
        }
        if !node.subs.is_empty() {
            each_sub(partial, |subs| shrink_inner(&node.subs, subs));
        }
    }
}

fn each_sub(partial: &mut Partial, change: impl Fn(&mut [Partial])) {
    let each = |bucket: &mut Bucket| change(&mut bucket.subs);
    match partial {
        Partial::Terms(terms) => terms.buckets.values_mut().for_each(each),
        Partial::Histogram(buckets) => buckets.values_mut().for_each(each),
        Partial::Ranges(buckets) => buckets.iter_mut().for_each(each),
        Partial::Stats(_) | Partial::Quantiles(_) | Partial::Distinct(_) => {}
    }
}

impl TermsRequest {
    /// Which buckets may stay where there are too many; `None` for an order in which nothing can be left out, because the count of what
    /// is left out does not bound what it does to the others.
    pub fn cut(&self) -> Option<Cut> {
        match self.order.first() {
            Some(Order { by: OrderBy::Count, descending: true }) => Some(Cut::Count),
            // A key that is frequent enough only over all partitions must not be left out for those that are not.
            Some(Order { by: OrderBy::Key, descending }) if self.min_doc_count <= 1 => Some(Cut::Key { descending: *descending }),
            _ => None,
        }
    }
}

/// Keeps so many of the best buckets that they have `most` at all depths; at least those that are asked for.
fn keep(request: &TermsRequest, terms: &mut Terms, most: usize) {
    let Some(cut) = request.cut() else { return };
    let mut sizes: Vec<_> = terms.buckets.iter().map(|(key, bucket)| (bucket.count, key, bucket.size())).collect();
    match cut {
        Cut::Count => sizes.sort_by_key(|(count, _, _)| Reverse(*count)),
        Cut::Key { descending: true } => sizes.reverse(),
        Cut::Key { descending: false } => {}
    }
    let mut left = most;
    let fits = sizes.iter().take_while(|(_, _, size)| left.checked_sub(*size).inspect(|rest| left = *rest).is_some()).count();
    cut_to(terms, cut, fits.max(request.size as usize));
}

fn cut_to(terms: &mut Terms, cut: Cut, most: usize) {
    if terms.buckets.len() <= most {
        return;
    }
    let buckets = std::mem::take(&mut terms.buckets);
    let mut buckets: Vec<_> = buckets.into_iter().collect();
    match cut {
        // Stable: equal counts stay in the order of their keys.
        Cut::Count => buckets.sort_by_key(|(_, bucket)| Reverse(bucket.count)),
        Cut::Key { descending: true } => buckets.reverse(),
        Cut::Key { descending: false } => {}
    }
    let out = buckets.split_off(most);
    terms.other = out.iter().fold(terms.other, |other, (_, bucket)| other.saturating_add(bucket.count));
    if cut == Cut::Count {
        terms.error = terms.error.saturating_add(out.first().map_or(0, |(_, bucket)| bucket.count));
    }
    terms.buckets = buckets.into_iter().collect();
}
