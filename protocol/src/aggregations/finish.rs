//! Makes the answer of merged partials, in the shapes of Elasticsearch.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::interval::DateInterval;
use super::key::Key;
use super::partial::{Bucket, Mismatch, Partial, Stats, Terms, merge_all};
use super::request::{Aggregation, Aggregations, Kind, Metric, Order, OrderBy, Part, Property, Range, Source, TermsRequest};
use super::shrink::Refusal;
use super::sketch;
use crate::definition::FieldType;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// Too many buckets.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A defect, or a worker of another version.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

impl Aggregations {
    /// The answer of a partition without documents.
    pub fn empty(&self) -> Vec<Partial> {
        self.nodes.iter().map(Partial::empty).collect()
    }

    /// Adds the answer of another partition, or segment.
    pub fn merge(&self, into: &mut [Partial], from: Vec<Partial>) -> Result<(), Mismatch> {
        merge_all(into, from)
    }

    /// What the client gets, by the names of the request.
    pub fn finish(&self, partials: Vec<Partial>) -> Result<Map<String, Value>, FinishError> {
        let mut answer = Map::new();
        same_length(&self.nodes, &partials)?;
        for (node, partial) in self.nodes.iter().zip(partials) {
            let limit = self.max_buckets as usize;
            let mut room = Room { left: limit, limit, name: &node.name };
            answer.insert(node.name.clone(), finish(node, partial, &mut room)?);
        }
        Ok(answer)
    }
}

/// How many buckets the answer to one aggregation may still have.
struct Room<'a> {
    left: usize,
    limit: usize,
    name: &'a str,
}

impl Room<'_> {
    fn take(&mut self, buckets: usize) -> Result<(), Refusal> {
        self.check(buckets)?;
        self.left -= buckets;
        Ok(())
    }

    fn check(&self, buckets: usize) -> Result<(), Refusal> {
        let refusal = || Refusal::Buckets { name: self.name.to_owned(), limit: self.limit as u64 };
        (buckets <= self.left).then_some(()).ok_or_else(refusal)
    }
}

fn finish(node: &Aggregation, partial: Partial, room: &mut Room<'_>) -> Result<Value, FinishError> {
    match (&node.kind, partial) {
        (Kind::Terms(request), Partial::Terms(terms)) => finish_terms(node, request, terms, room),
        (Kind::Histogram { interval, offset, min_doc_count, extended, keyed, .. }, Partial::Histogram(buckets)) => {
            let buckets = fill(node, buckets, *min_doc_count, *extended, room)?;
            list(node, buckets, *keyed, room, |bucket| {
                let key = bucket as f64 * interval + offset;
                (key.to_string(), vec![("key", json!(key))])
            })
        }
        (Kind::DateHistogram { interval, min_doc_count, extended, keyed, .. }, Partial::Histogram(buckets)) => {
            let buckets = fill(node, buckets, *min_doc_count, *extended, room)?;
            list(node, buckets, *keyed, room, |bucket| date_key(*interval, bucket))
        }
        (Kind::Range { ranges, dates, keyed, .. }, Partial::Ranges(buckets)) => {
            room.take(buckets.len())?;
            let buckets = ranges.iter().zip(buckets);
            list(node, buckets, *keyed, room, |range| range_key(range, *dates))
        }
        (Kind::Metric { source, metric, .. }, Partial::Stats(stats)) => Ok(finish_metric(node, source, *metric, &stats)),
        (Kind::Percentiles { percents, keyed, .. }, Partial::Quantiles(sketches)) => {
            finish_percentiles(node, percents, *keyed, &sketches)
        }
        (Kind::Cardinality { .. }, Partial::Distinct(sketches)) => Ok(json!({"value": count_distinct(&sketches)?})),
        _ => Err(Mismatch("it answers another one".to_owned()).into()),
    }
}

fn same_length(nodes: &[Aggregation], partials: &[Partial]) -> Result<(), Mismatch> {
    let same = nodes.len() == partials.len();
    same.then_some(()).ok_or_else(|| Mismatch("there are more or fewer than were asked for".to_owned()))
}

