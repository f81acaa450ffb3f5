//! Aggregations at random, and what they are, computed from the documents in the simplest way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use warren_protocol::aggregations::Key;

use super::super::Random;
use super::reference::{Document, Reference};

/// Some aggregations, one in another.
pub(super) fn request(random: &mut Random) -> Value {
    (0..=random.below(3)).map(|number| (format!("a{number}"), aggregation(random, 2))).collect::<Map<_, _>>().into()
}

fn aggregation(random: &mut Random, depth: usize) -> Value {
    let subs: Map<String, Value> = match depth {
        0 => Map::new(),
        _ => (0..random.below(3)).map(|number| (format!("s{number}"), aggregation(random, depth - 1))).collect(),
    };
    let mut node = match random.below(9) {
        0..3 => terms(random, &subs),
        3 => {
            let field = *random.pick(&["size", "meta.n", "meta.deep.n"]);
            let mut body = json!({"field": field, "interval": random.pick(&[1.0, 2.5, 7.0, 20.0]), "offset": random.pick(&[0.0, 0.5, -3.0])});
            match random.below(3) {
                0 => body["min_doc_count"] = (1 + random.below(3)).into(),
                1 => body["extended_bounds"] = json!({"min": -30, "max": 45}),
                _ => body["keyed"] = true.into(),
            }
            json!({"histogram": body})
        }
        4 => {
            let mut body = json!({"field": random.pick(&["month", "mixed"]), "min_doc_count": 1 + random.below(2)});
            match random.below(3) {
                0 => body["fixed_interval"] = (*random.pick(&["90m", "30d", "1s"])).into(),
                _ => body["calendar_interval"] = (*random.pick(&["day", "week", "month", "quarter", "year"])).into(),
            }
            if body.get("fixed_interval").is_some() && random.below(2) == 0 {
                body["offset"] = (*random.pick(&["+6h", "-1s"])).into();
            }
            json!({"date_histogram": body})
        }
        5 => {
            let choices = [
                ("size", json!([{"to": -5}, {"from": -10, "to": 0.5}, {"key": "rest", "from": 0}])),
                ("price", json!([{"from": 0.0, "to": 1e300}, {"from": 1e300}, {"to": 3}])),
                (
                    "month",
                    json!([{"to": "2010-01-01T00:00:00Z"}, {"from": "2005-06-01T00:00:00Z", "to": "2024-03-01T00:00:00Z"}]),
                ),
                ("mixed", json!([{"from": 2, "to": 4.5}, {"to": 9}])),
                ("mixed", json!([{"from": "2024-01-03T00:00:00Z"}])),
            ];
            let (field, ranges) = random.pick(&choices);
            json!({"range": {"field": field, "ranges": ranges, "keyed": random.below(2) == 0}})
        }
        6 => {
            let body = json!({"field": random.pick(&["size", "meta.n"]), "percents": [0, 1, 33.3, 50, 99, 100], "keyed": random.below(2) == 0});
            return json!({"percentiles": body});
        }
        7 => {
            return json!({"cardinality": {"field": random.pick(&["section", "id", "mixed", "meta.n", "tags", "month", "free", "nothing"])}});
        }
        _ => {
            let kind = *random.pick(&["min", "max", "avg", "sum", "stats", "value_count"]);
            let fields: &[&str] = match kind {
                "min" | "max" => &["size", "huge", "price", "month", "mixed", "meta.n", "nothing"],
                "value_count" => &["section", "huge", "month", "mixed", "tags", "id", "free"],
                _ => &["size", "price", "month", "mixed", "meta.n", "meta.deep.n", "nothing"],
            };
            let mut body = json!({"field": random.pick(fields)});
            if kind != "value_count" && body["field"] == "size" && random.below(2) == 0 {
                body["missing"] = 2.5.into();
            }
            return json!({kind: body});
        }
    };
    if !subs.is_empty() {
        node["aggs"] = subs.into();
    }
    node
}

