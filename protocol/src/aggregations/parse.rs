//! Reads the JSON of a request: every refusal names the place in it, and what to do.

mod bodies;
pub(super) mod fields;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::interval::{CalendarUnit, DateInterval, duration, offset};
use super::request::{Aggregation, Aggregations, Kind, Metric, Order, OrderBy, Property, Range, TermsRequest};
use crate::definition::IndexDefinition;
use crate::problem::Problem;
use bodies::{
    CardinalityBody, DateHistogramBody, ExtendedBounds, HistogramBody, MetricBody, PercentilesBody, RangeBody, TermsBody,
};
use fields::{Fields, Values};

/// How deep aggregations may stand in each other.
pub(super) const MAX_DEPTH: usize = 6;
/// How many aggregations a request may have; a range counts once for each of its ranges, and so does what stands in it.
pub(super) const MAX_AGGREGATIONS: usize = 500;
const MAX_NAME_BYTES: usize = 200;
const MAX_RANGES: usize = 100;
const MAX_PERCENTS: usize = 100;
const MAX_ORDERS: usize = 5;
/// The smallest interval: with a smaller one the numbers of buckets would leave what floats count exactly.
const MIN_INTERVAL: f64 = 1e-6;
const KINDS: &str = "terms, histogram, date_histogram, range, min, max, avg, sum, value_count, stats, percentiles, cardinality";

impl Aggregations {
    /// Reads the aggregations of a request on an index of this definition.
    pub fn parse(json: &Map<String, Value>, definition: &IndexDefinition, max_buckets: u32) -> Result<Self, Problem> {
        let parser = Parser { fields: Fields { definition }, max_buckets };
        let nodes = parser.nodes(json, "aggregations", 1)?;
        let aggregations = Self { max_buckets, nodes };
        aggregations.check_size()?;
        Ok(aggregations)
    }

    pub(super) fn check_size(&self) -> Result<(), Problem> {
        if weight(&self.nodes) > MAX_AGGREGATIONS {
            let detail = format!(
                "there are more than {MAX_AGGREGATIONS} aggregations, counting each range and what stands in it: ask for fewer at once"
            );
            return Err(refuse("aggregations", detail));
        }
        Ok(())
    }
}

fn weight(nodes: &[Aggregation]) -> usize {
    let of = |node: &Aggregation| {
        let times = if let Kind::Range { ranges, .. } = &node.kind { ranges.len() } else { 1 };
        times.saturating_mul(weight(&node.subs).saturating_add(1))
    };
    nodes.iter().map(of).fold(0, usize::saturating_add)
}

pub(super) fn refuse(path: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid(path, detail)
}

struct Parser<'a> {
    fields: Fields<'a>,
    max_buckets: u32,
}

