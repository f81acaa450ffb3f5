//! What is refused, what is left out, and how the answer looks.

use serde_json::{Value, json};

use super::*;
use crate::IndexDefinition;
use crate::problem::{Code, Problem};

fn definition() -> IndexDefinition {
    let fields = json!({"title": {"type": "text"}, "section": {"type": "keyword"}, "size": {"type": "integer"},
        "score": {"type": "float"}, "free": {"type": "boolean"}, "month": {"type": "date"}, "more": {"type": "object"}});
    serde_json::from_value(json!({"dynamic": false, "fields": fields})).unwrap()
}

fn parse(request: &Value) -> Result<Aggregations, Problem> {
    Aggregations::parse(request.as_object().unwrap(), &definition(), 1000)
}

fn refused(request: Value) -> (String, String) {
    let problem = parse(&request).unwrap_err();
    assert_eq!(problem.code, Code::InvalidRequest);
    (problem.field.unwrap(), problem.detail)
}

#[test]
fn each_refusal_names_the_place_and_the_fix() {
    let deep =
        (0..7).fold(json!({"min": {"field": "size"}}), |inner, _| json!({"terms": {"field": "section"}, "aggs": {"a": inner}}));
    for (request, field, word) in [
        (json!({"a": {"terms": {"field": "title"}}}), "a.terms.field", "keyword"),
        (json!({"a": {"terms": {"field": "nothing"}}}), "a.terms.field", "section"),
        (json!({"a": {"terms": {"field": "more"}}}), "a.terms.field", "more.field"),
        (json!({"a": {"terms": {}}}), "a.terms", "field"),
        (json!({"a": {"terms": {"field": "section", "sice": 3}}}), "a.terms.sice", "sice"),
        (json!({"a": {"terms": {"field": "section", "size": 0}}}), "a.terms.size", "1 to 1000"),
        (json!({"a": {"terms": {"field": "section", "size": 1001}}}), "a.terms.size", "1 to 1000"),
        (json!({"a": {"terms": {"field": "section", "min_doc_count": 0}}}), "a.terms.min_doc_count", "1 or more"),
        (json!({"a": {"terms": {"field": "section", "missing": 1}}}), "a.terms.missing", "a text"),
        (json!({"a": {"terms": {"field": "section", "order": {"x": "asc"}}}}), "a.terms.order", "_count"),
        (json!({"a": {"terms": {"field": "section", "order": {"_key": "up"}}}}), "a.terms.order", "asc"),
        (json!({"a": {"sum": {"field": "section"}}}), "a.sum.field", "integer"),
        (json!({"a": {"sum": {"field": "free"}}}), "a.sum.field", "boolean"),
        (json!({"a": {"sum": {"field": "size"}, "aggs": {"b": {"min": {"field": "size"}}}}}), "a.sum", "move them out"),
        (json!({"a": {"total": {"field": "size"}}}), "a.total", "value_count"),
        (json!({"a": {"min": {"field": "size"}, "max": {"field": "size"}}}), "a", "one kind"),
        (json!({"a": {}}), "a", "needs a kind"),
        (json!({"a": 5}), "a", "object"),
        (json!({"a": {"histogram": {"field": "size", "interval": 0}}}), "a.histogram.interval", "or more"),
        (json!({"a": {"histogram": {"field": "size", "interval": 1e-9}}}), "a.histogram.interval", "or more"),
        (json!({"a": {"histogram": {"field": "month", "interval": 1}}}), "a.histogram.field", "integer or float"),
        (json!({"a": {"date_histogram": {"field": "month"}}}), "a.date_histogram", "one of the two"),
        (
            json!({"a": {"date_histogram": {"field": "month", "fixed_interval": "1M"}}}),
            "a.date_histogram.fixed_interval",
            "calendar",
        ),
        (
            json!({"a": {"date_histogram": {"field": "month", "calendar_interval": "2d"}}}),
            "a.date_histogram.calendar_interval",
            "fixed",
        ),
        (
            json!({"a": {"date_histogram": {"field": "month", "calendar_interval": "day", "time_zone": "CET"}}}),
            "a.date_histogram.time_zone",
            "offset",
        ),
        (
            json!({"a": {"date_histogram": {"field": "month", "calendar_interval": "month", "offset": "+1d"}}}),
            "a.date_histogram.offset",
            "leave it out",
        ),
        (json!({"a": {"range": {"field": "size", "ranges": []}}}), "a.range.ranges", "1 to 100"),
        (json!({"a": {"range": {"field": "size", "ranges": [{"from": 2, "to": 1}]}}}), "a.range.ranges[0]", "behind"),
        (json!({"a": {"range": {"field": "size", "ranges": [{"from": "x"}]}}}), "a.range.ranges[0].from", "a number"),
        (json!({"a": {"range": {"field": "month", "ranges": [{"from": "x"}]}}}), "a.range.ranges[0].from", "a date"),
        (json!({"a": {"percentiles": {"field": "size", "percents": vec![1; 5000]}}}), "a.percentiles.percents", "1 to 100"),
        (json!({"a": {"percentiles": {"field": "size", "percents": [101]}}}), "a.percentiles.percents", "0 to 100"),
        (
            json!({"a": {"histogram": {"field": "size", "interval": 1, "min_doc_count": 1, "extended_bounds": {"min": 0, "max": 9}}}}),
            "a.histogram.extended_bounds",
            "min_doc_count",
        ),
    ] {
        let (at, detail) = refused(request.clone());
        assert_eq!(at, format!("aggregations.{field}"), "{request}: {detail}");
        assert!(detail.contains(word), "{request}: {detail} does not say {word:?}");
    }
    let (at, detail) = refused(json!({"a": deep}));
    assert!(at.ends_with(".aggs") && detail.contains("6 deep"), "{at}: {detail}");
    let many: serde_json::Map<_, _> = (0..501).map(|n| (n.to_string(), json!({"min": {"field": "size"}}))).collect();
    assert!(refused(Value::Object(many)).1.contains("500"));
    let ranges: Vec<_> = (0..100).map(|n| json!({"from": n})).collect();
    let inner: serde_json::Map<_, _> = (0..5).map(|n| (n.to_string(), json!({"min": {"field": "size"}}))).collect();
    assert!(refused(json!({"a": {"range": {"field": "size", "ranges": ranges}, "aggs": inner}})).1.contains("500"));
}