/// What terms may be ordered by, which has to be exact: not sums of large fractions, which depend on the order of their parts.
fn criteria(subs: &Map<String, Value>) -> Vec<String> {
    let of = |(name, sub): (&String, &Value)| {
        let (kind, body) = sub.as_object().unwrap().iter().next().unwrap();
        let field = body["field"].as_str().unwrap();
        match kind.as_str() {
            "stats" if field == "price" => ["count", "min", "max"].iter().map(|of| format!("{name}.{of}")).collect(),
            "stats" => ["count", "min", "max", "avg", "sum"].iter().map(|of| format!("{name}.{of}")).collect(),
            "avg" | "sum" if field == "price" => vec![],
            "min" | "max" | "avg" | "sum" | "value_count" => vec![name.clone()],
            "cardinality" if ["section", "free", "mixed"].contains(&field) => vec![name.clone()],
            _ => vec![],
        }
    };
    let own = ["_count", "_key"].map(str::to_owned);
    own.into_iter().chain(subs.iter().flat_map(of)).collect()
}

fn terms(random: &mut Random, subs: &Map<String, Value>) -> Value {
    let field = *random.pick(&[
        "section",
        "size",
        "huge",
        "price",
        "free",
        "month",
        "mixed",
        "meta.kind",
        "meta.n",
        "tags",
        "id",
        "nothing",
    ]);
    let mut body = json!({"field": field, "size": 1 + random.below(12)});
    let missing = match field {
        "section" => json!("none"),
        "size" | "huge" | "price" => json!(-5),
        "free" => json!(true),
        "month" => json!("2026-01-01T00:00:00Z"),
        _ => json!("a"),
    };
    if random.below(3) == 0 {
        body["missing"] = missing;
    }
    match random.below(4) {
        0 => body["order"] = json!({"_key": random.pick(&["asc", "desc"])}),
        1 => {
            let criteria = criteria(subs);
            let orders = (0..=random.below(2)).map(|_| json!({random.pick(&criteria).as_str(): random.pick(&["asc", "desc"])}));
            body["order"] = orders.collect();
        }
        2 => body["min_doc_count"] = (1 + random.below(4)).into(),
        _ => {}
    }
    json!({"terms": body})
}

/// The answer.
pub(super) fn computed(reference: &Reference, request: &Value, documents: &[&Document]) -> Value {
    let nodes = request.as_object().unwrap();
    nodes.iter().map(|(name, node)| (name.clone(), one(reference, node, documents))).collect::<Map<_, _>>().into()
}

/// Values of one document.
type Of<'a> = (&'a Document, Vec<Key>);

fn one(reference: &Reference, node: &Value, documents: &[&Document]) -> Value {
    let (kind, body) = node.as_object().unwrap().iter().find(|(kind, _)| *kind != "aggs").unwrap();
    let field = body["field"].as_str().unwrap();
    let values: Vec<Of<'_>> = documents.iter().map(|document| (*document, reference.values(document, field))).collect();
    let inside = |mut bucket: Value, documents: &[&Document]| {
        bucket["doc_count"] = documents.len().into();
        if let Some(subs) = node.get("aggs") {
            bucket.as_object_mut().unwrap().extend(computed(reference, subs, documents).as_object().unwrap().clone());
        }
        bucket
    };
    match kind.as_str() {
        "terms" => terms_of(body, &values, inside),
        "histogram" => {
            let (interval, offset) = (body["interval"].as_f64().unwrap(), body["offset"].as_f64().unwrap());
            let buckets = bucketed(&values, |value| Some(((number(value)? - offset) / interval).floor() as i64));
            let key = |bucket: i64| json!({"key": bucket as f64 * interval + offset});
            let name = |bucket: &Value| bucket["key"].as_f64().unwrap().to_string();
            let bounds =
                body.get("extended_bounds").map(|_| [-30.0, 45.0].map(|bound| ((bound - offset) / interval).floor() as i64));
            listed(body, filled(buckets, body, bounds).into_iter().map(|(bucket, of)| inside(key(bucket), &of)), name)
        }
        "date_histogram" => {
            let calendar = body.get("calendar_interval").and_then(Value::as_str);
            let fixed = body.get("fixed_interval").map(|text| match text.as_str().unwrap() {
                "90m" => 5_400_000,
                "30d" => 2_592_000_000,
                _ => 1000,
            });
            let offset = match body.get("offset").and_then(Value::as_str) {
                Some("+6h") => 21_600_000,
                Some(_) => -1000,
                None => 0,
            };
            let start = |value: &Key| match (millis(value)?, calendar) {
                (millis, None) => Some((millis - offset).div_euclid(fixed.unwrap()) * fixed.unwrap() + offset),
                (millis, Some(unit)) => Some(start_of(unit, millis)),
            };
            let buckets = filled(bucketed(&values, start), body, None);
            let key = |millis: i64| json!({"key_as_string": date(millis as f64), "key": millis});
            listed(body, buckets.into_iter().map(|(bucket, of)| inside(key(bucket), &of)), |_| unreachable!())
        }
        "range" => ranges(body, &values, inside),
        "cardinality" => {
            let different: BTreeSet<_> = values.iter().flat_map(|(_, values)| values).collect();
            json!({"value": {"about": different.len(), "part": if different.len() > 150 { 0.15 } else { 0.0 }}})
        }
        "percentiles" => percentiles(body, &values),
        metric => numbers(metric, body, &values),
    }
}

