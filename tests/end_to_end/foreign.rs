//! Documents from clients that know nothing of Warren: the lines of Python in the README, and bad messages.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use warren_broker::Settings;
use warren_protocol::ports::{Message, QueueName};
use warren_tests::{Program, eventually};

use crate::Deployment;
use crate::deployment::{PATIENCE, ids};

/// The Python of the README, with its broker's address replaced.
fn readme_python(url: &str) -> Result<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"))?;
    let (_, rest) = readme.split_once("```python\n").context("the README has Python")?;
    let (code, _) = rest.split_once("```").context("its Python ends")?;
    let written = "amqp://guest:guest@127.0.0.1:5672/%2f";
    ensure!(code.contains(written), "the README's Python connects to {written}");
    Ok(code.replace(written, url))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_of_the_readme_publishes_what_is_then_found() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().context("the folder's name is text")?;
    let arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", folder, "--broker", deployment.url()];
    let server = crate::Server::ready(Program::start("warren", &arguments, &[])?).await?;
    // A second producer stands by: of all intakes, one is active.
    let _other = deployment.serve("producer", &[]).await?;
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", &readme_python(deployment.url())?]);
    let mut python = Program::spawn("python", python)?;
    let status = python.wait(PATIENCE).await?;
    ensure!(status.success(), "{status}: {}", python.all());
    server.found("orders", 100).await?;
    assert_eq!(ids(&server.search("orders", "+\"17 red apples\"", 10).await?), ["order-17"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_goes_to_the_dead_letters_and_harms_no_other() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let _producer = deployment.serve("producer", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    query.create("notes", &json!({"fields": {"size": {"type": "integer"}}})).await?;
    let settings = Settings { url: Some(deployment.url().to_owned()), ..Settings::default() };
    let client = warren_broker::connect(&settings, "client", std::path::Path::new(".")).await?;
    let send = async |index: &str, kind: Option<&str>, id: Option<&str>, body: &Value| {
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let (kind, message_id) = (kind.map(str::to_owned), id.map(str::to_owned));
        let message = Message { body: body.into(), routing_key: index.into(), kind, message_id, ..Message::default() };
        client.ports.queue.publish(QueueName::Intake, message).await
    };
    send("notes", None, None, &json!({"id": "kept", "size": 1})).await?;
    send("notes", None, Some("by-message-id"), &json!({"size": 2})).await?;
    send("notes", None, None, &json!({"id": "gone", "size": 3})).await?;
    send("notes", None, None, &json!({"id": "bad", "size": "three"})).await?;
    send("notes", None, None, &json!("{ this is no JSON")).await?;
    send("No Index", None, None, &json!({"id": "x"})).await?;
    send("notes", Some("delete"), Some("gone"), &json!("")).await?;
    send("notes", None, None, &json!({"id": "last", "size": 4})).await?;

    query.found("notes", 3).await?;
    for id in ["kept", "by-message-id", "last"] {
        assert_eq!(query.get(&format!("/indexes/notes/documents/{id}")).await?.0, 200, "{id}");
    }
    let letters = eventually("three dead letters", PATIENCE, async || {
        let (_, answer) = query.get("/dead-letters?limit=10").await?;
        ensure!(answer["letters"].as_array().is_some_and(|letters| letters.len() == 3), "{answer}");
        Ok(answer["letters"].clone())
    })
    .await?;
    let mut reasons: Vec<_> = letters.as_array().into_iter().flatten().map(|letter| letter["reason"].clone()).collect();
    reasons.sort_by_key(Value::to_string);
    assert_eq!(reasons, ["invalid_field", "invalid_index_name", "invalid_json"]);
    client.close().await;
    Ok(())
}
