//! The answer to a search.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Highlights;

/// The answer to a search.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SearchResponse {
    /// Milliseconds from the request's arrival to the answer.
    pub took_ms: u64,
    /// How many documents match; absent if the request said `"total": false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Total>,
    /// Which partitions answered.
    pub partitions: PartitionsReport,
    /// The hits, in the order of the request's `sort`; without one, by score, equal scores by id.
    pub hits: Vec<Hit>,
    /// What was asked to be computed over all hits, by the names of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub aggregations: Option<Map<String, Value>>,
    /// The cursor of the next page, for the request's `after`; absent on the last page. If partitions have failed, the next page brings what they
    /// have missed, as far as they answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A count of documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Total {
    /// The count.
    pub value: u64,
    /// Whether it is exact.
    pub relation: Relation,
}

/// How a count relates to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Exact.
    Eq,
    /// At least: a partition did not answer.
    Gte,
}

/// Which partitions stand behind an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionsReport {
    /// The partitions of the index.
    pub total: u32,
    /// Those whose hits are in the answer.
    pub answered: u32,
    /// Those whose hits are missing.
    pub failed: Vec<PartitionFailure>,
}

/// A partition whose hits are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionFailure {
    /// Its number.
    pub partition: u32,
    /// Why, for people.
    pub reason: String,
}

/// One document that was found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Hit {
    /// Its id.
    pub id: String,
    /// Its relevance (BM25), rounded to 5 significant digits; null where hits are sorted by other things.
    pub score: Option<f32>,
    /// The values that it is sorted by, as many as the request's `sort` has keys: dates as RFC 3339, null where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub sort: Vec<Value>,
    /// The document as it was published, or the `fields` of it that the request names.
    #[schema(value_type = Object)]
    pub document: Box<RawValue>,
    /// Passages in which the query was found, by field: HTML-escaped text with the words in `<b>`, or in the request's tags.
    #[serde(default, skip_serializing_if = "Highlights::is_empty")]
    pub highlights: Highlights,
}
