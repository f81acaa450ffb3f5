//! `warren status`: partitions, their replicas, and how far they are.

use std::process::ExitCode;

use serde_json::Value;
use warren_service::config::Config;

use crate::client::Client;
use crate::table;

/// Prints a line for each replica.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let status: Value = Client::new(config)?.get("/status").await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut rows = Vec::new();
    for index in status["indexes"].as_array().into_iter().flatten() {
        for partition in index["partitions"].as_array().into_iter().flatten() {
            let place = [text(&index["name"]), text(&partition["partition"])];
            let replicas = partition["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
            for replica in replicas {
                let columns = ["state", "documents", "position", "log_bytes", "worker", "error"].map(|name| text(&replica[name]));
                rows.push(place.iter().cloned().chain(columns).collect());
            }
            if replicas.is_empty() {
                let nobody = ["no worker", "-", "-", "-", "-", "-"].map(str::to_owned);
                rows.push(place.iter().cloned().chain(nobody).collect());
            }
        }
    }
    table::print(&["INDEX", "PARTITION", "STATE", "DOCUMENTS", "POSITION", "LOG_BYTES", "WORKER", "ERROR"], &rows);
    Ok(ExitCode::SUCCESS)
}
