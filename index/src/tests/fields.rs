//! Each kind of field is found by what it holds.

use super::{Searching, definition, filled, hits, matching, refusal};

const DEFINITION: &str = r#"{"fields":{"title":{"type":"text","analyzer":"english","boost":2},"body":{"type":"text"},
    "code":{"type":"text","analyzer":"keyword"},"section":{"type":"keyword"},"size":{"type":"integer"},"price":{"type":"float"},
    "free":{"type":"boolean"},"month":{"type":"date"},"meta":{"type":"object"}}}"#;

const DOCUMENTS: [(&str, &str); 4] = [
    (
        "1",
        r#"{"id":"1","title":"The web servers","body":"serving pages","code":"A-1 b","section":"net/www","size":10,"price":1.5,
        "free":true,"month":"2024-01-01T00:00:00Z","meta":{"a":{"b":"deep word"},"n":5},"other":"dynamic text","num":7,
        "when":"2024-05-05T10:00:00.5Z","ok":false,"tags":["red wine","blue"],"a.b":"dotted"}"#,
    ),
    (
        "2",
        r#"{"id":"2","title":["Mail reader","running"],"section":["mail","net"],"size":[-3,900],"price":2,"free":[false,true],
        "month":[1704067200001,"2025-06-01T12:00:00+02:00"],"meta":[{"a":{"b":"other"}},{"n":50.5}],"num":7.5,"nested":[{"x":[{"y":"leaf"}]}]}"#,
    ),
    ("3", r#"{"id":"3","title":null,"num":"seven","ok":true,"when":"not a date","big":18446744073709551615,"neg":-12}"#),
    ("7/ü x", r#"{"title":"odd id","num":3}"#),
];

#[test]
fn defined_and_dynamic_fields_are_searched_by_their_types() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for (query, expected) in [
        // Texts: stemmed or not, stop words, many values.
        ("title:server", "1"),
        ("title:SERVERS", "1"),
        ("title:run", "2"),
        ("title:the", ""),
        ("title:\"web server\"", "1"),
        ("title:\"reader running\"", ""),
        ("body:serving", "1"),
        ("body:serve", ""),
        ("code:\"A-1 b\"", "1"),
        ("code:a", ""),
        // Without a field: all texts and all dynamic strings, and nothing else.
        ("server", "1"),
        ("dynamic", "1"),
        ("deep", "1"),
        ("leaf", "2"),
        ("wine blue", "1"),
        ("seven", "3"),
        ("mail", "2"),
        ("www", ""),
        ("900", ""),
        ("true", ""),
        // Keywords are exact.
        ("section:net/www", "1"),
        ("section:net", "2"),
        ("section:mail", "2"),
        ("section:Mail", ""),
        ("section:[mail TO net]", "2"),
        ("section:[net TO *]", "1 2"),
        ("section:{mail TO net}", ""),
        ("section: IN [mail net/www]", "1 2"),
        // Numbers, booleans, dates.
        ("size:10", "1"),
        ("size:\"-3\"", "2"),
        ("size:[-5 TO 0]", "2"),
        ("size:[0 TO 100]", "1"),
        ("size:>10", "2"),
        ("size:<=10", "1 2"),
        ("size:[9 TO 1]", ""),
        ("size:[* TO *]", "1 2"),
        ("price:1.5", "1"),
        ("price:[1.6 TO 2.0]", "2"),
        ("free:true", "1 2"),
        ("free:false", "2"),
        ("month:\"2024-01-01T00:00:00Z\"", "1"),
        ("month:\"2024-01-01T01:00:00+01:00\"", "1"),
        ("month:1704067200000", "1"),
        ("month:1704067200001", "2"),
        ("month:\"2024-01-01T00:00:00.001Z\"", "2"),
        ("month:[2025-01-01T00:00:00Z TO *]", "2"),
        ("month:{2024-01-01T00:00:00Z TO 2025-01-01T00:00:00Z}", "2"),
        // Dynamic fields, and those inside of objects: words.
        ("other:dynamic", "1"),
        ("other:TEXT", "1"),
        ("other:\"dynamic text\"", "1"),
        ("other:\"text dynamic\"", ""),
        ("tags:wine", "1"),
        ("tags:\"wine blue\"", ""),
        ("meta.a.b:deep", "1"),
        ("meta.a.b:other", "2"),
        ("meta.a:deep", ""),
        ("a.b:dotted", "1"),
        ("nested.x.y:leaf", "2"),
        ("num:seven", "3"),
        ("unheard.of:word", ""),
        // … and values.
        ("num:7", "1"),
        ("num:7.0", "1"),
        ("num:7.5", "2"),
        ("num:[7 TO 8]", "1 2"),
        ("num:[7 TO 7.0]", "1"),
        ("num:[3 TO 7.2]", "1 7/ü x"),
        ("num:>7", "2"),
        ("meta.n:[1 TO 10]", "1"),
        ("meta.n:50.5", "2"),
        ("ok:true", "3"),
        ("ok:false", "1"),
        ("when:\"2024-05-05T10:00:00.5Z\"", "1"),
        ("when:\"2024-05-05T10:00:00Z\"", ""),
        ("when:[2024-01-01T00:00:00Z TO 2025-01-01T00:00:00Z]", "1"),
        ("when:[not TO nou]", "3"),
        ("big:18446744073709551615", "3"),
        ("neg:\"-12\"", "3"),
        ("neg:[-20 TO -10]", "3"),
        ("num:[1 TO word]", "3"),
        // Whether there is a value.
        ("size:*", "1 2"),
        ("meta:*", "1 2"),
        ("meta.a:*", "1 2"),
        ("nested:*", "2"),
        ("ok:*", "1 3"),
        ("unheard:*", ""),
        // The id.
        ("id:1", "1"),
        ("id:\"7/ü x\"", "7/ü x"),
        ("id:4", ""),
        ("id: IN [1 3 5]", "1 3"),
        ("id:[2 TO 3]", "2 3"),
        ("id:*", "1 2 3 7/ü x"),
        // All, and the grammar's operators.
        ("", "1 2 3 7/ü x"),
        (" \t ", "1 2 3 7/ü x"),
        ("*", "1 2 3 7/ü x"),
        ("+free:true -size:10", "2"),
        ("-id:1", "2 3 7/ü x"),
        ("-server -mail", "3 7/ü x"),
        ("server AND dynamic", "1"),
        ("server AND mail", ""),
        ("server OR mail", "1 2"),
        ("free:true AND NOT server", "2"),
        ("mail OR NOT free:*", "2 3 7/ü x"),
        ("title:(web OR mail)", "1 2"),
        ("title:(+the +server)", "1"),
        // The inner fields cannot be reached.
        ("_source:web", ""),
        ("_id:1", ""),
        ("_all:dynamic", ""),
        ("_words.other:dynamic", ""),
        ("_values.num:7", ""),
    ] {
        let expected: Vec<&str> = match expected {
            "1 7/ü x" => vec!["1", "7/ü x"],
            other if other.ends_with("7/ü x") => other.trim_end_matches("7/ü x").split_whitespace().chain(["7/ü x"]).collect(),
            other => other.split_whitespace().collect(),
        };
        assert_eq!(matching(&index, query), expected, "{query}");
    }
}

