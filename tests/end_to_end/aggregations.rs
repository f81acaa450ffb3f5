//! Aggregations, facets, suggestions and merges on demand.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::deployment::PATIENCE;
use warren_tests::searches::Retried;
use warren_tests::{eventually, http};

use crate::deployment::Server;
use crate::stacks::{all_is_there, none_failed, searches, stack, written};
use crate::up::up;

/// The blocks of the page of documentation, each with what its fence says of it.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((kind.to_owned(), body.join("\n")));
        }
    }
    blocks
}

/// Equal; percentiles to 1 %, and other fractions to their last bits.
fn alike(left: &Value, right: &Value, estimated: bool) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= if estimated { 0.01 } else { 1e-9 } * a.abs()
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b, estimated)),
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, value): (&String, &Value)| {
                b.get(key).is_some_and(|other| alike(value, other, estimated || key == "values"))
            };
            a.len() == b.len() && a.iter().all(same)
        }
        _ => left == right,
    }
}

async fn search(server: &Server, index: &str, request: &Value) -> Result<(u16, Value)> {
    http::answer(server.request(Method::POST, &format!("/indexes/{index}/search")).json(request)).await
}

async fn aggregated(server: &Server, index: &str, request: &Value) -> Result<Value> {
    let (status, mut answer) = search(server, index, request).await?;
    ensure!(status == 200 && answer["partitions"]["failed"] == json!([]), "{request}: {status}: {answer}");
    Ok(answer["aggregations"].take())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_documentation_answers_what_it_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[("WARREN__QUERY__MAX_BUCKETS", "1000")]).await?;
    let page = blocks(include_str!("../../docs/aggregations.md"));
    let block = |kind: &str| page.iter().find(|(found, _)| found == kind).map(|(_, body)| body).context("a block is missing");
    server.create("shelf", &serde_json::from_str(block("json definition")?)?).await?;
    let documents = block("ndjson documents")?.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    server.publish("shelf", &documents).await?;
    server.found("shelf", documents.len()).await?;

    let examples: Vec<_> = page.windows(2).filter(|pair| pair[0].0 == "json request").collect();
    ensure!(examples.len() >= 9, "only {} examples were found", examples.len());
    // The refusal of an unknown kind names all that there are.
    let (_, problem) = search(&server, "shelf", &json!({"aggregations": {"a": {"unknown": {}}}})).await?;
    let (_, kinds) = problem["detail"].as_str().and_then(|detail| detail.split_once("take one of ")).context("kinds")?;
    for kind in kinds.split(", ") {
        ensure!(examples.iter().any(|pair| pair[0].1.contains(&format!("{{\"{kind}\": "))), "no example of {kind}");
    }
    for pair in examples {
        let [(_, request), (kind, expected)] = pair else { continue };
        ensure!(kind == "json answer", "no answer behind {request}");
        let found = aggregated(&server, "shelf", &serde_json::from_str(request)?).await?;
        ensure!(
            alike(&found, &serde_json::from_str(expected)?, false),
            "{request}\nis answered\n{found}\ninstead of\n{expected}"
        );
    }

    // Facets in the URL; query and filter are seen; what is deleted or replaced counts no more.
    let (_, answer) = server.get("/indexes/shelf/search?q=web&limit=0&facets=section,free").await?;
    assert_eq!(answer["aggregations"]["section"]["buckets"], json!([{"key": "httpd", "doc_count": 2}]), "{answer}");
    let filtered = json!({"filter": "section:net", "limit": 0, "aggs": {"sizes": {"sum": {"field": "size"}}}});
    assert_eq!(aggregated(&server, "shelf", &filtered).await?["sizes"]["value"], 1380.0);
    let (status, _) = http::answer(server.request(Method::DELETE, "/indexes/shelf/documents/wireshark")).await?;
    ensure!(status < 300, "{status}");
    server.publish("shelf", &[json!({"id": "haproxy", "title": "balancer", "section": "admin", "size": 1})]).await?;
    let request = json!({"limit": 0, "facets": ["section"]});
    eventually("what was deleted or replaced counts no more", PATIENCE, async || {
        let found = aggregated(&server, "shelf", &request).await?;
        let keys = json!([{"key": "httpd", "doc_count": 2}, {"key": "admin", "doc_count": 1}, {"key": "utils", "doc_count": 1}]);
        ensure!(found["section"]["buckets"] == keys, "{found}");
        Ok(())
    })
    .await?;
    refusals(&server).await?;
    suggestions(&server).await
}

