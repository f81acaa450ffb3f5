//! Both languages, and that nothing breaks them.

use serde_json::{Map, Value};

use super::*;

/// A clause in short.
fn show(clause: &Clause) -> String {
    let field = |field: &Option<String>| field.as_ref().map(|name| format!("{name}:")).unwrap_or_default();
    let text = match &clause.kind {
        Kind::All => "*".to_owned(),
        Kind::Nothing => "nothing".to_owned(),
        Kind::Bool(group) => {
            let sides = [("+", &group.must), ("", &group.should), ("-", &group.must_not), ("#", &group.filter)];
            let parts: Vec<String> = sides
                .iter()
                .flat_map(|(sign, clauses)| clauses.iter().map(move |clause| format!("{sign}{}", show(clause))))
                .collect();
            let minimum = group.minimum.map(|minimum| format!("@{minimum:?}")).unwrap_or_default();
            format!("({}){minimum}", parts.join(" "))
        }
        Kind::Constant(inner) => format!("const{}", show(&inner[0])),
        Kind::Lenient(inner) => format!("?{}", show(&inner[0])),
        Kind::Match { field: name, text, minimum, fuzziness } => {
            let minimum = minimum.map(|minimum| format!("@{minimum:?}")).unwrap_or_default();
            let fuzziness = if *fuzziness == Fuzziness::Exact { String::new() } else { format!("~{fuzziness:?}") };
            format!("{}'{text}'{minimum}{fuzziness}", field(name))
        }
        Kind::Phrase { field: name, text, slop: 0 } => format!("{}{text}", field(name)),
        Kind::Phrase { field: name, text, slop } => format!("{}{text}~{slop}", field(name)),
        Kind::Terms { field, values } => format!("{field}={}", values.join("|")),
        Kind::Range { field, lower, upper } => format!("{field}:{lower:?}..{upper:?}"),
        Kind::Pattern { field: name, pattern } => format!("{}{pattern:?}", field(name)),
        Kind::Exists { field } => format!("{field}:*"),
        Kind::Ids(ids) => format!("ids {}", ids.join("|")),
    };
    if clause.boost == 1.0 { text } else { format!("{text}^{}", clause.boost) }
}

fn strict(text: &str) -> String {
    show(&Query::parse(text, false).unwrap_or_else(|error| panic!("{text}: {error}")).root)
}

fn lenient(text: &str) -> String {
    let root = Query::parse(text, true).unwrap().root;
    match &root.kind {
        Kind::Lenient(inner) => show(&inner[0]),
        _ => show(&root),
    }
}

fn parsed(json: &str) -> Result<String, QueryError> {
    let tree: Map<String, Value> = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    Query::from_json(&tree, "query").map(|query| show(&query.root))
}

