//! Sources: messages of a service bus that knows nothing of Warren.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use warren_tests::{eventually, http};

use crate::Deployment;
use crate::deployment::{PATIENCE, Server};
use crate::foreign_clients::{letters, service_bus, status, warren};
use crate::up::up;

const ORDERS: usize = 1000;
const CANCELLED: usize = 100;

/// A message in the envelope of MassTransit.
fn envelope(kind: &str, message: &Value) -> Value {
    json!({
        "messageId": "08dc0000-0000-0000-0000-000000000000",
        "conversationId": "08dc0000-0000-0000-0000-000000000001",
        "sourceAddress": "rabbitmq://broker/shop",
        "destinationAddress": format!("rabbitmq://broker/Shop.Contracts:{kind}"),
        "messageType": [format!("urn:message:Shop.Contracts:{kind}"), "urn:message:Shop.Contracts:IEvent"],
        "message": message,
        "sentTime": "2026-11-26T20:00:00.0000000Z",
        "headers": {},
        "host": {"machineName": "shop-1", "processName": "Shop", "massTransitVersion": "8.2.0.0"},
    })
}

fn order(number: usize) -> Value {
    json!({"orderId": number, "customer": format!("customer {}", number % 7), "total": number as f64 / 4.0})
}

/// Publishes bodies to an exchange of the service bus; the keys differ, as those of a service bus do.
async fn publish(url: &str, exchange: &str, key: &str, bodies: &[Value]) -> Result<()> {
    let lines: String = bodies
        .iter()
        .enumerate()
        .map(|(at, body)| format!("{exchange}\t{}\t{body}\n", key.replace('*', &at.to_string())))
        .collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), lines)?;
    service_bus(url, &["publish", &file.path().display().to_string()]).await?;
    Ok(())
}

