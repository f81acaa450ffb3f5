//! No query, however odd, panics, hangs or reaches what it must not.

use std::time::{Duration, Instant};

use warren_protocol::Query;

use super::{Random, SearchSpec, Searching, definition, filled, spec_of};
use crate::{PartitionIndex, SearchError};

const DEFINITION: &str = r#"{"fields":{"title":{"type":"text","analyzer":"english"},"section":{"type":"keyword"},"size":{"type":"integer"},
    "price":{"type":"float"},"free":{"type":"boolean"},"month":{"type":"date"},"meta":{"type":"object"}}}"#;

const DOCUMENTS: [(&str, &str); 3] = [
    ("1", r#"{"title":"web server","section":"net","size":1,"price":1.5,"free":true,"month":0,"meta":{"a":1},"text":"a (b) c"}"#),
    ("2", r#"{"title":"mail","size":[2,3],"meta":{"a":"x","b":{"c":true}},"num":7,"list":[1,"two",3.5,true,null]}"#),
    ("3", r#"{"num":"2024-01-01T00:00:00Z","big":18446744073709551615,"a\\b":"slash","x":{"y.z":"dots"}}"#),
];

const PIECES: [&str; 61] = [
    "web",
    "server",
    "title",
    "section",
    "size",
    "price",
    "free",
    "month",
    "meta",
    "meta.a",
    "num",
    "list",
    "id",
    "_source",
    "_id",
    "_values",
    "a\\.b",
    "x.y\\.z",
    ":",
    ":",
    ":",
    " ",
    " ",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "+",
    "-",
    "*",
    "^",
    "^2",
    "~",
    "~3",
    "/",
    "\\",
    ">",
    "<",
    ">=",
    "<=",
    "TO",
    " TO ",
    "IN ",
    "IN [",
    "AND ",
    "OR ",
    "NOT ",
    "1",
    "-1",
    "1e400",
    "nan",
    "true",
    "2024-01-01T00:00:00Z",
    "\u{0}",
    "\u{1}",
    "ü😀",
    "\u{a0}",
];

fn ask(index: &PartitionIndex, query: &str, lenient: bool) {
    let parsed = match Query::parse(query, lenient) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!lenient, "{query:?} leniently: {error}");
            return;
        }
    };
    let spec = SearchSpec { highlight: true, max_bytes: 10_000, ..spec_of(parsed, 3) };
    match index.search(&spec) {
        Ok(result) => assert!(result.total.unwrap() <= 3, "{query:?}"),
        Err(SearchError::InvalidQuery(text)) => {
            assert!(!lenient, "{query:?} leniently: {text}");
            assert!(!text.is_empty(), "{query:?}");
        }
        Err(error) => panic!("{query:?}: {error}"),
    }
}

#[test]
fn random_queries_have_an_answer_or_a_reason() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    let closed = definition(r#"{"dynamic":false,"fields":{"title":{"type":"text"},"size":{"type":"integer"}}}"#);
    let (_closed_directory, closed) = filled(&closed, &[("1", r#"{"title":"web","size":1}"#)]);
    let mut random = Random(2024);
    for _ in 0..20_000 {
        let length = 1 + random.below(12);
        let query: String = (0..length).map(|_| *random.pick(&PIECES)).collect();
        for lenient in [false, true] {
            ask(&index, &query, lenient);
            ask(&closed, &query, lenient);
        }
    }
}

#[test]
fn random_bytes_are_no_worse() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    let mut random = Random(77);
    for _ in 0..5000 {
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
        let query = String::from_utf8_lossy(&bytes);
        ask(&index, &query, false);
        ask(&index, &query, true);
    }
}

#[test]
fn the_longest_queries_end_soon() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for piece in [
        "(",
        ")",
        "((a",
        "(a)",
        "+(",
        "-(",
        "NOT ",
        "NOT(",
        "a:(",
        "title:(",
        "a AND ",
        "a OR ",
        "+a ",
        "- ",
        "--",
        "\"",
        "'",
        "\\",
        "[",
        "[a TO ",
        "{",
        "a:[1 TO 2] ",
        "title:a ",
        "IN [",
        "a: IN [b ",
        "a b",
        "ab ",
        "a\tb",
        "^",
        "a^2",
        "a^2^",
        "~",
        "*",
        "* ",
        "a:*",
        "a:* ",
        "a:",
        "/",
        "/a/ ",
        ">",
        "a:>1 ",
        "\"a b\" ",
        "x.",
        "ü",
        "\u{0}",
        "(a OR ",
        "a)(",
        ":(",
        "`",
    ] {
        let query = piece.repeat(16 * 1024 / piece.len());
        for lenient in [false, true] {
            let start = Instant::now();
            let parsed = Query::parse(&query, lenient);
            assert!(parsed.is_ok() || !lenient, "{piece:?}");
            if let Ok(parsed) = parsed
                && let Err(SearchError::Internal(error)) = index.search(&spec_of(parsed, 3))
            {
                panic!("{piece:?}: {error}");
            }
            assert!(start.elapsed() < Duration::from_secs(5), "{piece:?} took {:?}", start.elapsed());
        }
    }
    let many: String = (0..2000).map(|number| format!("w{number} ")).collect();
    assert!(Query::parse(&many, false).unwrap_err().to_string().contains("at most 1024"));
    assert_eq!(index.search(&spec_of(Query::parse(&many, true).unwrap(), 3)).unwrap().total, Some(0));
}

#[test]
fn lenient_search_makes_the_best_of_it() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for query in [
        "server (",
        "+server size:many",
        "server \"",
        "server title:[a TO b]",
        "title:server)",
        "server AND",
        "OR server",
        "server size:1~",
        "server ?*",
        "+ server",
        "server title:",
        "title: server",
        "server --",
        "server /(/",
        "server month:soon",
    ] {
        let refused =
            Query::parse(query, false).map(|query| matches!(index.search(&spec_of(query, 3)), Err(SearchError::InvalidQuery(_))));
        assert!(refused.unwrap_or(true), "{query}");
        let found = index.search(&spec_of(Query::parse(query, true).unwrap(), 3)).unwrap();
        assert_eq!(found.hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>(), ["1"], "{query}");
    }
    // What is no field, no question mark and no option is taken for words.
    for query in ["web://server", "web::server", "server?", "--server", "what is a server?", "a (server", "server: web"] {
        let found = index.search(&spec_of(Query::parse(query, true).unwrap(), 3)).unwrap();
        assert_eq!(found.hits.first().map(|hit| hit.id.as_str()), Some("1"), "{query}");
    }
}