#[test]
fn texts_are_understood() {
    for (text, expected) in [
        ("", "*"),
        (" \t\u{a0}", "*"),
        ("*", "*"),
        ("*:*", "*"),
        ("web", "web"),
        ("web server", "(web server)"),
        ("+web -server mail", "(+web mail -server)"),
        ("+web", "web"),
        ("-web", "(-web)"),
        ("NOT web", "(-web)"),
        ("web NOT mail", "(web -mail)"),
        ("web OR NOT mail", "(web (-mail))"),
        ("NOT web OR mail", "((-web) mail)"),
        ("web AND mail", "(+web +mail)"),
        ("web && NOT mail", "(+web -mail)"),
        ("a AND b OR c AND d", "((+a +b) (+c +d))"),
        ("a || b", "(a b)"),
        ("a AND (b OR c)", "(+a +(b c))"),
        ("(a b)^2 c^.5", "((a b)^2 c^0.5)"),
        ("((a))", "a"),
        ("\"web server\"", "web server"),
        ("\"web server\"~2^3", "web server~2^3"),
        ("\"a \\\"quoted\\\" word\"", "a \"quoted\" word"),
        ("title:web", "title:web"),
        ("title:\"web server\"", "title:web server"),
        ("title:(web mail)", "(title:web title:mail)"),
        ("title:(web body:mail)", "(title:web body:mail)"),
        ("a.b-c:x", "a.b-c:x"),
        ("na\\:me:x\\:y", "na:me:x:y"),
        ("month:2024-01-01T00:00:00Z", "month:2024-01-01T00:00:00Z"),
        ("size:-3", "size:-3"),
        ("size:[1 TO 5]", "size:Included(\"1\")..Included(\"5\")"),
        ("size:{1 TO *}", "size:Excluded(\"1\")..Unbounded"),
        ("size:[ \"a b\" TO c}^2", "size:Included(\"a b\")..Excluded(\"c\")^2"),
        ("size:>=5 size:<7", "(size:Included(\"5\")..Unbounded size:Unbounded..Excluded(\"7\"))"),
        ("size:>5^2", "size:Excluded(\"5\")..Unbounded^2"),
        ("tag:IN [a \"b c\"]", "(tag:a tag:b c)"),
        ("tag: IN [a]", "tag:a"),
        ("serv*", "Prefix(\"serv\")"),
        ("title:w?ld*", "title:Wildcard(\"w?ld*\")"),
        ("a\\*b", "a*b"),
        ("a\\*b*c", "Wildcard(\"a\\\\*b*c\")"),
        ("word~", "Fuzzy { word: \"word\", fuzziness: Auto, prefix_chars: 0 }"),
        ("title:word~1^2", "title:Fuzzy { word: \"word\", fuzziness: Edits(1), prefix_chars: 0 }^2"),
        ("/a.*b\\/c/ x", "(Regex(\"a.*b/c\") x)"),
        ("f:/a b/^2", "f:Regex(\"a b\")^2"),
        ("/etc/passwd", "/etc/passwd"),
        ("_exists_:title", "title:*"),
        ("title:*", "title:*"),
        ("http://example.com:80/x", "http://example.com:80/x"),
        ("std::vector", "std::vector"),
        ("net/www c++ AT&T don't", "(net/www c++ AT&T don't)"),
        ("and or not ANDROID", "(and or not ANDROID)"),
        ("a\\ b", "a b"),
        ("f(x)", "(f x)"),
    ] {
        assert_eq!(strict(text), expected, "{text}");
        if !text.is_empty() {
            assert_eq!(lenient(text), expected, "leniently: {text}");
        }
    }
}

#[test]
fn strict_errors_name_the_place_and_the_fix() {
    for (text, position, part) in [
        ("web (server", 4, "add a )"),
        ("web) server", 3, "remove it"),
        ("ü \"server", 2, "add a \""),
        ("title:", 6, "without a blank"),
        ("title: web", 6, "without a blank"),
        ("web AND", 4, "quote it"),
        ("OR web", 0, "quote it"),
        ("web AND OR mail", 8, "quote it"),
        ("web + mail", 4, "+word"),
        ("web +-mail", 4, "one sign"),
        ("NOT", 0, "NOT word"),
        ("()", 0, "nothing between"),
        ("[1 TO 5]", 0, "field"),
        ("size:[1 5]", 5, "TO"),
        ("size:[1 TO 5", 5, "TO"),
        ("size:>", 5, "size:>=5"),
        ("tag:IN [a", 4, "never closed"),
        ("tag:IN []", 4, "empty"),
        ("word~3", 0, "word~2"),
        ("w*d~", 0, "wildcards or a ~"),
        ("a^b", 1, "\\^"),
        ("(a)^b", 3, "number"),
        ("\"a\"~x", 3, "places"),
        ("\"a b\"*", 0, "beginning"),
        ("?*", 0, "letter"),
        ("a\\", 1, "backslash"),
        ("_exists_:\"\"", 9, "name of a field"),
    ] {
        match Query::parse(text, false) {
            Err(QueryError::Text { position: found, reason }) => {
                assert_eq!(found, position, "{text}: {reason}");
                assert!(reason.contains(part), "{text}: {reason}");
            }
            other => panic!("{text}: {other:?}"),
        }
        Query::parse(text, true).unwrap();
    }
}

#[test]
fn lenient_texts_are_made_the_best_of() {
    for (text, expected) in [
        ("web (server", "(web server)"),
        ("web) server", "(web server)"),
        ("\"web server", "(web server)"),
        ("title: web", "(title: web)"),
        ("Error: cannot open file", "(Error: cannot open file)"),
        ("OR web AND", "web"),
        ("web + mail - x", "(web mail x)"),
        ("--help", "help"),
        ("what is rabbitmq?", "(what is rabbitmq)"),
        ("really?!", "really"),
        ("w?ld", "Wildcard(\"w?ld\")"),
        ("12:30", "12:30"),
        ("()", "nothing"),
        ("size:[1 5]", "(1 5])"),
        ("word~9", "Fuzzy { word: \"word\", fuzziness: Edits(2), prefix_chars: 0 }"),
        ("a^b a~b", "(a^b a~b)"),
        ("?? ***", "nothing"),
    ] {
        assert_eq!(lenient(text), expected, "{text}");
    }
}

