//! Writes what the targets begin with, into `corpus/TARGET`: the examples of the documentation, the golden files, and messages of each kind.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use datasketches::hll::{HllSketch, HllType};
use serde_json::{Value, json};
use sketches_ddsketch::DDSketch;
use warren_fuzz::{REQUESTS, index, joined};
use warren_protocol::aggregations::{Aggregation, Bucket, Key, Kind, Partial, Reply, Stats, Terms};
use warren_protocol::rpc::{Place, Statistics};
use warren_protocol::search::{Cursor, Places, SearchRequest, SortValue};
use warren_protocol::suggest::Suggestions;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    documentation()?;
    golden_files()?;
    write("announcement", r#"{"worker":"w1","stopping":false,"partitions":[{"index":{"name":"a","generation":1},"partition":0,"replica":0,
        "held":true,"state":"serving","position":7,"documents":3,"log_bytes":1000,"operations":3,"snapshot":{"position":1,"log_bytes":9,"taken_ms":5}}]}"#)?;
    write("announcement", r#"{"producer":"p1","logs":[{"index":{"name":"a","generation":1},"partition":0,"appended_bytes":5,
        "appended_operations":1,"end_bytes":10,"end_operations":2}],"intakes":[{"name":"warren.intake","active":true,"indexed":1,"deleted":0,"refused":2}]}"#)?;
    write("catalog", concat!(
        r#"{"v":1,"identity":{"catalog":"00000000-0000-0000-0000-000000000001"}}"#, "\n",
        r#"{"v":1,"create":{"name":"a","definition":{"partitions":2,"fields":{"title":{"type":"text","boost":2}}},"request":"00000000-0000-0000-0000-000000000007"}}"#, "\n",
        r#"{"v":1,"ready":{"index":{"name":"a","generation":1}}}"#, "\n", r#"{"v":1,"delete":{"index":{"name":"a","generation":1}}}"#,
    ))?;
    write("dead_letter", "warren-reason: invalid_json\nwarren-attempts: 2\nwarren-ordinal: 7\nwarren-routing-key: b\nown: 1\n\n{")?;
    write("dead_letter", "x-first-death-queue: warren.intake\nx-first-death-reason: delivery_limit\nx-delivery-count: 3\n\n{}")?;
    write("receipt", "17.2.1043")?;
    write("source", joined(&[
        br#"{"exchange":"shop","binding_key":"a.b","index":"orders","id":"/message/id","document":"/message","delete_when":{"/types/0":"gone"}}"#,
        br#"{"types":["gone"],"message":{"id":17}}"#,
    ]))?;
    write("document", joined(&[
        br#"{"fields":{"title":{"type":"text"},"size":{"type":"integer"},"day":{"type":"date"},"author":{"type":"object"}}}"#,
        r#"{"id":"a","title":["Grüße"],"size":-7,"day":"2026-01-15T00:00:00Z","author":{"name":"Ada"},"more":[1.5,true,null]}"#.as_bytes(),
    ]))?;
    cursors()?;
    suggestions()?;
    let sketches = (0..60).step_by(20).map(sketches).collect::<Result<Vec<_>, _>>()?;
    for kind in 0..2 {
        write("sketches", joined(&sketches.iter().map(|both| &both[kind][..]).collect::<Vec<_>>()))?;
    }
    for (number, request) in (0..).zip(REQUESTS.iter()) {
        let reply = |seed| Reply::Partials(request.nodes.iter().map(|node| partial(node, &sketches[seed])).collect()).encode();
        write("aggregation_replies", [&[number], &joined(&[&reply(0)?, &reply(1)?])[..]].concat())?;
    }
    Ok(())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Named by what it holds: written twice, it is one file.
fn write(target: &str, bytes: impl AsRef<[u8]>) -> Result<(), Failed> {
    let hash = bytes.as_ref().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let directory = root().join("corpus").join(target);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join(format!("seed-{hash:016x}")), bytes)?)
}

