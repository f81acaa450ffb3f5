//! Every kind of query of the tree, and what the strings have beside words: on each kind of field, by each option.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use warren_protocol::Query;
use warren_protocol::query::{Fuzziness, TextOptions};

use super::{
    Random, SearchSpec, Searching, checkpoint, definition, filled, matching, matching_of, open, parsed, refusal_of, spec_of, tree,
};
use crate::PartitionIndex;

const DEFINITION: &str = r#"{"fields":{"title":{"type":"text","analyzer":"english","boost":2},"body":{"type":"text"},
    "section":{"type":"keyword"},"size":{"type":"integer"},"price":{"type":"float"},"free":{"type":"boolean"},
    "month":{"type":"date"},"meta":{"type":"object"}}}"#;

const DOCUMENTS: [(&str, &str); 4] = [
    (
        "1",
        r#"{"title":"The web servers","body":"serving fast pages","section":"net/www","size":10,"price":1.5,"free":true,
        "month":"2024-01-01T00:00:00Z","meta":{"kind":"Deep Word","n":5},"note":"wild card","tags":["red wine","blue"],"num":7}"#,
    ),
    (
        "2",
        r#"{"title":"Mail reader","body":"reading mail on a server","section":["mail","net"],"size":[-3,900],"price":2,
        "free":[false,true],"meta":[{"kind":"other"},{"n":50.5}],"note":"world war","num":7.5,"when":"2024-05-05T10:00:00Z"}"#,
    ),
    ("3", r#"{"title":"A kernel","section":"kernel","note":"would","num":"seven","ok":true}"#),
    ("4", r#"{"body":"sarver of mails","section":"Net/www","file":"notes.txt"}"#),
];

fn ids(index: &PartitionIndex, json: &str) -> String {
    matching_of(index, tree(json)).join(" ")
}

#[test]
fn trees_find_what_they_say() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for (query, expected) in [
        (r#"{"match_all":{}}"#, "1 2 3 4"),
        (r#"{"match_none":{}}"#, ""),
        (r#"{"match":{"title":"web server"}}"#, "1"),
        (r#"{"match":{"body":"server pages"}}"#, "1 2"),
        (r#"{"match":{"body":{"query":"server mail","operator":"and"}}}"#, "2"),
        (r#"{"match":{"body":{"query":"server mail pages reading","minimum_should_match":2}}}"#, "2"),
        (r#"{"match":{"body":{"query":"server mail pages reading","minimum_should_match":"75%"}}}"#, "2"),
        (r#"{"match":{"body":{"query":"server mail pages reading","minimum_should_match":-3}}}"#, "1 2"),
        (r#"{"match":{"body":{"query":"server","minimum_should_match":2}}}"#, ""),
        (r#"{"match":{"body":{"query":"server","fuzziness":"auto"}}}"#, "2 4"),
        (r#"{"match":{"body":{"query":"srver mial","fuzziness":1,"operator":"and"}}}"#, "2"),
        (r#"{"match":{"title":{"query":"servres","fuzziness":1}}}"#, "1"),
        (r#"{"match":{"section":"net"}}"#, "2"),
        (r#"{"match":{"section":{"query":"kernal","fuzziness":"AUTO"}}}"#, "3"),
        (r#"{"match":{"size":10}}"#, "1"),
        (r#"{"match":{"free":false}}"#, "2"),
        (r#"{"match":{"num":7}}"#, "1"),
        (r#"{"match":{"tags":"wine blue"}}"#, "1"),
        (r#"{"match":{"meta.kind":"deep"}}"#, "1"),
        (r#"{"match":{"title":"the"}}"#, ""),
        (r#"{"multi_match":{"query":"mail","fields":["title^3","body"]}}"#, "2"),
        (r#"{"multi_match":{"query":"kernel would"}}"#, "3"),
        (r#"{"multi_match":{"query":"kernel would","operator":"and"}}"#, "3"),
        (r#"{"multi_match":{"query":"kernel wild","operator":"and"}}"#, ""),
        (r#"{"match_phrase":{"body":"reading mail"}}"#, "2"),
        (r#"{"match_phrase":{"body":"mail reading"}}"#, ""),
        (r#"{"match_phrase":{"body":{"query":"mail reading","slop":2}}}"#, "2"),
        (r#"{"match_phrase":{"tags":"red wine"}}"#, "1"),
        (r#"{"term":{"section":"net"}}"#, "2"),
        (r#"{"term":{"section":{"value":"Net/www"}}}"#, "4"),
        (r#"{"term":{"title":"server"}}"#, "1"),
        (r#"{"term":{"title":"servers"}}"#, ""),
        (r#"{"term":{"tags":"red wine"}}"#, "1"),
        (r#"{"term":{"tags":"wine"}}"#, ""),
        (r#"{"term":{"meta.kind":"Deep Word"}}"#, "1"),
        (r#"{"term":{"num":7.5}}"#, "2"),
        (r#"{"term":{"num":"seven"}}"#, "3"),
        (r#"{"term":{"ok":true}}"#, "3"),
        (r#"{"term":{"when":"2024-05-05T12:00:00+02:00"}}"#, "2"),
        (r#"{"term":{"month":1704067200000}}"#, "1"),
        (r#"{"term":{"price":2}}"#, "2"),
        (r#"{"term":{"id":3}}"#, "3"),
        (r#"{"terms":{"section":["net","kernel","nothing"]}}"#, "2 3"),
        (r#"{"terms":{"section":[]}}"#, ""),
        (r#"{"terms":{"title":["server","kernel"]}}"#, "1 3"),
        (r#"{"terms":{"size":[10,900]}}"#, "1 2"),
        (r#"{"terms":{"num":[7,"seven"]}}"#, "1 3"),
        (r#"{"terms":{"tags":["blue","red wine"]}}"#, "1"),
        (r#"{"terms":{"id":["1","4"]}}"#, "1 4"),
        (r#"{"range":{"size":{"gte":10}}}"#, "1 2"),
        (r#"{"range":{"size":{"gt":10,"lt":1000}}}"#, "2"),
        (r#"{"range":{"size":{"gte":null,"lte":0}}}"#, "2"),
        (r#"{"range":{"size":{}}}"#, "1 2"),
        (r#"{"range":{"num":{"gt":7}}}"#, "2"),
        (r#"{"range":{"month":{"gte":"2024-01-01T00:00:00Z"}}}"#, "1"),
        (r#"{"range":{"section":{"gte":"l","lt":"n"}}}"#, "2"),
        (r#"{"prefix":{"title":"Serv"}}"#, "1"),
        (r#"{"prefix":{"section":"net"}}"#, "1 2"),
        (r#"{"prefix":{"section":{"value":"Net"}}}"#, "4"),
        (r#"{"prefix":{"note":"w"}}"#, "1 2 3"),
        (r#"{"prefix":{"file":"notes.t"}}"#, "4"),
        (r#"{"prefix":{"meta.kind":"Deep W"}}"#, "1"),
        (r#"{"prefix":{"id":"3"}}"#, "3"),
        (r#"{"wildcard":{"note":"w?*ld"}}"#, "1 2 3"),
        (r#"{"wildcard":{"section":"n*/www"}}"#, "1"),
        (r#"{"wildcard":{"file":"*.txt"}}"#, "4"),
        (r#"{"wildcard":{"title":"*"}}"#, "1 2 3"),
        (r#"{"regexp":{"section":"[nN]et.*"}}"#, "1 2 4"),
        (r#"{"regex":{"note":{"value":"w(i|or)ld"}}}"#, "1 2"),
        (r#"{"regexp":{"body":"S.RVER"}}"#, "2 4"),
        (r#"{"fuzzy":{"body":"servr"}}"#, "2"),
        (r#"{"fuzzy":{"body":{"value":"server","fuzziness":1,"prefix_length":2}}}"#, "2"),
        (r#"{"fuzzy":{"section":"kernal"}}"#, "3"),
        (r#"{"exists":{"field":"title"}}"#, "1 2 3"),
        (r#"{"exists":{"field":"section"}}"#, "1 2 3 4"),
        (r#"{"exists":{"field":"meta"}}"#, "1 2"),
        (r#"{"exists":{"field":"file"}}"#, "4"),
        (r#"{"exists":{"field":"unheard"}}"#, ""),
        (r#"{"ids":{"values":["1",3,"9"]}}"#, "1 3"),
        (r#"{"bool":{}}"#, "1 2 3 4"),
        (r#"{"bool":{"must":{"match":{"body":"server"}},"must_not":[{"term":{"section":"mail"}}]}}"#, ""),
        (r#"{"bool":{"must_not":{"exists":{"field":"title"}}}}"#, "4"),
        (r#"{"bool":{"filter":{"term":{"section":"net"}},"should":{"match":{"title":"web"}}}}"#, "2"),
        (
            r#"{"bool":{"filter":{"exists":{"field":"title"}},"should":[{"match":{"title":"web"}},{"match":{"title":"mail"}}],"minimum_should_match":1}}"#,
            "1 2",
        ),
        (
            r#"{"bool":{"should":[{"match":{"body":"server"}},{"term":{"section":"net"}},{"range":{"size":{"gt":1000}}}],"minimum_should_match":2}}"#,
            "2",
        ),
        (r#"{"bool":{"should":[{"match_all":{}}],"minimum_should_match":2}}"#, ""),
        (r#"{"bool":{"should":[{"match":{"title":"web"}}],"minimum_should_match":0,"filter":{"match_all":{}}}}"#, "1 2 3 4"),
        (r#"{"constant_score":{"filter":{"match":{"body":"mail server"}},"boost":3}}"#, "2"),
        (r#"{"query_string":{"query":"title:web OR section:kernel"}}"#, "1 3"),
        (r#"{"query_string":{"query":"web mail","default_field":"title","default_operator":"and"}}"#, ""),
        (r#"{"query_string":{"query":"web mail","fields":["title","body^2"]}}"#, "1 2"),
        (r#"{"simple_query_string":{"query":"kernel (","fields":["title"]}}"#, "3"),
    ] {
        assert_eq!(ids(&index, query), expected, "{query}");
    }
}

#[test]
fn strings_have_patterns_and_typos_too() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for (query, expected) in [
        ("serv*", "1 2"),
        ("title:SERV*", "1"),
        ("w?ld", "1"),
        ("*rld", "2"),
        ("note:wo*", "2 3"),
        ("section:net*", "1 2"),
        ("file:*.txt", "4"),
        ("sarver~1", "1 2 4"),
        ("body:servr~", "2"),
        ("/wo(rl|ul)d/", "2 3"),
        ("section:/[nN]et.www/", "1 4"),
        ("_exists_:file", "4"),
        ("_exists_:title", "1 2 3"),
        ("title:*", "1 2 3"),
        ("*:* -_exists_:title", "4"),
        ("size:>=10", "1 2"),
        ("+size:{10 TO *] +note:w*", "2"),
        ("title:(web OR mail) AND NOT section:mail", "1"),
        ("month:2024-01-01T00:00:00Z", "1"),
        ("\"mail reading\"~2", "2"),
    ] {
        assert_eq!(matching(&index, query).join(" "), expected, "{query}");
    }
    let options = TextOptions { fuzziness: Fuzziness::Auto, ..TextOptions::default() };
    let typos = Query::parse_with("mial raeder size:10", &options).unwrap();
    assert_eq!(matching_of(&index, typos), ["1", "2"]);
}

#[test]
fn what_is_right_comes_before_what_is_near_and_constants_count_as_they_say() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    let scores = |query: Query| -> Vec<(String, f32)> {
        index.search(&spec_of(query, 10)).unwrap().hits.into_iter().map(|hit| (hit.id, hit.score.unwrap())).collect()
    };
    let near = scores(tree(r#"{"match":{"body":{"query":"server","fuzziness":1}}}"#));
    assert_eq!((near[0].0.as_str(), near[1].0.as_str(), near[1].1), ("2", "4", 1.0));
    let one = |json: &str| scores(tree(json))[0].1;
    assert_eq!(one(r#"{"constant_score":{"filter":{"match":{"title":"web"}},"boost":2.5}}"#), 2.5);
    assert_eq!(one(r#"{"prefix":{"section":{"value":"net","boost":3}}}"#), 3.0);
    assert_eq!(one(r#"{"terms":{"section":["net","mail"],"boost":0.5}}"#), 0.5);
    assert_eq!(one(r#"{"bool":{"filter":[{"match":{"title":"web"}},{"term":{"section":"net/www"}}]}}"#), 0.0);
    let plain = one(r#"{"match":{"title":"web"}}"#);
    let filtered = one(r#"{"bool":{"must":{"match":{"title":"web"}},"filter":{"prefix":{"section":"net"}}}}"#);
    assert_eq!(plain, filtered);
    let twice = one(r#"{"bool":{"must":{"match":{"title":{"query":"web","boost":2}}},"boost":1.5}}"#);
    assert!((twice - 3.0 * plain).abs() < 1e-3 * twice, "{twice}, {plain}");
    // The boost of the definition counts without a field only.
    assert!((scores(parsed("web"))[0].1 - 2.0 * plain).abs() < 1e-3 * plain);
    let spec = SearchSpec { filter: Some(tree(r#"{"term":{"section":"net"}}"#)), ..spec_of(parsed("server"), 10) };
    let found = index.search(&spec).unwrap();
    let unfiltered = scores(parsed("server"));
    assert_eq!(found.total, Some(1));
    assert!(unfiltered.contains(&(found.hits[0].id.clone(), found.hits[0].score.unwrap())), "{found:?}, {unfiltered:?}");
}

#[test]
fn what_makes_no_sense_in_a_field_is_refused_with_its_name() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for (query, part) in [
        (r#"{"match":{"size":"ten"}}"#, "size"),
        (r#"{"term":{"free":"maybe"}}"#, "free"),
        (r#"{"terms":{"month":["2024-01-01T00:00:00Z","soon"]}}"#, "month"),
        (r#"{"range":{"price":{"gte":"cheap"}}}"#, "price"),
        (r#"{"range":{"title":{"gte":"a"}}}"#, "title"),
        (r#"{"range":{"free":{"gte":false}}}"#, "free"),
        (r#"{"prefix":{"size":"1"}}"#, "size"),
        (r#"{"wildcard":{"price":"1*"}}"#, "price"),
        (r#"{"regexp":{"free":"t.*"}}"#, "free"),
        (r#"{"fuzzy":{"month":"2024"}}"#, "month"),
        (r#"{"match":{"meta":"x"}}"#, "meta"),
        (r#"{"term":{"meta":"x"}}"#, "meta"),
        (r#"{"prefix":{"meta":"x"}}"#, "meta"),
        (r#"{"regexp":{"section":"("}}"#, "unclosed"),
    ] {
        let text = refusal_of(&index, tree(query));
        assert!(text.contains(part), "{query}: {text}");
    }
    let closed = definition(r#"{"dynamic":false,"fields":{"title":{"type":"text"}}}"#);
    let (_directory, index) = filled(&closed, &[("1", r#"{"title":"web"}"#)]);
    for kind in ["match", "match_phrase", "term", "prefix", "wildcard", "regexp", "fuzzy"] {
        let text = refusal_of(&index, tree(&format!(r#"{{"{kind}":{{"titel":"web"}}}}"#)));
        assert!(text.contains("titel") && text.contains("title"), "{kind}: {text}");
    }
}

/// An index of many different words.
fn large() -> (TempDir, PartitionIndex) {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition(r#"{"fields":{"title":{"type":"text"}}}"#));
    let mut writer = index.writer().unwrap();
    let mut random = Random(5);
    for number in 0..5000 {
        let words: Vec<String> = (0..10).map(|_| format!("w{:x}", random.below(1 << 40))).collect();
        writer.put(&number.to_string(), format!(r#"{{"title":"{}","n":{number}}}"#, words.join(" ")).as_bytes()).unwrap();
    }
    writer.commit(&checkpoint(1)).unwrap();
    (directory, index)
}

#[test]
fn hostile_queries_are_refused_or_end_soon() {
    let (_directory, index) = large();
    let start = Instant::now();
    let many = |kind: &str, count: usize, each: &dyn Fn(usize) -> String| {
        let clauses: Vec<String> =
            (0..count).map(|number| format!("{{\"{kind}\":{{\"title\":\"{}\"}}}}", each(number))).collect();
        tree(&format!("{{\"bool\":{{\"should\":[{}]}}}}", clauses.join(",")))
    };
    for (what, query) in [
        ("leading wildcards", many("wildcard", 100, &|number| format!("*{number:x}*"))),
        ("wildcards all over", many("wildcard", 100, &|number| format!("*{:x}*{:x}*?*", number % 16, number / 16))),
        ("one letter", many("prefix", 100, &|_| "w".to_owned())),
        ("all regexes", many("regexp", 20, &|number| format!("(.*{number:x}){{6}}.*"))),
        ("typos", many("fuzzy", 40, &|number| format!("w{number:x}abcdefghij"))),
        ("words", many("match", 1000, &|number| format!("w{number}"))),
        ("too many patterns", many("prefix", 1000, &|number| format!("w{number}"))),
        ("ranges", parsed(&"n:[1 TO 2] ".repeat(1000))),
        ("nested", parsed(&format!("{}w*{}", "(a ".repeat(50), ")".repeat(50)))),
    ] {
        match index.search(&spec_of(query, 10)) {
            Ok(_) | Err(crate::SearchError::InvalidQuery(_)) => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let steps = |number: usize| format!("*{:x}*{:x}*", number % 16, number / 16);
    let text = refusal_of(&index, many("wildcard", 120, &steps));
    assert!(text.contains("match too much"), "{text}");
    assert!(refusal_of(&index, many("prefix", 200, &|number| format!("w{number}"))).contains("more than 128"));
    assert!(refusal_of(&index, parsed(&"n:[1 TO 2] ".repeat(300))).contains("more than 256"));
}

#[test]
fn words_of_patterns_and_typos_are_highlighted() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    for (query, field, passage) in [
        ("title:serv*", "title", "The web <b>servers</b>"),
        ("body:serv*", "body", "<b>serving</b> fast pages"),
        ("note:w?ld", "note", "<b>wild</b> card"),
        ("note:/.*d/", "note", "<b>wild</b> <b>card</b>"),
        ("wild*", "note", "<b>wild</b> card"),
        ("note:wlid~1 body:pages", "note", "<b>wild</b> card"),
        ("tags:\"red wine\"", "tags", "<b>red</b> <b>wine</b>"),
    ] {
        let spec = SearchSpec { highlight: true, max_bytes: 10_000, ..spec_of(parsed(query), 10) };
        let hits = index.search(&spec).unwrap().hits;
        let hit = hits.into_iter().find(|hit| hit.id == "1").unwrap_or_else(|| panic!("{query}"));
        let highlights = hit.found.unwrap().highlights;
        assert_eq!(highlights.get(field).map(|passages| passages[0].as_str()), Some(passage), "{query}: {highlights:?}");
    }
    let filter = Some(parsed("serving"));
    let spec = SearchSpec { highlight: true, max_bytes: 10_000, filter, ..spec_of(parsed("title:web"), 10) };
    let highlights = index.search(&spec).unwrap().hits.remove(0).found.unwrap().highlights;
    assert_eq!(highlights.keys().collect::<Vec<_>>(), ["title"]);
}

#[test]
fn a_plan_names_the_terms_that_it_scores_by() {
    let (_directory, index) = filled(&definition(DEFINITION), &DOCUMENTS);
    let count = |query: Query| {
        let plan = crate::query::Plan::new(&query, Some(&parsed("body:filter")), index.fields(), index.tantivy().tokenizers());
        plan.unwrap().scored_terms().count()
    };
    assert_eq!(count(parsed("title:web")), 1);
    // In two texts and in all dynamic strings.
    assert_eq!(count(parsed("web mail")), 6);
    assert_eq!(count(parsed("title:\"web server\" section:net -body:mail note:word")), 4);
    assert_eq!(count(parsed("serv* size:[1 TO 5] num:7 id:1")), 1);
    assert_eq!(count(tree(r#"{"constant_score":{"filter":{"match":{"title":"web"}}}}"#)), 0);
    assert_eq!(count(tree(r#"{"match":{"body":{"query":"server","fuzziness":1}}}"#)), 1);
}
