//! What a client sends to search, and what it gets: the JSON of the HTTP contract.

mod cursor;
pub mod fuzziness;
mod highlight;
mod response;
mod sort;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::query::{Fuzziness, Query, QueryInput, TextOptions};

pub use cursor::{Cursor, Places};
pub use highlight::{Highlight, HighlightChoice};
pub use response::{Hit, PartitionFailure, PartitionsReport, Relation, SearchResponse, Total};
pub use sort::{Missing, SortBy, SortKey, SortValue};

/// A search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// What is sought: a text for people, or a tree for programs. Empty: all documents.
    pub query: QueryInput,
    /// How many typos the plain words of a query that is a text may have: `"auto"` (none up to 2 letters, one up to 5, else two), or 0 to 2. A word
    /// that is right counts more.
    #[serde(with = "fuzziness", skip_serializing_if = "fuzziness::is_exact")]
    #[schema(value_type = String, example = "auto", default = "0")]
    pub fuzziness: Fuzziness,
    /// A query that hits must match, too, and that counts for no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<QueryInput>,
    /// How many hits to return, at most 1,000.
    pub limit: u32,
    /// How many hits to leave out first, at most 10,000; beyond, take `after`.
    pub offset: u32,
    /// Where the page before ended: the `after` of its response. The rest of the request must be as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// By what hits are ordered: fields, `_score` and `id`, `-` in front for descending. Without it, the best scores first. What
    /// is equal in all is ordered by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sort: Vec<SortKey>,
    /// What of a document comes back: paths with dots, which may end in `*`. All by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Whether each hit carries the passages in which the query was found, and how.
    pub highlight: HighlightChoice,
    /// What to count and compute over all hits.
    #[serde(alias = "aggs", skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub aggregations: Map<String, Value>,
    /// Fields whose most frequent values are counted: the short form of a terms aggregation for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facets: Vec<String>,
    /// The milliseconds after which the answer comes, complete or not: 1 to 60,000.
    pub timeout_ms: u32,
    /// How documents are scored.
    pub scoring: Scoring,
    /// Whether to count all hits; `false` saves the time.
    pub total: bool,
    /// Whether a query that cannot be understood is searched as far as it can be, instead of refused.
    pub lenient: bool,
    /// Positions from receipts: the search sees those writes, or names the partition that could not in time. At most 10,000.
    #[schema(example = json!(["17.2.1043"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_least: Vec<String>,
}