/// The first column of the table of strings, and all blocks of JSON.
fn documentation() -> Result<(), Failed> {
    for page in ["queries", "search", "aggregations"] {
        let text = fs::read_to_string(root().join(format!("../docs/{page}.md")))?;
        let example = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.replace("\\|", "|"));
        for query in text.lines().filter_map(example).filter(|_| page == "queries") {
            write("query_text", query)?;
        }
        for block in text.split("```").skip(1).step_by(2) {
            let Some(json) = block.find('{').map(|at| &block[at..]) else { continue };
            let Ok(Value::Object(json)) = serde_json::from_str(json.trim_end().trim_end_matches('\'')) else { continue };
            let aggregations = ["aggregations", "aggs"].iter().find_map(|name| json.get(*name)).cloned();
            let json = Value::Object(json).to_string();
            match (page, aggregations) {
                ("queries", _) => {
                    write("query_tree", &json)?;
                    write("search", format!(r#"{{"query":{json}}}"#))?;
                }
                (_, aggregations) => {
                    write("search", &json)?;
                    write("aggregation_requests", aggregations.map_or(json, |inner| inner.to_string()))?;
                }
            }
        }
    }
    for request in REQUESTS.iter() {
        write("search", json!({"query": "web", "sort": ["-size"], "facets": ["section"], "limit": request.nodes.len()}).to_string())?;
    }
    Ok(())
}

fn golden_files() -> Result<(), Failed> {
    for entry in fs::read_dir(root().join("../protocol/golden"))? {
        let entry = entry?;
        let (name, bytes) = (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
        if name.starts_with("batch") {
            write("batch", bytes)?;
        } else if name.starts_with("receipt") || name.starts_with("report") {
            write("receipt", bytes)?;
        } else if name.starts_with("aggregations") {
            write("aggregation_replies", [&[1], &joined(&[&bytes, &bytes])[..]].concat())?;
        } else {
            write("rpc", bytes)?;
        }
    }
    Ok(())
}

fn cursors() -> Result<(), Failed> {
    for (sort, values) in [("[]", vec![SortValue::F64(1.5)]), (r#"["size","-day"]"#, vec![SortValue::I64(3), SortValue::Missing])] {
        let json = format!(r#"{{"query":"web","sort":{sort}}}"#);
        let request: SearchRequest = serde_json::from_str(&json)?;
        let place = Place { values, id: "d7".to_owned() };
        let statistics = Statistics { documents: 9, words: [(2, 40)].into(), terms: [(b"web".to_vec(), 3)].into() };
        let places = Places::default().advanced(Some(place), 2, |partition| partition == 1, &request.sort);
        let bytes = postcard::to_stdvec(&(&places, Some(&statistics)))?;
        let text = Cursor::new(&index(), &request, places, Some(statistics)).encode()?;
        write("cursor", joined(&[json.as_bytes(), text.as_bytes(), &bytes]))?;
    }
    Ok(())
}

fn suggestions() -> Result<(), Failed> {
    let counts = |words: [(&str, u64); 2]| BTreeMap::from(words.map(|(word, count)| (word.to_owned(), count)));
    let words = vec![(3, BTreeMap::new()), (0, counts([("server", 5), ("severe", 9)]))];
    let reply = postcard::to_stdvec(&Suggestions { completions: counts([("srevers", 1), ("sreverance", 2)]), words })?;
    write("suggest", joined(&[b"Web, srever", &reply, &reply]))
}

/// A sketch of quantiles and one of different values, of ever more numbers.
fn sketches(seed: u32) -> Result<[Vec<u8>; 2], Failed> {
    let (mut quantiles, mut distinct) = (DDSketch::default(), HllSketch::new(11, HllType::Hll8)?);
    for number in 0..=seed * seed {
        quantiles.add(f64::from(number) * 1.5 - 100.0);
        distinct.update(number);
    }
    Ok([quantiles.to_java_bytes(), distinct.serialize()])
}

/// What a partition could answer.
fn partial(node: &Aggregation, [quantiles, distinct]: &[Vec<u8>; 2]) -> Partial {
    let sketches = [quantiles.clone(), distinct.clone()];
    let parts = node.parts().len();
    let bucket = |count| Bucket { count, subs: node.subs.iter().map(|sub| partial(sub, &sketches)).collect() };
    match &node.kind {
        Kind::Terms(_) => {
            let keys = [Key::Text("net".to_owned()), Key::Integer(7), Key::Boolean(true), Key::Date(5), Key::float(0.5)];
            Partial::Terms(Terms { buckets: keys.into_iter().zip((1..).map(bucket)).collect(), other: 1, error: 1 })
        }
        Kind::Histogram { .. } | Kind::DateHistogram { .. } => Partial::Histogram([(-1, bucket(2)), (5, bucket(1))].into()),
        Kind::Range { ranges, .. } => Partial::Ranges(ranges.iter().map(|_| bucket(3)).collect()),
        Kind::Metric { .. } => Partial::Stats(vec![Stats { count: 2, sum: 3.5, min: 1.0, max: 2.5 }; parts]),
        Kind::Percentiles { .. } => Partial::Quantiles(vec![quantiles.clone(); parts]),
        Kind::Cardinality { .. } => Partial::Distinct(vec![distinct.clone(); parts]),
    }
}