#[test]
fn a_request_travels_as_json() {
    let request = parse(&json!({
        "a": {"terms": {"field": "section", "missing": "none", "order": [{"b": "desc"}, {"_key": "asc"}]},
            "aggregations": {"b": {"avg": {"field": "size"}}}},
        "c": {"date_histogram": {"field": "month", "calendar_interval": "quarter"}},
        "d": {"range": {"field": "score", "ranges": [{"to": 1.5}, {"key": "rest", "from": 1.5}]}},
    }))
    .unwrap();
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<Aggregations>(&json).unwrap(), request);
}

#[test]
fn facets_are_terms_by_their_fields() {
    let mut request = parse(&json!({"size": {"terms": {"field": "size"}}})).unwrap();
    request.add_facets(&["section".to_owned(), "free".to_owned()], &definition()).unwrap();
    assert_eq!(request.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["size", "section", "free"]);
    for (facet, word) in [("size", "twice"), ("title", "keyword"), ("nothing", "no field")] {
        let problem = request.clone().add_facets(&[facet.to_owned()], &definition()).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("facets"));
        assert!(problem.detail.contains(word), "{problem}");
    }
}

fn counted(count: u64) -> Bucket {
    Bucket { count, subs: Vec::new() }
}

fn terms(buckets: &[(&str, u64)]) -> Partial {
    let buckets = buckets.iter().map(|(key, count)| (Key::Text((*key).to_owned()), counted(*count))).collect();
    Partial::Terms(Terms { buckets, other: 0, error: 0 })
}

