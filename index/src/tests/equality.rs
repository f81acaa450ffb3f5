//! A partitioned answer is the unpartitioned answer: the same hits, in the same order, with the same scores and totals, whatever the number of
//! partitions, whatever was updated, deleted and merged.
//!
//! Everything follows from a seed, which a failure names.

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use warren_protocol::rpc::{Hits, PartialHit, Place, Ranking, Search, Statistics};
use warren_protocol::search::{Missing, SortBy, SortKey};
use warren_protocol::{DocumentId, IndexDefinition, Query, partition_of};

use super::{Random, checkpoint, definition, limits, open};
use crate::{PartitionIndex, PartitionWriter};

const DEFINITION: &str = r#"{"fields":{"title":{"type":"text","analyzer":"english","boost":2.5},"body":{"type":"text"},
    "section":{"type":"keyword"},"size":{"type":"integer"},"price":{"type":"float"},"free":{"type":"boolean"},"month":{"type":"date"},
    "meta":{"type":"object"}}}"#;
const WORDS: [&str; 16] = [
    "web",
    "server",
    "servers",
    "mail",
    "client",
    "library",
    "kernel",
    "shell",
    "größe",
    "日本",
    "naïve",
    "Ελλάδα",
    "driver",
    "x86",
    "don't",
    "a",
];

/// One index, cut into partitions.
struct Cut {
    partitions: Vec<(PartitionIndex, PartitionWriter, TempDir)>,
}

impl Cut {
    fn new(definition: &IndexDefinition, partitions: usize) -> Self {
        let partition = |_| {
            let directory = TempDir::new().unwrap();
            let (index, _) = open(directory.path(), definition);
            let writer = index.writer().unwrap();
            (index, writer, directory)
        };
        Self { partitions: (0..partitions).map(partition).collect() }
    }

    fn of(&mut self, id: &str) -> &mut PartitionWriter {
        let count = std::num::NonZeroU32::new(self.partitions.len() as u32).unwrap();
        let partition = partition_of(&DocumentId::new(id).unwrap(), count);
        &mut self.partitions[partition as usize].1
    }

    fn commit(&mut self, position: u64) {
        self.partitions.iter_mut().for_each(|(_, writer, _)| writer.commit(&checkpoint(position)).unwrap());
    }

    fn merge(&mut self) {
        for (index, writer, _) in &mut self.partitions {
            writer.merge_by_policy(false);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            // One that tantivy had begun by itself may come between.
            while index.searcher().segment_readers().len() > 1 || index.searcher().num_docs() < u64::from(most(index)) {
                assert!(std::time::Instant::now() < deadline, "the merges do not end");
                if let Some(merging) = writer.merge().unwrap() {
                    let _ = merging.wait();
                }
                index.reload().unwrap();
            }
            writer.merge_by_policy(true);
        }
    }

    fn statistics(&self, query: &Query) -> Statistics {
        let mut sum = Statistics::default();
        self.partitions.iter().for_each(|(index, ..)| sum.add(index.view().statistics(query).unwrap()));
        sum
    }

    /// What the query service makes of it.
    fn search(&self, search: &Search, statistics: Option<&Statistics>) -> Result<Hits, String> {
        let mut search = search.clone();
        if let Some(statistics) = statistics {
            search.ranking = Ranking::Global(statistics.clone());
        }
        let mut all = Hits { total: Some(0), ..Hits::default() };
        for (index, ..) in &self.partitions {
            let found = index.view().search(&search, &limits(usize::MAX)).map_err(|error| error.to_string())?;
            all.total = all.total.zip(found.total).map(|(left, right)| left + right);
            all.hits.extend(found.hits);
        }
        all.hits.sort_by(|left, right| PartialHit::compare(&search.sort, left, right));
        all.hits.truncate(search.hits as usize);
        Ok(all)
    }
}

fn most(index: &PartitionIndex) -> u32 {
    index.searcher().segment_readers().iter().map(|segment| segment.max_doc()).sum()
}

fn text(random: &mut Random, most: usize) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(most) {
        let limit = 1 + random.below(WORDS.len());
        text += WORDS[random.below(limit)];
        text += *random.pick(&[" ", " ", ", ", "-"]);
    }
    text
}

