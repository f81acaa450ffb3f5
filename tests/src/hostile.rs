//! Requests that are made to hurt, against the sample's index: each has to be refused, or answered within its deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Api;

/// The fields of the sample's index that hold texts or keywords.
const FIELDS: [&str; 8] = ["title", "body", "section", "maintainer", "version", "architecture", "homepage", "tags"];
/// What a search may take unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a search may ask for.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest path that an HTTP library sends.
const MAX_PATH_BYTES: usize = 65_000;

/// How a request may be answered: the status, and the code of a problem.
type Answer = (u16, &'static str);

const FOUND: &[Answer] = &[(200, "")];
const BAD_QUERY: &[Answer] = &[(400, "invalid_query")];
const BAD_REQUEST: &[Answer] = &[(400, "invalid_request")];
const TOO_LARGE: &[Answer] = &[(413, "too_large")];
const TOO_MANY_BUCKETS: &[Answer] = &[(400, "too_many_buckets")];
/// Work without a limit of its own: done by the deadline, as far as it got; or refused while it runs.
const BY_DEADLINE: &[Answer] = &[(200, ""), (400, "invalid_query"), (400, "too_many_buckets"), (503, "no_partition")];
/// What the HTTP server itself refuses: without a body, and maybe by closing the connection.
const NO_REQUEST: &[Answer] = &[(414, ""), (431, ""), (CLOSED, "")];
const CLOSED: u16 = 0;
/// What a busy machine may take for what has to be found.
const PATIENT: u64 = 20_000;

/// One request.
pub struct Hostile {
    /// What it does.
    pub name: String,
    /// When it has to be answered at the latest, on an idle machine.
    pub deadline: Duration,
    expected: &'static [Answer],
    method: Method,
    path: String,
    encoding: Option<&'static str>,
    body: Bytes,
    /// Whether it is for the producer.
    upload: bool,
}

impl Hostile {
    fn search(name: &str, mut request: Value, expected: &'static [Answer]) -> Self {
        if expected == FOUND && request.get("timeout_ms").is_none() {
            request["timeout_ms"] = PATIENT.into();
        }
        let deadline = request["timeout_ms"].as_u64().map_or(TIMEOUT, Duration::from_millis).min(LONGEST);
        Self { deadline, ..Self::post(name, request.to_string(), expected) }
    }

    fn post(name: &str, body: impl Into<Bytes>, expected: &'static [Answer]) -> Self {
        let (name, body, path) = (name.to_owned(), body.into(), "search".to_owned());
        Self { name, deadline: TIMEOUT, expected, method: Method::POST, path, encoding: None, body, upload: false }
    }

    fn get(name: &str, path: String, expected: &'static [Answer]) -> Self {
        Self { method: Method::GET, path, ..Self::post(name, "", expected) }
    }

    fn upload(name: &str, encoding: &'static str, body: Vec<u8>, expected: &'static [Answer]) -> Self {
        let path = "documents".to_owned();
        Self { path, encoding: Some(encoding), upload: true, ..Self::post(name, body, expected) }
    }

    /// Sends it; how long the answer took. An error if it is none of those that are due.
    pub async fn send(&self, producer: &Api, query: &Api, index: &str) -> Result<Duration> {
        let server = if self.upload { producer } else { query };
        let path = format!("/indexes/{index}/{}", self.path);
        let asked = Instant::now();
        let answered = timeout(LONGEST * 2, async {
            if path.len() > MAX_PATH_BYTES {
                return raw(&server.address, &path).await;
            }
            let mut request = server.request(self.method.clone(), &path).body(self.body.clone()).timeout(LONGEST * 2);
            if let Some(encoding) = self.encoding {
                request = request.header("content-encoding", encoding);
            }
            let response = request.send().await?;
            Ok((response.status().as_u16(), response.bytes().await?))
        });
        let (status, body) = answered.await.map_err(anyhow::Error::from).flatten().with_context(|| self.name.clone())?;
        let took = asked.elapsed();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default();
        let due = self.expected.contains(&(status, code));
        let start: String = String::from_utf8_lossy(&body).chars().take(500).collect();
        ensure!(due, "{}: {status} {code} instead of {:?}: {start}", self.name, self.expected);
        Ok(took)
    }
}

/// A request that no client of ours would send; [`CLOSED`] if the server hangs up.
async fn raw(address: &str, path: &str) -> Result<(u16, Bytes)> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    // Either fails if the server does not read to the end.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    let status =
        std::str::from_utf8(&answer).ok().and_then(|text| text.split_whitespace().nth(1)).map_or(Ok(CLOSED), str::parse)?;
    Ok((status, Bytes::new()))
}

