//! `warren index`: create, list, show, merge and delete indexes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use warren_protocol::merging::{MergeResponse, MergedReplica};
use warren_protocol::{IndexDefinition, IndexName};
use warren_service::config::Config;

use crate::client::Client;
use crate::{ServerArgs, table};

/// How long the server is asked to wait for a merge, in milliseconds.
const MERGE_WAIT_MS: u32 = 5000;

/// Create, list, show, merge and delete indexes
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
    /// Merge an index that nobody writes to any more: one segment a partition, without deleted documents
    Merge {
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
        Action::Merge { name } => merge(&client, &name).await?,
        Action::Delete { name } => {
            client.delete(&format!("/indexes/{name}")).await?;
            println!("deleted {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until all is merged. Each answer of the server comes within seconds, so that the wait shows how far it is.
async fn merge(client: &Client, name: &IndexName) -> anyhow::Result<()> {
    let progress = indicatif::ProgressBar::new(0);
    loop {
        let path = format!("/indexes/{name}/merge?timeout_ms={MERGE_WAIT_MS}");
        let merged: MergeResponse = client.json(client.request(Method::POST, &path)).await?;
        let done = merged.replicas.iter().filter(|replica| replica.done).count();
        progress.set_length(merged.replicas.len() as u64);
        progress.set_position(done as u64);
        if merged.done {
            progress.finish_and_clear();
            let row = |replica: &MergedReplica| {
                let MergedReplica { partition, worker, segments, documents, deleted, .. } = replica;
                vec![partition.to_string(), worker.clone(), segments.to_string(), documents.to_string(), deleted.to_string()]
            };
            let rows: Vec<_> = merged.replicas.iter().map(row).collect();
            table::print(&["PARTITION", "WORKER", "SEGMENTS", "DOCUMENTS", "DELETED"], &rows);
            return Ok(());
        }
        tracing::info!(done, replicas = merged.replicas.len(), "merging");
    }
}
