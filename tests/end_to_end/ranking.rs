//! Sorting, paging, parts and passages of hits, over several partitions on RabbitMQ; and that what `docs/search.md` shows works.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::{Api, http};

use crate::deployment::{Deployment, Server, hits, ids};
use crate::sample;
use crate::up::up;

const INDEX: &str = "packages";

async fn search(server: &Api, request: &Value) -> Result<(u16, Value)> {
    http::answer(server.request(Method::POST, &format!("/indexes/{INDEX}/search")).json(request)).await
}

async fn found(server: &Api, request: Value) -> Result<Value> {
    let mut request = request;
    request["timeout_ms"] = 30_000.into();
    let (status, answer) = search(server, &request).await?;
    ensure!(status == 200 && answer["partitions"]["failed"] == json!([]), "{request}: {status}: {answer}");
    Ok(answer)
}

/// Warren in one process on RabbitMQ, with the sample in it.
async fn filled(deployment: &Deployment, folder: &tempfile::TempDir, settings: &[(&str, &str)]) -> Result<(Server, Vec<Value>)> {
    let server = up(folder.path(), &["--broker", deployment.url()], settings).await?;
    let documents = sample::documents()?;
    server.create(INDEX, &sample::definition(4)?).await?;
    server.publish(INDEX, &documents).await?;
    server.found(INDEX, documents.len()).await?;
    Ok((server, documents))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_everything_once_while_documents_are_added() -> Result<()> {
    let (deployment, folder) = (Deployment::new().await?, tempfile::tempdir()?);
    let (server, documents) = filled(&deployment, &folder, &[]).await?;
    // By two fields, with many equal values; and by score, which depends on what is added.
    for request in [
        json!({"sort": ["section", "-installed_size"], "limit": 500}),
        json!({"query": "a library for the web server and the mail", "limit": 400}),
    ] {
        let start = match request["query"].as_str() {
            None => documents.iter().map(|document| sample::id(document).to_owned()).collect(),
            Some(_) => everything(&server, &request).await?,
        };
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut order: Vec<(String, i64)> = Vec::new();
        let (mut request, mut page) = (request, 0);
        request["highlight"] = false.into();
        request["total"] = false.into();
        loop {
            let mut answer = found(&server, request.clone()).await?;
            for hit in hits(&answer) {
                *seen.entry(hit["id"].as_str().context("an id")?.to_owned()).or_default() += 1;
                let section = hit["sort"][0].as_str().unwrap_or_default().to_owned();
                order.push((section, -hit["sort"][1].as_i64().unwrap_or(i64::MIN + 1)));
            }
            let after = answer["after"].take();
            if after.is_null() {
                break;
            }
            request["after"] = after;
            let added: Vec<Value> = (0..20)
                .map(|number| {
                    let mut document = documents[(page * 20 + number) * 13 % documents.len()].clone();
                    document["id"] = format!("added-{page}-{number}-{}", request["limit"]).into();
                    document
                })
                .collect();
            server.publish(INDEX, &added).await?;
            page += 1;
        }
        ensure!(page > 2, "only {page} pages");
        ensure!(seen.values().all(|times| *times == 1), "a document came twice: {request}");
        let missing = start.iter().filter(|id| !seen.contains_key(*id)).count();
        ensure!(missing == 0, "{missing} documents are missing: {request}");
        ensure!(request["sort"].is_null() || order.is_sorted(), "the order of the pages is not that of the sort");
    }
    Ok(())
}

/// The ids of all hits, by offsets.
async fn everything(server: &Api, request: &Value) -> Result<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let mut page = request.clone();
        page["limit"] = 1000.into();
        page["offset"] = all.len().into();
        page["fields"] = json!([]);
        let some = ids(&found(server, page).await?);
        all.extend_from_slice(&some);
        if some.len() < 1000 {
            return Ok(all);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_come_with_what_was_asked_for_in_one_phase_or_two() -> Result<()> {
    let deployment = Deployment::new().await?;
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (server, documents) = filled(&deployment, &one, &[]).await?;
    let other = Deployment::new().await?;
    // So small that nearly all documents are fetched in a second phase.
    let (second, _) = filled(&other, &two, &[("WARREN__WORKER__MAX_ANSWER_BYTES", "300")]).await?;
    let requests = [
        json!({"query": "web server", "limit": 50}),
        json!({"query": "web server", "limit": 20, "fields": ["title", "s*"], "sort": ["-size", "_score"]}),
        json!({"query": "web server", "highlight": {"fields": ["body"], "fragments": 3, "size": 60, "pre_tag": "<em>", "post_tag": "</em>"}}),
        json!({"query": "library", "filter": "section:net", "limit": 5, "offset": 7, "sort": ["maintainer_is_no_field"]}),
    ];
    for request in &requests[..3] {
        let answer = found(&server, request.clone()).await?;
        let same = found(&second, request.clone()).await?;
        assert_eq!((hits(&answer), &answer["total"]), (hits(&same), &same["total"]), "{request}");
    }
    let (status, problem) = search(&server, &requests[3]).await?;
    assert_eq!((status, &problem["field"]), (400, &json!("sort")), "{problem}");

    let answer = found(&server, requests[1].clone()).await?;
    let sizes: Vec<i64> = hits(&answer).iter().filter_map(|hit| hit["sort"][0].as_i64()).collect();
    ensure!(sizes.len() == 20 && sizes.is_sorted_by(|left, right| left >= right), "{sizes:?}");
    for hit in hits(&answer) {
        let keys: Vec<&str> = hit["document"].as_object().context("a document")?.keys().map(String::as_str).collect();
        assert_eq!(keys, ["title", "section", "size"], "{hit}");
        ensure!(hit["sort"][1] == hit["score"], "{hit}");
    }
    let answer = found(&server, requests[2].clone()).await?;
    let passages = hits(&answer).iter().filter_map(|hit| hit["highlights"].as_object());
    let passages: Vec<&Value> = passages.flat_map(|highlights| highlights.iter()).map(|(_, passages)| passages).collect();
    ensure!(passages.iter().any(|passages| passages.as_array().is_some_and(|passages| passages.len() > 1)), "{answer}");
    ensure!(hits(&answer).iter().all(|hit| hit["highlights"].get("title").is_none()), "only the body was asked for");
    ensure!(passages.iter().all(|passages| passages.to_string().contains("<em>")), "{answer}");

    // Sorted by a field, hits have no score, and those that have no value come last.
    let answer = found(&server, json!({"sort": ["homepage"], "limit": 1000, "offset": 5000, "fields": []})).await?;
    ensure!(hits(&answer).iter().all(|hit| hit["score"].is_null()), "{answer}");
    let values: Vec<Option<&str>> = hits(&answer).iter().map(|hit| hit["sort"][0].as_str()).collect();
    let without = documents.iter().filter(|document| document.get("homepage").is_none()).count();
    ensure!(without > 0 && values.iter().skip_while(|value| value.is_some()).all(Option::is_none), "missing values are last");

    // A cursor of another search is told so.
    let first = found(&server, json!({"query": "server", "limit": 1})).await?;
    let (status, problem) = search(&server, &json!({"query": "mail", "after": first["after"]})).await?;
    assert_eq!((status, &problem["field"]), (400, &json!("after")), "{problem}");
    let (_, next) = search(&server, &json!({"query": "server", "limit": 1, "after": first["after"]})).await?;
    let (_, both) = search(&server, &json!({"query": "server", "limit": 2})).await?;
    assert_eq!([ids(&first), ids(&next)].concat(), ids(&both));
    Ok(())
}

/// The blocks of the page that are requests, each with what is said below it.
fn examples(page: &str) -> Result<Vec<(Value, &str)>> {
    let blocks = page.split("\n```json\n").skip(1);
    blocks
        .map(|block| {
            let (json, rest) = block.split_once("\n```\n").context("a block ends")?;
            let said = rest.trim_start().lines().next().unwrap_or_default();
            Ok((serde_json::from_str(json).with_context(|| json.to_owned())?, said))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_is_true() -> Result<()> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/search.md");
    let page = std::fs::read_to_string(page).context(page)?;
    let (deployment, folder) = (Deployment::new().await?, tempfile::tempdir()?);
    let (server, _) = filled(&deployment, &folder, &[]).await?;
    let examples = examples(&page)?;
    ensure!(examples.len() >= 8, "the page has its examples: {}", examples.len());
    let mut after = Value::Null;
    for (mut request, said) in examples {
        if request.get("hits").is_some() {
            // A response, for the eye.
            continue;
        }
        if request.get("after").is_some() {
            request["after"] = after.take();
        }
        let (status, answer) = search(&server, &request).await?;
        match said.strip_prefix("Refused") {
            Some(_) => ensure!(status == 400 && said.contains(answer["field"].as_str().unwrap_or("-")), "{request}: {answer}"),
            None => ensure!(status == 200 && !hits(&answer).is_empty(), "{request}: {status}: {answer}"),
        }
        if let Some(expected) = said.strip_prefix("Finds ") {
            let expected: Vec<&str> = expected.trim_end_matches('.').split(", ").collect();
            assert_eq!(ids(&answer), expected, "{request}");
        }
        after = answer["after"].clone();
    }
    Ok(())
}
