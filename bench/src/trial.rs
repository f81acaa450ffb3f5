//! What every scenario begins and ends with: a stack of processes on a broker of its own, and their logs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::sleep;
use warren_tests::Node;
use warren_tests::searches::Searches;
use warren_tests::stack::{Shape, Stack};
use warren_tests::verification::verify;
use warren_tests::writers::{WriteLoad, Writers};

use crate::figures;

/// The name of the index.
const INDEX: &str = "trial";
/// Load runs undisturbed for so long before something happens.
pub(crate) const WARM_UP: Duration = Duration::from_secs(5);
/// What a search may take: the default.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the time after which a search says what is missing: whatever hangs is seen.
pub(crate) const STEADY: Duration = Duration::from_secs(4);
/// What takes longer than this after a disturbance will not come.
pub(crate) const RECOVERY: Duration = Duration::from_secs(180);

/// The index of a scenario. Only the text of a document is indexed: what makes it larger is no word that anybody seeks.
pub(crate) fn definition(partitions: u32, replicas: u32) -> Value {
    json!({"partitions": partitions, "replicas": replicas, "dynamic": false, "fields": {"text": {"type": "text"}}})
}

/// A running stack.
pub(crate) struct Trial {
    pub stack: Stack,
    logs: PathBuf,
    /// Documents that nobody changes.
    filled: usize,
}

/// How many of each role there are.
#[derive(Clone, Copy)]
pub(crate) struct Roles {
    pub producers: usize,
    pub workers: usize,
    pub queries: usize,
}

impl Trial {
    /// Starts a node and a stack on it.
    pub(crate) async fn start(roles: Roles, snapshot_interval: Duration, definition: &Value) -> Result<Self> {
        let logs = tempfile::Builder::new().prefix("warren-logs.").tempdir()?.keep();
        println!("the processes' logs: {}", logs.display());
        let Roles { producers, workers, queries } = roles;
        let shape = Shape { producers, workers, queries, snapshot_interval, logs: Some(logs.clone()) };
        let stack = Stack::start(Node::start().await?, &shape, INDEX, definition).await?;
        Ok(Self { stack, logs, filled: 0 })
    }

    /// Publishes so many documents, which nobody changes later, and waits until they are found.
    pub(crate) async fn fill(&mut self, documents: usize) -> Result<()> {
        self.filled += documents;
        self.stack.fill(documents).await
    }

    /// What writers do here.
    pub(crate) fn write_load(&self, per_second: u32, ids: usize, seed: u64) -> WriteLoad {
        WriteLoad { index: self.stack.index.clone(), ids, per_second, padding: 200, seed }
    }

    /// Ends the load, and looks for every confirmed write. Prints all figures; an error unless everything is there.
    pub(crate) async fn end_load(&self, writers: Writers, searches: Searches) -> Result<()> {
        sleep(WARM_UP).await;
        println!("quiet: every write that was begun is brought to its end");
        let (ledgers, written) = writers.finish(RECOVERY).await?;
        let searched = searches.finish().await?;
        self.stack.whole(RECOVERY).await?;
        let verdict = verify(self.stack.query()?, &self.stack.index, &ledgers, self.filled as u64).await?;
        figures::writes(&written);
        figures::searches(&searched);
        println!("{verdict}");
        verdict.check()
    }

    /// Deletes the logs: all went well.
    pub(crate) fn succeed(self) -> Result<()> {
        drop(self.stack);
        Ok(std::fs::remove_dir_all(self.logs)?)
    }
}
