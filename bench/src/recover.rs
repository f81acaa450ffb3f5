//! The only worker of a partition is killed: how long until all partitions answer again, from the worker's own folder, and
//! from the object store.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;
use warren_tests::{eventually, http};

use crate::trial::{RECOVERY, Roles, Trial};

/// Documents of one upload.
const CHUNK: usize = 2000;
/// A million documents on a busy machine.
const INDEXED: Duration = Duration::from_secs(1800);

/// What is searched.
#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    /// The definition of the index, as JSON; replicas is set to 1
    #[arg(long, value_name = "FILE")]
    definition: PathBuf,
    /// How often each file is published, under other ids each time
    #[arg(long, default_value_t = 1)]
    copies: usize,
    /// Milliseconds between two snapshots of a partition
    #[arg(long, default_value_t = 10_000)]
    snapshot_interval_ms: u64,
    /// NDJSON, packed with zstd
    #[arg(required = true)]
    documents: Vec<PathBuf>,
}

pub(crate) async fn run(args: &RecoverArgs) -> Result<()> {
    let definition = std::fs::read(&args.definition).with_context(|| args.definition.display().to_string())?;
    let mut definition: Value = serde_json::from_slice(&definition)?;
    definition["replicas"] = json!(1);
    let roles = Roles { producers: 1, workers: 1, queries: 1 };
    let mut trial = Trial::start(roles, Duration::from_millis(args.snapshot_interval_ms), &definition).await?;
    let documents = publish(&trial, args).await?;
    trial.stack.saved(INDEXED).await?;

    let killed = Instant::now();
    trial.stack.workers[0].kill9()?;
    trial.stack.workers[0].start()?;
    let took = answers(&trial, killed, documents).await?;
    println!("killed, started again in its folder: all partitions answer after {:.2} s", took.as_secs_f64());

    trial.stack.saved(INDEXED).await?;
    let killed = Instant::now();
    trial.stack.workers.remove(0).kill9()?;
    trial.stack.add_worker()?;
    let took = answers(&trial, killed, documents).await?;
    println!("killed, another one started in an empty folder: all partitions answer after {:.2} s", took.as_secs_f64());

    trial.stack.add_worker()?;
    trial.stack.balanced(RECOVERY).await?;
    trial.stack.saved(INDEXED).await?;
    let killed = Instant::now();
    trial.stack.workers.remove(0).kill9()?;
    let took = answers(&trial, killed, documents).await?;
    println!("one of two killed, the other took over its half: all partitions answer after {:.2} s", took.as_secs_f64());
    trial.stack.check()?;
    trial.succeed()
}

/// Publishes the files, and waits until all is found. Gives the number of documents.
async fn publish(trial: &Trial, args: &RecoverArgs) -> Result<u64> {
    let (began, mut documents) = (Instant::now(), 0_u64);
    let producer = trial.stack.producers.first().context("no producer")?.api()?;
    for copy in 0..args.copies {
        for (number, file) in args.documents.iter().enumerate() {
            let mut lines = crate::lines(file)?.peekable();
            while lines.peek().is_some() {
                let chunk = lines.by_ref().take(CHUNK).map(|line| renamed(&line?, copy, number)).collect::<Result<Vec<_>>>()?;
                producer.publish(&trial.stack.index, &chunk).await?;
                documents += chunk.len() as u64;
            }
        }
    }
    let query = trial.stack.query()?;
    eventually("all documents are found", INDEXED, async || {
        let found = query.count(&trial.stack.index).await?;
        ensure!(found == documents, "{found} of {documents} are found");
        Ok(())
    })
    .await?;
    println!("{documents} documents published and found within {:.1} s", began.elapsed().as_secs_f64());
    Ok(documents)
}

/// A document under an id that no other file or copy has.
fn renamed(line: &str, copy: usize, file: usize) -> Result<Value> {
    let mut document: Value = serde_json::from_str(line)?;
    let id = document["id"].as_str().context("a document without an id")?;
    document["id"] = format!("{copy}-{file}-{id}").into();
    Ok(document)
}

/// The time until a search finds all documents in all partitions.
async fn answers(trial: &Trial, since: Instant, documents: u64) -> Result<Duration> {
    let client = http::fresh_client(Duration::from_secs(10))?;
    let url = format!("{}/indexes/{}/search", trial.stack.query()?.url(), trial.stack.index);
    // A search that waits is answered at once when its partition is served again.
    let request = json!({"query": "*", "limit": 1, "timeout_ms": 5000});
    eventually("all partitions answer", RECOVERY, async || {
        let (status, answer) = http::answer(client.post(&url).json(&request)).await?;
        ensure!(status == 200 && answer["partitions"]["answered"] == answer["partitions"]["total"], "{status}: {answer}");
        ensure!(answer["total"]["value"] == documents, "{answer}");
        Ok(since.elapsed())
    })
    .await
}
