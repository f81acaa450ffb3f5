//! `warren search`: hits on a terminal, or as JSON; asked of a server over HTTP, or of a broker.

mod lines;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Command};
use reqwest::Method;
use serde_json::value::RawValue;
use warren_protocol::ports::{ClientReply, ClientRequest, RpcError};
use warren_protocol::query::QueryInput;
use warren_protocol::search::{SearchRequest, SearchResponse};
use warren_protocol::{IndexName, Problem};
use warren_service::config::Config;

use crate::ServerArgs;
use crate::client::{Client, Refused};
use lines::Ink;

/// How much longer than the search itself its answer may take on its way.
const WAY: Duration = Duration::from_secs(3);

/// Search an index
#[derive(Args)]
pub(crate) struct SearchArgs {
    /// The index
    #[arg(long, value_name = "NAME")]
    index: IndexName,
    /// How many hits
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// How many hits to leave out first
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// Print the answer's JSON
    #[arg(long)]
    json: bool,
    /// Search through the queues of this broker (amqp://…), without a server
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    broker: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Words, joined by OR; +must, -not, "a phrase", field:word; '' finds everything. What begins with -- is an option,
    /// wherever it stands; behind -- itself all is query
    #[arg(required = true)]
    query: Vec<String>,
}

/// Puts the words of a query behind the options of `warren search`, and `--` between: a word may begin with a hyphen, and
/// options may stand behind words. Other commands stay as they are.
pub(crate) fn words_last(warren: &Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut sorted: Vec<OsString> = args.by_ref().take(2).collect();
    let search = warren.find_subcommand("search").filter(|search| sorted.get(1).is_some_and(|name| *name == *search.get_name()));
    let Some(search) = search else { return sorted.into_iter().chain(args).collect() };
    let takes_value = |option: &str| {
        let mut options = search.get_arguments();
        options.any(|known| known.get_long() == Some(option) && known.get_action().takes_values())
    };
    let mut words = Vec::new();
    while let Some(arg) = args.next() {
        match arg.to_str().and_then(|arg| arg.strip_prefix("--")) {
            Some("") => words.extend(args.by_ref()),
            Some(option) => {
                let value = takes_value(option).then(|| args.next()).flatten();
                sorted.extend([arg].into_iter().chain(value));
            }
            None if arg == "-h" => sorted.push(arg),
            None => words.push(arg),
        }
    }
    if !words.is_empty() {
        sorted.push("--".into());
    }
    sorted.extend(words);
    sorted
}

/// Searches and prints.
pub(crate) async fn run(args: SearchArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let query = QueryInput::Text(args.query.join(" "));
    let request = SearchRequest { query, limit: args.limit, offset: args.offset, ..SearchRequest::default() };
    let raw = match args.broker {
        Some(url) => ask_broker(url, config, &args.index, &request).await?,
        None => {
            let path = format!("/indexes/{}/search", args.index);
            Client::new(config)?.send_json::<Box<RawValue>>(Method::POST, &path, &request).await?
        }
    };
    if args.json {
        print(&format!("{raw}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: SearchResponse = serde_json::from_str(raw.get()).context("the answer is not what this program understands")?;
    for failed in &answer.partitions.failed {
        eprintln!("warren: partition {} is missing: {}", failed.partition, failed.reason);
    }
    // Colours only on a terminal, and not where NO_COLOR is set.
    print(&lines::page(&answer, args.offset, Ink::new(console::colors_enabled())))?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever reads may have read enough: `warren search … | head` is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}

/// Asks as any client of the broker does; see docs/amqp-search.md.
async fn ask_broker(url: String, config: &Config, index: &IndexName, request: &SearchRequest) -> anyhow::Result<Box<RawValue>> {
    let settings = warren_broker::Settings { url: Some(url), ..config.broker.clone() };
    let broker = warren_broker::connect(&settings, "warren search", &config.data_dir).await?;
    let body = serde_json::to_vec(request)?.into();
    let question = ClientRequest { index: index.to_string(), content_encoding: None, body };
    let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.into()) + WAY;
    let reply = broker.ports.rpc.ask(question, deadline).await;
    broker.close().await;
    let ClientReply { content_type, body } = reply.map_err(|error| match error {
        RpcError::Deadline => anyhow::anyhow!("nobody answered through the broker: does a query service run?"),
        error => error.into(),
    })?;
    if content_type == "application/problem+json" {
        let problem: Problem = serde_json::from_slice(&body).context("the answer is not what this program understands")?;
        return Err(Refused { problem, retry_after: None }.into());
    }
    serde_json::from_slice(&body).context("the answer is not what this program understands")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Warren {
        #[command(subcommand)]
        command: Only,
    }

    #[derive(clap::Subcommand)]
    enum Only {
        Search(SearchArgs),
    }

    fn parse(line: &str) -> Result<SearchArgs, clap::Error> {
        let args = ["warren", "search"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        let Only::Search(args) = Warren::try_parse_from(words_last(&Warren::command(), args))?.command;
        Ok(args)
    }

    #[test]
    fn options_stand_before_and_behind_the_words_and_not_behind_two_hyphens() {
        for line in [
            "--index a --limit 1 --json web -server +x",
            "web --index a -server --limit=1 +x --json",
            "web -server --json --limit 1 +x --index a",
            "--json --limit 1 --index=a -- web -server +x",
        ] {
            let args = parse(line).unwrap();
            assert_eq!((args.index.as_str(), args.limit, args.json), ("a", 1, true), "{line}");
            assert_eq!(args.query.join(" "), "web -server +x", "{line}");
        }
        let args = parse("web --index a -- --limit 1 -h").unwrap();
        assert_eq!((args.limit, args.query.join(" ")), (10, "web --limit 1 -h".to_owned()));
        let error = |line: &str| parse(line).err().map(|error| error.kind());
        assert_eq!(error("web --index a --lim 1"), Some(clap::error::ErrorKind::UnknownArgument));
        assert_eq!(error("web --index"), Some(clap::error::ErrorKind::InvalidValue));
        assert_eq!(error("--index a"), Some(clap::error::ErrorKind::MissingRequiredArgument));
        assert_eq!(error("web -h"), Some(clap::error::ErrorKind::DisplayHelp));
        assert_eq!(error("web --server"), Some(clap::error::ErrorKind::InvalidValue));
    }

    #[test]
    fn other_commands_keep_their_arguments() {
        let args = ["warren", "publish", "-", "--index", "a"].map(OsString::from);
        assert_eq!(words_last(&Warren::command(), args.clone()), args);
    }
}
