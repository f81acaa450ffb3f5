//! `warren dead-letters`: look at what could not be processed, replay it, delete it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use warren_protocol::dead_letter::now_ms;
use warren_service::config::Config;
use warren_service::human;

use crate::client::Client;
use crate::{ServerArgs, table};

/// Look at what could not be processed, replay it, delete it
#[derive(Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Subcommand)]
enum Action {
    /// List dead letters with their reasons, the oldest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many, at most 100
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Print one dead letter whole, as JSON
    Show {
        /// Its id
        id: String,
        /// Only the body, as it came
        #[arg(long)]
        body: bool,
    },
    /// Send dead letters back the way that they came by
    ///
    /// One whose document was written since is skipped.
    Replay {
        #[command(flatten)]
        filter: Filter,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Also those whose documents were written since, or may have been
        #[arg(long)]
        force: bool,
    },
    /// Delete dead letters
    Purge {
        #[command(flatten)]
        filter: Filter,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// Which letters.
#[derive(Args)]
struct Filter {
    /// Only those with this reason, such as invalid_json
    #[arg(long)]
    reason: Option<String>,
    /// Only those that came by this way: warren.intake, or warren.source.NAME
    #[arg(long)]
    source: Option<String>,
    /// Only those for this index
    #[arg(long)]
    index: Option<String>,
    /// Only those of this document
    #[arg(long, value_name = "ID")]
    document_id: Option<String>,
    /// Only the one with this id
    #[arg(long)]
    id: Option<String>,
}

impl Filter {
    fn parts(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("reason", &self.reason),
            ("source", &self.source),
            ("index", &self.index),
            ("document_id", &self.document_id),
            ("id", &self.id),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// Nothing is done to all letters by forgetting to say which.
    fn or_all(&self, all: bool) -> anyhow::Result<()> {
        let given = !self.parts().is_empty();
        ensure!(given || all, "say which: --reason, --source, --index, --document-id or --id; --all takes all of them");
        ensure!(!(given && all), "--all takes all of them: leave it out, or the other options");
        Ok(())
    }
}

/// Carries the action out.
pub(crate) async fn run(args: DeadLettersArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match args.action {
        Action::List { filter, limit } => {
            let request = client.request(Method::GET, "/dead-letters").query(&filter.parts()).query(&[("limit", limit)]);
            let answer: Value = client.json(request).await?;
            let rows: Vec<Vec<_>> = list(&answer["letters"]).iter().map(row).collect();
            table::print(&["ID", "REASON", "SOURCE", "INDEX", "DOCUMENT", "TRIES", "AGE", "DETAIL"], &rows);
            let more = if answer["more"] == true { "there are more; " } else { "" };
            println!("{more}{} dead letters in all", answer["count"]);
        }
        Action::Show { id, body: false } => {
            let answer: Value = client.get(&format!("/dead-letters/{id}")).await?;
            println!("{}", serde_json::to_string_pretty(&answer)?);
        }
        Action::Show { id, body: true } => {
            let body = client.bytes(client.request(Method::GET, &format!("/dead-letters/{id}/body"))).await?;
            std::io::stdout().write_all(&body)?;
        }
        Action::Replay { filter, all, force } => {
            filter.or_all(all)?;
            return replay(&client, &filter, force).await;
        }
        Action::Purge { filter, all } => {
            filter.or_all(all)?;
            return purge(&client, &filter).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes, in as many requests as that takes.
async fn purge(client: &Client, filter: &Filter) -> anyhow::Result<ExitCode> {
    let mut purged = 0;
    loop {
        let request = client.request(Method::DELETE, "/dead-letters").query(&filter.parts());
        let answer: Value = client.json(request).await.map_err(|error| after(error, purged, "deleted"))?;
        let done = answer["purged"].as_u64().unwrap_or_default();
        purged += done;
        // Without any progress, asking again brings nothing.
        if answer["complete"] == true || done == 0 {
            println!("deleted {purged} dead letters");
            return Ok(all_seen(&answer));
        }
    }
}

/// An error behind requests that went well.
fn after(error: anyhow::Error, done: u64, what: &str) -> anyhow::Error {
    if done == 0 { error } else { error.context(format!("{done} dead letters were {what} by the requests before")) }
}

/// Whether all letters were looked at; says so if not.
fn all_seen(answer: &Value) -> ExitCode {
    if answer["complete"] == true {
        return ExitCode::SUCCESS;
    }
    eprintln!("not all dead letters could be looked at in time: try again");
    ExitCode::FAILURE
}

/// Replays, in as many requests as that takes.
async fn replay(client: &Client, filter: &Filter, force: bool) -> anyhow::Result<ExitCode> {
    let mut request: serde_json::Map<String, Value> =
        filter.parts().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    request.insert("force".to_owned(), json!(force));
    let mut replayed = 0;
    let last = loop {
        let answer: Value = client
            .send_json(Method::POST, "/dead-letters/replay", &request)
            .await
            .map_err(|error| after(error, replayed, "replayed"))?;
        let done = answer["replayed"].as_u64().unwrap_or_default();
        replayed += done;
        // Without any progress, asking again brings nothing.
        if answer["complete"] == true || done == 0 {
            break answer;
        }
        request.insert("before_ms".to_owned(), answer["before_ms"].clone());
    };
    for skipped in list(&last["skipped"]) {
        println!("skipped {}: {}", text(&skipped["id"]), text(&skipped["why"]));
    }
    println!("replayed {replayed} dead letters, skipped {}", last["skipped_count"]);
    Ok(all_seen(&last))
}

fn row(letter: &Value) -> Vec<String> {
    let age = letter["time_ms"].as_u64().map(|time| human::age(Duration::from_millis(now_ms().saturating_sub(time))));
    let mut row: Vec<_> =
        ["id", "reason", "source", "index", "document_id", "attempts"].iter().map(|column| text(&letter[column])).collect();
    row.push(age.unwrap_or_default());
    row.push(text(&letter["detail"]).replace('\n', " "));
    row
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
