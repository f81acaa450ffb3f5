//! A rolling restart: every process of Warren is stopped and started again, one by one, two of each role, under writes and
//! searches. No search may fail, and no confirmed write be lost.
//!
//! A search is asked again once, at the other query service, if its connection is refused or it is answered 503; nothing
//! else is asked again. Writers repeat what is not confirmed at the same producer, until it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};
use warren_tests::member::Member;
use warren_tests::searches::{Retried, Searches};
use warren_tests::stack::Stack;

use crate::trial::{self, RECOVERY, Roles, STEADY, TIMEOUT, Trial, WARM_UP};

/// How large the load is.
#[derive(Args, Debug)]
pub(crate) struct RollingArgs {
    /// Partitions of the index
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 2)]
    replicas: u32,
    /// Documents, before the load begins
    #[arg(long, default_value_t = 20_000)]
    documents: usize,
    /// Searches a second
    #[arg(long, default_value_t = 100)]
    searches: u32,
    /// Writes a second
    #[arg(long, default_value_t = 200)]
    writes: u32,
}

/// The processes of one role.
type OfRole = fn(&mut Stack) -> &mut Vec<Member>;

pub(crate) async fn run(args: &RollingArgs) -> Result<()> {
    let roles = Roles { producers: 2, workers: 2, queries: 2 };
    let definition = trial::definition(args.partitions, args.replicas);
    let mut trial = Trial::start(roles, Duration::from_secs(10), &definition).await?;
    trial.fill(args.documents).await?;
    let writers = trial.stack.write(&trial.write_load(args.writes, 2000, 1), 2, 1).await?;
    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::RefusedAnd503)?;
    sleep(WARM_UP).await;
    let of_roles: [OfRole; 3] = [|stack| &mut stack.queries, |stack| &mut stack.workers, |stack| &mut stack.producers];
    for of_role in of_roles {
        for number in 0..of_role(&mut trial.stack).len() {
            restart(&mut trial.stack, of_role, number, &searches).await?;
        }
    }
    let failed = searches.failed();
    trial.end_load(writers, searches).await?;
    ensure!(failed == 0, "{failed} searches failed");
    trial.succeed()
}

async fn restart(stack: &mut Stack, of_role: OfRole, number: usize, searches: &Searches) -> Result<()> {
    let (began, failed) = (Instant::now(), searches.failed());
    let member = &mut of_role(stack)[number];
    let stopped = member.stop().await?;
    member.start_ready().await?;
    let name = member.name.clone();
    let ready = began.elapsed();
    stack.whole(RECOVERY).await?;
    let whole = began.elapsed();
    searches.steady(STEADY, RECOVERY).await?;
    println!(
        "{name}: stopped within {:.1} s, ready again after {:.1} s, all replicas serve after {:.1} s; searches failed: {}",
        stopped.as_secs_f64(),
        ready.as_secs_f64(),
        whole.as_secs_f64(),
        searches.failed() - failed
    );
    stack.check()
}
