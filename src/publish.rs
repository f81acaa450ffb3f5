//! `warren publish`: documents from files, folders and stdin, to a server or straight into the logs.

mod broker;
mod files;
mod format;
mod page;
mod progress;
mod server;
mod source;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use warren_producer::receipts::Found;
use warren_producer::upload::{Rejection, Summary};
use warren_protocol::{IndexDefinition, IndexName};
use warren_service::config::Config;

use crate::ServerArgs;
use files::Files;
use format::Format;
pub(crate) use progress::Progress;
use source::{Options, Source};

/// Exit code after Ctrl-C: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// How many refused documents are printed; all are counted.
const MAX_PRINTED: usize = 100;
/// How many documents that cannot be found yet are named.
const MAX_LISTED: usize = 10;

/// Publish documents from files, folders, or stdin
///
/// A file's name says what it holds, or --format does:
///
///   *.json             an array of objects, one object, or one a line
///   *.ndjson *.jsonl   an object a line
///   *.csv *.tsv        a header, then a document a row; strings, but where the
///                      index defines the field as number, boolean or date
///   *.txt *.md *.html  the file is one document: id (its place in the folder),
///                      title, body, path
///
/// All as they are or compressed with gzip or zstd (told by their first bytes).
/// Of a folder, all such files in it and below; hidden ones, binary ones and
/// others are skipped. A document with the id of another replaces it. What is
/// refused is printed with its file and line, the rest is published, and the exit
/// code is 1.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PublishArgs {
    /// The index; one that does not exist is created with the defaults
    #[arg(long, value_name = "NAME")]
    index: IndexName,
    /// Read all files as this, whatever their names
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What separates the columns of CSV: one character, or `tab` [default: what stands most often in the header]
    #[arg(long, value_name = "CHARACTER", value_parser = format::delimiter)]
    delimiter: Option<u8>,
    /// Publish straight into the logs of this broker (amqp://…), without a server
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    broker: Option<String>,
    /// End only when a search finds everything that was accepted; exit code 1 if it does not in time
    #[arg(long)]
    wait: bool,
    /// How long to wait for that after the last document, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=60))]
    wait_seconds: u64,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Files, folders, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Where parts of the input go.
enum Target {
    Server(server::ServerTarget),
    Broker(Box<broker::BrokerTarget>),
}

impl Target {
    /// What the index says of its fields; the defaults, if there is no such index yet.
    async fn definition(&self) -> anyhow::Result<IndexDefinition> {
        match self {
            Self::Server(target) => target.definition().await,
            Self::Broker(target) => Ok(target.definition()),
        }
    }
}

/// What became of all documents.
#[derive(Default)]
struct Outcome {
    accepted: u64,
    rejected: u64,
    printed: usize,
    /// With `--wait`: what can be found.
    found: Option<Found>,
}

/// Publishes everything; exit code 1 if a document was refused, or is to be waited for and cannot be found in time.
pub(crate) async fn run(args: PublishArgs, mut config: Config) -> anyhow::Result<ExitCode> {
    let files = Files::find(&args.files, args.format)?;
    if let Some(skipped) = files.skipped() {
        eprintln!("{skipped}");
    }
    let max_document_bytes = config.http.max_document_bytes.get() as usize;
    let wait = args.wait.then(|| Duration::from_secs(args.wait_seconds));
    let mut target = match args.broker {
        Some(url) => {
            config.broker.url = Some(url);
            Target::Broker(Box::new(broker::BrokerTarget::connect(config, args.index, wait).await?))
        }
        None => Target::Server(server::ServerTarget::new(&config, args.index, wait)?),
    };
    let definition = match files.inputs.iter().any(|input| input.reading.makes_documents()) {
        true => target.definition().await?,
        false => IndexDefinition::default(),
    };
    let mut source = Source::start(files, Options { max_document_bytes, delimiter: args.delimiter, definition })?;
    let progress = Progress::start(source.total_bytes(), source.bytes_read());
    let mut outcome = Outcome::default();
    let published = tokio::select! {
        published = publish(&mut source, &mut target, &mut outcome, &progress) => Some(published),
        _ = tokio::signal::ctrl_c() => None,
    };
    let finished = match target {
        Target::Broker(target) if published.is_some() => target.close().await,
        _ => Ok(()),
    };
    progress.finish();
    let rate = outcome.accepted as f64 / progress.elapsed().as_secs_f64().max(0.001);
    eprintln!(
        "{} accepted, {} rejected in {:.1} s ({rate:.0} documents/s)",
        outcome.accepted,
        outcome.rejected,
        progress.elapsed().as_secs_f64()
    );
    let all_found = outcome.found.as_ref().is_none_or(|found| tell_found(found, progress.elapsed()));
    match published {
        None => {
            eprintln!("warren: interrupted; publish again to go on, a document that was kept is only replaced by itself");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Some(published) => {
            published.and(finished)?;
            Ok(if outcome.rejected == 0 && all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

async fn publish(source: &mut Source, target: &mut Target, outcome: &mut Outcome, progress: &Progress) -> anyhow::Result<()> {
    while let Some(part) = source.next_part().await? {
        let file = part.file.clone();
        let summary = match target {
            Target::Server(target) => {
                let (summary, found) = target.publish(part).await?;
                outcome.found(found);
                summary
            }
            Target::Broker(target) => target.publish(part, progress).await?,
        };
        outcome.add(&file, summary, progress);
    }
    if let Target::Broker(target) = target {
        let (accepted, found) = target.finish(progress).await?;
        outcome.found(found);
        outcome.accepted += accepted;
        progress.accepted(outcome.accepted);
    }
    Ok(())
}

/// Says what can be found and after which time; whether that is everything.
fn tell_found(found: &Found, elapsed: Duration) -> bool {
    eprintln!("{} can be found after {:.1} s", found.searchable, elapsed.as_secs_f64());
    let listed = found.pending.iter().map(String::as_str).take(MAX_LISTED).collect::<Vec<_>>().join(", ");
    if found.pending_count > 0 {
        eprintln!("warren: {} are kept and cannot be found yet: {listed}", found.pending_count);
    }
    for lost in &found.lost {
        eprintln!("warren: {}: cannot be indexed, it is a dead letter: {}", lost.id, lost.detail);
    }
    found.is_complete()
}

impl Outcome {
    fn found(&mut self, found: Option<Found>) {
        if let Some(found) = found {
            self.found.get_or_insert_default().add(found, MAX_PRINTED);
        }
    }

    fn add(&mut self, file: &str, summary: Summary, progress: &Progress) {
        self.accepted += summary.accepted;
        self.rejected += summary.rejected_count;
        progress.accepted(self.accepted);
        for Rejection { line, code, detail, .. } in summary.rejected {
            if self.printed < MAX_PRINTED {
                progress.line(&format!("{file}:{line}: {code}: {detail}"));
            } else if self.printed == MAX_PRINTED {
                progress.line("more documents were rejected, they are only counted");
            }
            self.printed += 1;
        }
    }
}