fn number(value: &Key) -> Option<f64> {
    match value {
        Key::Integer(number) => Some(*number as f64),
        Key::Float(number) => Some(*number),
        _ => None,
    }
}

fn millis(value: &Key) -> Option<i64> {
    let Key::Date(nanos) = value else { return None };
    Some(nanos.div_euclid(1_000_000))
}

fn date(millis: f64) -> Value {
    OffsetDateTime::from_unix_timestamp_nanos(millis as i128 * 1_000_000).unwrap().format(&Rfc3339).unwrap().into()
}

/// Where the day, week, month, quarter or year of a date begins.
fn start_of(unit: &str, millis: i64) -> i64 {
    let day = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000)).unwrap().date();
    let first = match unit {
        "day" => day,
        "week" => day - time::Duration::days(day.weekday().number_days_from_monday().into()),
        "month" => day.replace_day(1).unwrap(),
        "quarter" => {
            let month = (u8::from(day.month()) - 1) / 3 * 3 + 1;
            time::Date::from_calendar_date(day.year(), month.try_into().unwrap(), 1).unwrap()
        }
        _ => time::Date::from_ordinal_date(day.year(), 1).unwrap(),
    };
    first.midnight().assume_utc().unix_timestamp() * 1000
}

/// A document counts once in each bucket that one of its values falls into.
fn bucketed<'a, B: Ord>(values: &[Of<'a>], bucket: impl Fn(&Key) -> Option<B>) -> BTreeMap<B, Vec<&'a Document>> {
    let mut buckets: BTreeMap<B, Vec<&Document>> = BTreeMap::new();
    for (document, values) in values {
        let of: BTreeSet<B> = values.iter().filter_map(&bucket).collect();
        of.into_iter().for_each(|bucket| buckets.entry(bucket).or_default().push(document));
    }
    buckets
}

fn at_least(body: &Value, otherwise: u64) -> usize {
    body.get("min_doc_count").map_or(otherwise, |least| least.as_u64().unwrap()) as usize
}

fn filled<'a>(
    mut buckets: BTreeMap<i64, Vec<&'a Document>>,
    body: &Value,
    bounds: Option<[i64; 2]>,
) -> BTreeMap<i64, Vec<&'a Document>> {
    let least = at_least(body, 0);
    buckets.retain(|_, documents| documents.len() >= least);
    let ends: Vec<i64> = buckets.keys().copied().chain(bounds.into_iter().flatten()).collect();
    if let (0, Some(first), Some(last)) = (least, ends.iter().min(), ends.iter().max()) {
        for bucket in *first..=*last {
            buckets.entry(bucket).or_default();
        }
    }
    buckets
}

fn listed(body: &Value, buckets: impl Iterator<Item = Value>, name: impl Fn(&Value) -> String) -> Value {
    match body.get("keyed").is_some_and(|keyed| keyed == true) {
        true => json!({"buckets": buckets.map(|bucket| (name(&bucket), bucket)).collect::<Map<_, _>>()}),
        false => json!({"buckets": buckets.collect::<Vec<_>>()}),
    }
}