/// A bucket with what is inside it.
fn present(
    node: &Aggregation,
    key: Vec<(&str, Value)>,
    bucket: Bucket,
    room: &mut Room<'_>,
) -> Result<Map<String, Value>, FinishError> {
    let mut fields: Map<String, Value> = key.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    fields.insert("doc_count".to_owned(), bucket.count.into());
    same_length(&node.subs, &bucket.subs)?;
    for (sub, partial) in node.subs.iter().zip(bucket.subs) {
        fields.insert(sub.name.clone(), finish(sub, partial, room)?);
    }
    Ok(fields)
}

/// The buckets as a list, or by their keys.
fn list<T>(
    node: &Aggregation,
    buckets: impl IntoIterator<Item = (T, Bucket)>,
    keyed: bool,
    room: &mut Room<'_>,
    key: impl Fn(T) -> (String, Vec<(&'static str, Value)>),
) -> Result<Value, FinishError> {
    let (mut by_key, mut in_order) = (Map::new(), Vec::new());
    for (at, bucket) in buckets {
        let (name, fields) = key(at);
        let bucket = Value::Object(present(node, fields, bucket, room)?);
        if keyed {
            by_key.insert(name, bucket);
        } else {
            in_order.push(bucket);
        }
    }
    Ok(if keyed { json!({"buckets": by_key}) } else { json!({"buckets": in_order}) })
}

fn finish_terms(node: &Aggregation, request: &TermsRequest, terms: Terms, room: &mut Room<'_>) -> Result<Value, FinishError> {
    let Terms { buckets, mut other, error } = terms;
    let frequent = buckets.into_iter().filter(|(_, bucket)| bucket.count >= request.min_doc_count);
    let mut buckets = frequent
        .map(|(key, bucket)| Ok((criteria(node, &request.order, &bucket)?, key, bucket)))
        .collect::<Result<Vec<_>, Mismatch>>()?;
    // Stable, and they come in the order of their keys: so are equal ones.
    buckets.sort_by(|(a, a_key, a_bucket), (b, b_key, b_bucket)| {
        let metrics = a.iter().zip(b);
        let orders = request.order.iter().zip(metrics).map(|(order, (a, b))| match order.by {
            OrderBy::Count => directed(a_bucket.count.cmp(&b_bucket.count), order.descending),
            OrderBy::Key => directed(a_key.cmp(b_key), order.descending),
            OrderBy::Metric { .. } => match (a, b) {
                (Some(a), Some(b)) => directed(a.total_cmp(b), order.descending),
                // What has no value comes last.
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        });
        orders.fold(Ordering::Equal, Ordering::then)
    });
    let rest = buckets.split_off(buckets.len().min(request.size as usize));
    other = rest.iter().fold(other, |other, (_, _, bucket)| other.saturating_add(bucket.count));
    room.take(buckets.len())?;
    let floats = matches!(request.source, Source::Defined { kind: FieldType::Float, .. });
    let buckets = buckets
        .into_iter()
        .map(|(_, key, bucket)| present(node, term_key(&key, floats), bucket, room).map(Value::Object))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"doc_count_error_upper_bound": error, "sum_other_doc_count": other, "buckets": buckets}))
}

fn directed(ordering: Ordering, descending: bool) -> Ordering {
    if descending { ordering.reverse() } else { ordering }
}

/// The metrics by which a bucket is ordered, `None` where another criterion stands or where it has no value.
fn criteria(node: &Aggregation, orders: &[Order], bucket: &Bucket) -> Result<Vec<Option<f64>>, Mismatch> {
    let of = |order: &Order| {
        let OrderBy::Metric { sub, property } = order.by else { return Ok(None) };
        let found = node.subs.get(sub as usize).zip(bucket.subs.get(sub as usize));
        let Some((sub, partial)) = found else { return Err(Mismatch("it is ordered by what is not there".to_owned())) };
        Ok(match (&sub.kind, partial) {
            (Kind::Metric { metric, .. }, Partial::Stats(stats)) => {
                let (_, stats) = chosen(sub, *metric, stats);
                number(&stats, property, *metric)
            }
            (Kind::Cardinality { .. }, Partial::Distinct(sketches)) => Some(count_distinct(sketches)? as f64),
            _ => None,
        })
    };
    orders.iter().map(of).collect()
}

