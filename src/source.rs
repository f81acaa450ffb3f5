//! `warren source`: create, list, show and delete sources.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use warren_protocol::{IndexName, SourceDefinition, SourceName};
use warren_service::config::Config;

use crate::client::Client;
use crate::{ServerArgs, table};

/// Index the messages that already flow through an exchange or a queue of RabbitMQ
#[derive(Args)]
pub(crate) struct SourceArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Create a source
    ///
    /// Its definition stands in a file, or in the options: an exchange with a binding key, or a queue; the index; and where
    /// in a message the document and its id are.
    Create(Box<CreateArgs>),
    /// List the sources with what they have done
    List,
    /// Show the definition of a source
    Show {
        /// Its name
        name: SourceName,
    },
    /// Delete a source; what it has indexed stays
    Delete {
        /// Its name
        name: SourceName,
    },
}

#[derive(Args)]
struct CreateArgs {
    /// Its name: lower case letters, digits, '-' and '_'
    name: SourceName,
    /// A file with its definition in JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["exchange", "queue", "index", "id", "document", "delete_when"])]
    definition: Option<PathBuf>,
    /// The exchange; its other consumers notice nothing
    #[arg(long, conflicts_with = "queue")]
    exchange: Option<String>,
    /// The binding key; '#' is all of a topic exchange
    #[arg(long, value_name = "KEY", requires = "exchange")]
    binding_key: Option<String>,
    /// The queue; its messages are taken, and nobody else gets them
    #[arg(long)]
    queue: Option<String>,
    /// The index
    #[arg(long, required_unless_present = "definition")]
    index: Option<IndexName>,
    /// Where in a message the id is, such as /order/id
    #[arg(long, value_name = "POINTER")]
    id: Option<String>,
    /// Where in a message the document is, such as /message; without it, all of the message
    #[arg(long, value_name = "POINTER", default_value = "", hide_default_value = true)]
    document: String,
    /// A message in which this pointer finds this value deletes; several must all hold. The value is JSON, or a text
    #[arg(long, value_name = "POINTER=VALUE", value_parser = condition)]
    delete_when: Vec<(String, Value)>,
}

fn condition(text: &str) -> Result<(String, Value), String> {
    let (pointer, value) = text.split_once('=').ok_or("write POINTER=VALUE, such as /type=deleted")?;
    Ok((pointer.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))))
}

impl CreateArgs {
    fn definition(self) -> anyhow::Result<SourceDefinition> {
        if let Some(file) = self.definition {
            let json = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            return serde_json::from_slice(&json).with_context(|| format!("in {}", file.display()));
        }
        Ok(SourceDefinition {
            exchange: self.exchange,
            binding_key: self.binding_key,
            queue: self.queue,
            index: self.index.context("--index is missing")?,
            id: self.id,
            document: self.document,
            delete_when: BTreeMap::from_iter(self.delete_when),
        })
    }
}

/// Carries the action out.
pub(crate) async fn run(args: SourceArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match args.action {
        Action::Create(create) => {
            let path = format!("/sources/{}", create.name);
            let created: Value = client.send_json(Method::PUT, &path, &create.definition()?).await?;
            println!("{}", serde_json::to_string_pretty(&created)?);
        }
        Action::List => {
            let listed: Value = client.get("/sources").await?;
            let status: Value = client.get("/status").await?;
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let counts = list(&status["sources"]);
            let rows: Vec<_> = list(&listed["sources"])
                .iter()
                .map(|source| {
                    let of = counts.iter().find(|counts| counts["name"] == source["name"]).cloned().unwrap_or_default();
                    let definition = &source["definition"];
                    let from = if definition["queue"].is_null() {
                        format!("{} {}", text(&definition["exchange"]), definition["binding_key"].as_str().unwrap_or_default())
                    } else {
                        text(&definition["queue"])
                    };
                    let numbers = ["indexed", "deleted", "refused"].map(|name| of[name].as_u64().unwrap_or_default().to_string());
                    [text(&source["name"]), from, text(&definition["index"])].into_iter().chain(numbers).collect()
                })
                .collect();
            table::print(&["SOURCE", "FROM", "INDEX", "INDEXED", "DELETED", "REFUSED"], &rows);
        }
        Action::Show { name } => {
            let shown: Value = client.get(&format!("/sources/{name}")).await?;
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
        Action::Delete { name } => {
            client.delete(&format!("/sources/{name}")).await?;
            println!("deleted {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_has_a_pointer_and_a_value() {
        assert_eq!(condition("/a/b=deleted"), Ok(("/a/b".to_owned(), json!("deleted"))));
        assert_eq!(condition("/a=true"), Ok(("/a".to_owned(), json!(true))));
        assert_eq!(condition("/a=\"1\""), Ok(("/a".to_owned(), json!("1"))));
        assert!(condition("/a").is_err());
    }
}