#[test]
fn random_texts_always_have_a_lenient_meaning_within_the_limits() {
    const PIECES: [&str; 40] = [
        "a",
        "Web",
        "title",
        "ü",
        "😀",
        "\u{0}",
        ":",
        ":",
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
        "?",
        "^",
        "^2",
        "~",
        "~1",
        "/",
        "\\",
        ">",
        "<=",
        " TO ",
        " IN [",
        " AND ",
        " OR ",
        "NOT ",
        " ",
        " ",
        "\t",
        "_exists_:",
        "&&",
        "://",
        "1.5",
    ];
    let mut state = 88_172_645_463_325_252_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    for _ in 0..50_000 {
        let length = 1 + below(20);
        let text: String = (0..length).map(|_| PIECES[below(PIECES.len())]).collect();
        let query = Query::parse(&text, true).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let bytes = postcard::to_stdvec(&query).unwrap();
        assert_eq!(postcard::from_bytes::<Query>(&bytes).unwrap(), query, "{text:?}");
        if let Err(QueryError::Text { position, .. }) = Query::parse(&text, false) {
            assert!(position <= text.chars().count(), "{text:?}: {position}");
        }
    }
    for piece in PIECES {
        let text = piece.repeat(20_000 / piece.len());
        let query = Query::parse(&text, true).unwrap_or_else(|error| panic!("{piece:?}: {error}"));
        assert!(query.root.size() <= 4 * MAX_CLAUSES, "{piece:?}");
        postcard::from_bytes::<Query>(&postcard::to_stdvec(&query).unwrap()).unwrap_or_else(|error| panic!("{piece:?}: {error}"));
    }
}

