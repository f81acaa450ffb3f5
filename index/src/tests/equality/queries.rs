//! Queries at random: of every kind, in both languages, and each kind in others. And what hits are ordered by.

use serde_json::{Map, Value, json};
use warren_protocol::Query;
use warren_protocol::search::{Missing, SortKey};

use super::super::Random;
use super::documents::{date, huge, id, mixed, price, section, size, text, word};

/// Fields whose values are words, and patterns are sought in.
const WORDY: [&str; 7] = ["title", "body", "note", "tags", "meta.deep.tag", "section", "id"];
const ALL: [&str; 17] = [
    "title",
    "body",
    "note",
    "tags",
    "meta.deep.tag",
    "section",
    "id",
    "size",
    "huge",
    "price",
    "free",
    "month",
    "mixed",
    "meta.kind",
    "meta.n",
    "meta.deep.n",
    "nothing",
];
const RANGED: [&str; 10] = ["section", "id", "size", "huge", "price", "month", "mixed", "meta.kind", "meta.n", "nothing"];

/// A query, and how it is written.
pub(super) fn query(random: &mut Random) -> (Query, String) {
    if random.below(3) == 0 {
        let text = string(random);
        return (Query::parse(&text, false).unwrap_or_else(|error| panic!("{text}: {error}")), text);
    }
    let tree = tree(random, 3);
    let parsed = Query::from_json(tree.as_object().unwrap(), "query").unwrap_or_else(|error| panic!("{tree}: {error}"));
    (parsed, tree.to_string())
}

fn string(random: &mut Random) -> String {
    let word = |random: &mut Random| word(random).replace("don't", "don");
    let [a, b, c] = [(); 3].map(|()| word(random));
    let number = random.below(20);
    match random.below(28) {
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
        18 => format!("body:{}*", a.chars().next().filter(|first| first.is_alphanumeric()).unwrap_or('w')),
        19 => format!("title:{a}~1 {b}"),
        20 => format!("-{a}"),
        21 => format!("body:\"{a} {b} {c}\"~4"),
        22 => format!("huge:>{} {a}", i64::MAX - 1),
        23 => "section:IN [net mail 日本] OR _exists_:tags".to_owned(),
        24 => "note:/s.*r/ mixed:10".to_owned(),
        25 => format!("serv?r -{a} OR wеb"),
        26 => format!("NOT _exists_:meta.deep {b}"),
        _ => format!("+* +{a} meta.n:[10 TO {}]", 10 + number),
    }
}

/// A value as a field may hold it.
fn value(random: &mut Random, field: &str) -> Value {
    match field {
        "section" => section(random),
        "id" => id(random).into(),
        "size" => size(random),
        "huge" => huge(random),
        "price" => price(random),
        "free" => (random.below(2) == 0).into(),
        "month" => date(random),
        "mixed" => mixed(random),
        "meta.kind" => (*random.pick(&["x", "y", "q"])).into(),
        "meta.n" | "meta.deep.n" => random.below(50).into(),
        "tags" => text(random, 2).into(),
        _ => word(random).into(),
    }
}

fn boosted(random: &mut Random, mut inner: Value) -> Value {
    if random.below(4) == 0 {
        inner["boost"] = (*random.pick(&[0.0, 0.3, 2.0, 7.5])).into();
    }
    inner
}

