//! The page, in a real browser.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;
use warren_tests::Program;

use crate::deployment::PATIENCE;
use crate::up::up;

/// What a browser shows at an address once its scripts have run, as HTML.
async fn shown(url: &str) -> Result<String> {
    let profile = tempfile::tempdir()?;
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.args(["--virtual-time-budget=10000", "--dump-dom", url]);
    let mut browser = Program::spawn("chromium", browser)?;
    let status = browser.wait(PATIENCE).await?;
    let said = browser.all();
    ensure!(status.success(), "chromium: {status}: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_search_shows_its_hits_and_nothing_of_a_document_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let script = "<img src=x onerror=\"document.title='owned'\"> wicked <script>document.title='owned'</script>";
    server
        .publish("notes", &[json!({"id": "a", "title": "A web server", "body": script}), json!({"id": "b", "title": "A tree"})])
        .await?;
    server.found("notes", 2).await?;
    let page = shown(&format!("{}/?index=notes&q=web+wicked", server.url())).await?;
    ensure!(page.contains("<b>web</b>") || page.contains("<mark>web</mark>"), "no highlight: {page}");
    ensure!(!page.contains("A tree"), "a document that does not match: {page}");
    ensure!(!page.contains("<img src=\"x\"") && !page.contains("<title>owned</title>"), "a document's HTML is alive: {page}");
    Ok(())
}