impl Parser<'_> {
    fn nodes(&self, json: &Map<String, Value>, path: &str, depth: usize) -> Result<Vec<Aggregation>, Problem> {
        if depth > MAX_DEPTH {
            return Err(refuse(path, format!("aggregations stand in each other at most {MAX_DEPTH} deep")));
        }
        if json.len() > MAX_AGGREGATIONS {
            return Err(refuse(path, format!("there are {} aggregations: at most {MAX_AGGREGATIONS}", json.len())));
        }
        json.iter().map(|(name, body)| self.node(name, body, &format!("{path}.{name}"), depth)).collect()
    }

    fn node(&self, name: &str, json: &Value, path: &str, depth: usize) -> Result<Aggregation, Problem> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(refuse(path, format!("the name of an aggregation has 1 to {MAX_NAME_BYTES} bytes")));
        }
        let Value::Object(json) = json else {
            return Err(refuse(path, format!("an aggregation is an object with one of {KINDS}, not {}", excerpt(json))));
        };
        let (mut kind, mut subs) = (None, Vec::new());
        for (key, value) in json {
            match key.as_str() {
                "aggs" | "aggregations" if subs.is_empty() => {
                    let Value::Object(value) = value else {
                        return Err(refuse(&format!("{path}.{key}"), "aggregations are an object, by their names"));
                    };
                    subs = self.nodes(value, &format!("{path}.{key}"), depth + 1)?;
                }
                _ if kind.is_none() => kind = Some((key.as_str(), value)),
                second => {
                    let detail = format!("an aggregation has one kind, and this one has {second:?} too: give each its own name");
                    return Err(refuse(path, detail));
                }
            }
        }
        let Some((kind, body)) = kind else {
            return Err(refuse(path, format!("an aggregation needs a kind, one of {KINDS}")));
        };
        let path = &format!("{path}.{kind}");
        let kind = self.kind(kind, body, &subs, path)?;
        if !subs.is_empty() && matches!(kind, Kind::Metric { .. } | Kind::Percentiles { .. } | Kind::Cardinality { .. }) {
            return Err(refuse(path, "this kind makes no buckets, so it can have no aggregations inside: move them out"));
        }
        Ok(Aggregation { name: name.to_owned(), kind, subs })
    }

    fn kind(&self, kind: &str, json: &Value, subs: &[Aggregation], path: &str) -> Result<Kind, Problem> {
        let metric = |metric, any| self.metric(metric, any, json, path);
        match kind {
            "terms" => self.terms(json, subs, path),
            "histogram" => self.histogram(json, path),
            "date_histogram" => self.date_histogram(json, path),
            "range" => self.range(json, path),
            "min" => metric(Metric::Min, false),
            "max" => metric(Metric::Max, false),
            "avg" => metric(Metric::Avg, false),
            "sum" => metric(Metric::Sum, false),
            "stats" => metric(Metric::Stats, false),
            "value_count" => metric(Metric::ValueCount, true),
            "percentiles" => self.percentiles(json, path),
            "cardinality" => {
                let CardinalityBody { field } = read(json, path)?;
                Ok(Kind::Cardinality { source: self.fields.find(&field, Values::Any, path)? })
            }
            other => Err(refuse(path, format!("there is no aggregation {other:?}: take one of {KINDS}"))),
        }
    }

    fn terms(&self, json: &Value, subs: &[Aggregation], path: &str) -> Result<Kind, Problem> {
        let TermsBody { field, size, min_doc_count, order, missing } = read(json, path)?;
        let source = self.fields.find(&field, Values::Any, path)?;
        if size == 0 || size > u64::from(self.max_buckets) {
            let detail = format!("size is {size}: take 1 to {} (query.max_buckets)", self.max_buckets);
            return Err(refuse(&format!("{path}.size"), detail));
        }
        if min_doc_count == 0 {
            let detail = "min_doc_count is 0: take 1 or more, for values that no document of the answer has are not listed";
            return Err(refuse(&format!("{path}.min_doc_count"), detail));
        }
        let missing =
            missing.map(|value| fields::key(&source, &value).map_err(|detail| refuse(&format!("{path}.missing"), detail)));
        let missing = missing.transpose()?;
        let order = match order {
            None => vec![Order { by: OrderBy::Count, descending: true }],
            Some(order) => orders(&order, subs).map_err(|detail| refuse(&format!("{path}.order"), detail))?,
        };
        let size = u32::try_from(size).unwrap_or(self.max_buckets);
        Ok(Kind::Terms(TermsRequest { source, size, min_doc_count, order, missing }))
    }

    fn histogram(&self, json: &Value, path: &str) -> Result<Kind, Problem> {
        let HistogramBody { field, interval, offset, min_doc_count, extended_bounds, keyed } = read(json, path)?;
        let source = self.fields.find(&field, Values::Numbers, path)?;
        if !(interval.is_finite() && interval >= MIN_INTERVAL) {
            return Err(refuse(&format!("{path}.interval"), format!("interval is {interval}: take {MIN_INTERVAL} or more")));
        }
        let number = |value: &Value| value.as_f64().map(|value| ((value - offset) / interval).floor());
        let extended = extended(extended_bounds, min_doc_count, path, |value| {
            number(value).filter(|bucket| bucket.abs() < 9e15).map(|bucket| bucket as i64)
        })?;
        Ok(Kind::Histogram { source, interval, offset, min_doc_count, extended, keyed })
    }

    fn date_histogram(&self, json: &Value, path: &str) -> Result<Kind, Problem> {
        let body: DateHistogramBody = read(json, path)?;
        let source = self.fields.find(&body.field, Values::Dates, path)?;
        if let Some(zone) = body.time_zone.filter(|zone| !["UTC", "Z", "+00:00"].contains(&zone.as_str())) {
            let detail = format!("time_zone is {zone:?}: dates are counted in UTC; shift fixed intervals by offset, as \"+6h\"");
            return Err(refuse(&format!("{path}.time_zone"), detail));
        }
        let shift = match &body.offset {
            None => 0,
            Some(text) => offset(text).ok_or_else(|| {
                refuse(
                    &format!("{path}.offset"),
                    format!("offset is {text:?}: write a sign, a number and ms, s, m, h or d, as \"+6h\""),
                )
            })?,
        };
        let interval = match (&body.fixed_interval, &body.calendar_interval) {
            (Some(fixed), None) => {
                let millis = duration(fixed).filter(|millis| *millis > 0).ok_or_else(|| {
                    let detail = format!("fixed_interval is {fixed:?}: write a number and ms, s, m, h or d, as \"12h\"; months are calendar_interval");
                    refuse(&format!("{path}.fixed_interval"), detail)
                })?;
                DateInterval::Fixed { millis, offset: shift }
            }
            (None, Some(calendar)) => {
                let unit = CalendarUnit::parse(calendar).ok_or_else(|| {
                    let detail = format!(
                        "calendar_interval is {calendar:?}: take minute, hour, day, week, month, quarter or year; several of one are a fixed_interval"
                    );
                    refuse(&format!("{path}.calendar_interval"), detail)
                })?;
                unit.interval(shift)
                    .ok_or_else(|| refuse(&format!("{path}.offset"), "months, quarters and years have no offset: leave it out"))?
            }
            _ => return Err(refuse(path, "give a fixed_interval (\"12h\") or a calendar_interval (\"month\"), one of the two")),
        };
        let extended = extended(body.extended_bounds, body.min_doc_count, path, |value| {
            fields::millis(value).map(|millis| interval.bucket(millis))
        })?;
        let DateHistogramBody { min_doc_count, keyed, .. } = body;
        Ok(Kind::DateHistogram { source, interval, min_doc_count, extended, keyed })
    }

    fn range(&self, json: &Value, path: &str) -> Result<Kind, Problem> {
        let RangeBody { field, ranges, keyed } = read(json, path)?;
        if ranges.is_empty() || ranges.len() > MAX_RANGES {
            let detail = format!("there are {} ranges: take 1 to {MAX_RANGES}", ranges.len());
            return Err(refuse(&format!("{path}.ranges"), detail));
        }
        let source = self.fields.find(&field, Values::NumbersOrDates, path)?;
        let bounds = || ranges.iter().flat_map(|range| [&range.from, &range.to]).flatten();
        let dates = fields::is_date(&source).unwrap_or_else(|| bounds().any(Value::is_string));
        let bound = |value: &Option<Value>, path: String| {
            let Some(value) = value else { return Ok(None) };
            let number = if dates { fields::millis(value).map(|millis| millis as f64) } else { value.as_f64() };
            let what = if dates { "a date, as \"2026-11-23T20:00:00Z\" or Unix milliseconds" } else { "a number" };
            number.map(Some).ok_or_else(|| refuse(&path, format!("{} is not {what}", excerpt(value))))
        };
        let mut checked = Vec::with_capacity(ranges.len());
        for (place, range) in ranges.iter().enumerate() {
            let path = format!("{path}.ranges[{place}]");
            let (from, to) = (bound(&range.from, format!("{path}.from"))?, bound(&range.to, format!("{path}.to"))?);
            if let (Some(from), Some(to)) = (from, to)
                && from >= to
            {
                return Err(refuse(&path, "a range ends behind its beginning: from is in it, to is not"));
            }
            if range.key.as_ref().is_some_and(|key| key.len() > MAX_NAME_BYTES) {
                return Err(refuse(&format!("{path}.key"), format!("a key has at most {MAX_NAME_BYTES} bytes")));
            }
            checked.push(Range { key: range.key.clone(), from, to });
        }
        Ok(Kind::Range { source, dates, ranges: checked, keyed })
    }

    fn metric(&self, metric: Metric, any: bool, json: &Value, path: &str) -> Result<Kind, Problem> {
        let MetricBody { field, missing } = read(json, path)?;
        let source = self.fields.find(&field, if any { Values::Any } else { Values::NumbersOrDates }, path)?;
        if missing.is_some() && (any || fields::is_date(&source) == Some(true)) {
            return Err(refuse(
                &format!("{path}.missing"),
                "only numbers take a value for documents that have none: leave it out",
            ));
        }
        Ok(Kind::Metric { source, metric, missing })
    }

    fn percentiles(&self, json: &Value, path: &str) -> Result<Kind, Problem> {
        let PercentilesBody { field, percents, keyed } = read(json, path)?;
        let source = self.fields.find(&field, Values::NumbersOrDates, path)?;
        let path = format!("{path}.percents");
        if percents.is_empty() || percents.len() > MAX_PERCENTS {
            return Err(refuse(&path, format!("there are {} percents: take 1 to {MAX_PERCENTS}", percents.len())));
        }
        if let Some(percent) = percents.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
            return Err(refuse(&path, format!("{percent} is no percent: take 0 to 100")));
        }
        Ok(Kind::Percentiles { source, percents, keyed })
    }
}