fn tree(random: &mut Random, depth: usize) -> Value {
    // What stands in others, more often the higher up.
    if depth > 0 && random.below(5) < 2 {
        return match random.below(4) {
            0 => {
                let inner = json!({"filter": tree(random, depth - 1)});
                json!({"constant_score": boosted(random, inner)})
            }
            _ => group(random, depth - 1),
        };
    }
    let kind = *random.pick(&[
        "match",
        "match",
        "match",
        "match_phrase",
        "multi_match",
        "term",
        "term",
        "terms",
        "range",
        "range",
        "exists",
        "ids",
        "prefix",
        "wildcard",
        "regexp",
        "fuzzy",
        "match_all",
        "match_none",
        "query_string",
        "simple_query_string",
    ]);
    let inner = match kind {
        "match" => matching(random),
        "match_phrase" => {
            let field = *random.pick(&["title", "body", "body", "note", "section", "tags"]);
            let words = json!({"query": format!("{} {}", word(random), text(random, 2)), "slop": random.below(4)});
            json!({field: boosted(random, words)})
        }
        "multi_match" => {
            let mut inner = many_words(random);
            if random.below(3) > 0 {
                inner["fields"] =
                    json!([random.pick(&["title", "title^2", "section"]), random.pick(&["body", "note^0.5", "tags"])]);
            }
            boosted(random, inner)
        }
        "term" => {
            let field = *random.pick(&ALL);
            let inner = json!({"value": value(random, field)});
            json!({field: boosted(random, inner)})
        }
        "terms" => {
            let field = *random.pick(&ALL);
            let values: Vec<Value> = (0..random.below(5)).map(|_| value(random, field)).collect();
            boosted(random, json!({field: values}))
        }
        "range" => range(random),
        "exists" => {
            let field =
                *random.pick(&["meta", "meta.deep", "title", "section", "size", "month", "mixed", "tags", "nothing", "id"]);
            boosted(random, json!({"field": field}))
        }
        "ids" => json!({"values": (0..random.below(8)).map(|_| id(random)).collect::<Vec<_>>()}),
        "prefix" => {
            let field = *random.pick(&WORDY);
            json!({field: random.pick(&["s", "se", "d1", "größ", "n", "日", "İ", "i̇"])})
        }
        "wildcard" => {
            let field = *random.pick(&WORDY);
            json!({field: random.pick(&["s*r", "?eb", "*er*", "gr*ße", "d?5*", "*t", "*e*e*", "日?"])})
        }
        "regexp" => {
            let field = *random.pick(&WORDY);
            json!({field: random.pick(&["s.*r", "(web|mail|net)", "[a-k].+", "größ.", "d[0-9]{2}ü", "x\\d+", ".*", "\\p{Greek}+"])})
        }
        "fuzzy" => {
            let field = *random.pick(&WORDY);
            let word = *random.pick(&["sevrer", "webb", "mial", "nt", "größ", "libary", "d11ü", "λλάδα"]);
            let inner = json!({"value": word, "fuzziness": random.pick(&[json!("auto"), json!(1), json!(2)]), "prefix_length": random.below(2)});
            json!({field: boosted(random, inner)})
        }
        "match_all" | "match_none" => boosted(random, json!({})),
        "query_string" => {
            let mut inner = json!({"query": string(random), "default_operator": random.pick(&["and", "or"])});
            if random.below(2) == 0 {
                inner["default_field"] = (*random.pick(&["title", "body", "note"])).into();
            }
            boosted(random, inner)
        }
        _ => {
            let query = format!("{} {}", string(random), random.pick(&["(web", "size:many", "nowhere:x \"", "^", "server~"]));
            boosted(random, json!({"query": query}))
        }
    };
    json!({kind: inner})
}

fn many_words(random: &mut Random) -> Value {
    let mut inner = json!({"query": text(random, 4)});
    match random.below(6) {
        0 => inner["operator"] = "and".into(),
        1 => inner["minimum_should_match"] = random.pick(&[json!(2), json!(-1), json!("75%"), json!("-25%")]).clone(),
        2 => inner["fuzziness"] = random.pick(&[json!("auto"), json!(0), json!(1), json!(2)]).clone(),
        _ => {}
    }
    inner
}

fn matching(random: &mut Random) -> Value {
    let field = *random.pick(&ALL);
    if !["title", "body", "note", "tags"].contains(&field) {
        return json!({field: value(random, field)});
    }
    let inner = many_words(random);
    json!({field: boosted(random, inner)})
}

fn range(random: &mut Random) -> Value {
    let field = *random.pick(&RANGED);
    let mut bounds = Map::new();
    // Of one type, as a column is.
    let one = value(random, field);
    let other = match &one {
        Value::Number(_) if field == "mixed" => random.below(10).into(),
        Value::Bool(_) => one.clone(),
        Value::String(text) if field == "mixed" && text.len() > 3 => "2024-01-05T00:00:00Z".into(),
        Value::String(_) if field == "mixed" => "b".into(),
        _ => value(random, field),
    };
    if random.below(4) > 0 {
        bounds.insert((*random.pick(&["gt", "gte"])).to_owned(), one);
    }
    if random.below(4) > 0 {
        bounds.insert((*random.pick(&["lt", "lte"])).to_owned(), other);
    }
    let bounds = boosted(random, Value::Object(bounds));
    json!({field: bounds})
}

fn group(random: &mut Random, depth: usize) -> Value {
    let mut group = json!({});
    for (side, most) in [("must", 3), ("should", 4), ("must_not", 2), ("filter", 2)] {
        let clauses: Vec<Value> = (0..random.below(most)).map(|_| tree(random, depth)).collect();
        if !clauses.is_empty() {
            group[side] = clauses.into();
        }
    }
    if random.below(3) == 0 {
        group["minimum_should_match"] = random.pick(&[json!(0), json!(1), json!(2), json!(-1), json!("50%")]).clone();
    }
    json!({"bool": boosted(random, group)})
}

pub(super) fn sort(random: &mut Random) -> Vec<SortKey> {
    let mut keys: Vec<SortKey> = Vec::new();
    for _ in 0..random.below(4) {
        let name = random.pick(&[
            "_score",
            "id",
            "section",
            "size",
            "huge",
            "price",
            "free",
            "month",
            "mixed",
            "tags",
            "meta.kind",
            "meta.n",
            "meta.deep.n",
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
