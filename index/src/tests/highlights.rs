//! Passages, and how much of a reply they and the documents take.

use warren_protocol::Query;
use warren_protocol::rpc::{DocumentParts, Fetch, Search, key_bytes};
use warren_protocol::search::SortKey;

use super::{SearchSpec, Searching, definition, filled, limits, spec};
use crate::PartitionIndex;

fn passages(index: &PartitionIndex, query: &str) -> Vec<(String, Vec<String>)> {
    let spec = SearchSpec { highlight: true, max_bytes: 1_000_000, ..spec(query, 1) };
    let hit = index.search(&spec).unwrap().hits.remove(0);
    hit.found.unwrap().highlights.into_iter().collect()
}

fn single(name: &str, passage: &str) -> Vec<(String, Vec<String>)> {
    vec![(name.to_owned(), vec![passage.to_owned()])]
}

const DEFINITION: &str =
    r#"{"fields":{"title":{"type":"text","analyzer":"english"},"section":{"type":"keyword"},"meta":{"type":"object"}}}"#;

#[test]
fn words_are_marked_where_they_were_sought_and_html_is_escaped() {
    let body = r#"{"id":"needle","title":["about things","Running <script>alert(\"x\")</script> & servers"],"section":"server",
        "text":"a server <b>bold</b> for servers","meta":{"inner":"the <i>server</i>"},"other":"nothing","number":5}"#;
    let (_directory, index) = filled(&definition(DEFINITION), &[("needle", body)]);
    let title = "Running &lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; <b>servers</b>";
    let expected = [
        single("meta.inner", "the &lt;i&gt;<b>server</b>&lt;/i"),
        single("text", "a <b>server</b> &lt;b&gt;bold&lt;/b&gt; for servers"),
        single("title", title),
    ];
    assert_eq!(passages(&index, "server"), expected.concat());
    assert_eq!(passages(&index, "title:server"), single("title", title));
    assert_eq!(passages(&index, "text:servers"), single("text", "a server &lt;b&gt;bold&lt;/b&gt; for <b>servers</b>"));
    assert_eq!(passages(&index, "meta.inner:server^3"), single("meta.inner", "the &lt;i&gt;<b>server</b>&lt;/i"));
    let phrase = "<b>a</b> <b>server</b> &lt;b&gt;bold&lt;/b&gt; for servers";
    assert_eq!(passages(&index, "text:\"a server\""), single("text", phrase));
    assert_eq!(passages(&index, "+number:5 -text:absent"), []);
    assert_eq!(passages(&index, "section:server"), []);
    assert_eq!(passages(&index, "id:needle"), []);
    assert_eq!(passages(&index, "*"), []);

    let fetched =
        index.fetch(&["needle".to_owned()], Some(&Query::parse("title:server +(", true).unwrap())).unwrap().remove(0).unwrap();
    assert_eq!(fetched.highlights.keys().collect::<Vec<_>>(), ["title"]);
    assert_eq!(fetched.body, body.as_bytes());
}

#[test]
fn passages_are_short_and_few() {
    let text = format!("{} needle in the hay, {}", "hay ".repeat(5000), "more hay ".repeat(5000));
    let body = serde_json::json!({"title": text, "blob": "x".repeat(100_000)}).to_string();
    let many: serde_json::Map<_, _> = (0..50).map(|number| (format!("f{number}"), "needle".into())).collect();
    let many = serde_json::Value::from(many).to_string();
    let (_directory, index) = filled(&definition(DEFINITION), &[("1", &body), ("2", &many)]);
    let title = passages(&index, "title:needle").remove(0).1.remove(0);
    assert!(title.contains("<b>needle</b>") && title.len() < 200, "{title}");
    assert_eq!(passages(&index, "needle -title:needle").len(), 10);
}

#[test]
fn documents_come_along_until_the_reply_is_full() {
    let bodies: Vec<String> = (0..5).map(|number| format!(r#"{{"n":{number},"text":"word {}"}}"#, "x".repeat(100))).collect();
    let documents: Vec<(String, &str)> =
        bodies.iter().enumerate().map(|(number, body)| (format!("id-{number}"), body.as_str())).collect();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(id, body)| (id.as_str(), *body)).collect();
    let (_directory, index) = filled(&definition("{}"), &documents);
    let carried = |max_bytes| {
        let result = index.search(&SearchSpec { max_bytes, ..spec("word", 5) }).unwrap();
        assert_eq!(result.total, Some(5));
        assert_eq!(result.hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["id-0", "id-1", "id-2", "id-3", "id-4"]);
        result.hits.iter().map(|hit| hit.found.is_some()).collect::<Vec<_>>()
    };
    let (one, keys) = (bodies[0].len(), 5 * key_bytes("id-0", &[]));
    assert_eq!(carried(0), [false; 5]);
    assert_eq!(carried(keys + one * 2 + 1), [true, true, false, false, false]);
    assert_eq!(carried(keys + one * 5), [true; 5]);
    let none = index.search(&SearchSpec { hits: 0, ..spec("word", 0) }).unwrap();
    assert_eq!((none.total, none.hits.len()), (Some(5), 0));
    let uncounted = index.search(&SearchSpec { count: false, ..spec("word", 3) }).unwrap();
    assert_eq!((uncounted.total, uncounted.hits.len()), (None, 3));
}

#[test]
fn what_is_read_at_once_is_bounded_however_little_of_it_is_wanted() {
    let body = serde_json::json!({"n": 1, "text": format!("word {}", "x".repeat(20_000))}).to_string();
    let ids: Vec<String> = (0..9).map(|number| format!("id-{number}")).collect();
    let documents: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), body.as_str())).collect();
    let (_directory, index) = filled(&definition("{}"), &documents);
    let document = || DocumentParts { fields: Some(vec!["n".to_owned()]), highlight: None };
    let search = Search { query: super::parsed("word"), hits: 9, document: document(), ..Search::default() };
    // Room for all that is wanted of them, and for reading four of them.
    let max_bytes = 4096;
    let found = index.view().search(&search, &limits(max_bytes)).unwrap().hits;
    assert_eq!(found.iter().map(|hit| hit.found.is_some()).collect::<Vec<_>>(), [[true; 4].as_slice(), &[false; 5]].concat());
    let fetch = Fetch { ids, document: document(), ..Fetch::default() };
    assert_eq!(index.view().fetch(&fetch, &limits(max_bytes)).unwrap().len(), 4, "the rest is asked for again");
    assert_eq!(index.view().fetch(&fetch, &limits(1)).unwrap().len(), 1);
}

#[test]
fn values_of_a_sort_that_no_reply_holds_are_refused() {
    let section = "s".repeat(30_000);
    let body = serde_json::json!({"section": section}).to_string();
    let ids: Vec<String> = (0..600).map(|number| format!("id-{number}")).collect();
    let documents: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), body.as_str())).collect();
    let (_directory, index) = filled(&definition(DEFINITION), &documents);
    let search = |hits| Search { hits, sort: vec![SortKey::parse("section").unwrap()], ..Search::default() };
    let refused = index.view().search(&search(600), &limits(0)).unwrap_err();
    assert!(matches!(refused, crate::SearchError::InvalidRequest { field: "limit", .. }), "{refused}");
    assert_eq!(index.view().search(&search(400), &limits(0)).unwrap().hits.len(), 400);
}
