//! Documents at random: fields of all types, with one value, several or none; words of many scripts; the largest numbers; and copies, whose
//! scores are equal.

use serde_json::{Map, Value, json};

use super::super::Random;

pub(super) const DEFINITION: &str = r#"{"fields":{"title":{"type":"text","analyzer":"english","boost":2.5},"body":{"type":"text"},
    "section":{"type":"keyword"},"size":{"type":"integer"},"huge":{"type":"integer"},"price":{"type":"float"},
    "free":{"type":"boolean"},"month":{"type":"date"},"meta":{"type":"object"}}}"#;

/// The first ones are the most frequent.
const WORDS: [&str; 22] = [
    "web",
    "server",
    "servers",
    "mail",
    "client",
    "Library",
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
    "İstanbul",
    "e\u{301}tude",
    "שלום",
    "🦀",
    "42",
    "wеb",
];
pub(super) const SECTIONS: [&str; 8] = ["net", "Net", "mail", "größe", "", "日本", "a \"b\"", "net.web/2"];
pub(super) const HUGE: [i64; 8] = [i64::MIN, i64::MIN + 1, -1, 0, 1, (1 << 53) + 1, i64::MAX - 1, i64::MAX];

pub(super) fn word(random: &mut Random) -> &'static str {
    let limit = 1 + random.below(WORDS.len());
    WORDS[random.below(limit)]
}

pub(super) fn text(random: &mut Random, most: usize) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(most) {
        text += word(random);
        text += *random.pick(&[" ", " ", ", ", "-"]);
    }
    text
}

pub(super) fn section(random: &mut Random) -> Value {
    (*random.pick(&SECTIONS)).into()
}

pub(super) fn size(random: &mut Random) -> Value {
    (random.below(40) as i64 - 20).into()
}

pub(super) fn huge(random: &mut Random) -> Value {
    (*random.pick(&HUGE)).into()
}

pub(super) fn price(random: &mut Random) -> Value {
    (*random.pick(&[0.0, -0.0, 0.5, 1e300, -7.25, 3.0, 5e-324])).into()
}

pub(super) fn date(random: &mut Random) -> Value {
    match random.below(8) {
        0 => (random.below(1 << 40) as i64 - (1 << 38)).into(),
        1 => "1969-12-31T23:59:59.999999999Z".into(),
        2 => "2024-03-01T00:30:00+02:00".into(),
        _ => format!("20{:02}-0{}-01T00:00:00Z", random.below(30), 1 + random.below(9)).into(),
    }
}

/// Of one name, values of all types.
pub(super) fn mixed(random: &mut Random) -> Value {
    match random.below(5) {
        0 => random.below(10).into(),
        1 => (random.below(10) as f64 / 2.0).into(),
        2 => (*random.pick(&["a", "b", "10"])).into(),
        3 => (random.below(2) == 0).into(),
        _ => format!("2024-01-0{}T00:00:00Z", 1 + random.below(9)).into(),
    }
}

pub(super) fn id(random: &mut Random) -> String {
    format!("d{}ü", random.below(360))
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

pub(super) fn document(random: &mut Random) -> String {
    let mut document = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| document.insert(name.to_owned(), value));
    put("title", some(random, |random| text(random, 5).into()));
    // Long ones, too: their lengths are rounded.
    put("body", some(random, |random| text(random, 150).into()));
    put("section", some(random, section));
    put("size", some(random, size));
    put("huge", some(random, huge));
    put("price", some(random, price));
    put("free", some(random, |random| (random.below(2) == 0).into()));
    put("month", some(random, date));
    put("note", some(random, |random| text(random, 6).into()));
    put("mixed", some(random, mixed));
    put("tags", some(random, |random| json!([word(random), [text(random, 2)]])));
    let deep = |random: &mut Random| json!({"tag": word(random), "n": random.below(9)});
    put("meta", Some(json!({"kind": random.pick(&["x", "y", "z"]), "n": random.below(50), "deep": some(random, deep)})));
    Value::Object(document).to_string()
}
