//! A worker freezes under searches: others take over what it holds; when it goes on, it steps back, and gets its share.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::time::{Instant, sleep, sleep_until};
use warren_tests::searches::Retried;
use warren_tests::status;

use crate::figures;
use crate::trial::{self, RECOVERY, Roles, STEADY, TIMEOUT, Trial, WARM_UP};

/// What is deployed, and for how long the worker is frozen.
#[derive(Args, Debug)]
pub(crate) struct FreezeArgs {
    /// Workers
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Partitions of the index
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 2)]
    replicas: u32,
    /// Seconds from SIGSTOP to SIGCONT
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Documents, before the load begins
    #[arg(long, default_value_t = 20_000)]
    documents: usize,
    /// Searches a second
    #[arg(long, default_value_t = 50)]
    searches: u32,
    /// Writes a second
    #[arg(long, default_value_t = 50)]
    writes: u32,
}

pub(crate) async fn run(args: &FreezeArgs) -> Result<()> {
    let roles = Roles { producers: 1, workers: args.workers, queries: 2 };
    let definition = trial::definition(args.partitions, args.replicas);
    let mut trial = Trial::start(roles, Duration::from_secs(10), &definition).await?;
    trial.fill(args.documents).await?;
    trial.stack.balanced(RECOVERY).await?;
    let writers = trial.stack.write(&trial.write_load(args.writes, 1000, 1), 1, 0).await?;
    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
    sleep(WARM_UP).await;

    let began = Instant::now();
    let thaw = began + Duration::from_secs(args.seconds);
    trial.stack.workers[0].freeze()?;
    let (index, replicas) = (trial.stack.index.clone(), args.replicas as usize);
    let without = |status: &status::Status| status.balanced(replicas.min(args.workers - 1), args.workers - 1);
    let query = trial.stack.query()?.clone();
    match status::until(&query, &index, "the others have taken over", thaw - began, without).await {
        Ok(_) => println!("frozen: the others hold and serve everything after {:.1} s", began.elapsed().as_secs_f64()),
        Err(error) => println!("frozen: {error:#}"),
    }
    sleep_until(thaw).await;
    let before_thaw = searches.figures();
    trial.stack.workers[0].thaw()?;
    let status = trial.stack.balanced(RECOVERY).await?;
    println!("thawed: all share equally after {:.1} s: {:?}", thaw.elapsed().as_secs_f64(), status.held());
    searches.steady(STEADY, RECOVERY).await?;
    let figures = searches.figures();
    figures::seconds(&figures, began, 3.0, thaw.duration_since(began).as_secs_f64() + 10.0);
    println!("failed while frozen: {}", figures::causes(&before_thaw.causes));
    println!("failed after that: {}", figures::causes(&figures.causes_since(&before_thaw)));
    trial.stack.check()?;
    trial.end_load(writers, searches).await?;
    // Whoever steps back late would be seen as one copy too many.
    sleep(STEADY).await;
    trial.stack.balanced(STEADY).await?;
    ensure!(figures.causes_since(&before_thaw).is_empty(), "searches failed after the worker went on");
    trial.succeed()
}
