//! What one partition, or one segment of it, answers to an aggregation, and how two such answers become one.
//!
//! Merging is the same in any order, but for the last bits of sums, and for estimates within their error.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Deserializer, Serialize};

use super::key::Key;
use super::parse::MAX_DEPTH;
use super::request::{Aggregation, Kind};
use super::shrink::Refusal;
use super::sketch;
use crate::depth::deeper;

/// The answer of one partition to all aggregations of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// One for each aggregation, in their order.
    Partials(Vec<Partial>),
    /// They would take too much.
    Refused(Refusal),
}

/// The answer to one aggregation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Partial {
    /// To terms.
    Terms(Terms),
    /// To a histogram of numbers or dates: the buckets by their numbers.
    Histogram(BTreeMap<i64, Bucket>),
    /// To ranges, in the order of the request.
    Ranges(Vec<Bucket>),
    /// To a metric: one for each of [`Aggregation::parts`].
    Stats(Vec<Stats>),
    /// To percentiles: a sketch for each part, empty for none.
    Quantiles(Vec<Vec<u8>>),
    /// To a cardinality: a sketch for each part, empty for none.
    Distinct(Vec<Vec<u8>>),
}

/// The buckets of a terms aggregation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// By value.
    pub buckets: BTreeMap<Key, Bucket>,
    /// The sum of the counts of buckets that were left out.
    pub other: u64,
    /// How many documents more any value may have, in or out of the buckets.
    pub error: u64,
}

/// One bucket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// How many documents are in it.
    pub count: u64,
    /// What is computed inside it, in the order of the request.
    #[serde(deserialize_with = "as_deep_as_requests")]
    pub subs: Vec<Partial>,
}

fn as_deep_as_requests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Partial>, D::Error> {
    deeper(deserializer, MAX_DEPTH)
}

/// The numbers of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

/// Two answers to different aggregations, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an aggregation cannot be merged: {0}")]
pub struct Mismatch(pub String);

fn mismatch(what: &str) -> Mismatch {
    Mismatch(what.to_owned())
}

impl Stats {
    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Bucket {
    /// A bucket without documents.
    pub fn empty(subs: &[Aggregation]) -> Self {
        Self { count: 0, subs: subs.iter().map(Partial::empty).collect() }
    }

    /// Adds what another partition has in this bucket.
    pub fn merge(&mut self, other: Self) -> Result<(), Mismatch> {
        self.count = self.count.saturating_add(other.count);
        merge_all(&mut self.subs, other.subs)
    }

    /// The buckets in it, and itself.
    pub(super) fn size(&self) -> usize {
        1 + self.subs.iter().map(Partial::size).sum::<usize>()
    }
}

/// Merges the partials of the same aggregations.
pub(super) fn merge_all(into: &mut [Partial], from: Vec<Partial>) -> Result<(), Mismatch> {
    if into.len() != from.len() {
        return Err(mismatch("there are more or fewer than were asked for"));
    }
    into.iter_mut().zip(from).try_for_each(|(into, from)| into.merge(from))
}

impl Partial {
    /// The answer of a partition without documents.
    pub fn empty(aggregation: &Aggregation) -> Self {
        let parts = aggregation.parts().len();
        match &aggregation.kind {
            Kind::Terms(_) => Self::Terms(Terms::default()),
            Kind::Histogram { .. } | Kind::DateHistogram { .. } => Self::Histogram(BTreeMap::new()),
            Kind::Range { ranges, .. } => Self::Ranges(ranges.iter().map(|_| Bucket::empty(&aggregation.subs)).collect()),
            Kind::Metric { .. } => Self::Stats(vec![Stats::default(); parts]),
            Kind::Percentiles { .. } => Self::Quantiles(vec![Vec::new(); parts]),
            Kind::Cardinality { .. } => Self::Distinct(vec![Vec::new(); parts]),
        }
    }

    /// Adds the answer of another partition, or segment, to the same aggregation.
    pub fn merge(&mut self, other: Self) -> Result<(), Mismatch> {
        match (self, other) {
            (Self::Terms(into), Self::Terms(from)) => {
                into.other = into.other.saturating_add(from.other);
                into.error = into.error.saturating_add(from.error);
                merge_maps(&mut into.buckets, from.buckets)
            }
            (Self::Histogram(into), Self::Histogram(from)) => merge_maps(into, from),
            (Self::Ranges(into), Self::Ranges(from)) if into.len() == from.len() => {
                into.iter_mut().zip(from).try_for_each(|(into, from)| into.merge(from))
            }
            (Self::Stats(into), Self::Stats(from)) if into.len() == from.len() => {
                into.iter_mut().zip(&from).for_each(|(into, from)| into.merge(from));
                Ok(())
            }
            (Self::Quantiles(into), Self::Quantiles(from)) => merge_sketches(into, &from, sketch::merge_quantiles),
            (Self::Distinct(into), Self::Distinct(from)) => merge_sketches(into, &from, sketch::merge_distinct),
            _ => Err(mismatch("it answers another one")),
        }
    }

    /// How many buckets it has, at all depths.
    pub fn size(&self) -> usize {
        match self {
            Self::Terms(terms) => terms.buckets.values().map(Bucket::size).sum(),
            Self::Histogram(buckets) => buckets.values().map(Bucket::size).sum(),
            Self::Ranges(buckets) => buckets.iter().map(Bucket::size).sum(),
            Self::Stats(_) | Self::Quantiles(_) | Self::Distinct(_) => 0,
        }
    }
}

fn merge_maps<K: Ord>(into: &mut BTreeMap<K, Bucket>, from: BTreeMap<K, Bucket>) -> Result<(), Mismatch> {
    if into.is_empty() {
        *into = from;
        return Ok(());
    }
    for (key, bucket) in from {
        match into.entry(key) {
            Entry::Occupied(mut known) => known.get_mut().merge(bucket)?,
            Entry::Vacant(new) => drop(new.insert(bucket)),
        }
    }
    Ok(())
}

fn merge_sketches(
    into: &mut [Vec<u8>],
    from: &[Vec<u8>],
    merge: impl Fn(&[u8], &[u8]) -> Result<Vec<u8>, Mismatch>,
) -> Result<(), Mismatch> {
    if into.len() != from.len() {
        return Err(mismatch("it has other parts"));
    }
    for (into, from) in into.iter_mut().zip(from) {
        match (into.is_empty(), from.is_empty()) {
            (_, true) => {}
            (true, false) => into.clone_from(from),
            (false, false) => *into = merge(into, from)?,
        }
    }
    Ok(())
}

/// The version of what [`Reply::encode`] writes.
const VERSION: u8 = 1;
/// Brokers take 16 MiB in one message.
const MAX_BYTES: usize = 8 << 20;

impl Reply {
    /// The reply as bytes: its version, then postcard. One that is too large for a message becomes a refusal.
    pub fn encode(&self) -> Result<Vec<u8>, Mismatch> {
        let bytes = postcard::to_extend(self, vec![VERSION]).map_err(|error| Mismatch(error.to_string()))?;
        match bytes.len() > MAX_BYTES {
            true => Self::Refused(Refusal::Reply { limit: MAX_BYTES as u64 }).encode(),
            false => Ok(bytes),
        }
    }

    /// Reads the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Mismatch> {
        match bytes {
            [VERSION, rest @ ..] => postcard::from_bytes(rest).map_err(|error| Mismatch(error.to_string())),
            [version, ..] => Err(Mismatch(format!("it has version {version}, this program reads {VERSION}: update it"))),
            [] => Err(mismatch("it is empty")),
        }
    }
}