fn terms_of(body: &Value, values: &[Of<'_>], inside: impl Fn(Value, &[&Document]) -> Value) -> Value {
    let missing = body.get("missing").map(|missing| match missing {
        Value::Bool(truth) => Key::Boolean(*truth),
        Value::Number(number) => Key::Integer(number.as_i64().unwrap()),
        Value::String(text) if body["field"] == "month" => {
            let nanos = OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp_nanos();
            Key::Date(i64::try_from(nanos).unwrap())
        }
        text => Key::Text(text.as_str().unwrap().to_owned()),
    });
    let mut values = values.to_vec();
    for (_, values) in values.iter_mut().filter(|(_, values)| values.is_empty()) {
        values.extend(missing.clone());
    }
    let mut buckets: Vec<(Key, Value)> = Vec::new();
    for (key, documents) in bucketed(&values, |value| Some(value.clone())) {
        if documents.len() < at_least(body, 1) {
            continue;
        }
        let named = match &key {
            Key::Boolean(truth) => json!({"key": u8::from(*truth), "key_as_string": truth.to_string()}),
            Key::Date(_) => json!({"key": millis(&key), "key_as_string": exact_date(&key)}),
            Key::Text(text) => json!({"key": text}),
            Key::Integer(number) => json!({"key": number}),
            number => json!({"key": self::number(number)}),
        };
        buckets.push((key, inside(named, &documents)));
    }
    let order = body.get("order").map_or_else(|| json!({"_count": "desc"}), Value::clone);
    let orders = order.as_array().map_or_else(|| vec![&order], |orders| orders.iter().collect());
    buckets.sort_by(|left, right| {
        let by = |order: &&Value| {
            let (by, direction) = order.as_object().unwrap().iter().next().unwrap();
            by_one(by, direction == "desc", left, right)
        };
        orders.iter().map(by).fold(Ordering::Equal, Ordering::then)
    });
    let rest = buckets.split_off(buckets.len().min(body["size"].as_u64().unwrap() as usize));
    let other: u64 = rest.iter().map(|(_, bucket)| bucket["doc_count"].as_u64().unwrap()).sum();
    let buckets: Vec<Value> = buckets.into_iter().map(|(_, bucket)| bucket).collect();
    json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": other, "buckets": buckets})
}

/// How two buckets stand by one criterion.
fn by_one(by: &str, descending: bool, (left_key, left): &(Key, Value), (right_key, right): &(Key, Value)) -> Ordering {
    let (name, property) = by.split_once('.').unwrap_or((by, "value"));
    let value = |bucket: &Value| {
        let value = &bucket[name][property];
        value.get("about").unwrap_or(value).as_f64()
    };
    let order = match (by, value(left), value(right)) {
        ("_count", ..) => left["doc_count"].as_u64().cmp(&right["doc_count"].as_u64()),
        ("_key", ..) => left_key.cmp(right_key),
        (_, Some(left), Some(right)) => left.total_cmp(&right),
        // What has none comes last.
        (_, left, right) => return right.is_some().cmp(&left.is_some()),
    };
    if descending { order.reverse() } else { order }
}

fn exact_date(key: &Key) -> Value {
    let Key::Date(nanos) = key else { unreachable!() };
    OffsetDateTime::from_unix_timestamp_nanos((*nanos).into()).unwrap().format(&Rfc3339).unwrap().into()
}

fn ranges(body: &Value, values: &[Of<'_>], inside: impl Fn(Value, &[&Document]) -> Value) -> Value {
    let ranges = body["ranges"].as_array().unwrap();
    let dates = ranges.iter().any(|range| range["from"].is_string() || range["to"].is_string());
    let bound = |range: &Value, end: &str| match &range[end] {
        Value::String(text) => Some(OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp() as f64 * 1000.0),
        bound => bound.as_f64(),
    };
    let one = |range: &Value| {
        let (from, to) = (bound(range, "from"), bound(range, "to"));
        let in_range = |value: &Key| {
            let value = if dates { millis(value)? as f64 } else { number(value)? };
            (from.is_none_or(|from| value >= from) && to.is_none_or(|to| value < to)).then_some(())
        };
        let shown = |bound: Option<f64>| match bound {
            None => "*".to_owned(),
            Some(bound) if dates => date(bound).as_str().unwrap().to_owned(),
            Some(bound) => json!(bound).to_string(),
        };
        let name =
            range.get("key").map_or_else(|| format!("{}-{}", shown(from), shown(to)), |key| key.as_str().unwrap().to_owned());
        let mut bucket = json!({"key": name});
        for (end, bound) in [("from", from), ("to", to)] {
            if let Some(bound) = bound {
                bucket[end] = bound.into();
                if dates {
                    bucket[format!("{end}_as_string")] = date(bound);
                }
            }
        }
        inside(bucket, bucketed(values, in_range).get(&()).map_or(&[], Vec::as_slice))
    };
    listed(body, ranges.iter().map(one), |bucket| bucket["key"].as_str().unwrap().to_owned())
}

fn percentiles(body: &Value, values: &[Of<'_>]) -> Value {
    let mut sorted: Vec<f64> = values.iter().flat_map(|(_, values)| values.iter().filter_map(number)).collect();
    sorted.sort_by(f64::total_cmp);
    let percents = body["percents"].as_array().unwrap().iter().map(|percent| percent.as_f64().unwrap());
    let value = |percent: f64| match sorted.len().checked_sub(1) {
        None => Value::Null,
        Some(last) => json!({"about": sorted[(percent / 100.0 * last as f64) as usize], "part": 0.0101}),
    };
    match body["keyed"] == true {
        true => json!({"values": percents.map(|percent| (json!(percent).to_string(), value(percent))).collect::<Map<_, _>>()}),
        false => json!({"values": percents.map(|percent| json!({"key": percent, "value": value(percent)})).collect::<Vec<_>>()}),
    }
}

fn numbers(metric: &str, body: &Value, values: &[Of<'_>]) -> Value {
    if metric == "value_count" {
        return json!({"value": values.iter().map(|(_, values)| values.len()).sum::<usize>()});
    }
    let missing = body.get("missing").and_then(Value::as_f64);
    let all = |of: &dyn Fn(&Key) -> Option<f64>| -> Vec<f64> {
        let each = values.iter().flat_map(|(_, values)| {
            let own: Vec<f64> = values.iter().filter_map(of).collect();
            if own.is_empty() { missing.into_iter().collect() } else { own }
        });
        each.collect()
    };
    // The numbers if there are any, else the dates.
    let (found, dates) = match all(&number) {
        none if none.is_empty() => (all(&|value| millis(value).map(|millis| millis as f64)), true),
        found => (found, false),
    };
    let dates = dates && (!found.is_empty() || body["field"] == "month");
    // The sum of nothing is -0 in Rust, which stands before 0.
    let sum = found.iter().sum::<f64>() + 0.0;
    let some = |value: f64| (!found.is_empty()).then_some(value);
    let (least, most) =
        (found.iter().copied().fold(f64::INFINITY, f64::min), found.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let all = [("min", some(least)), ("max", some(most)), ("avg", some(sum / found.len() as f64)), ("sum", Some(sum))];
    let mut answer = Map::new();
    for (kind, value) in all.into_iter().filter(|(kind, _)| metric == "stats" || *kind == metric) {
        let name = if metric == "stats" { kind } else { "value" };
        answer.insert(name.to_owned(), json!(value));
        if let Some(value) = value.filter(|_| dates && kind != "sum") {
            answer.insert(format!("{name}_as_string"), date(value));
        }
    }
    if metric == "stats" {
        answer.insert("count".to_owned(), found.len().into());
    }
    answer.into()
}

/// Whether an answer is what was computed; estimates within their error, sums but for their last bits. An average as text is checked as a number.
pub(super) fn check(found: &Value, computed: &Value, path: &str) -> Result<(), String> {
    let differ = || Err(format!("{path} is {found}, and computed {computed}"));
    match (found, computed) {
        (Value::Number(found), Value::Object(about)) if about.contains_key("about") => {
            let (found, about, part) =
                (found.as_f64().unwrap(), about["about"].as_f64().unwrap(), about["part"].as_f64().unwrap());
            if (found - about).abs() <= part * about.abs() { Ok(()) } else { differ() }
        }
        (Value::Number(left), Value::Number(right)) => {
            let whole = left.as_i64().zip(right.as_i64()).map(|(left, right)| left == right);
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            if whole.unwrap_or((left - right).abs() <= 1e-9 * left.abs().max(right.abs())) { Ok(()) } else { differ() }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().try_for_each(|(at, (left, right))| check(left, right, &format!("{path}[{at}]")))
        }
        (Value::Object(left), Value::Object(right)) if left.len() == right.len() => left.iter().try_for_each(|(name, left)| {
            let Some(right) = right.get(name) else { return Err(format!("{path}.{name} is not computed")) };
            check(left, right, &format!("{path}.{name}"))
        }),
        (Value::String(_), Value::String(_)) if path.ends_with("avg_as_string") || path.ends_with("value_as_string") => Ok(()),
        _ if found == computed => Ok(()),
        _ => differ(),
    }
}
