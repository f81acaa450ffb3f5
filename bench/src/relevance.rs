//! How good the hits are: the measures of trec_eval over a collection with judged queries, through the HTTP API on several partitions.

mod measures;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::deployment::Server;
use warren_tests::{Program, http};

use measures::{Judgements, Measures};

const INDEX: &str = "relevance";
const PARTITIONS: u32 = 4;
/// How deep a ranking is judged.
const DEPTH: usize = 1000;
/// What one request publishes.
const CHUNK: usize = 1000;
/// What a match in the title counts, where title and body are two fields.
const TITLE_BOOSTS: [f32; 4] = [0.5, 1.0, 2.0, 3.0];

#[derive(Args)]
pub(crate) struct RelevanceArgs {
    /// docs.ndjson (id, title, body), queries.tsv (id, text), qrels.tsv (query, document, relevance)
    folder: PathBuf,
    /// The broker, empty: amqp://…; without it, the embedded one
    #[arg(long)]
    broker: Option<String>,
    /// Write the ranking of title and body as one field to this file, in TREC form
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
}

/// Publishes the collection, asks every judged query in each way, and prints the measures.
pub(crate) async fn run(args: &RelevanceArgs) -> Result<()> {
    let judgements = Judgements::read(&args.folder.join("qrels.tsv"))?;
    let queries = queries(&args.folder.join("queries.tsv"), &judgements)?;
    let documents = documents(&args.folder.join("docs.ndjson"))?;
    let folder = tempfile::tempdir()?;
    let server = start(folder.path(), args.broker.as_deref()).await?;
    let english = json!({"type": "text", "analyzer": "english"});
    let fields = json!({"title": english, "body": english, "text": english});
    server.create(INDEX, &json!({"partitions": PARTITIONS, "dynamic": false, "fields": fields})).await?;
    for chunk in documents.chunks(CHUNK) {
        server.publish(INDEX, chunk).await?;
    }
    server.found(INDEX, documents.len()).await?;
    println!("{} documents, {} judged queries, {PARTITIONS} partitions", documents.len(), queries.len());

    let one = |text: &str| json!({"match": {"text": text}});
    let rankings = rank(&server, &queries, one).await?;
    if let Some(file) = &args.run {
        write_run(file, &rankings)?;
    }
    report("title and body as one field", &judgements, &rankings);
    for boost in TITLE_BOOSTS {
        let two = |text: &str| {
            let title = json!({"match": {"title": {"query": text, "boost": boost}}});
            json!({"bool": {"should": [title, {"match": {"body": text}}]}})
        };
        let rankings = rank(&server, &queries, two).await?;
        report(&format!("two fields, the title {boost} times"), &judgements, &rankings);
    }
    Ok(())
}

async fn start(folder: &Path, broker: Option<&str>) -> Result<Server> {
    let folder = folder.to_str().context("the folder's name is text")?;
    let mut arguments = vec!["up", "--listen", "127.0.0.1:0", "--data-dir", folder];
    arguments.extend(broker.into_iter().flat_map(|broker| ["--broker", broker]));
    Server::ready(Program::start("warren", &arguments, &[("WARREN__LOG__LEVEL", "info")])?).await
}

/// A ranking for each query: ids and scores, the best first.
type Rankings = BTreeMap<String, Vec<(String, f64)>>;

async fn rank(server: &Server, queries: &BTreeMap<String, String>, query: impl Fn(&str) -> Value) -> Result<Rankings> {
    let mut rankings = Rankings::new();
    for (id, text) in queries {
        let request =
            json!({"query": query(text), "limit": DEPTH, "fields": [], "highlight": false, "total": false, "timeout_ms": 30_000});
        let path = format!("/indexes/{INDEX}/search");
        let (status, answer) = http::answer(server.request(Method::POST, &path).json(&request)).await?;
        ensure!(status == 200 && answer["partitions"]["answered"] == PARTITIONS, "query {id}: {status}: {answer}");
        let hits = answer["hits"].as_array().context("hits")?.iter();
        let ranked =
            hits.map(|hit| Ok((hit["id"].as_str().context("an id")?.to_owned(), hit["score"].as_f64().context("a score")?)));
        rankings.insert(id.clone(), ranked.collect::<Result<_>>()?);
    }
    Ok(rankings)
}

fn report(what: &str, judgements: &Judgements, rankings: &Rankings) {
    let Measures { ndcg_10, map, precision_10, recall_100, mrr_10 } = judgements.measure(rankings);
    println!("{what}: nDCG@10 {ndcg_10:.4}, MAP {map:.4}, P@10 {precision_10:.4}, R@100 {recall_100:.4}, MRR@10 {mrr_10:.4}");
}

/// The queries that have a relevant document, by id.
fn queries(file: &Path, judgements: &Judgements) -> Result<BTreeMap<String, String>> {
    let mut queries = BTreeMap::new();
    for line in read(file)?.lines() {
        let (id, text) = line.split_once('\t').with_context(|| format!("{}: no tab in {line:?}", file.display()))?;
        if judgements.has(id) {
            queries.insert(id.to_owned(), text.to_owned());
        }
    }
    ensure!(!queries.is_empty(), "{}: no query is judged", file.display());
    Ok(queries)
}

/// The documents, with title and body together as `text`, too.
fn documents(file: &Path) -> Result<Vec<Value>> {
    let document = |line: &str| -> Result<Value> {
        let mut document: Value = serde_json::from_str(line).with_context(|| format!("{}: {line:.80}", file.display()))?;
        let part = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        document["text"] = format!("{} {}", part("title"), part("body")).into();
        Ok(document)
    };
    read(file)?.lines().map(document).collect()
}

fn write_run(file: &Path, rankings: &Rankings) -> Result<()> {
    let mut output = std::io::BufWriter::new(std::fs::File::create(file).with_context(|| file.display().to_string())?);
    for (query, ranking) in rankings {
        for (place, (document, score)) in (1..).zip(ranking) {
            writeln!(output, "{query} Q0 {document} {place} {score} warren")?;
        }
    }
    Ok(output.flush()?)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}
