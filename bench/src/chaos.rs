//! Chaos: processes are killed, frozen and stopped at random while documents are written and searches asked; in the end
//! every confirmed write must be found, once, in its last version.

mod plan;
mod report;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use warren_tests::Node;
use warren_tests::member::Member;
use warren_tests::searches::{Retried, Searches};
use warren_tests::stack::{Shape, Stack};
use warren_tests::verification::verify;
use warren_tests::writers::WriteLoad;

use crate::logs::Logs;
use plan::{Deed, Plan, Round, Target};

const INDEX: &str = "chaos";
/// The load runs undisturbed for so long, before the first round and after the last one.
const WARM_UP: Duration = Duration::from_secs(5);
/// Longer than the time after which a search says what is missing: whatever hangs is seen.
const STEADY: Duration = Duration::from_secs(4);
/// What takes longer than this after a round will not come.
const RECOVERY: Duration = Duration::from_secs(180);

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
    println!("chaos: seed {seed}; {args:?}");
    let logs = Logs::new()?;
    let shape = Shape {
        producers: args.producers,
        workers: args.workers,
        queries: args.queries,
        snapshot_interval: Duration::from_millis(args.snapshot_interval_ms),
        logs: Some(logs.folder().to_owned()),
    };
    let definition = json!({"partitions": args.partitions, "replicas": args.replicas});
    let mut stack = Stack::start(Node::start().await?, &shape, INDEX, &definition).await?;
    let load = WriteLoad { index: INDEX.to_owned(), ids: args.ids, per_second: args.writes, padding: 200, seed };
    let writers = stack.write(&load, 2, 1).await?;
    // What a client does by itself: nobody had the search that finds nobody listening.
    let searches = stack.search(args.searches, Retried::Refused)?;
    sleep(WARM_UP).await;

    let mut plan = Plan::new(seed, &stack);
    for number in 1..=args.rounds {
        let round = plan.next_round();
        let before = searches.figures();
        let began = Instant::now();
        happen(&round, &mut stack).await.with_context(|| format!("round {number}: {}", round.name(&stack)))?;
        let back = began.elapsed();
        recovered(&stack, &searches).await.with_context(|| format!("after round {number}: {}", round.name(&stack)))?;
        stack.check()?;
        report::round(number, &round.name(&stack), back, &before, &searches.figures(), began);
    }

    sleep(WARM_UP).await;
    println!("quiet: every write that was begun is brought to its end");
    let (ledgers, written) = writers.finish(RECOVERY).await?;
    let searched = searches.finish().await?;
    stack.whole(RECOVERY).await?;
    let verdict = verify(stack.query()?, INDEX, &ledgers).await?;
    report::end(&written, &searched, &verdict);
    let letters = dead_letters(&stack).await?;
    println!("dead letters: {letters}");
    verdict.check()?;
    if letters > 0 {
        bail!("{letters} writes are in the dead letters");
    }
    logs.discard()
}

/// Does what the round says, from the first signal until the process is there again.
async fn happen(round: &Round, stack: &mut Stack) -> Result<()> {
    let Round { target, deed, pause } = *round;
    if target == Target::Broker {
        let node = stack.deployment.node().clone();
        match deed {
            Deed::Kill => node.kill9().await?,
            Deed::Stop => node.stop().await?,
            Deed::Freeze => node.pause().await?,
        }
        sleep(pause).await;
        return if deed == Deed::Freeze { node.resume().await } else { node.start_again().await };
    }
    let member: &mut Member = match target {
        Target::Producer(number) => &mut stack.producers[number],
        Target::Worker(number) => &mut stack.workers[number],
        Target::Query(number) => &mut stack.queries[number],
        Target::Broker => bail!("the broker is no member"),
    };
    match deed {
        Deed::Kill => member.kill9()?,
        Deed::Stop => drop(member.stop().await?),
        Deed::Freeze => member.freeze()?,
    }
    sleep(pause).await;
    if deed == Deed::Freeze { member.thaw() } else { member.start() }
}

/// Waits until everything is held and served again, and no search has failed for a while.
async fn recovered(stack: &Stack, searches: &Searches) -> Result<()> {
    for server in stack.queries.iter().chain(&stack.producers) {
        server.api()?.ready().await?;
    }
    stack.whole(RECOVERY).await?;
    searches.steady(STEADY, RECOVERY).await
}

async fn dead_letters(stack: &Stack) -> Result<u64> {
    let (status, answer) = stack.query()?.get("/dead-letters?limit=5").await?;
    let letters = answer["letters"].as_array().with_context(|| format!("{status}: {answer}"))?;
    letters.iter().for_each(|letter| println!("  {letter}"));
    Ok(letters.len() as u64)
}
