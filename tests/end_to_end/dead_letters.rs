//! Dead letters that are full, and the pages of the documentation about dead letters and sources.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_broker::Settings;
use warren_protocol::dead_letter::Letter;
use warren_protocol::ports::{Message, QueueName};
use warren_tests::{Program, Proxy, eventually, http};

use crate::Deployment;
use crate::deployment::{PATIENCE, Server};
use crate::foreign_clients::{Client, letters, service_bus, status};

async fn purge(server: &Server) -> Result<u64> {
    let (status, answer) = http::answer(server.request(Method::DELETE, "/dead-letters")).await?;
    ensure!(status == 200, "{status}: {answer}");
    answer["purged"].as_u64().context("purged")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_dead_letters_are_full_the_intake_waits_and_goes_on_with_room() -> Result<()> {
    const BAD: u64 = 60;
    let mut deployment = Deployment::new().await?;
    deployment.set("WARREN__BROKER__DEAD_LETTERS_MAX_MESSAGES", 10);
    // Few at a time, so that what comes behind is still in the queue.
    deployment.set("WARREN__PRODUCER__INTAKE_PREFETCH", 20);
    let query = deployment.serve("query-service", &[]).await?;
    let _producer = deployment.serve("producer", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    let client = Client::connect(deployment.url()).await?;
    client.document("notes", &json!({"id": "before"})).await?;
    for number in 0..BAD {
        client.send("notes", Message { body: format!("bad {number}").into(), ..Message::default() }).await?;
    }
    client.document("notes", &json!({"id": "behind"})).await?;
    let paused = status(&query, "the intake says that it waits", |status| status["intake"]["paused"].is_string()).await?;
    ensure!(paused["warnings"].to_string().contains("the dead letters take no more"), "{}", paused["warnings"]);
    query.found("notes", 1).await?;
    assert_eq!(query.get("/indexes/notes/documents/behind").await?.0, 404, "it waits behind what is refused");

    let mut purged = 0;
    eventually("with room, the intake goes on", PATIENCE, async || {
        purged += purge(&query).await?;
        ensure!(query.get("/indexes/notes/documents/behind").await?.0 == 200, "{purged} purged");
        Ok(())
    })
    .await?;
    // What is on its way is confirmed before its message is settled, so all of them are there in the end, each once.
    eventually("each bad one was a dead letter", PATIENCE, async || {
        purged += purge(&query).await?;
        ensure!(purged >= BAD, "{purged} purged");
        Ok(())
    })
    .await?;
    assert_eq!(purged, BAD);
    status(&query, "the intake goes on", |status| status["intake"]["paused"].is_null()).await?;
    let _: () = client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_the_broker_breaks_off_is_not_complete() -> Result<()> {
    const LETTERS: u64 = 400;
    let mut deployment = Deployment::new().await?;
    let proxy = Proxy::start(deployment.url()).await?;
    let query = deployment.serve("query-service", &[("WARREN__BROKER__URL", proxy.url())]).await?;
    let settings = Settings { url: Some(deployment.url().to_owned()), ..Settings::default() };
    let client = warren_broker::connect(&settings, "client", std::path::Path::new(".")).await?;
    for number in 0..LETTERS {
        let message = Message { body: format!("bad {number}").into(), routing_key: "notes".into(), ..Message::default() };
        let letter = Letter::new("invalid_json", "none").of(message, "warren.intake", 1);
        client.ports.queue.publish(QueueName::DeadLetters, letter).await?;
    }
    // Far less than it takes to ask for all of them.
    let broken = async |request: reqwest::RequestBuilder| -> Result<String> {
        let cuts = proxy.cuts();
        proxy.cut_after(4000);
        let (status, answer) = http::answer(request).await?;
        assert_eq!((status, &answer["code"], proxy.cuts()), (503, &json!("unavailable"), cuts + 1), "{answer}");
        eventually("the query service is connected again", PATIENCE, async || {
            let (status, answer) = query.get("/dead-letters?limit=1").await?;
            ensure!(status == 200, "{answer}");
            Ok(())
        })
        .await?;
        Ok(answer["detail"].as_str().context("detail")?.to_owned())
    };
    let replay = |reason: &str| query.request(Method::POST, "/dead-letters/replay").json(&json!({"reason": reason}));
    broken(query.request(Method::GET, "/dead-letters?reason=none")).await?;
    broken(query.request(Method::GET, "/dead-letters/none")).await?;
    broken(query.request(Method::DELETE, "/dead-letters?reason=none")).await?;
    broken(replay("none")).await?;
    let left = async |at_least: u64, at_most: u64| {
        eventually("the others are back", PATIENCE, async || {
            let left = client.ports.queue.depth(QueueName::DeadLetters).await?;
            ensure!((at_least..=at_most).contains(&left), "{left} left, not {at_least} to {at_most}");
            Ok(left)
        })
        .await
    };
    left(LETTERS, LETTERS).await?;

    let said = broken(query.request(Method::DELETE, "/dead-letters?reason=invalid_json")).await?;
    let (_, deleted) = said.split_once('(').context("what was done before")?;
    let deleted: u64 = deleted.split_once(" dead letters were deleted before").context("how many")?.0.parse()?;
    assert!((1..LETTERS).contains(&deleted), "{said}");
    // The last acknowledgement may not have come through.
    let left = left(LETTERS - deleted, LETTERS - deleted + 1).await?;
    let (status, purged) = http::answer(query.request(Method::DELETE, "/dead-letters?reason=invalid_json")).await?;
    assert_eq!((status, purged), (200, json!({"purged": left, "complete": true})));
    let (_, shown): (_, Value) = query.get("/dead-letters/none").await?;
    assert_eq!(shown["code"], "unknown_dead_letter");
    client.close().await;
    Ok(())
}

/// The commands of a page of the documentation, in order.
fn commands(page: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR")))?;
    let blocks: Vec<_> = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(!blocks.is_empty(), "docs/{page} has no commands");
    Ok(blocks.concat())
}

/// Runs the commands of a page against a server.
async fn run(page: &str, server: &Server) -> Result<String> {
    let programs = std::env::current_exe()?.ancestors().nth(3).context("target")?.join("release");
    let script = format!("PATH={}:$PATH\n{}", programs.display(), commands(page)?);
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &script]).env("WARREN__CLIENT__SERVER", server.url());
    let mut shell = Program::spawn(page, shell)?;
    let status = shell.wait(PATIENCE).await?;
    let said = shell.all();
    ensure!(status.success(), "docs/{page}: {status}: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_about_dead_letters_and_sources_are_true() -> Result<()> {
    let deployment = Deployment::new().await?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().context("the folder's name is text")?;
    let arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", folder, "--broker", deployment.url()];
    let server = Server::ready(Program::start("warren", &arguments, &[])?).await?;
    let client = Client::connect(deployment.url()).await?;
    // What the page about dead letters speaks of.
    server.create("orders", &json!({"fields": {"total": {"type": "float"}}})).await?;
    client.document("orders", &json!({"id": "order-17", "total": "seven"})).await?;
    client.document("orders", &json!({"id": "order-18", "total": "eight"})).await?;
    client.send("orders", Message { body: "no JSON".into(), ..Message::default() }).await?;
    letters(&server, "", 3).await?;
    let said = run("dead-letters.md", &server).await?;
    ensure!(said.contains("replayed 1 dead letters, skipped 1") && said.contains("deleted 1 dead letters"), "{said}");

    service_bus(deployment.url(), &["declare"]).await?;
    let said = run("sources.md", &server).await?;
    ensure!(said.contains("shop.events shop.orders.#"), "{said}");
    assert_eq!(server.get("/sources").await?.1, json!({"sources": []}));
    let _: () = client.close().await;
    Ok(())
}