#[test]
fn words_of_a_dynamic_field_count_more_the_rarer_they_are() {
    let documents = [("1", r#"{"text":"common"}"#), ("2", r#"{"text":"common"}"#), ("3", r#"{"text":"common and rare"}"#)];
    let (_directory, index) = filled(&definition("{}"), &documents);
    let [common, rare] = ["text:common", "text:rare"].map(|query| hits(&index, query, 1)[0].score.unwrap());
    assert!(0.0 < common && common < rare, "{common}, {rare}");
    assert_eq!(hits(&index, "text:(common rare)", 3)[0].id, "3");
}

#[test]
fn queries_that_cannot_be_meant_are_refused_with_the_name_or_the_place() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for (query, part) in [
        ("size:ten", "size"),
        ("size:[1 TO ten]", "size"),
        ("price:[nan TO 2]", "price"),
        ("free:maybe", "free"),
        ("month:yesterday", "month"),
        ("title:[a TO b]", "title"),
        ("meta:word", "meta"),
        ("size:1*", "size"),
        ("free:t?ue", "free"),
        ("month:2024~", "month"),
        ("price:/1.*/", "price"),
        ("[1 TO 5]", "field"),
        ("IN [a b]", "field"),
        ("/(/", "unclosed"),
        ("\"the beginning\"*", "beginning"),
        ("title:", "character 6"),
        ("web (server", "character 4"),
        ("web \"server", "character 4"),
        ("???", "letter"),
    ] {
        let text = refusal(&index, query);
        assert!(text.contains(part), "{query}: {text}");
    }
}

#[test]
fn without_dynamic_fields_unknown_names_are_errors_and_unknown_values_stay_in_the_document() {
    let closed = definition(r#"{"dynamic":false,"id_field":"key","fields":{"title":{"type":"text"},"meta":{"type":"object"}}}"#);
    let body = r#"{"key":"a","title":"web","meta":{"x":"inside"},"other":"outside"}"#;
    let (_directory, index) = filled(&closed, &[("a", body)]);
    for (query, expected) in [("web", 1), ("inside", 1), ("meta.x:inside", 1), ("outside", 0), ("key:a", 1)] {
        assert_eq!(matching(&index, query).len(), expected, "{query}");
    }
    for query in ["other:outside", "id:a", "titel:web", "other:*", "other:[1 TO 2]", "other.x:1"] {
        let text = refusal(&index, query);
        assert!(text.contains(query.split(':').next().unwrap()), "{query}: {text}");
    }
    let found = index.fetch(&["a".to_owned(), "b".to_owned()], None).unwrap();
    assert_eq!(found[0].as_ref().unwrap().body, body.as_bytes());
    assert!(found[1].is_none());

    let bare = definition(r#"{"dynamic":false,"fields":{"section":{"type":"keyword"}}}"#);
    let (_directory, index) = filled(&bare, &[("a", r#"{"section":"x"}"#)]);
    assert!(refusal(&index, "word").contains("no texts"));
    assert_eq!(matching(&index, "section:x"), ["a"]);
}

#[test]
fn what_is_too_long_or_too_deep_to_be_a_value_is_found_by_its_words() {
    let long = format!("needle {}", "straw ".repeat(200));
    let deep = format!("{}\"needle\"{}", "{\"a\":".repeat(30), "}".repeat(30));
    let key = "k".repeat(2000);
    let body = format!(r#"{{"text":"{long}","deep":{deep},"{key}":"needle","ctrl\u0001key":"needle","nul\u0000":7}}"#);
    let keyword = "x".repeat(70_000);
    let documents = [("1", body), ("2", format!(r#"{{"kw":"{keyword}","empty":"","":"needle","list":[[["needle"]],[]]}}"#))];
    let documents = documents.each_ref().map(|(id, body)| (*id, body.as_str()));
    let (_directory, index) = filled(&definition(r#"{"fields":{"kw":{"type":"keyword"}}}"#), &documents);
    for (query, expected) in [("needle", 2), ("text:needle", 1), ("text:straw", 1), ("list:needle", 1), ("text:*", 0)] {
        assert_eq!(matching(&index, query).len(), expected, "{query}");
    }
    let shallow = format!("deep{}:needle", ".a".repeat(30));
    assert_eq!(matching(&index, &shallow).len(), 0);
    assert_eq!(matching(&index, &format!("{key}:needle")).len(), 0);
}

#[test]
fn minus_zero_is_zero() {
    let definition = definition(r#"{"fields":{"price":{"type":"float"}}}"#);
    let (_directory, index) = filled(
        &definition,
        &[("a", r#"{"price":-0.0,"any":[-0.0,0.5]}"#), ("b", r#"{"price":0,"any":0.0}"#), ("c", r#"{"price":-1}"#)],
    );
    for query in ["price:0", "price:\"-0.0\"", "price:[0 TO *]", "price:>-1", "any:0", "any:\"-0.0\"", "any:[0 TO 0.1]"] {
        assert_eq!(matching(&index, query), ["a", "b"], "{query}");
    }
    assert_eq!(matching(&index, "price:<0"), ["c"]);
}
