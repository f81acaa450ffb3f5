//! `warren search`: hits on a terminal, or as JSON.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use serde_json::value::RawValue;
use warren_protocol::IndexName;
use warren_protocol::query::QueryInput;
use warren_protocol::search::{Hit, Relation, SearchRequest, SearchResponse};
use warren_service::config::Config;

use crate::ServerArgs;
use crate::client::Client;

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
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Words, joined by OR; +must, -not, "a phrase", field:word
    #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true)]
    query: Vec<String>,
}

/// Searches and prints.
pub(crate) async fn run(args: SearchArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    let query = QueryInput::Text(args.query.join(" "));
    let request = SearchRequest { query, limit: args.limit, offset: args.offset, ..SearchRequest::default() };
    let path = format!("/indexes/{}/search", args.index);
    if args.json {
        let answer: Box<RawValue> = client.send_json(Method::POST, &path, &request).await?;
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let answer: SearchResponse = client.send_json(Method::POST, &path, &request).await?;
    for failed in &answer.partitions.failed {
        eprintln!("warren: partition {} is missing: {}", failed.partition, failed.reason);
    }
    let marks = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    for (number, hit) in (args.offset + 1..).zip(&answer.hits) {
        print_hit(number, hit, marks);
    }
    if let Some(total) = answer.total {
        let more = if total.relation == Relation::Gte { "at least " } else { "" };
        println!("{more}{} found in {} ms", total.value, answer.took_ms);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_hit(number: u32, hit: &Hit, marks: (&str, &str)) {
    let document: Value = serde_json::from_str(hit.document.get()).unwrap_or_default();
    let title = ["title", "name", "subject"].iter().find_map(|field| document[field].as_str()).unwrap_or_default();
    let score = hit.score.map(|score| format!("  ({score})")).unwrap_or_default();
    println!("{number:>3}. {}{}{}  {title}{score}", marks.0, hit.id, marks.1);
    let passages = hit.highlights.iter().filter(|(field, _)| *field != "title").flat_map(|(_, passages)| passages);
    if let Some(passage) = passages.into_iter().next() {
        println!("     {}", plain(passage, marks));
    }
}

/// A passage as text: the marks of the terminal for those of HTML.
fn plain(passage: &str, (on, off): (&str, &str)) -> String {
    let text = passage.replace("<b>", on).replace("</b>", off);
    let text =
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#x27;", "'").replace("&#39;", "'");
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_reads_as_text() {
        assert_eq!(plain("a &lt;tag&gt; &amp;amp;\n <b>web</b>", ("[", "]")), "a <tag> &amp; [web]");
    }
}
