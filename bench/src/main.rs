//! What is measured: how many documents a second Warren makes searchable, and raw tantivy beside it; and what becomes of
//! searches and documents while processes are killed, frozen, stopped, added and taken away.
//!
//! ```text
//! cargo build --profile dist --workspace --bins
//! target/dist/bench raw      --definition bench/debian-packages.json debian-packages.ndjson.zst
//! target/dist/bench pipeline --definition bench/debian-packages.json --broker amqp://… debian-packages.ndjson.zst
//! target/dist/bench chaos    --rounds 20
//! target/dist/bench relevance scifact
//! target/dist/bench hostile  --definition bench/debian-packages.json debian-packages.ndjson.zst
//! target/dist/bench paging   --definition bench/debian-packages.json debian-packages.ndjson.zst
//! ```

mod chaos;
mod figures;
mod freeze;
mod freshness;
mod hostile;
mod kill_replica;
mod overload;
mod paging;
mod pipeline;
mod process;
mod raw;
mod recover;
mod relevance;
mod rolling;
mod scale;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use warren_protocol::IndexDefinition;

#[derive(Parser)]
#[command(about = "Measures Warren, and raw tantivy beside it")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Index with tantivy alone: one process, no broker, the same fields
    Raw {
        #[command(flatten)]
        input: Input,
        /// Indexing threads
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Publish through a broker to workers and wait until all is found
    Pipeline {
        #[command(flatten)]
        input: Input,
        /// The broker, empty: amqp://…
        #[arg(long)]
        broker: String,
        /// The process id of the broker, to count its CPU time too
        #[arg(long)]
        broker_pid: Option<u32>,
        /// How many workers share the partitions
        #[arg(long, default_value_t = 1)]
        workers: usize,
    },
    /// Disturb processes at random under writes and searches, and check that nothing confirmed is lost
    Chaos(chaos::ChaosArgs),
    /// Kill a worker whose partitions others hold, too: no search may fail
    KillReplica(kill_replica::KillReplicaArgs),
    /// Kill the worker of partitions that nobody else holds: how long until all answer again
    Recover(recover::RecoverArgs),
    /// Add workers and take them away: no search may fail, no partition be without a server
    Scale(scale::ScaleArgs),
    /// Freeze a worker: others take over, and it steps back when it goes on
    Freeze(freeze::FreezeArgs),
    /// Publish faster than a slowed worker indexes: memory stays flat, refusals are clear, what is confirmed is found
    Overload(overload::OverloadArgs),
    /// Ask for what is too much, beside ordinary searches: how long those take, before and meanwhile
    Hostile(hostile::HostileArgs),
    /// Publish at a steady rate: how long until each document is found
    Freshness(freshness::FreshnessArgs),
    /// Stop and start every process, one by one: no search may fail, no write be lost
    Rolling(rolling::RollingArgs),
    /// How good the hits are, on a collection with judged queries
    Relevance(relevance::RelevanceArgs),
    /// Read everything page by page while documents are added: nothing may be missing or come twice
    Paging(paging::PagingArgs),
}

#[derive(Args)]
struct Input {
    /// The definition of the index, as JSON
    #[arg(long, value_name = "FILE")]
    definition: PathBuf,
    /// NDJSON, packed with zstd
    documents: PathBuf,
}

impl Input {
    fn definition(&self) -> Result<IndexDefinition> {
        let json = std::fs::read(&self.definition).with_context(|| self.definition.display().to_string())?;
        Ok(IndexDefinition::from_json(&json)?)
    }
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Raw { input, threads } => raw::run(&input, threads),
        What::Pipeline { input, broker, broker_pid, workers } => {
            until_interrupted(pipeline::run(&input, &broker, broker_pid, workers))
        }
        What::Chaos(args) => until_interrupted(chaos::run(&args)),
        What::KillReplica(args) => until_interrupted(kill_replica::run(&args)),
        What::Recover(args) => until_interrupted(recover::run(&args)),
        What::Scale(args) => until_interrupted(scale::run(&args)),
        What::Freeze(args) => until_interrupted(freeze::run(&args)),
        What::Overload(args) => until_interrupted(overload::run(&args)),
        What::Hostile(args) => until_interrupted(hostile::run(&args)),
        What::Freshness(args) => until_interrupted(freshness::run(&args)),
        What::Rolling(args) => until_interrupted(rolling::run(&args)),
        What::Relevance(args) => until_interrupted(relevance::run(&args)),
        What::Paging(args) => until_interrupted(paging::run(&args)),
    }
}

/// Runs to the end, or to SIGINT or SIGTERM; then everything that was started is ended.
fn until_interrupted(run: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = run => ended,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })
}

/// The lines of a packed file.
fn lines(file: &Path) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
    let file = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    Ok(std::io::BufRead::lines(std::io::BufReader::with_capacity(1 << 20, zstd::Decoder::new(file)?)))
}

/// One result, on one line.
fn report(what: &str, documents: u64, wall: Duration, cpu: Duration) {
    let per_document = cpu.as_secs_f64() * 1e6 / documents.max(1) as f64;
    println!(
        "{what}: {documents} documents in {:.2} s: {:.0}/s; CPU {:.2} s, {per_document:.1} µs a document",
        wall.as_secs_f64(),
        documents as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64()
    );
}
