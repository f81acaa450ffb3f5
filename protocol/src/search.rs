//! What a client sends to search, and what it gets: the JSON of the HTTP contract.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::problem::{Code, Problem};

/// A search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// Words, joined by OR; `+must`, `-not`, `"a phrase"`, `field:word`, `field:[1 TO 5]`. Empty: all documents.
    pub query: String,
    /// How many hits to return, at most 1,000.
    pub limit: u32,
    /// How many hits to leave out first, at most 10,000.
    pub offset: u32,
    /// Whether each hit carries the passages in which the query was found.
    pub highlight: bool,
    /// Whether to count all hits; `false` saves the time.
    pub total: bool,
    /// The milliseconds after which the answer comes, complete or not: 1 to 60,000.
    pub timeout_ms: u32,
    /// Whether a query that cannot be understood is searched as far as it can be, instead of refused.
    pub lenient: bool,
    /// Positions from receipts: the search sees those writes, or names the partition that could not in time. At most 10,000.
    #[schema(example = json!(["17.2.1043"]))]
    pub at_least: Vec<String>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            query: String::new(),
            limit: 10,
            offset: 0,
            highlight: true,
            total: true,
            timeout_ms: 2000,
            lenient: false,
            at_least: Vec::new(),
        }
    }
}

impl SearchRequest {
    /// The most hits of one answer.
    pub const MAX_LIMIT: u32 = 1000;
    /// The most hits that can be left out.
    pub const MAX_OFFSET: u32 = 10_000;
    /// The longest time that a search may take, in milliseconds.
    pub const MAX_TIMEOUT_MS: u32 = 60_000;
    /// The most positions of one search.
    pub const MAX_AT_LEAST: usize = 10_000;
    /// The longest query, in bytes.
    pub const MAX_QUERY_BYTES: usize = 16 * 1024;

    /// Checks the ranges; the problem names the field and the range.
    pub fn validate(&self) -> Result<(), Problem> {
        let refuse = |field: &str, detail: String| Err(Problem::new(Code::InvalidRequest, detail).with_field(field));
        if self.limit > Self::MAX_LIMIT {
            return refuse("limit", format!("limit is {}: take 0 to {}", self.limit, Self::MAX_LIMIT));
        }
        if self.offset > Self::MAX_OFFSET {
            return refuse("offset", format!("offset is {}: take 0 to {}", self.offset, Self::MAX_OFFSET));
        }
        if !(1..=Self::MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            return refuse("timeout_ms", format!("timeout_ms is {}: take 1 to {}", self.timeout_ms, Self::MAX_TIMEOUT_MS));
        }
        if self.query.len() > Self::MAX_QUERY_BYTES {
            let detail = format!("the query has {} bytes: at most {}", self.query.len(), Self::MAX_QUERY_BYTES);
            return refuse("query", detail);
        }
        if self.at_least.len() > Self::MAX_AT_LEAST {
            let detail = format!("at_least names {} positions: at most {}", self.at_least.len(), Self::MAX_AT_LEAST);
            return refuse("at_least", detail);
        }
        Ok(())
    }
}

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
    /// The best hits: by score, equal scores by id.
    pub hits: Vec<Hit>,
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
    /// Its relevance (BM25), rounded to 5 significant digits.
    pub score: f32,
    /// The document as it was published.
    #[schema(value_type = Object)]
    pub document: Box<RawValue>,
    /// Passages in which the query was found, by field: HTML-escaped text with the words in `<b>`.
    #[serde(default, skip_serializing_if = "Highlights::is_empty")]
    pub highlights: Highlights,
}

/// Passages of a document by field.
pub type Highlights = std::collections::BTreeMap<String, Vec<String>>;

/// Rounds a score to 5 significant digits: sums of floats differ in their last bits by the order of their parts.
pub fn round_score(score: f32) -> f32 {
    if score == 0.0 || !score.is_finite() {
        return score;
    }
    let digits = 4 - f64::from(score).abs().log10().floor() as i32;
    let factor = 10f64.powi(digits);
    ((f64::from(score) * factor).round() / factor) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_request_has_the_defaults_of_the_contract() {
        let request: SearchRequest = serde_json::from_str("{}").unwrap();
        assert_eq!((request.limit, request.offset, request.timeout_ms, request.total), (10, 0, 2000, true));
        request.validate().unwrap();
    }

    #[test]
    fn ranges_and_unknown_fields_are_named() {
        for (json, field) in [
            (r#"{"limit":1001}"#, "limit"),
            (r#"{"offset":10001}"#, "offset"),
            (r#"{"timeout_ms":0}"#, "timeout_ms"),
            (r#"{"timeout_ms":60001}"#, "timeout_ms"),
        ] {
            let problem = serde_json::from_str::<SearchRequest>(json).unwrap().validate().unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field));
        }
        let error = serde_json::from_str::<SearchRequest>(r#"{"limt":1}"#).unwrap_err();
        assert!(error.to_string().contains("limt"));
    }

    #[test]
    fn scores_keep_five_significant_digits() {
        for (score, rounded) in
            [(12.345678, 12.346), (0.000123456, 0.00012346), (99999.6, 100000.0), (0.0, 0.0), (-1.234567, -1.2346)]
        {
            assert_eq!(round_score(score), rounded);
        }
        assert_eq!(round_score(round_score(2.3456789)), round_score(2.3456789));
    }
}