/// The buckets that the answer has: those with enough documents, and the gaps between them if none are needed.
fn fill(
    node: &Aggregation,
    mut buckets: BTreeMap<i64, Bucket>,
    min_doc_count: u64,
    extended: Option<(i64, i64)>,
    room: &mut Room<'_>,
) -> Result<BTreeMap<i64, Bucket>, FinishError> {
    buckets.retain(|_, bucket| bucket.count >= min_doc_count);
    let own = buckets.first_key_value().zip(buckets.last_key_value()).map(|((first, _), (last, _))| (*first, *last));
    let ends = match (own, extended) {
        (Some((first, last)), Some((min, max))) => Some((first.min(min), last.max(max))),
        (own, extended) => own.or(extended),
    };
    let Some((first, last)) = ends.filter(|_| min_doc_count == 0) else {
        room.take(buckets.len())?;
        return Ok(buckets);
    };
    let length = last.checked_sub(first).and_then(|gap| usize::try_from(gap).ok()).unwrap_or(usize::MAX).saturating_add(1);
    room.take(length)?;
    // What stands in them is counted when it is answered; here, before it is made.
    let empty = Bucket::empty(&node.subs);
    let gaps = length.saturating_sub(buckets.len());
    room.check(gaps.saturating_mul(empty.size() - 1))?;
    for bucket in first..=last {
        buckets.entry(bucket).or_insert_with(|| empty.clone());
    }
    Ok(buckets)
}

