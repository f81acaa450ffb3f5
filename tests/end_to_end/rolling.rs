//! A rolling restart: with two of each role, it loses no search and no write.

use anyhow::Result;
use serde_json::json;
use warren_tests::deployment::PATIENCE;
use warren_tests::member::Member;
use warren_tests::searches::Retried;
use warren_tests::stack::Stack;

use crate::stacks::{all_is_there, load, more, none_failed, searches, stack};

/// The processes of one role.
type OfRole = fn(&mut Stack) -> &mut Vec<Member>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_is_restarted_and_no_search_fails_and_no_write_is_lost() -> Result<()> {
    let mut stack = stack(2, 2, 2, &json!({"partitions": 2, "replicas": 2})).await?;
    let mut load = load(&stack, 1);
    load.per_second = 200;
    let writers = stack.write(&load, 1, 1).await?;
    let searches = searches(&stack, Retried::RefusedAnd503).await?;
    let of_roles: [OfRole; 3] = [|stack| &mut stack.queries, |stack| &mut stack.workers, |stack| &mut stack.producers];
    for of_role in of_roles {
        for number in 0..2 {
            let member = &mut of_role(&mut stack)[number];
            // A clean end, in time: that is checked.
            member.stop().await?;
            member.start_ready().await?;
            stack.whole(PATIENCE).await?;
            more(&searches, 30).await?;
        }
    }
    none_failed(searches).await?;
    let (ledgers, _) = writers.finish(PATIENCE).await?;
    all_is_there(&stack, &ledgers, 0).await
}
