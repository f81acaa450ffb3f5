//! Freshness: the time from publishing a document to finding it, at a steady rate.
//!
//! This program is a producer of its own, as `warren publish --broker` is, and publishes one document after the other, each
//! by itself. The receipt says when a replica's searches see it; for a sample, a search over HTTP, asked again until it
//! finds the document, says when a client does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use warren_broker::Settings;
use warren_producer::Producer;
use warren_producer::publisher::Write;
use warren_protocol::catalog::Entry;
use warren_protocol::{DocumentId, IndexName};
use warren_service::config::Config;
use warren_service::{CatalogHandle, Roster, Stop};
use warren_tests::searches::Latencies;
use warren_tests::{Api, http};

use crate::figures;
use crate::trial::{Roles, Trial};

/// Documents are published in groups that are due together: a timer is not exact enough for each.
const TICK: Duration = Duration::from_millis(5);
/// A document that is not found after that is missing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two searches for one document.
const POLL: Duration = Duration::from_millis(5);
/// The columns of the histogram.
const COLUMN: Duration = Duration::from_millis(25);
const COLUMNS: usize = 12;

/// What is deployed, and how fast is published.
#[derive(Args, Debug)]
pub(crate) struct FreshnessArgs {
    /// Documents a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Seconds of steady publishing, after the warm-up
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Seconds of warm-up, which are not counted
    #[arg(long, default_value_t = 5)]
    warm_up: u32,
    /// Workers
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Partitions of the index
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Of how many documents one is searched for until it is found
    #[arg(long, default_value_t = 100)]
    sample: usize,
}

/// What was measured.
#[derive(Default)]
struct Measured {
    receipts: Latencies,
    searches: Latencies,
    histogram: [u64; COLUMNS],
    lost: u64,
}

impl Measured {
    fn receipt(&mut self, took: Duration) {
        self.receipts.add(took);
        let column = (took.as_micros() / COLUMN.as_micros()) as usize;
        self.histogram[column.min(COLUMNS - 1)] += 1;
    }
}

pub(crate) async fn run(args: &FreshnessArgs) -> Result<()> {
    let roles = Roles { producers: 0, workers: args.workers, queries: 1 };
    let trial = Trial::start(roles, Duration::from_secs(60), &json!({"partitions": args.partitions})).await?;
    let (stop, folder) = (Stop::new(), tempfile::tempdir()?);
    let settings = Settings { url: Some(trial.stack.deployment.url().to_owned()), ..Settings::default() };
    let broker = warren_broker::connect(&settings, "bench", folder.path()).await?;
    let catalog = CatalogHandle::start(&broker.ports).await?;
    let roster = Roster::start(&broker.ports, &stop).await?;
    let mut config = Config::default();
    config.producer.intake = false;
    let producer = Producer::start(&config, &broker.ports, catalog.clone(), &roster, &stop);
    catalog.ready(std::time::Instant::now() + PATIENCE).await?;
    let name = IndexName::new(trial.stack.index.as_str())?;
    let entry = catalog.get(&name).context("the index was just created")?;

    let measured = Arc::new(Mutex::new(Measured::default()));
    let elapsed = publish(args, &producer, &entry, trial.stack.query()?, &measured).await?;
    let published = u64::from(args.rate) * u64::from(args.seconds);
    producer.close().await;
    stop.request();
    broker.close().await;
    let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{published} documents in {:.1} s, {} partitions, {} worker(s)",
        elapsed.as_secs_f64(),
        args.partitions,
        args.workers
    );
    figures::latencies("publish → receipt (a replica's searches see it)", &measured.receipts);
    figures::latencies(&format!("publish → found by a search over HTTP (1 of {})", args.sample), &measured.searches);
    histogram(&measured);
    ensure!(measured.lost == 0, "{} documents have no receipt", measured.lost);
    trial.succeed()
}

/// Publishes at the rate until the time is over, and waits until everything is found. Gives how long the publishing took.
async fn publish(
    args: &FreshnessArgs,
    producer: &Producer,
    entry: &Arc<Entry>,
    query: &Api,
    measured: &Arc<Mutex<Measured>>,
) -> Result<Duration> {
    let (warm_up, all) = (args.rate * args.warm_up, args.rate * (args.warm_up + args.seconds));
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut next, mut counted) = (Instant::now(), 0, None);
    while next < all {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(args.rate)) as u32;
        while next < due.min(all) {
            if next == warm_up {
                counted = Some(Instant::now());
            }
            let id = format!("fresh-{next}");
            let body = json!({"id": id, "number": next, "title": format!("document {next}"),
                "text": "steady as the stream that carries it, one of a thousand each second, and soon to be found"});
            let write = Write { id: DocumentId::new(id.clone())?, body: Some(body.to_string().into()) };
            let published = Instant::now();
            let ticket = producer.publisher.write_with_receipt(entry, write).await?;
            let counts = next >= warm_up;
            if counts && (next as usize).is_multiple_of(args.sample) {
                let index = entry.index.name.to_string();
                tasks.spawn(search(query.clone(), index, id, published, Arc::clone(measured)));
            }
            let measured = Arc::clone(measured);
            tasks.spawn(async move {
                let seen = timeout(PATIENCE, ticket).await.ok().flatten().is_some();
                let took = published.elapsed();
                let mut measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
                match (seen, counts) {
                    (true, true) => measured.receipt(took),
                    (false, _) => measured.lost += 1,
                    (true, false) => {}
                }
                Ok(())
            });
            next += 1;
        }
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
    }
    let elapsed = counted.context("nothing was counted")?.elapsed();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(elapsed)
}

/// Searches for a document until it is found.
async fn search(query: Api, index: String, id: String, published: Instant, measured: Arc<Mutex<Measured>>) -> Result<()> {
    let path = format!("/indexes/{index}/search");
    let request = json!({"query": format!("id:\"{id}\""), "limit": 1, "highlight": false});
    loop {
        let (status, answer) = http::answer(query.request(Method::POST, &path).json(&request)).await?;
        ensure!(status == 200, "{status}: {answer}");
        if answer["total"]["value"] == 1 {
            measured.lock().unwrap_or_else(PoisonError::into_inner).searches.add(published.elapsed());
            return Ok(());
        }
        ensure!(published.elapsed() < PATIENCE, "{id} is not found");
        sleep(POLL).await;
    }
}

fn histogram(measured: &Measured) {
    let most = measured.histogram.iter().copied().max().unwrap_or(1).max(1);
    let all: u64 = measured.histogram.iter().sum();
    println!("publish → receipt:");
    for (column, count) in measured.histogram.iter().enumerate() {
        let from = COLUMN.as_millis() as usize * column;
        let to = if column + 1 == COLUMNS { "…".to_owned() } else { (from + COLUMN.as_millis() as usize).to_string() };
        let bar = "█".repeat((count * 50).div_ceil(most) as usize);
        println!("{from:>5} – {to:<4} ms {count:>8} {:>5.1} % {bar}", *count as f64 * 100.0 / all.max(1) as f64);
    }
}