/// One value, several, or none.
fn some(random: &mut Random, value: impl Fn(&mut Random) -> Value) -> Option<Value> {
    match random.below(6) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some((0..random.below(4)).map(|_| value(random)).collect()),
        _ => Some(value(random)),
    }
}

fn document(random: &mut Random) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| document.insert(name.to_owned(), value));
    put("title", some(random, |random| text(random, 5).into()));
    // Long ones, too: their lengths are rounded.
    put("body", some(random, |random| text(random, 150).into()));
    put("section", some(random, |random| (*random.pick(&["net", "Net", "mail", "größe", "", "日本"])).into()));
    put("size", some(random, |random| (random.below(40) as i64 - 20).into()));
    put("price", some(random, |random| (*random.pick(&[0.0, -0.0, 0.5, 1e300, -7.25, 3.0])).into()));
    put("free", some(random, |random| (random.below(2) == 0).into()));
    put("month", some(random, |random| format!("20{:02}-0{}-01T00:00:00Z", random.below(30), 1 + random.below(9)).into()));
    put("note", some(random, |random| text(random, 6).into()));
    // Of one name, values of all types.
    put(
        "mixed",
        some(random, |random| match random.below(5) {
            0 => random.below(10).into(),
            1 => (random.below(10) as f64 / 2.0).into(),
            2 => (*random.pick(&["a", "b", "10"])).into(),
            3 => (random.below(2) == 0).into(),
            _ => format!("2024-01-0{}T00:00:00Z", 1 + random.below(9)).into(),
        }),
    );
    put("meta", Some(json!({"kind": random.pick(&["x", "y", "z"]), "n": random.below(50)})));
    Value::Object(document)
}

fn query(random: &mut Random) -> String {
    let word = |random: &mut Random| {
        let limit = 1 + random.below(WORDS.len());
        WORDS[random.below(limit)].replace("don't", "don").to_owned()
    };
    let [a, b, c] = [(); 3].map(|()| word(random));
    let number = random.below(20);
    match random.below(23) {
        0 => "*".to_owned(),
        1 => a,
        2 | 3 => format!("{a} {b}"),
        4 => format!("{a} {b} {c}"),
        5 => format!("title:{a} body:{b}"),
        6 => format!("+{a} {b} -{c}"),
        7 => format!("\"{a} {b}\""),
        8 => format!("body:\"{a} {b}\"~3 {c}"),
        9 => format!("({a} OR {b}) AND {c}"),
        10 => format!("{a}^3.5 {b}^0.3"),
        11 => format!("section:{}", random.pick(&["net", "mail", "größe"])),
        12 => format!("size:[{} TO {number}] {a}", number as i64 - 20),
        13 => format!("+price:[0 TO *] {a} {b}"),
        14 => "free:true".to_owned(),
        15 => format!("month:[2005-01-01T00:00:00Z TO 2020-01-01T00:00:00Z] {a}"),
        16 => format!("note:{a} mixed:{}", number % 10),
        17 => format!("meta.kind:x {a}"),
        18 => format!("body:{}*", &a[..a.char_indices().nth(1).map_or(a.len(), |(at, _)| at)]),
        19 => format!("title:{a}~1 {b}"),
        20 => format!("-{a}"),
        21 => format!("body:\"{a} {b} {c}\"~4"),
        _ => format!("+* +{a} meta.n:[10 TO {}]", 10 + number),
    }
}

fn sort(random: &mut Random) -> Vec<SortKey> {
    let mut keys: Vec<SortKey> = Vec::new();
    for _ in 0..random.below(4) {
        let name = random.pick(&[
            "_score",
            "id",
            "section",
            "size",
            "price",
            "free",
            "month",
            "mixed",
            "meta.kind",
            "meta.n",
            "nothing",
        ]);
        let mut key = SortKey::parse(name).unwrap();
        key.descending = random.below(2) == 0;
        if random.below(3) == 0 {
            key.missing = Missing::First;
        }
        if keys.iter().all(|earlier| earlier.by != key.by) {
            keys.push(key);
        }
    }
    keys
}

fn assert_same(one: &Hits, cut: &Hits, context: &str) {
    assert_eq!(cut.total, one.total, "{context}");
    let shown = |hits: &Hits| hits.hits.iter().map(|hit| (hit.id.clone(), hit.score, hit.sort.clone())).collect::<Vec<_>>();
    assert_eq!(shown(cut), shown(one), "{context}");
    assert_eq!(
        cut.hits.iter().map(|hit| &hit.found).collect::<Vec<_>>(),
        one.hits.iter().map(|hit| &hit.found).collect::<Vec<_>>()
    );
}

