//! Workers come, go and die, and searches do not notice.

use anyhow::Result;
use serde_json::json;
use warren_tests::deployment::PATIENCE;
use warren_tests::searches::Retried;
use warren_tests::watcher::Watcher;

use crate::stacks::{all_is_there, more, none_failed, searches, stack, written};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_and_go_share_equally_and_every_search_is_complete() -> Result<()> {
    let mut stack = stack(1, 1, 1, &json!({"partitions": 4, "replicas": 2})).await?;
    stack.fill(1000).await?;
    let (searches, watcher) = (searches(&stack, Retried::Refused).await?, Watcher::start(stack.query()?, &stack.index));
    // Alone, it holds one replica of each partition: two on one machine would protect from nothing.
    assert_eq!(stack.balanced(PATIENCE).await?.held().into_values().collect::<Vec<_>>(), [4]);
    stack.add_worker()?;
    stack.add_worker()?;
    let mut held: Vec<_> = stack.balanced(PATIENCE).await?.held().into_values().collect();
    held.sort_unstable();
    assert_eq!(held, [2, 3, 3]);
    stack.workers.remove(0).stop().await?;
    let held: Vec<_> = stack.balanced(PATIENCE).await?.held().into_values().collect();
    assert_eq!(held, [4, 4]);
    more(&searches, 30).await?;
    none_failed(searches).await?;
    let watched = watcher.finish().await?;
    assert_eq!((watched.unserved, watched.unanswered), (0, 0), "{watched}");
    assert_eq!(stack.query()?.count(&stack.index).await?, 1000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_killed_fails_no_search() -> Result<()> {
    let mut stack = stack(1, 2, 1, &json!({"partitions": 3, "replicas": 2})).await?;
    stack.fill(1000).await?;
    let searches = searches(&stack, Retried::Refused).await?;
    for round in 0..2 {
        stack.workers[round].kill9()?;
        more(&searches, 60).await?;
        stack.workers[round].start()?;
        stack.whole(PATIENCE).await?;
    }
    none_failed(searches).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_is_replaced_and_steps_back_when_it_goes_on() -> Result<()> {
    let mut stack = stack(1, 3, 1, &json!({"partitions": 3, "replicas": 1})).await?;
    let ledgers = written(&stack, 1000).await?;
    stack.balanced(PATIENCE).await?;
    stack.workers[0].freeze()?;
    let frozen = stack.workers.remove(0);
    // The heartbeat of its slots tells after a quarter of a minute at most.
    stack.balanced(PATIENCE).await?;
    all_is_there(&stack, &ledgers, 0).await?;
    stack.workers.push(frozen);
    stack.workers[2].thaw()?;
    let held: Vec<_> = stack.balanced(PATIENCE).await?.held().into_values().collect();
    assert_eq!(held, [1, 1, 1]);
    all_is_there(&stack, &ledgers, 0).await
}
