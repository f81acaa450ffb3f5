//! Requests that are made to hurt are refused or bounded, in time and memory, and harm nobody else.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt, stream};
use warren_tests::hostile::{self, Hostile};
use warren_tests::memory;
use warren_tests::searches::Retried;
use warren_tests::stack::{Shape, Stack};
use warren_tests::{Api, Node};

use crate::{sample, stacks};

/// What a busy machine may take beyond a deadline.
const MARGIN: Duration = Duration::from_secs(10);
/// How many are sent at a time in the second round.
const AT_ONCE: usize = 6;
/// What no process of this test may ever have had, in MiB.
const MAX_MEMORY: u64 = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_harm_only_themselves() -> Result<()> {
    let shape = Shape { producers: 1, workers: 2, queries: 1, snapshot_interval: Duration::from_secs(60), logs: None };
    let mut stack = Stack::start(Node::shared().await?, &shape, "packages", &sample::definition(4)?).await?;
    let documents = sample::documents()?;
    let producer = stack.producers[0].api()?.clone();
    producer.publish(&stack.index, &documents).await?;
    let query = stack.query()?.clone();
    query.found(&stack.index, documents.len()).await?;
    let ordinary = stacks::searches(&stack, Retried::Refused).await?;

    let requests = hostile::requests();
    let send = async |request: &Hostile| sent(request, &producer, &query, &stack.index).await;
    let mut wrong = Vec::new();
    for request in &requests {
        wrong.extend(send(request).await.err());
    }
    let mut together = stream::iter(requests.iter().map(send)).buffer_unordered(AT_ONCE);
    while let Some(answered) = together.next().await {
        wrong.extend(answered.err());
    }
    drop(together);
    let wrong: Vec<String> = wrong.iter().map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    stacks::none_failed(ordinary).await?;
    stack.check()?;
    for member in stack.producers.iter().chain(&stack.workers).chain(&stack.queries) {
        let had = memory(member.id()?)?;
        println!("{}: {had:?}", member.name);
        ensure!(had.peak <= MAX_MEMORY, "{} had {had:?} MiB", member.name);
    }
    query.found(&stack.index, documents.len()).await
}

async fn sent(request: &Hostile, producer: &Api, query: &Api, index: &str) -> Result<()> {
    let took = request.send(producer, query, index).await?;
    println!("{:7.3} s  {}", took.as_secs_f64(), request.name);
    ensure!(took <= request.deadline + MARGIN, "{} took {took:?}", request.name);
    Ok(())
}