#[test]
fn terms_add_up_and_equal_counts_are_ordered_by_key() {
    let request = parse(&json!({"a": {"terms": {"field": "section", "size": 3}}})).unwrap();
    let mut all = request.empty();
    request.merge(&mut all, vec![terms(&[("net", 2), ("web", 1), ("admin", 1)])]).unwrap();
    request.merge(&mut all, vec![terms(&[("web", 1), ("doc", 2), ("x", 1)])]).unwrap();
    assert_eq!(
        Value::Object(request.finish(all).unwrap()),
        json!({"a": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 2, "buckets": [
            {"key": "doc", "doc_count": 2}, {"key": "net", "doc_count": 2}, {"key": "web", "doc_count": 2}]}})
    );
}

#[test]
fn a_count_of_values_orders_by_those_of_all_types() {
    let definition = serde_json::from_value(json!({})).unwrap();
    let json =
        json!({"a": {"terms": {"field": "x", "order": {"values": "desc"}}, "aggs": {"values": {"value_count": {"field": "y"}}}}});
    let request = Aggregations::parse(json.as_object().unwrap(), &definition, 1000).unwrap();
    let parts = request.nodes[0].subs[0].parts().len();
    assert!(parts > 1, "the values of a dynamic field may have several types");
    let bucket = |counts: [u64; 2]| {
        let counted = |count| Stats { count, ..Stats::default() };
        let stats = counts.into_iter().map(counted).chain(vec![Stats::default(); parts - 2]).collect();
        Bucket { count: 1, subs: vec![Partial::Stats(stats)] }
    };
    let buckets = [("few", [2, 0]), ("many", [1, 2])].map(|(key, counts)| (Key::Text(key.to_owned()), bucket(counts)));
    let found = vec![Partial::Terms(Terms { buckets: buckets.into(), other: 0, error: 0 })];
    let answer = request.finish(found).unwrap();
    let shown = |at: usize| (&answer["a"]["buckets"][at]["key"], &answer["a"]["buckets"][at]["values"]["value"]);
    assert_eq!([shown(0), shown(1)], [(&json!("many"), &json!(3)), (&json!("few"), &json!(2))]);
}

#[test]
fn beyond_the_limit_the_rest_is_counted_and_the_error_bounded() {
    let request = |order: Value| {
        let json = json!({"a": {"terms": {"field": "section", "size": 2, "order": order}}});
        Aggregations { max_buckets: 3, ..parse(&json).unwrap() }
    };
    let found = || vec![terms(&[("a", 1), ("b", 9), ("c", 4), ("d", 4), ("e", 2)])];
    let by_count = request(json!({"_count": "desc"}));
    let mut cut = found();
    by_count.shrink(&mut cut).unwrap();
    let Partial::Terms(kept) = &cut[0] else { panic!("{cut:?}") };
    assert_eq!((kept.buckets.len(), kept.other, kept.error), (3, 3, 2));
    let answer = by_count.finish(cut).unwrap();
    assert_eq!((&answer["a"]["doc_count_error_upper_bound"], &answer["a"]["sum_other_doc_count"]), (&json!(2), &json!(7)));

    let mut cut = found();
    let by_key = request(json!({"_key": "desc"}));
    by_key.shrink(&mut cut).unwrap();
    let answer = by_key.finish(cut).unwrap();
    assert_eq!((&answer["a"]["doc_count_error_upper_bound"], &answer["a"]["sum_other_doc_count"]), (&json!(0), &json!(18 - 4)));
    assert_eq!(answer["a"]["buckets"][0]["key"], "e");

    let refusal = request(json!({"_count": "asc"})).shrink(&mut found()).unwrap_err();
    assert_eq!(refusal, Refusal::Buckets { name: "a".to_owned(), limit: 3 });
}

#[test]
fn gaps_are_filled_up_to_the_limit() {
    let request = |more: Value| {
        let mut body = json!({"field": "size", "interval": 10});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(&json!({"a": {"histogram": body}})).unwrap()
    };
    let found = |last: i64| vec![Partial::Histogram([(-1, counted(1)), (last, counted(2))].into())];
    let answer = request(json!({})).finish(found(1)).unwrap();
    let keys: Vec<_> = answer["a"]["buckets"].as_array().unwrap().iter().map(|bucket| bucket["key"].as_f64().unwrap()).collect();
    assert_eq!(keys, [-10.0, 0.0, 10.0]);
    let answer = request(json!({"min_doc_count": 1, "keyed": true})).finish(found(1)).unwrap();
    assert_eq!(answer["a"], json!({"buckets": {"-10": {"key": -10.0, "doc_count": 1}, "10": {"key": 10.0, "doc_count": 2}}}));
    let answer = request(json!({"extended_bounds": {"min": -35, "max": 0}})).finish(found(1)).unwrap();
    assert_eq!(answer["a"]["buckets"].as_array().unwrap().len(), 6);
    for last in [2_000, i64::MAX] {
        let error = request(json!({})).finish(found(last)).unwrap_err();
        assert_eq!(error, FinishError::Refused(Refusal::Buckets { name: "a".to_owned(), limit: 1000 }));
    }
}

