//! Page by page through everything, sorted by two fields, while documents are added: each document that was there at the start must
//! come once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use warren_protocol::IndexDefinition;
use warren_tests::deployment::Server;
use warren_tests::{Program, http};

use crate::lines;

const INDEX: &str = "paging";
/// What one request publishes.
const CHUNK: usize = 1000;
/// How many documents are added while each page is read.
const ADDED: usize = 50;

#[derive(Args)]
pub(crate) struct PagingArgs {
    /// The definition of the index, as JSON
    #[arg(long, value_name = "FILE")]
    definition: PathBuf,
    /// What to sort by
    #[arg(long, default_value = "section,-installed_size", value_delimiter = ',')]
    sort: Vec<String>,
    /// Documents on a page
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// NDJSON, packed with zstd
    documents: PathBuf,
}

/// Publishes the file, reads it page by page, and checks that nothing is missing or comes twice.
pub(crate) async fn run(args: &PagingArgs) -> Result<()> {
    let json = std::fs::read(&args.definition).with_context(|| args.definition.display().to_string())?;
    let definition = serde_json::to_value(IndexDefinition::from_json(&json)?)?;
    let documents: Vec<Value> = lines(&args.documents)?.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()?;
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().to_str().context("the folder's name is text")?;
    let arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let server = Server::ready(Program::start("warren", &arguments, &[("WARREN__LOG__LEVEL", "info")])?).await?;
    server.create(INDEX, &definition).await?;
    for chunk in documents.chunks(CHUNK) {
        server.publish(INDEX, chunk).await?;
    }
    server.found(INDEX, documents.len()).await?;

    let mut times_seen: HashMap<String, u32> = HashMap::new();
    let (mut pages, mut longest, mut total) = (0, Duration::ZERO, Duration::ZERO);
    let mut after = Value::Null;
    loop {
        let mut request = json!({"sort": args.sort, "limit": args.limit, "fields": [], "total": false, "timeout_ms": 30_000});
        if after.is_string() {
            request["after"] = after.take();
        }
        let start = Instant::now();
        let (status, mut answer) =
            http::answer(server.request(Method::POST, &format!("/indexes/{INDEX}/search")).json(&request)).await?;
        ensure!(status == 200 && answer["partitions"]["failed"] == json!([]), "{status}: {answer}");
        let took = start.elapsed();
        (pages, longest, total) = (pages + 1, longest.max(took), total + took);
        for hit in answer["hits"].as_array().context("hits")? {
            *times_seen.entry(hit["id"].as_str().context("an id")?.to_owned()).or_default() += 1;
        }
        after = answer["after"].take();
        if !after.is_string() {
            break;
        }
        let added: Vec<Value> = (0..ADDED).map(|number| another(&documents, pages * ADDED + number)).collect();
        server.publish(INDEX, &added).await?;
    }
    let twice = times_seen.values().filter(|times| **times > 1).count();
    let id = |document: &Value| document["id"].as_str().unwrap_or_default().to_owned();
    let missing = documents.iter().filter(|document| !times_seen.contains_key(&id(document))).count();
    println!(
        "{} documents in {pages} pages sorted by {}, {} more added meanwhile: {missing} missing, {twice} twice; a page {:.1} ms, the slowest {:.1} ms",
        documents.len(),
        args.sort.join(", "),
        (pages - 1) * ADDED,
        total.as_secs_f64() * 1e3 / pages as f64,
        longest.as_secs_f64() * 1e3,
    );
    ensure!(missing == 0 && twice == 0, "a page lost or repeated documents");
    Ok(())
}

/// A document like one of these, with an id of its own.
fn another(documents: &[Value], number: usize) -> Value {
    let mut document = documents[(number * 7919) % documents.len()].clone();
    document["id"] = format!("added-{number}").into();
    document
}