fn assert_equal(cuts: &[Cut], random: &mut Random, queries: usize, seed: u64, phase: &str) {
    let [one, cut @ ..] = cuts else { panic!("an index that is not cut, and others") };
    for _ in 0..queries {
        let text = query(random);
        let parsed = Query::parse(&text, false).unwrap_or_else(|error| panic!("seed {seed}, {text}: {error}"));
        let filter = (random.below(4) == 0).then(|| Query::parse(&query(random), true).unwrap());
        let wanted = *random.pick(&[1, 5, 20, 1000]);
        let mut search =
            Search { query: parsed.clone(), filter, hits: wanted, count: true, sort: sort(random), ..Search::default() };
        let statistics = cuts.iter().map(|cut| cut.statistics(&parsed)).collect::<Vec<_>>();
        assert!(statistics.iter().all(|each| *each == statistics[0]), "seed {seed}, {phase}, {text}: {statistics:?}");
        // Alone, an index scores by tantivy's own statistics.
        let expected = one.search(&search, None).unwrap_or_else(|error| panic!("seed {seed}, {text}: {error}"));
        for cut in cut {
            let context = format!("seed {seed}, {phase}, {} partitions, {search:?}", cut.partitions.len());
            assert_same(&expected, &cut.search(&search, Some(&statistics[0])).unwrap(), &context);
        }
        // Page by page, it is the same list.
        if wanted == 5 {
            let whole = one.search(&Search { hits: 1000, ..search.clone() }, None).unwrap();
            let last = cut.last().unwrap();
            let mut paged: Vec<String> = Vec::new();
            loop {
                let page = last.search(&search, Some(&statistics[0])).unwrap();
                paged.extend(page.hits.iter().map(|hit| hit.id.clone()));
                match page.hits.last().filter(|_| page.hits.len() == 5 && paged.len() < 1000) {
                    Some(hit) => search.after = Some(hit.place(&search.sort)),
                    None => break,
                }
            }
            let ids: Vec<String> = whole.hits.into_iter().map(|hit| hit.id).collect();
            paged.truncate(ids.len());
            assert_eq!(paged, ids, "seed {seed}, {phase}, pages of {search:?}");
        }
    }
}

fn equality(seed: u64) {
    let mut random = Random(seed);
    let definition = definition(DEFINITION);
    let mut cuts: Vec<Cut> = [1, 2, 4, 7].into_iter().map(|partitions| Cut::new(&definition, partitions)).collect();
    let put = |cuts: &mut Vec<Cut>, random: &mut Random, id: usize| {
        let (id, body) = (format!("d{id}ü"), document(random).to_string());
        cuts.iter_mut().for_each(|cut| cut.of(&id).put(&id, body.as_bytes()).unwrap());
    };
    for commit in 0..4 {
        (0..90).for_each(|number| put(&mut cuts, &mut random, commit * 90 + number));
        cuts.iter_mut().for_each(|cut| cut.commit(commit as u64 + 1));
    }
    assert_equal(&cuts, &mut random, 60, seed, "written");
    for commit in 4..7 {
        for _ in 0..40 {
            let id = random.below(360);
            put(&mut cuts, &mut random, id);
            let gone = format!("d{}ü", random.below(360));
            cuts.iter_mut().for_each(|cut| cut.of(&gone).delete(&gone));
        }
        cuts.iter_mut().for_each(|cut| cut.commit(commit + 1));
    }
    cuts.iter_mut().for_each(Cut::merge);
    assert_equal(&cuts, &mut random, 90, seed, "updated, deleted and merged");
}

#[test]
fn partitions_answer_like_one_index() {
    for seed in [1, 0x5eed, 0xdecaf] {
        equality(seed);
    }
}

