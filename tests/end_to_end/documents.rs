//! Documents over HTTP: bodies larger than memory, and deletion by query.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::deployment::PATIENCE;
use warren_tests::{Api, eventually, http, memory};

use crate::Deployment;

async fn delete(producer: &Api, index: &str, request: &Value) -> Result<(u16, Value)> {
    let path = format!("/indexes/{index}/documents/delete");
    http::answer(producer.request(Method::POST, &path).json(request)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_gigabyte_is_never_in_memory() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let producer = deployment.serve("producer", &[]).await?;
    let query = deployment.serve("query-service", &[]).await?;
    query.create("large", &json!({"partitions": 1, "dynamic": false})).await?;
    // Packed, it is small; the producer unpacks it as it comes.
    let line = format!("{{\"id\":\"same\",\"text\":\"{}\"}}\n", "rabbit ".repeat(300_000));
    let frame = zstd::bulk::compress(line.as_bytes(), 1)?;
    let documents = (1 << 30) / line.len() + 1;
    let body = frame.repeat(documents);
    ensure!(body.len() < 16 << 20, "{} bytes are to be sent", body.len());
    let before = memory(producer.program.id())?.peak;
    let request = producer.request(Method::POST, "/indexes/large/documents").timeout(PATIENCE * 3).body(body);
    let request = request.header("content-type", "application/x-ndjson").header("content-encoding", "zstd");
    let (status, answer) = http::answer(request).await?;
    assert_eq!((status, &answer["accepted"], &answer["rejected_count"]), (202, &json!(documents), &json!(0)), "{answer}");
    let after = memory(producer.program.id())?.peak;
    // `producer.buffer_bytes` is 64 MiB, `broker.max_unconfirmed_bytes` 32 MiB; the body has 1,024.
    ensure!(after < 300, "the producer had {after} MiB, {before} before the upload");
    println!("the producer had {after} MiB, {before} before an upload of 1,024");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_is_deleted_page_by_page_and_counted() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    // A partition that does not answer is given up after this time.
    let producer = deployment.serve("producer", &[("WARREN__PRODUCER__CONFIRM_TIMEOUT_MS", "6000")]).await?;
    let query = deployment.serve("query-service", &[]).await?;
    let mut workers = [deployment.start("worker", &[])?, deployment.start("worker", &[])?];
    query.create("orders", &json!({"partitions": 2, "fields": {"state": {"type": "keyword"}}})).await?;
    let documents: Vec<Value> = (0..9000)
        .map(|number| json!({"id": format!("order-{number}"), "state": if number % 3 == 0 { "open" } else { "closed" }}))
        .collect();
    producer.publish("orders", &documents).await?;
    query.found("orders", 9000).await?;

    for (request, status, code) in [
        (json!({"filter": ""}), 400, "invalid_request"),
        (json!({"filter": "  "}), 400, "invalid_request"),
        (json!({}), 400, "invalid_request"),
        (json!({"query": "*"}), 400, "invalid_request"),
        (json!({"filter": {"bool": {}}}), 400, "invalid_request"),
        (json!({"filter": "state:[a TO"}), 400, "invalid_query"),
    ] {
        let (got, problem) = delete(&producer, "orders", &request).await?;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{request}: {problem}");
    }
    assert_eq!(delete(&producer, "none", &json!({"filter": "*"})).await?.0, 404);

    let (status, answer) = delete(&producer, "orders", &json!({"filter": "state:closed"})).await?;
    let all = json!({"deleted": 6000, "partitions": {"total": 2, "answered": 2, "failed": []}});
    assert_eq!((status, answer), (202, all));
    query.found("orders", 3000).await?;
    assert_eq!(query.search("orders", "state:open", 0).await?["total"]["value"], 3000);

    // A partition whose worker stands still: an error that says what was deleted, and a repetition that deletes the rest.
    one_each(&query).await?;
    workers[0].signal("STOP")?;
    let (status, problem) = delete(&producer, "orders", &json!({"filter": {"match_all": {}}})).await?;
    assert_eq!((status, &problem["code"]), (503, &json!("no_partition")), "{problem}");
    let first = problem["deleted"].as_u64().context("a count")?;
    let failed = problem["partitions"]["failed"].as_array().map(Vec::len);
    ensure!(failed == Some(1) && (1..3000).contains(&first), "{problem}");
    workers[0].signal("CONT")?;
    query.found("orders", 3000 - usize::try_from(first)?).await?;
    let (status, answer) = delete(&producer, "orders", &json!({"filter": "*"})).await?;
    assert_eq!((status, &answer["deleted"]), (202, &json!(3000 - first)), "{answer}");
    query.found("orders", 0).await?;

    // The last word of the route is an id like any other.
    let path = "/indexes/orders/documents/delete";
    assert_eq!(producer.put(path, &json!({"state": "odd"})).await?.0, 202);
    eventually("a document called delete is found", PATIENCE, async || {
        ensure!(query.get(path).await? == (200, json!({"state": "odd"})));
        Ok(())
    })
    .await?;
    assert_eq!(http::answer(producer.request(Method::DELETE, path)).await?.0, 202);
    query.found("orders", 0).await?;
    for worker in &mut workers {
        worker.signal("TERM")?;
    }
    Ok(())
}

/// Waits until each of two workers has one of two partitions.
async fn one_each(query: &Api) -> Result<()> {
    eventually("the workers share the partitions", PATIENCE, async || {
        let (_, status) = query.get("/status").await?;
        let partitions = status["indexes"][0]["partitions"].as_array().context("partitions")?;
        let holders: Vec<&Value> = partitions
            .iter()
            .filter_map(|partition| partition["replicas"].as_array().filter(|replicas| replicas.len() == 1))
            .map(|replicas| &replicas[0]["worker"])
            .collect();
        ensure!(holders.len() == 2 && holders[0] != holders[1], "{status}");
        Ok(())
    })
    .await
}
