//! What tantivy found in one segment, as partials.

use std::collections::BTreeMap;

use tantivy::aggregation::intermediate_agg_result::{
    IntermediateAggregationResult, IntermediateAggregationResults, IntermediateBucketResult, IntermediateHistogramBucketEntry,
    IntermediateKey, IntermediateMetricResult, IntermediateTermBucketResult,
};
use warren_protocol::aggregations::{
    Aggregation, Bucket, Cut, DateInterval, Key, Kind, Mismatch, Partial, Refusal, Source, Stats, Terms, TermsRequest,
};
use warren_protocol::definition::FieldType;
use warren_protocol::document::date_from_text;

use super::Failed;
use super::compile::{MISSING, name, part_name};
use super::source::unexpected;
use crate::error::SearchError;

/// Floats count exactly up to here.
const MAX_BUCKET: f64 = 9e15;

fn broken(what: &str) -> Failed {
    Failed::Broken(SearchError::Internal(unexpected(what)))
}

fn merged(result: Result<(), Mismatch>) -> Result<(), Failed> {
    result.map_err(|error| broken(&error.to_string()))
}

pub(super) fn convert(nodes: &[Aggregation], mut found: IntermediateAggregationResults) -> Result<Vec<Partial>, Failed> {
    nodes.iter().enumerate().map(|(place, node)| one(place, node, &mut found)).collect()
}

fn one(place: usize, node: &Aggregation, found: &mut IntermediateAggregationResults) -> Result<Partial, Failed> {
    Ok(match &node.kind {
        Kind::Terms(request) => match bucket_result(found, &name(place))? {
            Some(IntermediateBucketResult::Terms { buckets }) => Partial::Terms(terms(node, request, &buckets)?),
            None => Partial::empty(node),
            Some(_) => return Err(broken("other buckets than terms")),
        },
        Kind::Histogram { interval, offset, .. } => {
            let number = |key: f64| ((key - offset) / interval).round();
            Partial::Histogram(histogram(node, histogram_buckets(found, &name(place))?, number)?)
        }
        Kind::DateHistogram { interval, .. } => {
            let number = |key: f64| match *interval {
                DateInterval::Fixed { millis, offset } => ((key - offset as f64) / millis as f64).round(),
                DateInterval::Months(months) => (key / months as f64).round(),
            };
            Partial::Histogram(histogram(node, histogram_buckets(found, &name(place))?, number)?)
        }
        Kind::Range { ranges, .. } => {
            let range = |number| {
                let inside = histogram_buckets(found, &part_name(place, number))?.into_iter().find(|bucket| bucket.key == 1.0);
                match inside {
                    Some(inside) => bucket(node, inside.doc_count, inside.sub_aggregation),
                    None => Ok(Bucket::empty(&node.subs)),
                }
            };
            Partial::Ranges((0..ranges.len()).map(range).collect::<Result<_, _>>()?)
        }
        Kind::Metric { .. } => Partial::Stats(parts(place, node, found, |metric| match metric {
            None => Some(Stats::default()),
            Some(IntermediateMetricResult::Stats(stats)) => {
                let stats = stats.finalize();
                let (min, max) = stats.min.zip(stats.max).unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
                Some(Stats { count: stats.count, sum: stats.sum, min, max })
            }
            Some(_) => None,
        })?),
        Kind::Percentiles { .. } => Partial::Quantiles(parts(place, node, found, |metric| match metric {
            None => Some(Vec::new()),
            Some(IntermediateMetricResult::Percentiles(sketch)) => Some(sketch.to_sketch_bytes()),
            Some(_) => None,
        })?),
        Kind::Cardinality { .. } => Partial::Distinct(parts(place, node, found, |metric| match metric {
            None => Some(Vec::new()),
            Some(IntermediateMetricResult::Cardinality(sketch)) => Some(sketch.to_sketch_bytes()),
            Some(_) => None,
        })?),
    })
}

/// The metric of each part.
fn parts<T>(
    place: usize,
    node: &Aggregation,
    found: &mut IntermediateAggregationResults,
    convert: impl Fn(Option<IntermediateMetricResult>) -> Option<T>,
) -> Result<Vec<T>, Failed> {
    let part = |number| match found.remove(&part_name(place, number)) {
        Some(IntermediateAggregationResult::Metric(metric)) => convert(Some(metric)).ok_or_else(|| broken("another metric")),
        Some(IntermediateAggregationResult::Bucket(_)) => Err(broken("buckets for a metric")),
        None => convert(None).ok_or_else(|| broken("no metric")),
    };
    (0..node.parts().len()).map(part).collect()
}

