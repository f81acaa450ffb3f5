//! A log that is full refuses writes before anything is lost, and takes them again once there are snapshots.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::deployment::PATIENCE;
use warren_tests::{Program, eventually};

use crate::stacks::stack;

const LIMIT: usize = 64 << 20;
const SIZE: usize = 200_000;

/// A document that no compression makes small.
fn large(number: usize) -> Value {
    json!({"id": number, "padding": (0..SIZE).map(|_| fastrand::alphanumeric()).collect::<String>()})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_snapshots_a_small_log_refuses_writes_in_time_and_goes_on_with_them() -> Result<()> {
    let stack = stack(1, 1, 1, &json!({"partitions": 1, "dynamic": false, "log_max_bytes": LIMIT})).await?;
    stack.fill(100).await?;
    stack.saved(PATIENCE).await?;
    // The object store is gone: a file stands where its folder was. (Permissions would not stop root.)
    let (folder, away) = (&stack.store.0, stack.store.0.with_extension("away"));
    std::fs::rename(folder, &away)?;
    std::fs::write(folder, "")?;

    let producer = stack.producers[0].api()?;
    let mut kept = 100_u64;
    let refused = loop {
        let (status, answer) = producer.upload(&stack.index, &[large(kept as usize)]).await?;
        if status != 202 {
            break (status, answer);
        }
        kept += 1;
        ensure!((kept as usize) * SIZE < LIMIT, "nothing was refused");
    };
    assert_eq!((refused.0, &refused.1["code"]), (503, &json!("log_full")), "{}", refused.1);
    let path = format!("/indexes/{}/documents/one", stack.index);
    let response = producer.request(Method::PUT, &path).json(&json!({"text": "more"})).send().await?;
    ensure!(response.status() == 503 && response.headers().contains_key("retry-after"), "{response:?}");
    // Not early, either: a quarter of the limit was taken at least.
    ensure!((kept as usize) * SIZE > LIMIT / 4, "refused after {kept} documents");
    stack.query()?.found(&stack.index, kept as usize).await?;

    // Who publishes straight into the logs waits, and goes on with what was refused.
    let files = tempfile::tempdir()?;
    let file = files.path().join("more.ndjson");
    let more: Vec<String> = (0..10).map(|number| large(1_000_000 + number).to_string()).collect();
    std::fs::write(&file, more.join("\n"))?;
    let file = file.to_str().context("a name that is text")?;
    let arguments = ["publish", "--broker", stack.deployment.url(), "--index", &stack.index, file];
    let mut publish = Program::start("warren", &arguments, &[])?;
    eventually("the command says that it waits", PATIENCE, async || {
        ensure!(publish.said().contains("waits until it can go on"), "{}", publish.said());
        Ok(())
    })
    .await?;
    ensure!(publish.ended()?.is_none(), "{}", publish.said());

    std::fs::remove_file(folder)?;
    std::fs::rename(&away, folder)?;
    let status = publish.wait(PATIENCE * 2).await?;
    let said = publish.all();
    ensure!(status.success() && said.contains("10 accepted, 0 rejected"), "{status}: {said}");
    kept += more.len() as u64;
    eventually("the log takes writes again", PATIENCE, async || {
        let (status, answer) = producer.upload(&stack.index, &[large(kept as usize)]).await?;
        ensure!(status == 202, "{status}: {answer}");
        Ok(())
    })
    .await?;
    stack.query()?.found(&stack.index, kept as usize + 1).await
}
