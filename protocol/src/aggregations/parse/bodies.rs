//! What the JSON of each kind of aggregation may hold, by the names of Elasticsearch.

use serde::Deserialize;
use serde_json::Value;

fn ten() -> u64 {
    10
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

fn percents() -> Vec<f64> {
    vec![1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TermsBody {
    pub(super) field: String,
    #[serde(default = "ten")]
    pub(super) size: u64,
    #[serde(default = "one")]
    pub(super) min_doc_count: u64,
    pub(super) order: Option<Value>,
    pub(super) missing: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistogramBody {
    pub(super) field: String,
    pub(super) interval: f64,
    #[serde(default)]
    pub(super) offset: f64,
    #[serde(default)]
    pub(super) min_doc_count: u64,
    pub(super) extended_bounds: Option<ExtendedBounds>,
    #[serde(default)]
    pub(super) keyed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendedBounds {
    pub(super) min: Value,
    pub(super) max: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DateHistogramBody {
    pub(super) field: String,
    pub(super) fixed_interval: Option<String>,
    pub(super) calendar_interval: Option<String>,
    pub(super) offset: Option<String>,
    pub(super) time_zone: Option<String>,
    #[serde(default)]
    pub(super) min_doc_count: u64,
    pub(super) extended_bounds: Option<ExtendedBounds>,
    #[serde(default)]
    pub(super) keyed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeBody {
    pub(super) field: String,
    pub(super) ranges: Vec<OneRange>,
    #[serde(default)]
    pub(super) keyed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneRange {
    pub(super) key: Option<String>,
    pub(super) from: Option<Value>,
    pub(super) to: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricBody {
    pub(super) field: String,
    pub(super) missing: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PercentilesBody {
    pub(super) field: String,
    #[serde(default = "percents")]
    pub(super) percents: Vec<f64>,
    #[serde(default = "yes")]
    pub(super) keyed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CardinalityBody {
    pub(super) field: String,
}
