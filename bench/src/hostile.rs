//! Hostile requests beside ordinary searches: how long those take, before and meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use warren_tests::hostile::{self, Hostile};
use warren_tests::searches::{Figures, Retried};
use warren_tests::{ledger, memory};

use crate::trial::{RECOVERY, Roles, TIMEOUT, Trial};
use crate::{Input, figures, lines};

/// Documents of one upload.
const CHUNK: usize = 1000;
/// How many of the slowest answers are printed.
const SLOWEST: usize = 12;

/// What is deployed and asked.
#[derive(Args)]
pub(crate) struct HostileArgs {
    #[command(flatten)]
    input: Input,
    /// Workers
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Ordinary searches a second
    #[arg(long, default_value_t = 20)]
    searches: u32,
    /// Hostile requests at a time
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// How long ordinary searches run alone, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How often each hostile request is sent
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Send each hostile request by itself instead, again and again for so many seconds
    #[arg(long, value_name = "SECONDS")]
    each: Option<u64>,
    /// Only those whose names contain this
    #[arg(long, default_value = "")]
    only: String,
}

pub(crate) async fn run(args: &HostileArgs) -> Result<()> {
    let roles = Roles { producers: 1, workers: args.workers, queries: 1 };
    let definition = serde_json::to_value(args.input.definition()?)?;
    let mut requests = hostile::requests();
    requests.retain(|request| request.name.contains(&args.only));
    ensure!(!requests.is_empty(), "no hostile request has {:?} in its name", args.only);
    let mut trial = Trial::start(roles, Duration::from_secs(10), &definition).await?;
    fill(&trial, &args.input).await?;
    let members = || trial.stack.workers.iter().chain(&trial.stack.queries).chain(&trial.stack.producers);
    let peaks = || members().map(|member| Ok((member.name.clone(), memory(member.id()?)?))).collect::<Result<Vec<_>>>();

    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
    sleep(Duration::from_secs(args.seconds)).await;
    print("before", &searches.finish().await?);
    if let Some(seconds) = args.each {
        each(&trial, args, &requests, Duration::from_secs(seconds)).await?;
        trial.stack.check()?;
        return trial.succeed();
    }
    let before = peaks()?;

    let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
    let (producer, query) = (trial.stack.producers[0].api()?, trial.stack.query()?);
    let index = trial.stack.index.clone();
    let index = index.as_str();
    let began = Instant::now();
    let sent = (0..args.rounds).flat_map(|_| &requests);
    let sent = sent.map(|request| async move { (request, request.send(producer, query, index).await) });
    let mut answers = stream::iter(sent).buffer_unordered(args.at_once);
    let (mut slowest, mut wrong) = (BTreeMap::<&str, Duration>::new(), 0);
    while let Some((request, answered)) = answers.next().await {
        match answered {
            Ok(took) => {
                let longest = slowest.entry(&request.name).or_default();
                *longest = took.max(*longest);
            }
            Err(error) => {
                println!("{error:#}");
                wrong += 1;
            }
        }
    }
    drop(answers);
    println!("{} hostile requests in {:.1} s", requests.len() * args.rounds, began.elapsed().as_secs_f64());
    let during = searches.finish().await?;
    print("during", &during);
    let mut slowest: Vec<_> = slowest.into_iter().collect();
    slowest.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    for (name, took) in slowest.into_iter().take(SLOWEST) {
        println!("  {:7.2} s  {name}", took.as_secs_f64());
    }
    for ((name, before), (_, after)) in before.into_iter().zip(peaks()?) {
        println!("{name}: at most {} MiB before, {} MiB in the end", before.peak, after.peak);
    }
    trial.stack.check()?;
    ensure!(wrong == 0, "{wrong} answers are none of those that are due");
    ensure!(during.failed() == 0, "{} ordinary searches failed", during.failed());
    trial.succeed()
}

/// Which of them make others wait.
async fn each(trial: &Trial, args: &HostileArgs, requests: &[Hostile], duration: Duration) -> Result<()> {
    let (producer, query) = (trial.stack.producers[0].api()?, trial.stack.query()?);
    for request in requests {
        let searches = trial.stack.search(args.searches, TIMEOUT, Retried::Refused)?;
        let end = Instant::now() + duration;
        let sent = stream::repeat(()).take_while(|()| async { Instant::now() < end });
        let sent = sent.map(|()| request.send(producer, query, &trial.stack.index)).buffer_unordered(args.at_once);
        let answers = sent.collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<_>>>()?;
        let during = searches.finish().await?;
        figures::latencies(&format!("{} times {}", answers.len(), request.name), &during.latencies);
        ensure!(during.failed() == 0, "ordinary searches failed: {}", figures::causes(&during.causes));
    }
    Ok(())
}

/// Publishes the file, with words that ordinary searches seek.
async fn fill(trial: &Trial, input: &Input) -> Result<()> {
    let producer = trial.stack.producers[0].api()?;
    let mut random = Rng::with_seed(1);
    let mut documents = Vec::new();
    for line in lines(&input.documents)? {
        let mut document: Value = serde_json::from_str(&line?)?;
        let body = document["body"].as_str().context("a document without a body")?;
        document["body"] = format!("{body} {}", ledger::text(&mut random)).into();
        documents.push(document);
    }
    for chunk in documents.chunks(CHUNK) {
        producer.publish(&trial.stack.index, chunk).await?;
    }
    trial.stack.query()?.found(&trial.stack.index, documents.len()).await?;
    println!("{} documents", documents.len());
    trial.stack.saved(RECOVERY).await
}

fn print(when: &str, figures: &Figures) {
    figures::latencies(&format!("{when}: {} ordinary searches", figures.complete), &figures.latencies);
    println!("{when}: failed: {}", figures::causes(&figures.causes));
}
