//! Chaos: processes are killed, frozen and stopped at random while documents are written and searches asked; in the end
//! every confirmed write must be found, once, in its last version.

mod plan;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};
use warren_tests::member::Member;
use warren_tests::searches::{Figures, Retried, Searches};
use warren_tests::stack::Stack;

use crate::figures;
use crate::trial::{self, RECOVERY, Roles, STEADY, TIMEOUT, Trial, WARM_UP};
use plan::{Deed, Plan, Round, Target};

/// What is deployed, what is done to it, and for how long.
#[derive(Args, Debug)]
pub(crate) struct ChaosArgs {
    /// How often something happens to a process
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Chooses what happens to whom; without it, by chance
    #[arg(long)]
    seed: Option<u64>,
    /// Partitions of the index
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 2)]
    replicas: u32,
    /// Producers
    #[arg(long, default_value_t = 2)]
    producers: usize,
    /// Workers
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Query services
    #[arg(long, default_value_t = 2)]
    queries: usize,
    /// Writes a second: new documents, new versions, deletions
    #[arg(long, default_value_t = 400)]
    writes: u32,
    /// Ids of each of the writers: two for each producer, and one at the intake queue
    #[arg(long, default_value_t = 3000)]
    ids: usize,
    /// Searches a second
    #[arg(long, default_value_t = 50)]
    searches: u32,
    /// Milliseconds between two snapshots of a partition
    #[arg(long, default_value_t = 5000)]
    snapshot_interval_ms: u64,
}

pub(crate) async fn run(args: &ChaosArgs) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("seed {seed}; {args:?}");
    let roles = Roles { producers: args.producers, workers: args.workers, queries: args.queries };
    let definition = trial::definition(args.partitions, args.replicas);
    let mut trial = Trial::start(roles, Duration::from_millis(args.snapshot_interval_ms), &definition).await?;
    let writers = trial.stack.write(&trial.write_load(args.writes, args.ids, seed), 2, 1).await?;
    // What a client does by itself: nobody had the search that finds nobody listening.
    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
    sleep(WARM_UP).await;

    let mut plan = Plan::new(seed, &trial.stack);
    for number in 1..=args.rounds {
        let round = plan.next_round();
        let name = round.name(&trial.stack);
        let (before, began) = (searches.figures(), Instant::now());
        happen(&round, &mut trial.stack).await.with_context(|| format!("round {number}: {name}"))?;
        let back = began.elapsed();
        recovered(&trial.stack, &searches).await.with_context(|| format!("after round {number}: {name}"))?;
        trial.stack.check()?;
        println!(
            "round {number:3}: {name}: running again after {:.1} s; {}",
            back.as_secs_f64(),
            became(&before, &searches, began)
        );
    }
    trial.end_load(writers, searches).await?;
    no_dead_letters(&trial.stack).await?;
    trial.succeed()
}

/// Does what the round says, from the first signal until the process runs again.
async fn happen(round: &Round, stack: &mut Stack) -> Result<()> {
    let Round { target, deed, pause } = *round;
    let member: &mut Member = match target {
        Target::Producer(number) => &mut stack.producers[number],
        Target::Worker(number) => &mut stack.workers[number],
        Target::Query(number) => &mut stack.queries[number],
        Target::Broker => return happen_to_broker(stack, deed, pause).await,
    };
    match deed {
        Deed::Kill => member.kill9()?,
        Deed::Stop => drop(member.stop().await?),
        Deed::Freeze => member.freeze()?,
    }
    sleep(pause).await;
    if deed == Deed::Freeze { member.thaw() } else { member.start() }
}

async fn happen_to_broker(stack: &Stack, deed: Deed, pause: Duration) -> Result<()> {
    let node = stack.deployment.node();
    match deed {
        Deed::Kill => node.kill9().await?,
        Deed::Stop => node.stop().await?,
        Deed::Freeze => node.pause().await?,
    }
    sleep(pause).await;
    if deed == Deed::Freeze { node.resume().await } else { node.start_again().await }
}

/// Waits until everything is held and served again, and no search has failed for a while.
async fn recovered(stack: &Stack, searches: &Searches) -> Result<()> {
    for server in stack.queries.iter().chain(&stack.producers) {
        server.api()?.ready().await?;
    }
    stack.whole(RECOVERY).await?;
    searches.steady(STEADY, RECOVERY).await
}

/// What became of the searches of a round.
fn became(before: &Figures, searches: &Searches, began: Instant) -> String {
    let after = searches.figures();
    match after.last_failed().filter(|last| *last >= began) {
        None => "no search failed".to_owned(),
        Some(last) => {
            let failed = figures::causes(&after.causes_since(before));
            format!("answers complete again after {:.1} s; failed: {failed}", (last - began).as_secs_f64())
        }
    }
}

async fn no_dead_letters(stack: &Stack) -> Result<()> {
    let (status, answer) = stack.query()?.get("/dead-letters?limit=5").await?;
    match answer["letters"].as_array().map(Vec::as_slice) {
        Some([]) => Ok(()),
        Some(_) => bail!("writes are in the dead letters: {answer}"),
        None => {
            ensure!(status == 200, "{status}: {answer}");
            bail!("no dead letters in {answer}")
        }
    }
}
