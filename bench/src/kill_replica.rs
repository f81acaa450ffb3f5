//! A worker is killed while others hold the same partitions: no search may fail, and few may be slow.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};
use warren_service::config::Config;
use warren_tests::searches::Retried;

use crate::figures;
use crate::trial::{self, RECOVERY, Roles, TIMEOUT, Trial};

const BEFORE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(20);

/// What is deployed and asked.
#[derive(Args, Debug)]
pub(crate) struct KillReplicaArgs {
    /// Workers
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Partitions of the index, two replicas each
    #[arg(long, default_value_t = 2)]
    partitions: u32,
    /// Documents, before the searches begin
    #[arg(long, default_value_t = 20_000)]
    documents: usize,
    /// Searches a second
    #[arg(long, default_value_t = 200)]
    searches: u32,
    /// Writes a second, while searches are asked
    #[arg(long, default_value_t = 50)]
    writes: u32,
}

pub(crate) async fn run(args: &KillReplicaArgs) -> Result<()> {
    let roles = Roles { producers: 1, workers: args.workers, queries: 2 };
    let definition = trial::definition(args.partitions, 2);
    // As without a setting.
    let snapshot_interval = Duration::from_millis(Config::default().store.snapshot_interval_ms.get());
    let mut trial = Trial::start(roles, snapshot_interval, &definition).await?;
    trial.fill(args.documents).await?;
    trial.stack.balanced(RECOVERY).await?;
    let writers = trial.stack.write(&trial.write_load(args.writes, 1000, 1), 1, 0).await?;
    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
    sleep(BEFORE).await;
    let killed = Instant::now();
    trial.stack.workers[0].kill9()?;
    trial.stack.workers.remove(0);
    sleep(AFTER).await;
    let figures = searches.figures();
    figures::seconds(&figures, killed, 5.0, AFTER.as_secs_f64());
    trial.end_load(writers, searches).await?;
    ensure!(figures.failed() == 0, "{} searches failed", figures.failed());
    trial.succeed()
}
