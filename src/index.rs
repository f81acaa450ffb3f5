//! `warren index`: create, list, show and delete indexes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use warren_protocol::{IndexDefinition, IndexName};
use warren_service::config::Config;

use crate::client::Client;
use crate::{ServerArgs, table};

/// Create, list, show and delete indexes
#[derive(Args)]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Create an index
    Create {
        /// Its name: lower case letters, digits, '-' and '_'
        name: IndexName,
        /// A file with its definition in JSON; without it, the defaults: 4 partitions, dynamic fields
        #[arg(long, value_name = "FILE")]
        definition: Option<PathBuf>,
        /// How many partitions, in place of the definition's
        #[arg(long)]
        partitions: Option<std::num::NonZeroU32>,
    },
    /// List the indexes
    List,
    /// Show the definition of an index
    Show {
        /// Its name
        name: IndexName,
    },
    /// Delete an index with all its documents
    Delete {
        /// Its name
        name: IndexName,
    },
}

/// Carries the action out.
pub(crate) async fn run(args: IndexArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match args.action {
        Action::Create { name, definition, partitions } => {
            let mut wanted = match definition {
                Some(file) => {
                    let json = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                    IndexDefinition::from_json(&json).with_context(|| format!("in {}", file.display()))?
                }
                None => IndexDefinition::default(),
            };
            wanted.partitions = partitions.unwrap_or(wanted.partitions);
            let created: Value = client.send_json(Method::PUT, &format!("/indexes/{name}"), &wanted).await?;
            println!("{}", serde_json::to_string_pretty(&created)?);
        }
        Action::List => {
            let listed: Value = client.get("/indexes").await?;
            let indexes = listed["indexes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let rows: Vec<_> = indexes
                .iter()
                .map(|index| {
                    let definition = &index["definition"];
                    vec![text(&index["name"]), text(&definition["partitions"]), text(&definition["replicas"])]
                })
                .collect();
            table::print(&["INDEX", "PARTITIONS", "REPLICAS"], &rows);
        }
        Action::Show { name } => {
            let shown: Value = client.get(&format!("/indexes/{name}")).await?;
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
        Action::Delete { name } => {
            client.delete(&format!("/indexes/{name}")).await?;
            println!("deleted {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
