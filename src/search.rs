//! `warren search`: hits on a terminal, or as JSON; asked of a server over HTTP, or of a broker.

mod lines;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
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
    /// Words, joined by OR; +must, -not, "a phrase", field:word. Options go before them; '' finds everything
    #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true)]
    query: Vec<String>,
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