/// How documents are scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scoring {
    /// BM25 with the statistics of the whole index: scores are those of one index over all documents.
    #[default]
    Global,
    /// BM25 with the statistics of each partition by itself: it saves a question to each partition.
    Local,
    /// How often the words of the query stand in the document.
    Occurrences,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            query: QueryInput::default(),
            fuzziness: Fuzziness::Exact,
            filter: None,
            limit: 10,
            offset: 0,
            after: None,
            sort: Vec::new(),
            fields: None,
            highlight: HighlightChoice::default(),
            aggregations: Map::new(),
            facets: Vec::new(),
            timeout_ms: 2000,
            scoring: Scoring::Global,
            total: true,
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
    /// The most keys of a sort.
    pub const MAX_SORT_KEYS: usize = 8;
    /// The most names in `fields`.
    pub const MAX_FIELDS: usize = 100;

    /// Checks the ranges; the problem names the field and the range.
    pub fn validate(&self) -> Result<(), Problem> {
        let refuse = |field: &str, detail: String| Err(Problem::invalid(field, detail));
        Problem::check_range("limit", self.limit, 0..=Self::MAX_LIMIT)?;
        Problem::check_range("timeout_ms", self.timeout_ms, 1..=Self::MAX_TIMEOUT_MS)?;
        if self.offset > Self::MAX_OFFSET {
            let detail =
                format!("offset is {}: take 0 to {}, and beyond that the cursor in after", self.offset, Self::MAX_OFFSET);
            return refuse("offset", detail);
        }
        if self.offset > 0 && self.after.is_some() {
            return refuse("offset", "offset and after cannot be combined: after says where the page begins".to_owned());
        }
        if self.sort.len() > Self::MAX_SORT_KEYS {
            return refuse("sort", format!("sort has {} keys: at most {}", self.sort.len(), Self::MAX_SORT_KEYS));
        }
        for (number, key) in self.sort.iter().enumerate() {
            if self.sort[..number].iter().any(|earlier| earlier.by == key.by) {
                return refuse("sort", format!("sort names {} twice: name it once", key.by));
            }
        }
        if let Some(fields) = self.fields.as_ref().filter(|fields| fields.len() > Self::MAX_FIELDS) {
            return refuse("fields", format!("fields has {} names: at most {}", fields.len(), Self::MAX_FIELDS));
        }
        if self.fuzziness != Fuzziness::Exact && matches!(self.query, QueryInput::Tree(_)) {
            let detail = "fuzziness is for queries that are a text: in a tree, match and fuzzy have their own".to_owned();
            return refuse("fuzziness", detail);
        }
        if let Some(Err(detail)) = self.highlight.options().map(|options| options.check()) {
            return refuse("highlight", detail);
        }
        if self.at_least.len() > Self::MAX_AT_LEAST {
            let detail = format!("at_least names {} positions: at most {}", self.at_least.len(), Self::MAX_AT_LEAST);
            return refuse("at_least", detail);
        }
        Ok(())
    }

    /// What is sought, and what hits must match, too.
    pub fn parse(&self) -> Result<(Query, Option<Query>), Problem> {
        let options = TextOptions { lenient: self.lenient, fuzziness: self.fuzziness, ..TextOptions::default() };
        let query = self.query.parse_with("query", &options)?;
        let filter = self.filter.as_ref().map(|filter| filter.parse("filter", self.lenient)).transpose()?;
        Ok((query, filter))
    }
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
        assert_eq!((request.scoring, request.highlight.options().is_some()), (Scoring::Global, true));
        request.validate().unwrap();
    }

    #[test]
    fn a_request_says_the_same_after_a_round_trip() {
        let json = r#"{"query":"a","fuzziness":"auto","filter":"b","limit":3,"offset":0,"after":"x","sort":["-_score","size",{"month":{"order":"desc",
            "missing":"_first"}}],"fields":["title","a.*"],"highlight":{"fields":["title"],"fragments":3,"size":50,"pre_tag":"<em>",
            "post_tag":"</em>"},"aggs":{"n":{"terms":{"field":"section"}}},"facets":["section"],"timeout_ms":5,"scoring":"local",
            "total":false,"lenient":true,"at_least":["7"]}"#;
        let request: SearchRequest = serde_json::from_str(json).unwrap();
        request.validate().unwrap();
        let again: SearchRequest = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
        assert_eq!((request.aggregations.len(), request.sort.len()), (1, 3));
    }

    #[test]
    fn ranges_and_unknown_fields_are_named() {
        for (json, field) in [
            (r#"{"limit":1001}"#, "limit"),
            (r#"{"offset":10001}"#, "offset"),
            (r#"{"offset":1,"after":"x"}"#, "offset"),
            (r#"{"timeout_ms":0}"#, "timeout_ms"),
            (r#"{"timeout_ms":60001}"#, "timeout_ms"),
            (r#"{"sort":["a","-a"]}"#, "sort"),
            (r#"{"query":{"match_all":{}},"fuzziness":"auto"}"#, "fuzziness"),
            (r#"{"highlight":{"size":5}}"#, "highlight"),
        ] {
            let problem = serde_json::from_str::<SearchRequest>(json).unwrap().validate().unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field));
        }
        for (json, word) in [
            (r#"{"limt":1}"#, "limt"),
            (r#"{"sort":[""]}"#, "sort"),
            (r#"{"fuzziness":3}"#, "auto"),
            (r#"{"fuzziness":"some"}"#, "0 to 2"),
            (r#"{"sort":[{"a":"up"}]}"#, "asc or desc"),
            (r#"{"highlight":{"pre":"x"}}"#, "pre_tag"),
            (r#"{"highlight":3}"#, "true, false"),
        ] {
            let error = serde_json::from_str::<SearchRequest>(json).unwrap_err();
            assert!(error.to_string().contains(word), "{json}: {error}");
        }
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
