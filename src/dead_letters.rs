//! `warren dead-letters`: look at what could not be processed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use warren_service::config::Config;

use crate::client::Client;
use crate::{ServerArgs, table};

/// Look at what could not be processed
#[derive(Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Subcommand)]
enum Action {
    /// List the first dead letters with their reasons
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Print the first dead letters whole, as JSON
    Show {
        /// How many
        #[arg(long, default_value_t = 1)]
        limit: u32,
    },
    /// Delete all dead letters
    Purge,
}

/// Carries the action out.
pub(crate) async fn run(args: DeadLettersArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match args.action {
        Action::List { limit } => {
            let answer: Value = client.get(&format!("/dead-letters?limit={limit}")).await?;
            let text = |value: &Value| value.as_str().map_or_else(String::new, |text| text.replace('\n', " "));
            let letters = answer["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
            let columns = ["reason", "source", "routing_key", "message_id", "detail"];
            let rows: Vec<Vec<_>> =
                letters.iter().map(|letter| columns.iter().map(|column| text(&letter[column])).collect()).collect();
            table::print(&["REASON", "SOURCE", "INDEX", "MESSAGE_ID", "DETAIL"], &rows);
            println!("{} dead letters in all", answer["count"]);
        }
        Action::Show { limit } => {
            let answer: Value = client.get(&format!("/dead-letters?limit={limit}")).await?;
            println!("{}", serde_json::to_string_pretty(&answer["letters"])?);
        }
        Action::Purge => {
            let answer = client.delete("/dead-letters").await?;
            println!("deleted {} dead letters", answer["purged"]);
        }
    }
    Ok(ExitCode::SUCCESS)
}
