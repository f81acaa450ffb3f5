//! The `warren` program: the whole system in one process, and the command line to a running one.

mod client;
mod dead_letters;
mod index;
mod publish;
mod restore;
mod sample;
mod search;
mod source;
mod status;
mod table;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use warren_service::config::Config;
use warren_service::program::{self, RoleArgs};

/// A document search engine that lives in RabbitMQ.
#[derive(Parser)]
#[command(name = "warren", version, about, after_help = "Every setting: warren up --check-config. README.md has the tour.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process: broker (embedded, or --broker), producer, worker, search, the page
    Up {
        #[command(flatten)]
        role: RoleArgs,
        /// Load the sample: some thousands of Debian package descriptions, into the index `packages`
        #[arg(long)]
        sample: bool,
    },
    // Its help stands at its arguments: a line here would take the place of all of it.
    Publish(publish::PublishArgs),
    /// Search an index
    Search(search::SearchArgs),
    /// Create, list, show and delete indexes
    Index(index::IndexArgs),
    /// Index the messages that already flow through an exchange or a queue of RabbitMQ
    Source(source::SourceArgs),
    /// Show partitions, replicas, and how far they are
    Status {
        #[command(flatten)]
        server: ServerArgs,
        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
    // As for Publish.
    Restore(restore::RestoreArgs),
    /// Look at what could not be processed, replay it, delete it
    DeadLetters(dead_letters::DeadLettersArgs),
}

/// Which Warren a command talks to.
#[derive(Args, Clone, Debug, Default)]
struct ServerArgs {
    /// Its address [default: http://127.0.0.1:8080, or client.server of the configuration]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The API key; better in the environment, as WARREN__CLIENT__KEY
    #[arg(long, global = true, value_name = "KEY")]
    key: Option<String>,
    /// A configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ServerArgs {
    fn load(&self) -> Result<Config, warren_service::config::ConfigError> {
        let mut overrides = Vec::new();
        overrides.extend(self.server.clone().map(|server| ("client.server".to_owned(), server)));
        overrides.extend(self.key.clone().map(|key| ("client.key".to_owned(), key)));
        Config::load(self.config.as_deref(), overrides)
    }
}

fn main() -> ExitCode {
    match Cli::parse_from(search::words_last(&Cli::command(), std::env::args_os())).command {
        Command::Up { role, sample } => {
            program::launch("warren", &role, async move |config, ports, stop| up::run(config, ports, stop, sample).await)
        }
        Command::Publish(args) => {
            let server = args.server.clone();
            client::command(&server, async move |config| publish::run(args, config).await)
        }
        Command::Search(args) => {
            let server = args.server.clone();
            client::command(&server, async move |config| search::run(args, &config).await)
        }
        Command::Index(args) => {
            let server = args.server.clone();
            client::command(&server, async move |config| index::run(args, &config).await)
        }
        Command::Source(args) => {
            let server = args.server.clone();
            client::command(&server, async move |config| source::run(args, &config).await)
        }
        Command::Status { server, json } => client::command(&server, async move |config| status::run(&config, json).await),
        Command::Restore(args) => restore::command(&args),
        Command::DeadLetters(args) => {
            let server = args.server.clone();
            client::command(&server, async move |config| dead_letters::run(args, &config).await)
        }
    }
}