/// The buckets that are there even if they are empty.
fn extended(
    bounds: Option<ExtendedBounds>,
    min_doc_count: u64,
    path: &str,
    bucket: impl Fn(&Value) -> Option<i64>,
) -> Result<Option<(i64, i64)>, Problem> {
    let Some(ExtendedBounds { min, max }) = bounds else { return Ok(None) };
    let path = format!("{path}.extended_bounds");
    if min_doc_count > 0 {
        return Err(refuse(&path, "extended_bounds add empty buckets, which min_doc_count leaves out: set it to 0"));
    }
    match (bucket(&min), bucket(&max)) {
        (Some(min), Some(max)) if min <= max => Ok(Some((min, max))),
        (Some(_), Some(_)) => Err(refuse(&path, "max is less than min")),
        (None, _) => Err(refuse(&format!("{path}.min"), format!("{} is no value of this field", excerpt(&min)))),
        (_, None) => Err(refuse(&format!("{path}.max"), format!("{} is no value of this field", excerpt(&max)))),
    }
}

/// `{"_count":"desc"}`, or a list of such objects.
fn orders(json: &Value, subs: &[Aggregation]) -> Result<Vec<Order>, String> {
    let list = match json {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let pairs: Vec<(&String, &Value)> = list.iter().filter_map(Value::as_object).flatten().collect();
    if pairs.is_empty() || pairs.len() > MAX_ORDERS || list.iter().any(|item| !item.is_object()) {
        return Err(format!("an order is an object as {{\"_count\":\"desc\"}}, or a list of at most {MAX_ORDERS} of them"));
    }
    let order = |(by, direction): (&String, &Value)| {
        let descending = match direction.as_str() {
            Some("desc") => true,
            Some("asc") => false,
            _ => return Err(format!("{by} is {}: take \"asc\" or \"desc\"", excerpt(direction))),
        };
        let by = match by.as_str() {
            "_count" => OrderBy::Count,
            "_key" => OrderBy::Key,
            path => metric_order(path, subs)?,
        };
        Ok(Order { by, descending })
    };
    pairs.into_iter().map(order).collect()
}

/// The name of a metric inside the bucket; for stats, with one of its numbers.
fn metric_order(path: &str, subs: &[Aggregation]) -> Result<OrderBy, String> {
    let find = |name: &str| subs.iter().position(|sub| sub.name == name);
    let split = path.rsplit_once('.').and_then(|(name, property)| Some((find(name)?, property)));
    let (sub, property) = find(path).map(|sub| (sub, "value")).or(split).ok_or_else(|| {
        format!("there is no {path:?} to order by: take _count, _key or the name of a metric inside this aggregation")
    })?;
    let property = match (&subs[sub].kind, property) {
        (Kind::Metric { metric: Metric::Stats, .. }, "count") => Property::Count,
        (Kind::Metric { metric: Metric::Stats, .. }, "min") => Property::Min,
        (Kind::Metric { metric: Metric::Stats, .. }, "max") => Property::Max,
        (Kind::Metric { metric: Metric::Stats, .. }, "avg") => Property::Avg,
        (Kind::Metric { metric: Metric::Stats, .. }, "sum") => Property::Sum,
        (Kind::Metric { metric: Metric::Stats, .. }, _) => {
            return Err(format!("{path:?} has several numbers: add .count, .min, .max, .avg or .sum"));
        }
        (Kind::Metric { .. } | Kind::Cardinality { .. }, "value") => Property::Value,
        _ => return Err(format!("{path:?} is not one number: take _count, _key or a metric inside this aggregation")),
    };
    Ok(OrderBy::Metric { sub: u32::try_from(sub).unwrap_or(u32::MAX), property })
}

fn read<T: DeserializeOwned>(json: &Value, path: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let inner = error.path().to_string();
        let path = if inner == "." || inner == "?" { path.to_owned() } else { format!("{path}.{inner}") };
        refuse(&path, error.inner().to_string())
    })
}

fn excerpt(json: &Value) -> String {
    json.to_string().chars().take(60).collect()
}
