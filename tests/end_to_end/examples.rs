//! The examples of the documentation, run as a reader would run them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use warren_tests::{Program, eventually, programs};

use crate::deployment::PATIENCE;
use crate::up::up;

/// A block of commands, and what it prints, if the page says so.
struct Example {
    commands: String,
    output: Option<Output>,
}

enum Output {
    Json(Value),
    Text(String),
}

/// The examples of a page: each block of `sh`, with the block of `json` or `text` that follows it.
fn examples(page: &str) -> Result<Vec<Example>> {
    let mut found: Vec<Example> = Vec::new();
    let mut follows = false;
    for (number, part) in page.split("```").enumerate() {
        if number.is_multiple_of(2) {
            follows = follows && part.trim().is_empty();
            continue;
        }
        let (kind, content) = part.split_once('\n').context("an empty block")?;
        if kind == "sh" {
            found.push(Example { commands: content.to_owned(), output: None });
        } else if follows && let Some(example) = found.last_mut() {
            example.output = Some(match kind {
                "json" => Output::Json(serde_json::from_str(content).with_context(|| content.to_owned())?),
                "text" => Output::Text(content.trim().to_owned()),
                other => anyhow::bail!("a block of {other:?} behind commands"),
            });
        }
        follows = kind == "sh";
    }
    Ok(found)
}

impl Example {
    /// Runs it until it prints what it should: what was just written takes a moment to be found.
    async fn run(&self, folder: &Path, address: &str) -> Result<()> {
        let commands = self.commands.replace("127.0.0.1:8080", address);
        let paths = [programs()?, "/usr/local/bin".into(), "/usr/bin".into(), "/bin".into()];
        eventually(&commands, PATIENCE, async || {
            let mut bash = Command::new("/bin/bash");
            bash.args(["-euo", "pipefail", "-c", &commands]).current_dir(folder);
            bash.env("PATH", std::env::join_paths(&paths)?).env("WARREN__CLIENT__SERVER", format!("http://{address}"));
            let mut bash = Program::spawn("example", bash)?;
            let status = bash.wait(PATIENCE).await?;
            let said = bash.all();
            ensure!(status.success(), "{status}: {said}");
            match &self.output {
                None => {}
                Some(Output::Text(expected)) => ensure!(said.trim() == expected, "it printed: {said}"),
                Some(Output::Json(expected)) => {
                    let printed: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
                    ensure!(printed == *expected, "it printed: {said}");
                }
            }
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_pages_do_what_they_say() -> Result<()> {
    let (data, folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let server = up(data.path(), &[], &[]).await?;
    for (page, blocks, outputs) in [("documents", 7, 6), ("suggestions", 3, 2), ("merging", 3, 1)] {
        let page = std::fs::read_to_string(format!("{}/../docs/{page}.md", env!("CARGO_MANIFEST_DIR")))?;
        let examples = examples(&page)?;
        let shown = examples.iter().filter(|example| example.output.is_some()).count();
        ensure!(examples.len() >= blocks && shown >= outputs, "blocks are missing: {page}");
        for example in &examples {
            example.run(folder.path(), &server.address).await?;
        }
    }
    Ok(())
}