fn date_key(interval: DateInterval, bucket: i64) -> (String, Vec<(&'static str, Value)>) {
    let millis = interval.start(bucket);
    let text = date_text(i128::from(millis) * 1_000_000);
    let name = text.as_str().map_or_else(|| millis.to_string(), str::to_owned);
    (name, vec![("key_as_string", text), ("key", millis.into())])
}

fn range_key(range: &Range, dates: bool) -> (String, Vec<(&'static str, Value)>) {
    let text = |bound: f64| if dates { millis_text(bound) } else { json!(bound) };
    let word = |bound: Option<f64>| match bound.map(text) {
        Some(Value::String(text)) => text,
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    };
    let name = range.key.clone().unwrap_or_else(|| format!("{}-{}", word(range.from), word(range.to)));
    let mut fields = vec![("key", Value::from(name.clone()))];
    for (bound, number, as_text) in [(range.from, "from", "from_as_string"), (range.to, "to", "to_as_string")] {
        if let Some(bound) = bound {
            fields.push((number, json!(bound)));
            if dates {
                fields.push((as_text, text(bound)));
            }
        }
    }
    (name, fields)
}

fn term_key(key: &Key, floats: bool) -> Vec<(&'static str, Value)> {
    match key {
        Key::Boolean(truth) => vec![("key", u8::from(*truth).into()), ("key_as_string", truth.to_string().into())],
        Key::Integer(number) if floats => vec![("key", json!(*number as f64))],
        Key::Integer(number) => vec![("key", (*number).into())],
        Key::Unsigned(number) => vec![("key", (*number).into())],
        Key::Float(number) => vec![("key", json!(number))],
        Key::Date(nanos) => {
            vec![("key", nanos.div_euclid(1_000_000).into()), ("key_as_string", date_text(i128::from(*nanos)))]
        }
        Key::Text(text) => vec![("key", text.as_str().into())],
    }
}

/// Of the values of different types, the numbers if there are any, else the dates, and whether it is those; a count counts all.
fn chosen(node: &Aggregation, metric: Metric, stats: &[Stats]) -> (bool, Stats) {
    if metric == Metric::ValueCount {
        let count = stats.iter().fold(0, |count: u64, stats| count.saturating_add(stats.count));
        return (false, Stats { count, ..Stats::default() });
    }
    let parts = node.parts();
    let full = parts.iter().zip(stats).find(|(_, stats)| stats.count > 0);
    let (part, stats) =
        full.or_else(|| parts.iter().zip(stats).next()).map_or((Part::Numbers, Stats::default()), |(p, s)| (*p, *s));
    (part == Part::Dates, stats)
}

fn number(stats: &Stats, property: Property, metric: Metric) -> Option<f64> {
    let some = (stats.count > 0).then_some(stats);
    match (property, metric) {
        (Property::Count, _) | (Property::Value, Metric::ValueCount) => Some(stats.count as f64),
        (Property::Sum, _) | (Property::Value, Metric::Sum) => Some(stats.sum),
        (Property::Min, _) | (Property::Value, Metric::Min) => some.map(|stats| stats.min),
        (Property::Max, _) | (Property::Value, Metric::Max) => some.map(|stats| stats.max),
        (Property::Avg, _) | (Property::Value, Metric::Avg | Metric::Stats) => some.map(|stats| stats.sum / stats.count as f64),
    }
}

fn finish_metric(node: &Aggregation, source: &Source, metric: Metric, stats: &[Stats]) -> Value {
    let (dates, stats) = chosen(node, metric, stats);
    if metric == Metric::ValueCount {
        return json!({"value": stats.count});
    }
    let whole = matches!(source, Source::Defined { kind: FieldType::Date, .. }) || dates;
    let mut fields = Map::new();
    let mut add = |name: &str, property: Property| {
        let value = number(&stats, property, metric);
        fields.insert(name.to_owned(), json!(value));
        if let Some(value) =
            value.filter(|_| whole && property != Property::Sum && !(property == Property::Value && metric == Metric::Sum))
        {
            fields.insert(format!("{name}_as_string"), millis_text(value));
        }
    };
    if metric == Metric::Stats {
        add("min", Property::Min);
        add("max", Property::Max);
        add("avg", Property::Avg);
        add("sum", Property::Sum);
        fields.insert("count".to_owned(), stats.count.into());
    } else {
        add("value", Property::Value);
    }
    Value::Object(fields)
}

fn finish_percentiles(node: &Aggregation, percents: &[f64], keyed: bool, sketches: &[Vec<u8>]) -> Result<Value, FinishError> {
    let mut found = (Part::Numbers, None);
    for (part, bytes) in node.parts().into_iter().zip(sketches) {
        found = (part, sketch::percentiles(bytes, percents)?);
        if found.1.is_some() {
            break;
        }
    }
    let dates = found.0 == Part::Dates;
    let value = |place: usize| found.1.as_ref().and_then(|values| values.get(place).copied());
    let entries = percents.iter().enumerate().map(|(place, percent)| (*percent, value(place)));
    if keyed {
        let mut values = Map::new();
        for (percent, value) in entries {
            let name = json!(percent).to_string();
            values.insert(name.clone(), json!(value));
            if let Some(value) = value.filter(|_| dates) {
                values.insert(format!("{name}_as_string"), millis_text(value));
            }
        }
        return Ok(json!({"values": values}));
    }
    let entry = |(percent, value): (f64, Option<f64>)| {
        let mut entry = json!({"key": percent, "value": value});
        if let Some(value) = value.filter(|_| dates) {
            entry["value_as_string"] = millis_text(value);
        }
        entry
    };
    Ok(json!({"values": entries.map(entry).collect::<Vec<_>>()}))
}

fn count_distinct(sketches: &[Vec<u8>]) -> Result<u64, Mismatch> {
    sketches.iter().try_fold(0, |count: u64, bytes| Ok(count.saturating_add(sketch::distinct(bytes)?)))
}

fn millis_text(millis: f64) -> Value {
    date_text(i128::from(millis as i64) * 1_000_000)
}

/// RFC 3339; the number for what no calendar has.
fn date_text(nanos: i128) -> Value {
    let text = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|date| date.format(&Rfc3339).ok());
    text.map_or_else(|| Value::Number(Number::from((nanos / 1_000_000) as i64)), Value::String)
}