#[test]
fn dates_are_milliseconds_and_texts() {
    let request = parse(&json!({
        "months": {"date_histogram": {"field": "month", "calendar_interval": "month"}},
        "last": {"max": {"field": "month"}},
        "ranges": {"range": {"field": "month", "ranges": [{"from": "2026-01-01T00:00:00Z"}]}},
        "each": {"terms": {"field": "month"}},
    }))
    .unwrap();
    let month = month_of(1_767_225_600_000);
    let stats = Stats { count: 1, sum: 1_767_225_600_000.0, min: 1_767_225_600_000.0, max: 1_767_225_600_000.0 };
    let each = Terms { buckets: [(Key::Date(1_767_225_600_000_000_000), counted(1))].into(), other: 0, error: 0 };
    let answer = request
        .finish(vec![
            Partial::Histogram([(month, counted(1))].into()),
            Partial::Stats(vec![stats]),
            Partial::Ranges(vec![counted(1)]),
            Partial::Terms(each),
        ])
        .unwrap();
    let date = "2026-01-01T00:00:00Z";
    assert_eq!(answer["months"]["buckets"], json!([{"key_as_string": date, "key": 1_767_225_600_000_i64, "doc_count": 1}]));
    assert_eq!(answer["last"], json!({"value": 1_767_225_600_000.0, "value_as_string": date}));
    assert_eq!(answer["ranges"]["buckets"][0]["key"], format!("{date}-*"));
    assert_eq!(answer["ranges"]["buckets"][0]["from_as_string"], date);
    assert_eq!(answer["each"]["buckets"][0]["key_as_string"], date);
}

#[test]
fn partials_of_another_request_are_an_error() {
    let request = parse(&json!({"a": {"terms": {"field": "section"}}})).unwrap();
    assert!(request.merge(&mut request.empty(), Vec::new()).is_err());
    assert!(request.merge(&mut request.empty(), vec![Partial::Ranges(Vec::new())]).is_err());
    assert!(request.finish(vec![Partial::Stats(Vec::new())]).is_err());
    let mut sketch = Partial::Distinct(vec![vec![1]]);
    assert!(sketch.merge(Partial::Distinct(vec![vec![2]])).is_err());
}

#[test]
fn a_golden_file_pins_the_form_of_partials() {
    let keys =
        [Key::Boolean(true), Key::Integer(-1), Key::Unsigned(u64::MAX), Key::Float(0.5), Key::Date(7), Key::Text("é".into())];
    let inner = vec![
        Partial::Stats(vec![Stats { count: 2, sum: 3.5, min: 1.0, max: 2.5 }, Stats::default()]),
        Partial::Quantiles(vec![vec![1, 2]]),
        Partial::Distinct(vec![Vec::new()]),
    ];
    let buckets = keys.into_iter().map(|key| (key, Bucket { count: 1, subs: inner.clone() })).collect();
    let partials = vec![
        Partial::Terms(Terms { buckets, other: 3, error: 2 }),
        Partial::Histogram([(-1, counted(300))].into()),
        Partial::Ranges(vec![counted(0)]),
    ];
    let reply = Reply::Partials(partials);
    crate::rpc::golden::check("aggregations-v1.bin", &reply.encode().unwrap());
    assert_eq!(Reply::decode(&crate::rpc::golden::read("aggregations-v1.bin")).unwrap(), reply);
    let refused = Reply::Refused(Refusal::Memory { limit: 9 });
    assert_eq!(Reply::decode(&refused.encode().unwrap()).unwrap(), refused);
    let bytes = reply.encode().unwrap();
    assert!((0..bytes.len()).all(|length| Reply::decode(&bytes[..length]).is_err()));
    assert!(Reply::decode(&[9]).unwrap_err().to_string().contains("version 9"));
}

