//! `warren status`: what needs attention, partitions with their replicas, logs and snapshots, workers and producers.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use warren_service::config::Config;
use warren_service::human;

use crate::client::Client;
use crate::table;

/// So much of a worker's name tells it from the others.
const SHORT_ID: usize = 8;
const NOTHING: &str = "-";

/// Prints a line for each warning, replica, worker and producer.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let status: Value = Client::new(config)?.get("/status").await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    for warning in list(&status["warnings"]) {
        println!("! {}", text(warning));
    }
    if !list(&status["warnings"]).is_empty() {
        println!();
    }
    let headings = ["INDEX", "PART", "STATE", "DOCUMENTS", "LAG", "SIZE", "LOG ROOM", "SNAPSHOT", "WORKER"];
    table::print(&headings, &replicas(&status));
    println!();
    let rows: Vec<_> = list(&status["workers"]).iter().map(worker).collect();
    table::print(&["WORKER", "STATE", "CPU", "REPLICAS", "STORE", "HEARD"], &rows);
    println!();
    let rows: Vec<_> = list(&status["producers"])
        .iter()
        .map(|producer| vec![short(&producer["producer"]), text(&producer["logs"]), ago(&producer["heard_ms"])])
        .collect();
    table::print(&["PRODUCER", "LOGS", "HEARD"], &rows);
    println!();
    let rows: Vec<_> = std::iter::once(&status["intake"]).chain(list(&status["sources"])).map(way_in).collect();
    table::print(&["WAY IN", "STATE", "INDEXED", "DELETED", "REFUSED", "LAST ERROR"], &rows);
    Ok(ExitCode::SUCCESS)
}

fn replicas(status: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for index in list(&status["indexes"]) {
        for partition in list(&index["partitions"]) {
            let place = [text(&index["name"]), text(&partition["partition"])];
            let kept = [room(&partition["log"]), snapshot(partition)];
            let row = |state: &str, middle: [String; 3], worker: String| -> Vec<String> {
                let [documents, lag, size] = middle;
                place
                    .iter()
                    .cloned()
                    .chain([state.to_owned(), documents, lag, size])
                    .chain(kept.clone())
                    .chain([worker])
                    .collect()
            };
            for replica in list(&partition["replicas"]) {
                let size = human::bytes(number(&replica["bytes"]));
                rows.push(row(state(replica), [text(&replica["documents"]), lag(replica), size], short(&replica["worker"])));
            }
            if list(&partition["replicas"]).is_empty() {
                rows.push(row("no worker", [NOTHING, NOTHING, NOTHING].map(str::to_owned), NOTHING.to_owned()));
            }
        }
    }
    rows
}

/// The intake queue, or a source.
fn way_in(way: &Value) -> Vec<String> {
    let state = match (way["paused"].is_null(), way["active"] == true) {
        (false, _) => "paused",
        (true, true) => "active",
        (true, false) => "waiting",
    };
    let mut row = vec![text(&way["name"]), state.to_owned()];
    row.extend(["indexed", "deleted", "refused", "last_error"].map(|column| text(&way[column]).replace('\n', " ")));
    row
}

fn worker(worker: &Value) -> Vec<String> {
    let state = if worker["stopping"] == true { "stopping" } else { "working" };
    vec![
        short(&worker["worker"]),
        state.to_owned(),
        format!("{}%", number(&worker["cpu_percent"])),
        text(&worker["replicas"]),
        short(&worker["store"]),
        ago(&worker["heard_ms"]),
    ]
}

fn state(replica: &Value) -> &str {
    match replica["state"].as_str() {
        Some("serving") if replica["held"] == false => "handing over",
        Some("catching_up") => "catching up",
        other => other.unwrap_or(NOTHING),
    }
}

fn lag(replica: &Value) -> String {
    match number(&replica["lag_documents"]) {
        0 => NOTHING.to_owned(),
        documents => format!("{documents}, {}", human::age(Duration::from_millis(number(&replica["lag_ms"])))),
    }
}

/// How much can be written until writes are refused.
fn room(log: &Value) -> String {
    match log["room_bytes"].as_u64() {
        Some(bytes) => format!("{}% {}", number(&log["room_percent"]), human::bytes(bytes)),
        None => NOTHING.to_owned(),
    }
}

/// The snapshot's age, and what was written since.
fn snapshot(partition: &Value) -> String {
    let since = || partition["log"]["unsaved_bytes"].as_u64().map(|bytes| format!(" +{}", human::bytes(bytes)));
    match partition["snapshot"]["age_s"].as_u64() {
        Some(age) => human::age(Duration::from_secs(age)) + &since().unwrap_or_default(),
        None => "none".to_owned(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn short(value: &Value) -> String {
    text(value).chars().take(SHORT_ID).collect()
}

fn ago(milliseconds: &Value) -> String {
    format!("{} ago", human::age(Duration::from_millis(number(milliseconds))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_replica_has_a_line() {
        let log = json!({"room_bytes": 9_800_000_000_u64, "room_percent": 98, "unsaved_bytes": 1_200_000});
        let replica = json!({"worker": "0123456789ab", "state": "serving", "held": true, "documents": 5, "bytes": 1_500_000,
            "lag_documents": 12, "lag_ms": 3100});
        let leaving = json!({"worker": "w2", "state": "serving", "held": false, "documents": 5, "bytes": 0, "lag_documents": 0});
        let status = json!({"indexes": [{"name": "a", "partitions": [
            {"partition": 0, "log": log, "snapshot": {"age_s": 35}, "replicas": [replica, leaving]},
            {"partition": 1, "log": null, "snapshot": null, "replicas": []},
        ]}]});
        assert_eq!(
            replicas(&status),
            [
                vec!["a", "0", "serving", "5", "12, 3s", "1.5 MB", "98% 9.8 GB", "35s +1.2 MB", "01234567"],
                vec!["a", "0", "handing over", "5", "-", "0 B", "98% 9.8 GB", "35s +1.2 MB", "w2"],
                vec!["a", "1", "no worker", "-", "-", "-", "-", "none", "-"],
            ]
        );
    }
}