#[test]
fn limits_are_named() {
    let words = "word ".repeat(MAX_CLAUSES + 1);
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let deep = format!("{}a{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1));
    for (text, part) in [(&words, "1024"), (&long, "bytes"), (&deep, "50 levels")] {
        let error = Query::parse(text, false).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        Query::parse(text, true).unwrap();
    }
    let should = |count: usize| format!(r#"{{"bool":{{"should":[{}]}}}}"#, vec![r#"{"match_all":{}}"#; count].join(","));
    parsed(&should(MAX_CLAUSES - 1)).unwrap();
    assert!(parsed(&should(MAX_CLAUSES)).unwrap_err().to_string().contains("1024"));
    let nested = |depth: usize| format!("{}{{\"match_all\":{{}}}}{}", r#"{"bool":{"must":"#.repeat(depth), "}}".repeat(depth));
    parsed(&nested(MAX_DEPTH)).unwrap();
    assert!(parsed(&nested(MAX_DEPTH + 1)).unwrap_err().to_string().contains("50 levels"));
    let ids = serde_json::to_string(&vec!["1"; MAX_VALUES + 1]).unwrap();
    assert!(parsed(&format!(r#"{{"ids":{{"values":{ids}}}}}"#)).unwrap_err().to_string().contains("8192"));
    let long = "x".repeat(MAX_TREE_BYTES);
    assert!(parsed(&format!(r#"{{"match":{{"a":"{long}"}}}}"#)).unwrap_err().to_string().contains("bytes"));
    let many = format!(r#"{{"query_string":{{"query":"{}","fields":["a","b"]}}}}"#, "word ".repeat(600));
    assert!(parsed(&many).unwrap_err().to_string().contains("1024"));
}

#[test]
fn trees_are_understood() {
    for (tree, expected) in [
        (r#"{"match_all":{"boost":2}}"#, "*^2"),
        (r#"{"match_none":{}}"#, "nothing"),
        (r#"{"match":{"title":"web server"}}"#, "title:'web server'"),
        (r#"{"match":{"title":{"query":"web","operator":"AND","boost":2}}}"#, "title:'web'@Percent(100)^2"),
        (r#"{"match":{"n":{"query":5,"minimum_should_match":"-25%","fuzziness":"AUTO"}}}"#, "n:'5'@Percent(-25)~Auto"),
        (r#"{"match_phrase":{"title":{"query":"a b","slop":3}}}"#, "title:a b~3"),
        (r#"{"multi_match":{"query":"x","fields":["a^2","b"],"type":"most_fields","boost":3}}"#, "(a:'x'^2 b:'x')^3"),
        (r#"{"multi_match":{"query":"x y"}}"#, "'x y'"),
        (r#"{"term":{"a":{"value":true,"boost":0}}}"#, "a=true^0"),
        (r#"{"terms":{"a":["x",1.5],"boost":2}}"#, "a=x|1.5^2"),
        (r#"{"range":{"a":{"gte":1,"lt":"x"}}}"#, "a:Included(\"1\")..Excluded(\"x\")"),
        (r#"{"prefix":{"a":"x"}}"#, "a:Prefix(\"x\")"),
        (r#"{"wildcard":{"a":{"wildcard":"x*","boost":2}}}"#, "a:Wildcard(\"x*\")^2"),
        (r#"{"wildcard":{"a":"**"}}"#, "a:*"),
        (r#"{"regex":{"a":"x+"}}"#, "a:Regex(\"x+\")"),
        (r#"{"fuzzy":{"a":{"value":"x","fuzziness":"1"}}}"#, "a:Fuzzy { word: \"x\", fuzziness: Edits(1), prefix_chars: 0 }"),
        (r#"{"exists":{"field":"a"}}"#, "a:*"),
        (r#"{"ids":{"values":[1,"b"]}}"#, "ids 1|b"),
        (r#"{"constant_score":{"filter":{"match_all":{}},"boost":2}}"#, "const*^2"),
        (
            r#"{"bool":{"must":{"term":{"a":1}},"should":[{"term":{"b":2}}],"must_not":[],"filter":[{"term":{"c":3}}],"minimum_should_match":1}}"#,
            "(+a=1 b=2 #c=3)@Count(1)",
        ),
        (r#"{"query_string":{"query":"a b","default_operator":"AND"}}"#, "(+a +b)"),
        (r#"{"query_string":{"query":"a OR b:c","default_field":"t"}}"#, "(t:a b:c)"),
        (r#"{"simple_query_string":{"query":"a (","fields":["t^2"]}}"#, "?t:a^2"),
    ] {
        assert_eq!(parsed(tree).unwrap(), expected, "{tree}");
    }
}

#[test]
fn errors_of_trees_name_the_path_and_what_was_meant() {
    for (tree, path, part) in [
        (r#"{}"#, "query", "match_all"),
        (r#"{"match":{"a":"b"},"term":{"a":"b"}}"#, "query", "bool.must"),
        (r#"{"mtach":{"a":"b"}}"#, "query", "\"match\""),
        (r#"{"match_phrase_prefix":{"a":"b"}}"#, "query", "prefix"),
        (r#"{"bol":{}}"#, "query", "\"bool\""),
        (r#"{"bool":{"musst":[]}}"#, "query.bool", "\"must\""),
        (
            r#"{"bool":{"must":[{"match_all":{}},{"match_all":{}},{"match":{"a":["b"]}}]}}"#,
            "query.bool.must[2].match.a",
            "an array",
        ),
        (r#"{"bool":{"must":"x"}}"#, "query.bool.must", "a string"),
        (r#"{"bool":{"must":[1]}}"#, "query.bool.must[0]", "a number"),
        (r#"{"bool":{"minimum_should_match":"most"}}"#, "query.bool.minimum_should_match", "75%"),
        (r#"{"match":"web"}"#, "query.match", "title"),
        (r#"{"match":{"a":"b","c":"d"}}"#, "query.match", "one field"),
        (r#"{"match":{"a":{"querry":"b"}}}"#, "query.match.a", "\"query\""),
        (r#"{"match":{"a":{"operator":"and"}}}"#, "query.match.a", "query is missing"),
        (r#"{"match":{"a":{"query":"b","operator":"xor"}}}"#, "query.match.a.operator", "\"and\""),
        (r#"{"match":{"a":{"query":"b","fuzziness":3}}}"#, "query.match.a.fuzziness", "auto"),
        (r#"{"match":{"a":{"query":"b","boost":-1}}}"#, "query.match.a.boost", "0 to"),
        (r#"{"match_phrase":{"a":{"query":"b","slop":-1}}}"#, "query.match_phrase.a.slop", "0 to 1000"),
        (r#"{"multi_match":{"query":"b","type":"best_fields"}}"#, "query.multi_match.type", "most_fields"),
        (r#"{"multi_match":{"query":"b","fields":["a*"]}}"#, "query.multi_match.fields[0]", "one by one"),
        (r#"{"term":{"a":null}}"#, "query.term.a", "null"),
        (r#"{"terms":{"a":"x"}}"#, "query.terms.a", "list"),
        (r#"{"terms":{"a":[["x"]]}}"#, "query.terms.a[0]", "an array"),
        (r#"{"range":{"a":5}}"#, "query.range.a", "gte"),
        (r#"{"range":{"a":{"from":5}}}"#, "query.range.a", "gte"),
        (r#"{"range":{"a":{"gt":5,"gte":5}}}"#, "query.range.a", "both"),
        (r#"{"range":{"a":{"gte":[]}}}"#, "query.range.a.gte", "an array"),
        (r#"{"wildcard":{"a":"?"}}"#, "query.wildcard.a", "letter"),
        (r#"{"prefix":{"a":""}}"#, "query.prefix.a", "empty"),
        (r#"{"exists":{}}"#, "query.exists", "field is missing"),
        (r#"{"ids":{"values":{}}}"#, "query.ids.values", "list"),
        (r#"{"constant_score":{"match_all":{}}}"#, "query.constant_score", "filter"),
        (r#"{"query_string":{"query":"a ("}}"#, "query.query_string.query", "character 2"),
    ] {
        match parsed(tree) {
            Err(QueryError::Tree { path: found, reason }) => {
                assert_eq!(found, path, "{tree}: {reason}");
                assert!(reason.contains(part), "{tree}: {reason}");
            }
            other => panic!("{tree}: {other:?}"),
        }
    }
    let long = format!(r#"{{"regexp":{{"a":"{}"}}}}"#, "x".repeat(MAX_PATTERN_CHARS + 1));
    assert!(parsed(&long).unwrap_err().to_string().contains("255"));
}

#[test]
fn a_request_takes_a_text_or_a_tree_and_names_its_field() {
    let input = |json: &str| serde_json::from_str::<QueryInput>(json);
    assert!(input("\"\"").unwrap().parse("query", false).unwrap().is_all());
    assert_eq!(show(&input(r#"{"term":{"a":1}}"#).unwrap().parse("filter", false).unwrap().root), "a=1");
    assert!(input("5").unwrap_err().to_string().contains("a string, or a tree"));
    let problem = input(r#"{"bool":{"must":{"trem":{}}}}"#).unwrap().parse("filter", true).unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("filter.bool.must"));
    assert!(problem.detail.contains("term"), "{problem}");
    let problem = input("\"a (\"").unwrap().parse("query", false).unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("query"));
    input("\"a (\"").unwrap().parse("query", true).unwrap();
}

#[test]
fn a_minimum_counts_as_elasticsearch_does() {
    for (minimum, total, expected) in [
        (Minimum::Count(2), 3, 2),
        (Minimum::Count(5), 3, 5),
        (Minimum::Count(-1), 3, 2),
        (Minimum::Count(-5), 3, 0),
        (Minimum::Percent(75), 3, 2),
        (Minimum::Percent(-25), 3, 3),
        (Minimum::Percent(-50), 4, 2),
        (Minimum::ALL, 4, 4),
        (Minimum::Count(i32::MIN), 4, 0),
    ] {
        assert_eq!(minimum.of(total), expected, "{minimum:?} of {total}");
    }
}

#[test]
fn golden_files_pin_the_form_that_travels() {
    let text = "+web -\"mail reader\"~2^2 title:serv* near~1 /r.x/ w?ld size:[1 TO 5} _exists_:a *:*";
    let tree = r#"{"bool":{"must":[{"match":{"a":{"query":"x y","minimum_should_match":"50%","fuzziness":"auto"}}},{"match_none":{}}],
        "filter":[{"terms":{"b":["1","2"]}},{"constant_score":{"filter":{"ids":{"values":["7"]}}}},{"simple_query_string":{"query":"a"}}],
        "minimum_should_match":-1}}"#;
    let text = Query::parse(text, false).unwrap();
    let tree = Query::from_json(&serde_json::from_str(tree).unwrap(), "query").unwrap();
    let both = (text, tree);
    crate::rpc::golden::check("query-v1.bin", &postcard::to_stdvec(&both).unwrap());
    let read: (Query, Query) = postcard::from_bytes(&crate::rpc::golden::read("query-v1.bin")).unwrap();
    assert_eq!(read, both);
}

#[test]
fn plain_words_may_have_typos_and_what_is_meant_exactly_may_not() {
    let options = TextOptions { fuzziness: Fuzziness::Auto, ..TextOptions::default() };
    let tolerant = |text| show(&Query::parse_with(text, &options).unwrap().root);
    assert_eq!(tolerant("wbe title:serer"), "('wbe'@Percent(100)~Auto title:'serer'@Percent(100)~Auto)");
    for text in [r#""wbe""#, "wb*", "wbe~1", "n:[1 TO 2]", "section:IN [nte]", "*"] {
        assert_eq!(tolerant(text), strict(text));
    }
}