#[test]
fn a_merge_does_not_change_the_score_of_long_texts_for_an_estimate() {
    let definition = definition(DEFINITION);
    let (mut merged, mut fresh) = (Cut::new(&definition, 1), Cut::new(&definition, 1));
    let mut random = Random(77);
    let body = |random: &mut Random| json!({"body": text(random, 300)}).to_string();
    for id in 0..60 {
        let (id, body) = (format!("d{id}"), body(&mut random));
        merged.of(&id).put(&id, body.as_bytes()).unwrap();
        merged.of("gone").put(&format!("gone{id}"), body.as_bytes()).unwrap();
        fresh.of(&id).put(&id, body.as_bytes()).unwrap();
    }
    merged.commit(1);
    fresh.commit(1);
    (0..60).for_each(|id| merged.of("gone").delete(&format!("goned{id}")));
    merged.commit(2);
    merged.merge();
    fresh.merge();
    let search = Search { query: Query::parse("server", false).unwrap(), hits: 60, count: true, ..Search::default() };
    let (merged, fresh) = (merged.search(&search, None).unwrap(), fresh.search(&search, None).unwrap());
    assert_same(&fresh, &merged, "merged");
    assert!(fresh.hits.len() > 10 && fresh.hits.iter().all(|hit| hit.score.is_some()));
}

#[test]
fn a_place_need_not_be_that_of_a_document() {
    let definition = definition(DEFINITION);
    let mut cut = Cut::new(&definition, 1);
    for (id, size) in [("a", 1), ("b", 3), ("c", 3), ("d", 5)] {
        cut.of(id).put(id, json!({"size": size, "section": format!("s{size}")}).to_string().as_bytes()).unwrap();
    }
    cut.commit(1);
    let ids = |key: &str, place: Value, id: &str| {
        let key = SortKey::parse(key).unwrap();
        let value = match place {
            Value::String(text) => warren_protocol::search::SortValue::Str(text),
            Value::Null => warren_protocol::search::SortValue::Missing,
            number => warren_protocol::search::SortValue::F64(number.as_f64().unwrap()),
        };
        let after = Some(Place { values: vec![value], id: id.to_owned() });
        assert_ne!(key.by, SortBy::Score);
        let search = Search { hits: 10, sort: vec![key], after, ..Search::default() };
        cut.search(&search, None).unwrap().hits.into_iter().map(|hit| hit.id).collect::<String>()
    };
    assert_eq!(ids("size", json!(2.5), "x"), "bcd");
    assert_eq!(ids("size", json!(3), "bb"), "cd");
    assert_eq!(ids("-size", json!(3), "b"), "ca");
    assert_eq!(ids("-size", json!(4), "z"), "bca");
    assert_eq!(ids("size", Value::Null, "z"), "");
    assert_eq!(ids("section", json!("s2"), ""), "bcd");
    assert_eq!(ids("-section", json!("s9"), ""), "dbca");
    assert_eq!(ids("size", json!("text behind all numbers"), ""), "");
    assert_eq!(ids("-size", json!("text before all numbers"), ""), "dbca");
}

#[test]
fn what_has_no_order_is_refused_with_the_way_out() {
    let definition = definition(r#"{"dynamic":false,"fields":{"title":{"type":"text"},"meta":{"type":"object"}}}"#);
    let mut cut = Cut::new(&definition, 1);
    cut.of("a").put("a", br#"{"title":"x"}"#).unwrap();
    cut.commit(1);
    for (key, word) in [("title", "keyword"), ("-meta", "meta.field"), ("nowhere", "no field")] {
        let search = Search { hits: 1, sort: vec![SortKey::parse(key).unwrap()], ..Search::default() };
        let error = cut.search(&search, None).unwrap_err();
        assert!(error.contains(word), "{key}: {error}");
    }
}

#[test]
fn pages_go_on_at_the_largest_integer() {
    let mut cut = Cut::new(&definition(DEFINITION), 1);
    for id in ["a", "b", "c"] {
        cut.of(id).put(id, json!({"size": i64::MAX}).to_string().as_bytes()).unwrap();
    }
    cut.commit(1);
    for key in ["size", "-size"] {
        let after = Some(Place { values: vec![warren_protocol::search::SortValue::I64(i64::MAX)], id: "a".to_owned() });
        let search = Search { hits: 10, sort: vec![SortKey::parse(key).unwrap()], after, ..Search::default() };
        let ids: String = cut.search(&search, None).unwrap().hits.into_iter().map(|hit| hit.id).collect();
        assert_eq!(ids, "bc", "{key}");
    }
}
