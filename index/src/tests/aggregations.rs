//! Aggregations over partitions are those over one index: after updates and deletes, in any number of segments.

use serde_json::{Value, json};
use tantivy::query::AllQuery;
use tempfile::TempDir;
use warren_protocol::aggregations::{Aggregations, Refusal, Reply};
use warren_protocol::{DocumentId, partition_of};

use super::*;
use crate::aggregate::aggregate;

const MEMORY: u64 = 32 << 20;
/// What is bounded is not compared: the bound is meant for hostile requests.
const ROOMY: u64 = 1 << 30;

fn parsed(definition: &IndexDefinition, request: &Value) -> Aggregations {
    Aggregations::parse(request.as_object().unwrap(), definition, 10_000).unwrap_or_else(|problem| panic!("{request}: {problem}"))
}

fn reply(index: &PartitionIndex, request: &Aggregations) -> Reply {
    aggregate(&index.searcher(), &AllQuery, request, ROOMY).unwrap()
}

fn answer(indexes: &[PartitionIndex], request: &Aggregations) -> Value {
    let mut partials = request.empty();
    for index in indexes {
        match reply(index, request) {
            Reply::Partials(found) => request.merge(&mut partials, found).unwrap(),
            Reply::Refused(refusal) => panic!("{refusal}"),
        }
    }
    Value::Object(request.finish(partials).unwrap())
}

/// What one index of these documents answers.
fn aggregated(json: &str, documents: &[(&str, &str)], request: Value) -> Value {
    let definition = definition(json);
    let (_directory, index) = filled(&definition, documents);
    answer(&[index], &parsed(&definition, &request))
}

fn keys(answer: &Value) -> Vec<(Value, u64)> {
    let buckets = answer["buckets"].as_array().unwrap_or_else(|| panic!("{answer}"));
    buckets.iter().map(|bucket| (bucket["key"].clone(), bucket["doc_count"].as_u64().unwrap())).collect()
}