async fn delete(server: &Server, name: &str) -> Result<()> {
    let (status, answer) = http::answer(server.request(reqwest::Method::DELETE, &format!("/sources/{name}"))).await?;
    ensure!(status == 200, "{status}: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_messages_of_a_service_bus_are_indexed_and_its_other_consumer_notices_nothing() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let _producers = [deployment.serve("producer", &[]).await?, deployment.serve("producer", &[]).await?];
    let _worker = deployment.start("worker", &[])?;
    let url = deployment.url().to_owned();
    let definition = json!({
        "exchange": "shop.events", "binding_key": "shop.#", "index": "orders",
        "id": "/message/orderId", "document": "/message",
        "delete_when": {"/messageType/0": "urn:message:Shop.Contracts:OrderCancelled"},
    });
    let (code, problem) = query.put("/sources/orders", &definition).await?;
    assert_eq!((code, &problem["code"]), (400, &json!("invalid_source")), "{problem}");
    ensure!(problem["detail"].to_string().contains("shop.events"), "{problem}");
    service_bus(&url, &["declare"]).await?;
    let (code, created) = query.put("/sources/orders", &definition).await?;
    assert_eq!((code, &created["definition"]), (201, &definition));
    assert_eq!(query.put("/sources/orders", &definition).await?.0, 200);
    let (code, problem) = query.put("/sources/orders", &json!({"queue": "plain", "index": "orders"})).await?;
    assert_eq!((code, &problem["code"]), (409, &json!("source_exists")));

    let placed: Vec<_> = (1..=ORDERS).map(|number| envelope("OrderPlaced", &order(number))).collect();
    let cancelled: Vec<_> = (1..=CANCELLED).map(|number| envelope("OrderCancelled", &json!({"orderId": number}))).collect();
    let strange = [
        envelope("OrderPlaced", &json!({"reference": "A-1"})),
        envelope("OrderPlaced", &json!({"orderId": {"value": 5}})),
        json!(["no envelope"]),
    ];
    publish(&url, "shop.events", "shop.orders.*", &placed).await?;
    publish(&url, "shop.events", "shop.cancellations.*", &cancelled).await?;
    publish(&url, "shop.events", "shop.others", &strange).await?;
    query.found("orders", ORDERS - CANCELLED).await?;
    let (_, found) = query.get("/indexes/orders/documents/500").await?;
    assert_eq!(found, order(500));
    let counts = status(&query, "all is counted", |status| status["sources"][0]["refused"] == strange.len()).await?;
    let source = &counts["sources"][0];
    assert_eq!((&source["name"], &source["active"]), (&json!("orders"), &json!(true)));
    assert_eq!((&source["indexed"], &source["deleted"]), (&json!(ORDERS), &json!(CANCELLED)));
    let dead = letters(&query, "&source=warren.source.orders", strange.len()).await?;
    let mut reasons: Vec<_> = dead.iter().map(|letter| letter["reason"].to_string()).collect();
    reasons.sort();
    assert_eq!(reasons, [r#""invalid_id""#, r#""missing_pointer""#, r#""missing_pointer""#]);
    for letter in &dead {
        assert_eq!((&letter["index"], &letter["routing_key"]), (&json!("orders"), &json!("shop.others")));
        ensure!(strange.iter().any(|message| letter["body"] == *message), "{letter}");
    }

    // Its own consumer has got all of them, once, in their order.
    let all: Vec<_> = placed.iter().chain(&cancelled).chain(&strange).map(Value::to_string).collect();
    let got = service_bus(&url, &["consume", &all.len().to_string()]).await?;
    let got: Vec<_> = got.lines().collect();
    ensure!(got[..all.len()] == all && got[all.len()..] == ["waiting: 0"], "the other consumer got something else");

    // The same name with other pointers: what was refused fits now.
    let listed = warren(&query, &["source", "list"]).await?;
    ensure!(listed.lines().any(|line| line.starts_with("orders") && line.contains("1000")), "{listed}");
    delete(&query, "orders").await?;
    eventually("its queue is gone", PATIENCE, async || {
        let queue = created["consumes"].as_str().unwrap_or_default();
        ensure!(service_bus(&url, &["has", queue]).await?.trim() == "no", "{queue}");
        Ok(())
    })
    .await?;
    let options = ["--exchange", "shop.events", "--binding-key", "shop.#", "--index", "orders", "--document", "/message"];
    warren(&query, &[&["source", "create", "orders", "--id", "/message/reference"], &options[..]].concat()).await?;
    let said =
        warren(&query, &["dead-letters", "replay", "--source", "warren.source.orders", "--reason", "missing_pointer"]).await?;
    ensure!(said.contains("replayed 2 dead letters, skipped 0"), "{said}");
    query.found("orders", ORDERS - CANCELLED + 1).await?;
    assert_eq!(query.get("/indexes/orders/documents/A-1").await?.1, json!({"reference": "A-1"}));
    let got = service_bus(&url, &["consume", "0"]).await?;
    assert_eq!(got.trim(), "waiting: 0", "a replay is the source's alone");
    letters(&query, "", 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_a_source_too_and_a_process_that_dies_has_a_successor() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let mut first = deployment.serve("producer", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    let url = deployment.url().to_owned();
    service_bus(&url, &["declare"]).await?;
    let (code, created) = query.put("/sources/plain", &json!({"queue": "plain", "index": "things"})).await?;
    assert_eq!(code, 201, "{created}");
    let things = |from: usize| (from..from + 50).map(|number| json!({"id": format!("thing-{number}")})).collect::<Vec<_>>();
    publish(&url, "", "plain", &things(0)).await?;
    query.found("things", 50).await?;
    let _second = deployment.serve("producer", &[]).await?;
    first.program.kill9()?;
    publish(&url, "", "plain", &things(50)).await?;
    query.found("things", 100).await?;
    delete(&query, "plain").await?;
    assert_eq!(service_bus(&url, &["has", "plain"]).await?.trim(), "yes", "a foreign queue stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_says_that_sources_need_rabbitmq() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let (status, problem) = server.put("/sources/a", &json!({"exchange": "e", "index": "a", "id": "/id"})).await?;
    assert_eq!((status, &problem["code"]), (501, &json!("needs_rabbitmq")), "{problem}");
    for (definition, field) in [
        (json!({"index": "a"}), "exchange"),
        (json!({"index": "a", "exchange": "e", "id": "id"}), "id"),
        (json!({"index": "a", "exchange": "e", "indx": "b"}), "indx"),
    ] {
        let (status, problem) = server.put("/sources/a", &definition).await?;
        assert_eq!((status, problem.to_string().contains(field)), (400, true), "{problem}");
    }
    assert_eq!(server.get("/sources/a").await?.0, 404);
    assert_eq!(server.get("/sources").await?, (200, json!({"sources": []})));
    Ok(())
}