/// All of them.
pub fn requests() -> Vec<Hostile> {
    [clauses(), patterns(), sizes(), aggregations(), ranges()].into_iter().flatten().collect()
}

fn everywhere(pattern: &str) -> String {
    FIELDS.map(|field| format!("{field}:{pattern}")).join(" ")
}

fn words(count: usize) -> String {
    (0..count).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ")
}

fn nested(open: &str, depth: usize, inner: &str, close: &str) -> String {
    [&open.repeat(depth), inner, &close.repeat(depth)].concat()
}

/// Many clauses, deep ones, and those that match everything.
fn clauses() -> Vec<Hostile> {
    let terms = |count| (0..count).map(|number| json!({"term": {"section": format!("s{number}")}})).collect::<Vec<_>>();
    let bools = |depth| format!(r#"{{"query":{}}}"#, nested(r#"{"bool":{"must":"#, depth, r#"{"match_all":{}}"#, "}}"));
    let parentheses = nested("(", 2000, "web", ")");
    // Words that are in most documents, and a phrase that may be moved far.
    let common = "the a of and to for in is with ".repeat(20);
    let all = json!({"bool": {"should": vec![json!({"match_all": {}}); 1000], "minimum_should_match": 999}});
    vec![
        Hostile::search("10,000 clauses", json!({"query": {"bool": {"should": terms(10_000)}}}), BAD_QUERY),
        Hostile::search("1,000 clauses", json!({"query": {"bool": {"should": terms(1000)}}}), FOUND),
        Hostile::search("1,000 clauses that match everything", json!({"query": all}), BY_DEADLINE),
        Hostile::search("10,000 words", json!({"query": words(10_000)}), BAD_QUERY),
        Hostile::search("1,000 words", json!({"query": words(1000)}), FOUND),
        Hostile::post("2,000 levels of JSON", bools(2000), BAD_REQUEST),
        Hostile::post("60 levels of a tree", bools(60), BAD_QUERY),
        Hostile::search("2,000 parentheses", json!({"query": parentheses}), BAD_QUERY),
        Hostile::search("2,000 parentheses, leniently", json!({"query": parentheses, "lenient": true}), FOUND),
        Hostile::get("2,000 parentheses as a parameter", format!("search?q={parentheses}"), FOUND),
        Hostile::search(
            "a phrase of 180 common words that may stand anywhere",
            json!({"query": format!("\"{common}\"~1000")}),
            BY_DEADLINE,
        ),
        Hostile::search(
            "180 common words in all texts",
            json!({"query": {"multi_match": {"query": common, "operator": "and"}}}),
            BY_DEADLINE,
        ),
        Hostile::search("a tree that is no tree", json!({"query": {"bool": {"must": [[[[[]]]]]}}}), BAD_QUERY),
    ]
}

/// Wildcards, regular expressions and typos.
fn patterns() -> Vec<Hostile> {
    let bounded = |name, query: String| Hostile::search(name, json!({"query": query}), BY_DEADLINE);
    let either: String = (0..40).map(|number| format!("title:*{}* ", char::from(b'a' + number % 26))).collect();
    vec![
        Hostile::search("everything", json!({"query": "*"}), FOUND),
        bounded("*a*b*c* everywhere", everywhere("*a*b*c*")),
        bounded("*e* everywhere", everywhere("*e*")),
        bounded("a* everywhere", everywhere("a*")),
        bounded("40 wildcards", either),
        bounded("(.*a){50} everywhere", everywhere("/(.*a){50}/")),
        bounded(".* everywhere", everywhere("/.*/")),
        bounded("an expression that grows with the word", everywhere("/(a|b|ab|ba)*(a|b|ab|ba)*c/")),
        bounded("250 question marks", format!("body:a{}", "?".repeat(250))),
        Hostile::search("(((a{100}){100}){100}", json!({"query": "title:/((a{100}){100}){100}/"}), BAD_QUERY),
        Hostile::search(
            "an expression of 10,000 characters",
            json!({"query": {"regexp": {"title": "a|".repeat(5000)}}}),
            BAD_QUERY,
        ),
        Hostile::search(
            "a wildcard of 10,000 characters",
            json!({"query": {"wildcard": {"title": "a*".repeat(5000)}}}),
            BAD_QUERY,
        ),
        Hostile::search(
            "a long word with typos",
            json!({"query": {"fuzzy": {"body": {"value": "a".repeat(10_000), "fuzziness": 2}}}}),
            BAD_QUERY,
        ),
        bounded(
            "words with typos",
            FIELDS
                .iter()
                .flat_map(|field| (0..15).map(move |number| format!("{field}:{}{number}~2 ", "abcdefghij".repeat(4))))
                .collect(),
        ),
        bounded("200 short words with typos", (0..200).map(|number| format!("body:x{number}~2 ")).collect()),
    ]
}

/// Large bodies, long lists, deep pages.
fn sizes() -> Vec<Hostile> {
    let keys: Vec<String> = (0..1000).map(|number| format!("f{number}")).collect();
    let all = json!({"limit": 1000, "offset": 10_000, "query": "the", "highlight": {"fragments": 20, "size": 1000}});
    let long: Vec<&str> = vec!["-installed_size", "size", "section", "version", "architecture", "homepage", "_score", "id"];
    let mut sorted = all.clone();
    sorted["sort"] = json!(long);
    let mut large =
        json!({"query": "the", "limit": 1000, "highlight": {"fragments": 20, "size": 1000, "pre_tag": "<".repeat(100)}});
    large["timeout_ms"] = 10_000.into();
    vec![
        Hostile::post("100 MB of blanks", vec![b' '; 100 << 20], TOO_LARGE),
        Hostile::post("100 MB of an open string", [b"{\"query\":\"".to_vec(), vec![b'x'; 100 << 20]].concat(), TOO_LARGE),
        Hostile {
            encoding: Some("gzip"),
            ..Hostile::post("a packed search", bomb(256 << 20), &[(415, "unsupported_media_type")])
        },
        Hostile::upload(
            "a packed document of 256 MiB",
            "gzip",
            bomb(256 << 20),
            &[(413, "too_large"), (422, "all_rejected"), (400, "invalid_json")],
        ),
        Hostile::get("1 MB of parameters", format!("search?q={}", "x".repeat(1 << 20)), NO_REQUEST),
        Hostile::get("60 KB of parameters", format!("search?q={}", "x".repeat(60_000)), FOUND),
        Hostile::search("a text of 1 MB", json!({"query": "x".repeat(1 << 20)}), BAD_QUERY),
        Hostile::search("offset 10,000, limit 1,000, long passages", all, BY_DEADLINE),
        Hostile::search("the same, sorted by eight keys", sorted, BY_DEADLINE),
        Hostile::search("1,000 hits with all passages", large, &[(200, ""), (413, "too_large"), (503, "no_partition")]),
        Hostile::search("limit 1,001", json!({"limit": 1001}), BAD_REQUEST),
        Hostile::search("offset 10,001", json!({"offset": 10_001}), BAD_REQUEST),
        Hostile::search("1,000 keys of a sort", json!({"sort": keys}), BAD_REQUEST),
        Hostile::search("1,000 fields", json!({"fields": keys}), BAD_REQUEST),
        Hostile::search("1,000 fields of passages", json!({"highlight": {"fields": keys}}), BAD_REQUEST),
        Hostile::search("20,000 positions", json!({"at_least": vec!["1.0.1"; 20_000]}), BAD_REQUEST),
        Hostile::search("no time", json!({"timeout_ms": 0}), BAD_REQUEST),
        Hostile::search("a day", json!({"timeout_ms": 86_400_000}), BAD_REQUEST),
        Hostile::search("a minute", json!({"query": "web", "timeout_ms": 60_000}), FOUND),
        Hostile::search("a millisecond", json!({"query": everywhere("*a*b*c*"), "timeout_ms": 1}), BY_DEADLINE),
        Hostile::search("a cursor of 1 MB", json!({"after": "A".repeat(1 << 20)}), BAD_REQUEST),
        Hostile::get("suggestions for 10 KB", format!("suggest?q={}", "x".repeat(10_000)), BAD_REQUEST),
    ]
}

/// Aggregations that would make more than anybody can read.
fn aggregations() -> Vec<Hostile> {
    let of =
        |name, aggregation: Value, expected| Hostile::search(name, json!({"limit": 0, "aggs": {"a": aggregation}}), expected);
    let deep =
        (0..30).fold(json!({"max": {"field": "size"}}), |inner, _| json!({"terms": {"field": "section"}, "aggs": {"a": inner}}));
    let levels = ["homepage", "version", "tags", "section", "architecture"];
    let product = levels.iter().fold(
        json!({"cardinality": {"field": "homepage"}}),
        |inner, field| json!({"terms": {"field": field, "size": 65_536}, "aggs": {"a": inner}}),
    );
    let many: Map<String, Value> =
        (0..1000).map(|number| (format!("a{number}"), json!({"terms": {"field": "version"}}))).collect();
    let few: Map<String, Value> =
        (0..400).map(|number| (format!("a{number}"), json!({"terms": {"field": "version", "size": 65_536}}))).collect();
    let span = |min: i64, max: i64| json!({"min": min, "max": max});
    vec![
        of("terms, millions of them", json!({"terms": {"field": "version", "size": 5_000_000}}), BAD_REQUEST),
        of("all terms", json!({"terms": {"field": "homepage", "size": 65_536}}), FOUND),
        of("intervals of 1e-9", json!({"histogram": {"field": "size", "interval": 1e-9}}), BAD_REQUEST),
        of("intervals of 1e-6", json!({"histogram": {"field": "size", "interval": 1e-6}}), TOO_MANY_BUCKETS),
        of(
            "a billion empty intervals",
            json!({"histogram": {"field": "size", "interval": 1, "extended_bounds": span(0, 1 << 40)}}),
            TOO_MANY_BUCKETS,
        ),
        of("30 levels", deep, BAD_REQUEST),
        of("a product of five fields", product, BY_DEADLINE),
        of("200 ranges", json!({"range": {"field": "size", "ranges": vec![json!({"from": 1}); 200]}}), BAD_REQUEST),
        Hostile::search("1,000 aggregations", json!({"limit": 0, "aggs": many}), BAD_REQUEST),
        Hostile::search("400 large aggregations", json!({"limit": 0, "aggs": few}), BY_DEADLINE),
    ]
}

/// Long lists of values and ranges.
fn ranges() -> Vec<Hostile> {
    let values = |count| (0..count).map(|number| format!("v{number}")).collect::<Vec<_>>();
    let range = |number| json!({"range": {"size": {"gte": number, "lt": number + 1_000_000}}});
    let ranges = |count| json!({"query": {"bool": {"should": (0..count).map(range).collect::<Vec<_>>()}}});
    vec![
        Hostile::search("8,000 values", json!({"query": {"terms": {"section": values(8000)}}}), FOUND),
        Hostile::search("10,000 values", json!({"query": {"terms": {"section": values(10_000)}}}), BAD_QUERY),
        Hostile::search("8,000 ids", json!({"query": {"ids": {"values": values(8000)}}}), FOUND),
        Hostile::search("250 ranges", ranges(250), BY_DEADLINE),
        Hostile::search("1,000 ranges", ranges(1000), BAD_QUERY),
    ]
}

/// One string in an object, packed; so many bytes.
fn bomb(bytes: u64) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let mut text = std::io::Read::chain(&b"{\"id\":\"bomb\",\"title\":\""[..], std::io::Read::take(std::io::repeat(b'x'), bytes));
    // Memory takes everything.
    let _ = std::io::copy(&mut text, &mut packed);
    packed.finish().unwrap_or_default()
}