async fn refusals(server: &Server) -> Result<()> {
    for (request, code, field) in [
        (json!({"aggregations": {"a": {"terms": {"field": "title"}}}}), "invalid_request", "aggregations.a.terms.field"),
        (json!({"aggs": {"a": {"terms": {"field": "section", "size": 1001}}}}), "invalid_request", "aggregations.a.terms.size"),
        (json!({"facets": ["title"]}), "invalid_request", "facets"),
        (json!({"aggs": {"a": {"histogram": {"field": "size", "interval": 0.001}}}}), "too_many_buckets", "aggregations"),
        (
            json!({"aggs": {"a": {"date_histogram": {"field": "released", "fixed_interval": "1ms"}}}}),
            "too_many_buckets",
            "aggregations",
        ),
    ] {
        let (status, problem) = search(server, "shelf", &request).await?;
        assert_eq!((status, &problem["code"], &problem["field"]), (400, &json!(code), &json!(field)), "{request}: {problem}");
    }
    let (status, problem) = server.get("/indexes/shelf/search?facets=title").await?;
    assert_eq!((status, &problem["field"]), (400, &json!("facets")), "{problem}");
    Ok(())
}

async fn suggestions(server: &Server) -> Result<()> {
    let (status, found) = server.get("/indexes/shelf/suggest?q=Small+web+serv").await?;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["completions"], json!([{"text": "Small web server", "word": "server", "documents": 2}]), "{found}");
    let (_, found) = server.get("/indexes/shelf/suggest?q=apahce+web").await?;
    assert_eq!(found["correction"]["text"], "apache web", "{found}");
    let (_, found) = server.get("/indexes/shelf/suggest?q=web").await?;
    assert!(found["correction"].is_null() && found["partitions"]["answered"] == 3, "{found}");
    let (status, problem) = server.get("/indexes/shelf/suggest?q=web&limit=51").await?;
    assert_eq!((status, &problem["field"]), (400, &json!("limit")));
    let (status, _) = server.get("/indexes/none/suggest?q=web").await?;
    assert_eq!(status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_leaves_one_segment_in_every_replica_and_no_search_notices() -> Result<()> {
    let stack = stack(1, 2, 1, &json!({"partitions": 2, "replicas": 2})).await?;
    let ledgers = written(&stack, 3000).await?;
    let searches = searches(&stack, Retried::Refused).await?;
    let server = stack.query()?;
    let merge = async |wait: u32| {
        let path = format!("/indexes/{}/merge?timeout_ms={wait}", stack.index);
        http::answer(server.request(Method::POST, &path)).await
    };
    // It does not hang on a merge that takes long, and goes on with it.
    let (status, first) = merge(1).await?;
    ensure!([200, 202].contains(&status) && (status == 200) == (first["done"] == true), "{status}: {first}");
    let merged = eventually("all is merged", PATIENCE, async || {
        let (status, merged) = merge(10_000).await?;
        let replicas = merged["replicas"].as_array().context("replicas")?;
        let one = |replica: &Value| replica["segments"] == 1 && replica["deleted"] == 0 && replica["done"] == true;
        // What a replica had not read when it was asked comes behind the merge.
        ensure!(status == 200 && replicas.len() == 4 && replicas.iter().all(one), "{status}: {merged}");
        Ok(merged)
    })
    .await?;
    let documents = |partition: u64| {
        let replicas = merged["replicas"].as_array().into_iter().flatten();
        replicas.filter(move |replica| replica["partition"] == partition).map(|replica| replica["documents"].as_u64())
    };
    for partition in 0..2 {
        let counts: Vec<_> = documents(partition).collect();
        ensure!(counts.len() == 2 && counts[0] == counts[1] && counts[0] > Some(0), "replicas differ: {merged}");
    }
    all_is_there(&stack, &ledgers, 0).await?;
    none_failed(searches).await?;
    let (status, problem) = merge(0).await?;
    assert_eq!((status, &problem["field"]), (400, &json!("timeout_ms")));
    let (status, _) = http::answer(server.request(Method::POST, "/indexes/none/merge")).await?;
    assert_eq!(status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregations_with_many_buckets_are_refused_and_others_keep_their_latency() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[("WARREN__WORKER__MAX_AGGREGATION_BYTES", "300000")]).await?;
    server.create("many", &json!({"partitions": 2, "fields": {"user": {"type": "keyword"}, "n": {"type": "integer"}}})).await?;
    let documents: Vec<_> = (0..30_000).map(|n| json!({"id": n, "user": format!("u{n}"), "n": n})).collect();
    for chunk in documents.chunks(10_000) {
        server.publish("many", chunk).await?;
    }
    server.found("many", documents.len()).await?;
    let nested = json!({"limit": 0, "aggs": {"a": {"terms": {"field": "user", "size": 10},
        "aggs": {"b": {"terms": {"field": "n"}, "aggs": {"c": {"percentiles": {"field": "n"}}}}}}}});
    for _ in 0..3 {
        let hostile = async {
            let (status, problem) = search(&server, "many", &nested).await?;
            ensure!(status == 400 && problem["code"] == "too_many_buckets", "{status}: {problem}");
            anyhow::Ok(())
        };
        let other = async {
            let asked = std::time::Instant::now();
            let (status, answer) = server.get("/indexes/many/search?q=user:u7").await?;
            ensure!(status == 200 && answer["total"]["value"] == 1, "{status}: {answer}");
            // Far from what it takes, and as far from a search that waits for millions of buckets.
            ensure!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
            anyhow::Ok(())
        };
        tokio::try_join!(hostile, other)?;
    }
    Ok(())
}