/// `depth` buckets within each other.
fn nested(depth: usize) -> Partial {
    (0..depth).fold(Partial::Stats(Vec::new()), |inner, _| Partial::Ranges(vec![Bucket { count: 1, subs: vec![inner] }]))
}

#[test]
fn a_reply_that_nests_deeper_than_requests_is_refused() {
    for (depth, read) in [(5, true), (6, true), (7, false), (100_000, false)] {
        // Each level: ranges, one bucket, its count, one partial.
        let bytes = [&[1, 0, 1][..], &[2, 1, 1, 1].repeat(depth), &[3, 0]].concat();
        let expected = read.then(|| Reply::Partials(vec![nested(depth)]));
        assert_eq!(Reply::decode(&bytes).ok(), expected, "{depth}");
    }
}

#[test]
fn absurd_numbers_and_missing_parts_do_no_harm() {
    let request = parse(&json!({
        "a": {"terms": {"field": "section", "size": 1}}, "b": {"max": {"field": "month"}}, "c": {"value_count": {"field": "x"}}}))
    .map_err(|_| ());
    assert_eq!(request, Err(()), "the index has no dynamic fields");
    let request = parse(&json!({
        "a": {"terms": {"field": "section", "size": 1}}, "b": {"max": {"field": "month"}},
        "c": {"value_count": {"field": "more.x"}}}))
    .unwrap();
    let most = Stats { count: u64::MAX, sum: f64::MAX, min: f64::MIN, max: 1e300 };
    let found = || {
        let buckets = [("a", u64::MAX), ("b", u64::MAX)].map(|(key, count)| (Key::Text(key.to_owned()), counted(count)));
        let terms = Terms { buckets: buckets.into(), other: u64::MAX, error: u64::MAX };
        vec![Partial::Terms(terms), Partial::Stats(vec![most]), Partial::Stats(vec![most; 4])]
    };
    let mut merged = found();
    request.merge(&mut merged, found()).unwrap();
    request.shrink(&mut merged).unwrap();
    let answer = request.finish(merged).unwrap();
    assert_eq!((&answer["a"]["sum_other_doc_count"], &answer["c"]["value"]), (&json!(u64::MAX), &json!(u64::MAX)));
    assert_eq!(answer["b"]["value_as_string"], i64::MAX, "no calendar has it");

    let request = parse(&json!({"a": {"terms": {"field": "section"}, "aggs": {"b": {"min": {"field": "size"}}}}})).unwrap();
    assert!(matches!(request.finish(vec![terms(&[("net", 1)])]), Err(FinishError::Mismatch(_))), "a bucket without its minimum");
    assert!(matches!(request.finish(Vec::new()), Err(FinishError::Mismatch(_))));
}

#[test]
fn what_stands_in_the_gaps_counts_before_it_is_made() {
    let ranges: Vec<_> = (0..100).map(|from| json!({"from": from})).collect();
    let inner = json!({"r": {"range": {"field": "size", "ranges": ranges}}});
    let request = |limit| {
        let gaps = json!({"field": "size", "interval": 1, "extended_bounds": {"min": 1, "max": limit}});
        parse(&json!({"a": {"histogram": gaps, "aggs": inner}})).unwrap()
    };
    let answer = request(9).finish(request(9).empty()).unwrap();
    assert_eq!(answer["a"]["buckets"][8]["r"]["buckets"].as_array().unwrap().len(), 100);
    let refusal = FinishError::Refused(Refusal::Buckets { name: "a".to_owned(), limit: 1000 });
    assert_eq!(request(10).finish(request(10).empty()), Err(refusal.clone()));
    let million = Aggregations { max_buckets: 1_000_000, ..request(900_000) };
    let refusal = FinishError::Refused(Refusal::Buckets { name: "a".to_owned(), limit: 1_000_000 });
    assert_eq!(million.finish(million.empty()), Err(refusal));
}
