//! Workers come and go under load: the replicas end shared equally, every partition is served all the time, and no search
//! fails.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};
use warren_tests::searches::Retried;
use warren_tests::stack::Stack;
use warren_tests::watcher::Watcher;

use crate::trial::{self, RECOVERY, Roles, STEADY, TIMEOUT, Trial, WARM_UP};

/// What is deployed, and how large the load is.
#[derive(Args, Debug)]
pub(crate) struct ScaleArgs {
    /// Partitions of the index
    #[arg(long, default_value_t = 8)]
    partitions: u32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 2)]
    replicas: u32,
    /// How many workers there are, one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,4,2")]
    workers: Vec<usize>,
    /// Documents, before the load begins
    #[arg(long, default_value_t = 20_000)]
    documents: usize,
    /// Searches a second
    #[arg(long, default_value_t = 25)]
    searches: u32,
    /// Writes a second
    #[arg(long, default_value_t = 100)]
    writes: u32,
}

pub(crate) async fn run(args: &ScaleArgs) -> Result<()> {
    let first = args.workers.first().copied().unwrap_or(1);
    let definition = trial::definition(args.partitions, args.replicas);
    let roles = Roles { producers: 2, workers: first, queries: 2 };
    let mut trial = Trial::start(roles, Duration::from_secs(10), &definition).await?;
    trial.fill(args.documents).await?;
    let writers = trial.stack.write(&trial.write_load(args.writes, 2000, 1), 1, 0).await?;
    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
    let watcher = Watcher::start(trial.stack.query()?, &trial.stack.index);
    sleep(WARM_UP).await;
    for wanted in args.workers.iter().skip(1) {
        let (before, began) = (trial.stack.workers.len(), Instant::now());
        become_many(&mut trial.stack, *wanted).await?;
        let status = trial.stack.balanced(RECOVERY).await?;
        let (took, held) = (began.elapsed().as_secs_f64(), status.held());
        println!("{before} → {wanted} workers: balanced after {took:.1} s: {:?}", held.values().collect::<Vec<_>>());
        searches.steady(STEADY, RECOVERY).await?;
        trial.stack.check()?;
    }
    let failed = searches.failed();
    let watched = watcher.finish().await?;
    println!("{watched}");
    trial.end_load(writers, searches).await?;
    ensure!(failed == 0, "{failed} searches failed");
    ensure!(watched.unserved == 0, "partitions were without a server");
    trial.succeed()
}

/// Starts workers, or stops the oldest ones, all at the same time.
async fn become_many(stack: &mut Stack, wanted: usize) -> Result<()> {
    while stack.workers.len() < wanted {
        stack.add_worker()?;
    }
    let leaving = stack.workers.len() - wanted;
    let mut leaving: Vec<_> = stack.workers.drain(..leaving).collect();
    for worker in &mut leaving {
        let took = worker.stop().await?;
        println!("{} stopped within {:.1} s", worker.name, took.as_secs_f64());
    }
    Ok(())
}
