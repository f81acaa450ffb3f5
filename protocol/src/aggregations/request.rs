//! The checked request: what is to be computed, of which fields.

use serde::{Deserialize, Serialize};

use super::interval::DateInterval;
use super::key::Key;
use crate::definition::FieldType;

/// All aggregations of one search.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregations {
    /// The most buckets that they may make together, in each partition and in the answer. Those at the top share it equally.
    pub max_buckets: u32,
    /// In the order of the request.
    pub nodes: Vec<Aggregation>,
}

/// One aggregation, with those that are made inside each of its buckets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregation {
    /// The name that its answer has.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// What is computed inside each of its buckets.
    pub subs: Vec<Aggregation>,
}

/// What one aggregation computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// A bucket for each value.
    Terms(TermsRequest),
    /// A bucket for each interval of numbers.
    Histogram {
        /// The field.
        source: Source,
        /// How wide a bucket is.
        interval: f64,
        /// Where the buckets begin, from 0.
        offset: f64,
        /// What a bucket needs to be in the answer; 0: gaps are filled.
        min_doc_count: u64,
        /// Buckets that are there even if they are empty, by their numbers.
        extended: Option<(i64, i64)>,
        /// Whether the answer is an object instead of a list.
        keyed: bool,
    },
    /// A bucket for each interval of time.
    DateHistogram {
        /// The field.
        source: Source,
        /// How long a bucket is.
        interval: DateInterval,
        /// What a bucket needs to be in the answer; 0: gaps are filled.
        min_doc_count: u64,
        /// Buckets that are there even if they are empty, by their numbers.
        extended: Option<(i64, i64)>,
        /// Whether the answer is an object instead of a list.
        keyed: bool,
    },
    /// A bucket for each of these ranges, which may overlap.
    Range {
        /// The field.
        source: Source,
        /// Whether the bounds are dates, in Unix milliseconds.
        dates: bool,
        /// In the order of the answer.
        ranges: Vec<Range>,
        /// Whether the answer is an object instead of a list.
        keyed: bool,
    },
    /// One or some numbers.
    Metric {
        /// The field.
        source: Source,
        /// Which.
        metric: Metric,
        /// What counts as the value of documents that have none.
        missing: Option<f64>,
    },
    /// The values below which so many percent of all values are, to 1 % of the value.
    Percentiles {
        /// The field.
        source: Source,
        /// Ascending or not, as asked.
        percents: Vec<f64>,
        /// Whether the answer is an object instead of a list.
        keyed: bool,
    },
    /// How many different values there are, to a few percent.
    Cardinality {
        /// The field.
        source: Source,
    },
}

/// A bucket for each value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TermsRequest {
    /// The field.
    pub source: Source,
    /// How many buckets to answer.
    pub size: u32,
    /// What a bucket needs to be in the answer.
    pub min_doc_count: u64,
    /// Equal ones by the next, at last by the key ascending.
    pub order: Vec<Order>,
    /// The bucket of documents that have no value.
    pub missing: Option<Key>,
}

/// One criterion of an order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// By what.
    pub by: OrderBy,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// What buckets are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderBy {
    /// How many documents are in it.
    Count,
    /// Its value.
    Key,
    /// A number that is computed inside it.
    Metric {
        /// Which of its aggregations.
        sub: u32,
        /// Which number of it.
        property: Property,
    },
}

/// Which number of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Property {
    Value,
    Count,
    Min,
    Max,
    Avg,
    Sum,
}

/// From a bound, which belongs to it, to another one, which does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Its name in the answer.
    pub key: Option<String>,
    /// Where it begins.
    pub from: Option<f64>,
    /// Where it ends.
    pub to: Option<f64>,
}

/// A number of all values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Metric {
    Min,
    Max,
    Avg,
    Sum,
    ValueCount,
    Stats,
}

/// Where the values are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The documents' ids.
    Id,
    /// A field of the definition.
    Defined {
        /// Its name.
        name: String,
        /// Its type: none that has no single values.
        kind: FieldType,
    },
    /// A dynamic field.
    Dynamic {
        /// Its path, with dots.
        path: String,
    },
}

/// Values of one type. A dynamic field may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Numbers,
    Dates,
    Booleans,
    Texts,
}

impl Source {
    fn only(&self) -> Option<Part> {
        match self {
            Self::Id => Some(Part::Texts),
            Self::Dynamic { .. } => None,
            Self::Defined { kind, .. } => Some(match kind {
                FieldType::Integer | FieldType::Float => Part::Numbers,
                FieldType::Date => Part::Dates,
                FieldType::Boolean => Part::Booleans,
                FieldType::Keyword | FieldType::Text | FieldType::Object => Part::Texts,
            }),
        }
    }
}

impl Aggregations {
    /// How many buckets one aggregation at the top may make.
    pub fn share(&self) -> usize {
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX).max(1);
        (self.max_buckets / nodes).max(1) as usize
    }
}

impl Aggregation {
    /// The types of which the values are computed separately, so that the answer does not depend on which of them a partition has;
    /// empty for those that make buckets.
    pub fn parts(&self) -> Vec<Part> {
        let (source, any_type, numbers_only) = match &self.kind {
            Kind::Metric { source, metric, missing } => (source, *metric == Metric::ValueCount, missing.is_some()),
            Kind::Percentiles { source, .. } => (source, false, false),
            Kind::Cardinality { source } => (source, true, false),
            Kind::Terms(_) | Kind::Histogram { .. } | Kind::DateHistogram { .. } | Kind::Range { .. } => return Vec::new(),
        };
        match source.only() {
            Some(part) => vec![part],
            None if any_type => vec![Part::Numbers, Part::Dates, Part::Booleans, Part::Texts],
            None if numbers_only => vec![Part::Numbers],
            None => vec![Part::Numbers, Part::Dates],
        }
    }
}