fn bucket_result(found: &mut IntermediateAggregationResults, name: &str) -> Result<Option<IntermediateBucketResult>, Failed> {
    match found.remove(name) {
        Some(IntermediateAggregationResult::Bucket(buckets)) => Ok(Some(buckets)),
        Some(IntermediateAggregationResult::Metric(_)) => Err(broken("a metric for buckets")),
        None => Ok(None),
    }
}

fn histogram_buckets(
    found: &mut IntermediateAggregationResults,
    name: &str,
) -> Result<Vec<IntermediateHistogramBucketEntry>, Failed> {
    match bucket_result(found, name)? {
        Some(IntermediateBucketResult::Histogram { buckets, .. }) => Ok(buckets),
        None => Ok(Vec::new()),
        Some(_) => Err(broken("other buckets than a histogram")),
    }
}

fn bucket(node: &Aggregation, count: u64, subs: IntermediateAggregationResults) -> Result<Bucket, Failed> {
    Ok(Bucket { count, subs: convert(&node.subs, subs)? })
}

fn histogram(
    node: &Aggregation,
    buckets: Vec<IntermediateHistogramBucketEntry>,
    number: impl Fn(f64) -> f64,
) -> Result<BTreeMap<i64, Bucket>, Failed> {
    let mut converted = BTreeMap::new();
    for found in buckets {
        let number = number(found.key);
        if !(-MAX_BUCKET..=MAX_BUCKET).contains(&number) {
            return Err(Failed::Refused(Refusal::Interval { name: node.name.clone() }));
        }
        let bucket = bucket(node, found.doc_count, found.sub_aggregation)?;
        merged(converted.entry(number as i64).or_insert_with(|| Bucket::empty(&node.subs)).merge(bucket))?;
    }
    Ok(converted)
}

fn terms(node: &Aggregation, request: &TermsRequest, found: &IntermediateTermBucketResult) -> Result<Terms, Failed> {
    let (other, left_out) = (found.sum_other_doc_count(), found.doc_count_error_upper_bound());
    let error = match request.cut() {
        Some(Cut::Key { .. }) => 0,
        None if left_out > 0 => {
            return Err(Failed::Refused(Refusal::Buckets { name: node.name.clone(), limit: found.entries().len() as u64 }));
        }
        Some(Cut::Count) | None => left_out,
    };
    let mut terms = Terms { buckets: BTreeMap::new(), other, error };
    for (key, entry) in found.entries() {
        let key = key_of(request, key)?;
        let bucket = bucket(node, entry.doc_count, entry.sub_aggregation.clone())?;
        // A segment may have the missing ones apart from those that have the same value.
        merged(terms.buckets.entry(key).or_insert_with(|| Bucket::empty(&node.subs)).merge(bucket))?;
    }
    Ok(terms)
}

fn key_of(request: &TermsRequest, key: &IntermediateKey) -> Result<Key, Failed> {
    let dates = matches!(request.source, Source::Defined { kind: FieldType::Date, .. });
    Ok(match key {
        // Where nobody asked for it, this is a value like any other.
        IntermediateKey::Str(text)
            if text == MISSING
                && let Some(missing) = &request.missing =>
        {
            missing.clone()
        }
        // Dates are texts here, and dynamic texts that look like dates are dates.
        IntermediateKey::Str(text) if dates || matches!(request.source, Source::Dynamic { .. }) => {
            let nanos = date_from_text(text).and_then(|date| i64::try_from(date.unix_timestamp_nanos()).ok());
            nanos.map_or_else(|| Key::Text(text.clone()), Key::Date)
        }
        IntermediateKey::Str(text) => Key::Text(text.clone()),
        IntermediateKey::Bool(truth) => Key::Boolean(*truth),
        IntermediateKey::I64(nanos) if dates => Key::Date(*nanos),
        IntermediateKey::I64(number) => Key::Integer(*number),
        IntermediateKey::U64(number) => Key::unsigned(*number),
        IntermediateKey::F64(number) => Key::float(*number),
        IntermediateKey::IpAddr(_) => return Err(broken("an address")),
    })
}
