//! What the tests of whole stacks share.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use warren_tests::deployment::PATIENCE;
use warren_tests::ledger::Ledger;
use warren_tests::searches::{Retried, Searches};
use warren_tests::stack::{Shape, Stack};
use warren_tests::verification::verify;
use warren_tests::writers::WriteLoad;
use warren_tests::{Node, eventually};

/// Partitions that are written to get a snapshot this often.
const SNAPSHOTS: Duration = Duration::from_millis(500);
/// What a search may take on a busy machine: an answer that never comes is missed all the same.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A stack with an index of this definition.
pub async fn stack(producers: usize, workers: usize, queries: usize, definition: &Value) -> Result<Stack> {
    let shape = Shape { producers, workers, queries, snapshot_interval: SNAPSHOTS, logs: None };
    Stack::start(Node::shared().await?, &shape, "stacked", definition).await
}

/// Starts searches, and waits until many are answered.
pub async fn searches(stack: &Stack, retried: Retried) -> Result<Searches> {
    let searches = stack.search(30, TIMEOUT, retried)?;
    more(&searches, 30).await?;
    Ok(searches)
}

/// Waits until so many more searches have ended.
pub async fn more(searches: &Searches, many: u64) -> Result<()> {
    let ended = || {
        let figures = searches.figures();
        figures.complete + figures.failed()
    };
    let before = ended();
    eventually("searches go on", PATIENCE, async || {
        ensure!(ended() >= before + many, "{} of {before} + {many}", ended());
        Ok(())
    })
    .await
}

/// Awaits all answers; none may be incomplete.
pub async fn none_failed(searches: Searches) -> Result<()> {
    let figures = searches.finish().await?;
    ensure!(figures.failed() == 0, "of {} searches failed: {:?}", figures.complete, figures.causes);
    Ok(())
}

/// What is written in these tests.
pub fn load(stack: &Stack, seed: u64) -> WriteLoad {
    WriteLoad { index: stack.index.clone(), ids: 300, per_second: 2000, padding: 100, seed }
}

/// New documents, new versions and deletions, all of them confirmed.
pub async fn written(stack: &Stack, writes: u64) -> Result<Vec<Ledger>> {
    let writers = stack.write(&load(stack, writes), 1, 0).await?;
    eventually("documents are written", PATIENCE, async || {
        ensure!(writers.progress().confirmed >= writes, "{:?}", writers.progress());
        Ok(())
    })
    .await?;
    Ok(writers.finish(PATIENCE).await?.0)
}

/// Every confirmed write is found, once, in its last version; besides so many documents that are in no ledger.
pub async fn all_is_there(stack: &Stack, ledgers: &[Ledger], others: u64) -> Result<()> {
    verify(stack.query()?, &stack.index, ledgers, others).await?.check()
}