#[test]
fn a_document_counts_once_for_each_of_its_values() {
    let found = aggregated(
        r#"{"fields":{"tag":{"type":"keyword"},"n":{"type":"integer"},"when":{"type":"date"}}}"#,
        &[
            (
                "a",
                r#"{"tag":["x","y","x"],"n":[1,2,2,30],"when":["2026-01-05T00:00:00Z","2026-01-20T00:00:00Z"],"color":["red","red"]}"#,
            ),
            ("b", r#"{"tag":"y","n":30,"color":"blue"}"#),
            ("c", r#"{"n":4}"#),
        ],
        json!({
            "tags": {"terms": {"field": "tag", "missing": "none"}, "aggs": {"n": {"sum": {"field": "n"}}}},
            "colors": {"terms": {"field": "color"}},
            "tens": {"histogram": {"field": "n", "interval": 10, "min_doc_count": 1}},
            "months": {"date_histogram": {"field": "when", "calendar_interval": "month"}},
            "ranges": {"range": {"field": "n", "ranges": [{"to": 2.5}, {"from": 2, "to": 31}]}},
            "values": {"value_count": {"field": "n"}},
            "different": {"cardinality": {"field": "tag"}},
        }),
    );
    assert_eq!(keys(&found["tags"]), [(json!("y"), 2), (json!("none"), 1), (json!("x"), 1)]);
    assert_eq!(found["tags"]["buckets"][0]["n"]["value"], 65.0);
    assert_eq!(keys(&found["colors"]), [(json!("blue"), 1), (json!("red"), 1)]);
    assert_eq!(keys(&found["tens"]), [(json!(0.0), 2), (json!(30.0), 2)]);
    assert_eq!(keys(&found["months"]), [(json!(1_767_225_600_000_i64), 1)]);
    assert_eq!(keys(&found["ranges"]), [(json!("*-2.5"), 1), (json!("2.0-31.0"), 3)]);
    assert_eq!(found["values"]["value"], 6);
    assert_eq!(found["different"]["value"], 2);
}

#[test]
fn dynamic_values_keep_their_types() {
    let found = aggregated(
        "{}",
        &[
            ("a", r#"{"v":1,"o":{"deep":true}}"#),
            ("b", r#"{"v":1.5,"o":{"deep":false}}"#),
            ("c", r#"{"v":"one","o":{"deep":true}}"#),
            ("d", r#"{"v":"2026-01-05T00:00:00Z"}"#),
            ("e", r#"{"v":true,"only":"2026-01-05T00:00:00Z"}"#),
        ],
        json!({
            "values": {"terms": {"field": "v", "order": {"_key": "asc"}, "missing": 1}},
            "deep": {"terms": {"field": "o.deep"}},
            "sum": {"sum": {"field": "v"}},
            "count": {"value_count": {"field": "v"}},
            "different": {"cardinality": {"field": "v"}},
            "first": {"min": {"field": "only"}},
            "nothing": {"terms": {"field": "nothing"}},
            "average": {"avg": {"field": "nothing"}},
        }),
    );
    let date = json!(1_767_571_200_000_i64);
    assert_eq!(keys(&found["values"]), [(json!(1), 1), (json!(1), 1), (json!(1.5), 1), (date.clone(), 1), (json!("one"), 1)]);
    assert_eq!(found["values"]["buckets"][0]["key_as_string"], "true");
    assert_eq!(keys(&found["deep"]), [(json!(1), 2), (json!(0), 1)]);
    assert_eq!(found["sum"]["value"], 2.5);
    assert_eq!(found["count"]["value"], 5);
    assert_eq!(found["different"]["value"], 5);
    assert_eq!(found["first"], json!({"value": 1_767_571_200_000.0, "value_as_string": "2026-01-05T00:00:00Z"}));
    assert_eq!(found["nothing"]["buckets"], json!([]));
    assert_eq!(found["average"]["value"], json!(null));
}

const DEFINITION: &str = r#"{"fields":{"section":{"type":"keyword"},"size":{"type":"integer"},"score":{"type":"float"},
    "free":{"type":"boolean"},"when":{"type":"date"},"more":{"type":"object"}}}"#;

fn document(random: &mut Random) -> String {
    let mut document = json!({});
    let sections = ["net", "web", "doc", "é", "", "日本", "admin"];
    if random.below(10) > 0 {
        let one = |random: &mut Random| json!(random.pick(&sections));
        document["section"] = if random.below(4) == 0 { json!([one(random), one(random), one(random)]) } else { one(random) };
    }
    if random.below(8) > 0 {
        document["size"] = json!(random.below(2000) as i64 - 1000);
    }
    if random.below(8) > 0 {
        document["score"] = json!([random.below(1_000_000) as f64 / 7.0, random.below(100)]);
    }
    if random.below(3) > 0 {
        document["free"] = json!(random.below(2) == 0);
    }
    if random.below(5) > 0 {
        let millis = random.below(4_000_000_000) as i64 * 500 - 500_000_000_000;
        document["when"] = if random.below(3) == 0 { json!([millis, millis + 86_400_000]) } else { json!(millis) };
    }
    // Some segments see whole numbers only, others floats, texts or dates as well.
    document["mixed"] = match random.below(12) {
        0 => json!(random.below(10) as f64 + 0.5),
        1 => json!(format!("word {}", random.below(5))),
        2 => json!(format!("2026-0{}-01T00:00:00Z", 1 + random.below(9))),
        3 => json!(random.below(2) == 0),
        4 => Value::Null,
        _ => json!(random.below(10)),
    };
    document["more"] = json!({"id": format!("user-{}", random.below(300)), "n": random.below(50)});
    document.to_string()
}

fn requests() -> Vec<Value> {
    vec![
        json!({
            "sections": {"terms": {"field": "section", "size": 4, "missing": "none"}, "aggs": {
                "sizes": {"stats": {"field": "size"}}, "users": {"cardinality": {"field": "more.id"}},
                "free": {"terms": {"field": "free", "missing": false}}}},
            "mixed": {"terms": {"field": "mixed", "size": 50, "order": {"_key": "desc"}}},
            "users": {"terms": {"field": "more.id", "size": 5, "order": [{"n": "desc"}, {"_count": "asc"}]},
                "aggs": {"n": {"avg": {"field": "more.n"}}}},
            "days": {"terms": {"field": "when", "size": 3}},
            "often": {"terms": {"field": "more.id", "size": 1000, "min_doc_count": 4}},
        }),
        json!({
            "sizes": {"histogram": {"field": "size", "interval": 250, "offset": 10}, "aggs": {"top": {"terms": {"field": "section", "size": 2}}}},
            "mixed": {"histogram": {"field": "mixed", "interval": 0.5, "min_doc_count": 1}},
            "years": {"date_histogram": {"field": "when", "calendar_interval": "year"}, "aggs": {"score": {"sum": {"field": "score"}}}},
            "quarters": {"date_histogram": {"field": "when", "calendar_interval": "quarter", "min_doc_count": 1}},
            "weeks": {"date_histogram": {"field": "when", "calendar_interval": "week", "min_doc_count": 2}},
            "odd": {"date_histogram": {"field": "when", "fixed_interval": "1234567ms", "min_doc_count": 2, "offset": "-1s"}},
        }),
        json!({
            "sizes": {"range": {"field": "size", "ranges": [{"to": -500}, {"from": -600, "to": 0.5}, {"key": "rest", "from": 0}]},
                "aggs": {"free": {"terms": {"field": "free"}}}},
            "when": {"range": {"field": "when", "ranges": [{"to": "1980-01-01T00:00:00Z"}, {"from": "1975-06-01T00:00:00Z"}]}},
            "mixed": {"stats": {"field": "mixed"}}, "last": {"max": {"field": "when"}}, "first": {"min": {"field": "when"}},
            "missing": {"sum": {"field": "size", "missing": 2.5}}, "values": {"value_count": {"field": "mixed"}},
            "sections": {"cardinality": {"field": "section"}}, "kinds": {"cardinality": {"field": "mixed"}},
        }),
    ]
}

/// Equal, but for the last bits of sums.
fn assert_alike(left: &Value, right: &Value, what: &str) {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-9 * a.abs().max(b.abs()), "{what}: {a} and {b}");
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| assert_alike(a, b, what));
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().for_each(|(key, value)| assert_alike(value, &b[key], &format!("{what}.{key}")));
        }
        // Of two values of an average the text may differ in the last millisecond, which is checked as a number.
        (Value::String(_), Value::String(_)) if what.ends_with("avg_as_string") => {}
        _ => assert_eq!(left, right, "{what}"),
    }
}

struct World {
    definition: IndexDefinition,
    _directories: Vec<TempDir>,
    one: PartitionIndex,
    many: Vec<Vec<PartitionIndex>>,
}

/// The same documents, once in one index and one segment, and in 1, 2, 4 and 7 partitions that grew, changed and shrank.
fn world(seed: u64) -> World {
    let definition = definition(DEFINITION);
    let mut random = Random(seed);
    let mut directories = Vec::new();
    let mut empty = || {
        let directory = TempDir::new().unwrap();
        let (index, _) = open(directory.path(), &definition);
        directories.push(directory);
        index
    };
    let many: Vec<Vec<PartitionIndex>> =
        [1, 2, 4, 7].map(|partitions| (0..partitions).map(|_| empty()).collect::<Vec<_>>()).into();
    let mut writers: Vec<Vec<_>> =
        many.iter().map(|indexes: &Vec<PartitionIndex>| indexes.iter().map(|index| index.writer().unwrap()).collect()).collect();
    let mut documents = std::collections::BTreeMap::new();
    for round in 1..=6 {
        for _ in 0..250 {
            let id = format!("d{}", random.below(900));
            let body = (random.below(5) > 0).then(|| document(&mut random));
            for writers in &mut writers {
                let partitions = std::num::NonZeroU32::new(writers.len() as u32).unwrap();
                let writer = &mut writers[partition_of(&DocumentId::new(id.clone()).unwrap(), partitions) as usize];
                match &body {
                    Some(body) => writer.put(&id, body.as_bytes()).unwrap(),
                    None => writer.delete(&id),
                }
            }
            match body {
                Some(body) => drop(documents.insert(id, body)),
                None => drop(documents.remove(&id)),
            }
        }
        writers.iter_mut().flatten().for_each(|writer| writer.commit(&checkpoint(round)).unwrap());
    }
    let one = empty();
    let mut writer = one.writer().unwrap();
    documents.iter().for_each(|(id, body)| writer.put(id, body.as_bytes()).unwrap());
    writer.commit(&checkpoint(1)).unwrap();
    World { definition, _directories: directories, one, many }
}

#[test]
fn partitions_answer_as_one_index() {
    for seed in [1, 20_261_126] {
        let world = world(seed);
        for request in requests() {
            let parsed = parsed(&world.definition, &request);
            let expected = answer(std::slice::from_ref(&world.one), &parsed);
            for indexes in &world.many {
                assert_alike(&answer(indexes, &parsed), &expected, &format!("seed {seed}, {} partitions", indexes.len()));
            }
        }
        let percents =
            parsed(&world.definition, &json!({"p": {"percentiles": {"field": "score", "percents": [0, 10, 50, 99, 100]}}}));
        let exact = answer(std::slice::from_ref(&world.one), &percents);
        for indexes in &world.many {
            for (percent, value) in answer(indexes, &percents)["p"]["values"].as_object().unwrap() {
                let (value, expected) = (value.as_f64().unwrap(), exact["p"]["values"][percent].as_f64().unwrap());
                assert!((value - expected).abs() <= 0.02 * expected.abs(), "{percent}: {value} and {expected}");
            }
        }
    }
}

#[test]
fn a_merge_leaves_one_segment_without_deleted_documents_and_the_same_answers() {
    let definition = definition("{}");
    let (_directory, index) = filled(&definition, &[("a", r#"{"n":1}"#), ("b", r#"{"n":2}"#)]);
    let mut writer = index.writer().unwrap();
    for round in 2..6 {
        writer.put(&format!("c{round}"), br#"{"n":3}"#).unwrap();
        writer.delete("a");
        writer.commit(&checkpoint(round)).unwrap();
    }
    let request = parsed(&definition, &json!({"n": {"terms": {"field": "n"}}}));
    let before = answer(std::slice::from_ref(&index), &request);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while let Some(merging) = writer.merge().unwrap() {
        // The policy may merge some of the segments at the same time: then the next try finds fewer.
        if merging.wait().is_err() {
            writer.merge_by_policy(false);
        }
        assert!(std::time::Instant::now() < deadline, "it does not become one segment");
    }
    assert_eq!((index.size().segments, index.deleted(), index.documents()), (1, 0, 5));
    assert_eq!(answer(std::slice::from_ref(&index), &request), before);
    // The checkpoint is still that of the last commit.
    drop(writer);
    let (_, found) = open(index.directory(), &definition);
    assert_eq!(found, Some(checkpoint(5)));
}

#[test]
fn what_is_too_large_is_refused_or_bounded() {
    let definition = definition(r#"{"fields":{"user":{"type":"keyword"},"n":{"type":"float"}}}"#);
    let documents: Vec<(String, String)> =
        (0..3000).map(|n| (format!("d{n}"), format!(r#"{{"user":"u{n}","n":{}}}"#, f64::from(n) * 1e12))).collect();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(id, body)| (id.as_str(), body.as_str())).collect();
    let (_directory, index) = filled(&definition, &documents);
    let limited = |request: Value| Aggregations { max_buckets: 500, ..parsed(&definition, &request) };
    let refusal = |request: Value, memory: u64| match aggregate(&index.searcher(), &AllQuery, &limited(request.clone()), memory) {
        Ok(Reply::Refused(refusal)) => refusal,
        other => panic!("{request}: {other:?}"),
    };

    let bounded = answer(std::slice::from_ref(&index), &limited(json!({"a": {"terms": {"field": "user", "size": 2}}})));
    assert_eq!((&bounded["a"]["doc_count_error_upper_bound"], &bounded["a"]["sum_other_doc_count"]), (&json!(1), &json!(2998)));
    let first =
        answer(std::slice::from_ref(&index), &limited(json!({"a": {"terms": {"field": "user", "order": {"_key": "desc"}}}})));
    assert_eq!(first["a"]["doc_count_error_upper_bound"], 0);
    assert_eq!(first["a"]["buckets"][0]["key"], "u999");

    let buckets = |name: &str| Refusal::Buckets { name: name.to_owned(), limit: 500 };
    assert_eq!(refusal(json!({"a": {"terms": {"field": "user", "order": {"_count": "asc"}}}}), MEMORY), buckets("a"));
    assert_eq!(refusal(json!({"a": {"histogram": {"field": "n", "interval": 1000}}}), MEMORY), buckets("a"));
    let narrow = refusal(json!({"a": {"histogram": {"field": "n", "interval": 1e-6}}}), MEMORY);
    assert_eq!(narrow, Refusal::Interval { name: "a".to_owned() });
    let nested =
        json!({"a": {"histogram": {"field": "n", "interval": 1e13}, "aggs": {"b": {"terms": {"field": "user", "size": 100}}}}});
    assert_eq!(refusal(nested, MEMORY), buckets("a"));
    let small = 10_000;
    assert_eq!(refusal(json!({"a": {"terms": {"field": "user"}}}), small), Refusal::Memory { limit: small });
    let sketches = json!({"a": {"terms": {"field": "user", "size": 400}, "aggs": {"b": {"percentiles": {"field": "n"}}}}});
    assert_eq!(refusal(sketches, 1 << 20), Refusal::Memory { limit: 1 << 20 });
}
