//! Receipts, and searches that see what they must have seen.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use warren_broker::{Broker, Settings};
use warren_protocol::batch::Kind;
use warren_protocol::ports::{Address, FollowFrom, LogName, Message, QueueName};
use warren_protocol::{Batch, Generation, IndexName, IndexRef, PartitionId};
use warren_tests::{Api, Program, eventually, http, within};

use crate::deployment::{PATIENCE, hits, ids};
use crate::stacks::stack;
use crate::{Deployment, Server};

/// Without a receipt for so long, a document is published again.
const UNKNOWN: Duration = Duration::from_secs(10);

/// A search that must see these positions finds the document of this id, in this version of it.
async fn sees(query: &Api, index: &str, id: &str, version: usize, positions: &Value) -> Result<()> {
    let search = json!({"query": format!("id:\"{id}\""), "at_least": positions, "timeout_ms": 30_000});
    let path = format!("/indexes/{index}/search");
    let (status, answer) = http::answer(query.request(Method::POST, &path).json(&search)).await?;
    ensure!(status == 200 && answer["partitions"]["failed"] == json!([]), "{status}: {answer}");
    let found: Vec<_> = hits(&answer).iter().map(|hit| &hit["document"]["version"]).collect();
    ensure!(found == [&json!(version)], "{id} has version {version}, a search after it finds {answer}");
    Ok(())
}

async fn all(mut lanes: JoinSet<Result<usize>>) -> Result<usize> {
    let mut sum = 0;
    while let Some(lane) = lanes.join_next().await {
        sum += lane??;
    }
    Ok(sum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_writes_are_read_right_after_their_receipts_on_two_replicas() -> Result<()> {
    let stack = stack(1, 2, 1, &json!({"partitions": 4, "replicas": 2})).await?;
    let (producer, query) = (stack.producers[0].api()?.clone(), stack.query()?.clone());
    let mut lanes = JoinSet::new();
    for lane in 0..25 {
        let (producer, query, index) = (producer.clone(), query.clone(), stack.index.clone());
        lanes.spawn(async move {
            let id = format!("lane-{lane}");
            for version in 0..40 {
                let path = format!("/indexes/{index}/documents/{id}?wait=searchable&timeout_ms=30000");
                let (status, answer) = producer.put(&path, &json!({"version": version})).await?;
                ensure!(status == 200 && answer["searchable"] == 1, "{status}: {answer}");
                sees(&query, &index, &id, version, &answer["positions"]).await?;
            }
            Ok(40)
        });
    }
    assert_eq!(all(lanes).await?, 1000);
    Ok(())
}

/// An AMQP client with an address of its own.
struct Client {
    broker: Broker,
    receipts: futures_util::stream::BoxStream<'static, Message>,
    address: String,
}

impl Client {
    async fn new(url: &str, address: &str) -> Result<Self> {
        let settings = Settings { url: Some(url.to_owned()), ..Settings::default() };
        let broker = warren_broker::connect(&settings, "client", std::path::Path::new(".")).await?;
        let receipts = broker.ports.bulletin.listen(&Address::of_client(address)?).await?;
        Ok(Self { broker, receipts, address: address.to_owned() })
    }

    async fn publish(&mut self, index: &str, document: &Value, correlation_id: &str, reply_to: &str) -> Result<()> {
        let message = Message {
            body: document.to_string().into(),
            routing_key: index.to_owned(),
            reply_to: Some(reply_to.to_owned()),
            correlation_id: Some(correlation_id.to_owned()),
            ..Message::default()
        };
        Ok(self.broker.ports.queue.publish(QueueName::Intake, message).await?)
    }

    /// Publishes a document and gives its receipt.
    async fn receipt(&mut self, index: &str, document: &Value, correlation_id: &str) -> Result<Value> {
        let address = self.address.clone();
        self.publish(index, document, correlation_id, &address).await?;
        let (about, receipt) = self.next().await?;
        ensure!(about == correlation_id, "a receipt for {about}, not for {correlation_id}: {receipt}");
        Ok(receipt)
    }

    async fn next(&mut self) -> Result<(String, Value)> {
        let word = timeout(PATIENCE, self.receipts.next()).await.context("a receipt")?.context("the client listens")?;
        Ok((word.correlation_id.context("a correlation id")?, serde_json::from_slice(&word.body)?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amqp_receipts_and_the_searches_after_them_survive_a_replica_that_is_killed() -> Result<()> {
    let mut stack = stack(1, 2, 1, &json!({"partitions": 2, "replicas": 2})).await?;
    let (query, url) = (stack.query()?.clone(), stack.deployment.url().to_owned());
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut lanes = JoinSet::new();
    for lane in 0..8 {
        let (query, index, done) = (query.clone(), stack.index.clone(), Arc::clone(&done));
        let id = format!("amqp-{lane}");
        let mut client = Client::new(&url, &id).await?;
        lanes.spawn(async move {
            for version in 0..20 {
                let document = json!({"id": id, "version": version});
                let receipt = loop {
                    let about = version.to_string();
                    client.publish(&index, &document, &about, &id).await?;
                    // No receipt means unknown: publish again. The late one of the first try is as good.
                    match timeout(UNKNOWN, client.next()).await {
                        Ok(next) => {
                            let (said, receipt) = next?;
                            if said == about {
                                break receipt;
                            }
                        }
                        Err(_) => println!("{id}: no receipt for version {version}, publishing again"),
                    }
                };
                ensure!(receipt["status"] == "searchable" && receipt["id"] == id.as_str(), "{receipt}");
                sees(&query, &index, &id, version, &json!([receipt["position"]])).await?;
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            client.broker.close().await;
            Ok(20)
        });
    }
    eventually("a third is done", PATIENCE, async || {
        let done = done.load(std::sync::atomic::Ordering::Relaxed);
        ensure!(done >= 50, "{done}");
        Ok(())
    })
    .await?;
    stack.workers[0].kill9()?;
    assert_eq!(all(lanes).await?, 160);
    Ok(())
}

/// A producer with its intake, a query service, and an index of one replica with as many partitions.
async fn small(deployment: &mut Deployment, partitions: u32) -> Result<(Server, Server)> {
    let query = deployment.serve("query-service", &[]).await?;
    query.create("notes", &json!({"partitions": partitions, "fields": {"size": {"type": "integer"}}})).await?;
    Ok((deployment.serve("producer", &[]).await?, query))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_document_is_told_why_and_no_reply_address_harms_the_intake() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let (_producer, query) = small(&mut deployment, 1).await?;
    let _worker = deployment.start("worker", &[])?;
    let mut client = Client::new(deployment.url(), "client").await?;
    let rejected = client.receipt("notes", &json!({"id": "bad", "size": "large"}), "1").await?;
    assert_eq!((&rejected["status"], &rejected["id"], &rejected["index"]), (&json!("rejected"), &json!("bad"), &json!("notes")));
    assert_eq!((&rejected["problem"]["code"], &rejected["position"]), (&json!("invalid_field"), &Value::Null));
    assert!(rejected["problem"]["detail"].as_str().is_some_and(|detail| detail.contains("size")), "{rejected}");
    let rejected = client.receipt("No Index", &json!({"id": "x"}), "2").await?;
    assert_eq!(rejected["problem"]["code"], "invalid_index_name");

    let hostile =
        ["warren.intake", "warren.dead.letters", "nobody", "amq.rabbitmq.reply-to.nonsense", "a/b c", "warren.bulletin"];
    for (number, reply_to) in hostile.into_iter().enumerate() {
        client.publish("notes", &json!({"id": number, "size": number}), "hostile", reply_to).await?;
    }
    let receipt = client.receipt("notes", &json!({"id": "last", "size": 1}), "3").await?;
    assert_eq!((&receipt["status"], &receipt["id"]), (&json!("searchable"), &json!("last")));
    // With one replica, whoever has the receipt finds what came before it.
    assert_eq!(query.count("notes").await?, hostile.len() as u64 + 1);
    let (_, letters) = query.get("/dead-letters?limit=100").await?;
    assert_eq!(letters["letters"].as_array().map(Vec::len), Some(2), "nothing was sent to Warren's own queues: {letters}");
    client.broker.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_read_again_gives_no_second_receipt() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let (_producer, query) = small(&mut deployment, 1).await?;
    let mut worker = deployment.start("worker", &[])?;
    let mut client = Client::new(deployment.url(), "client").await?;
    for number in 0..5 {
        client.receipt("notes", &json!({"id": number}), &format!("first-{number}")).await?;
    }
    worker.kill9()?;
    // In another folder: it knows nothing, and reads everything.
    let _worker = deployment.start("worker", &[])?;
    for number in 5..8 {
        // Fails if the next word is a receipt that was given before.
        client.receipt("notes", &json!({"id": number}), &format!("second-{number}")).await?;
    }
    assert_eq!(query.count("notes").await?, 8);
    client.broker.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_found_in_time_is_pending_and_a_producer_that_dies_loses_only_receipts() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let (mut producer, query) = small(&mut deployment, 2).await?;
    let upload = |path: &str, body: &'static str| {
        let request = producer.request(Method::POST, path).header("content-type", "application/x-ndjson");
        http::answer(request.body(body))
    };
    let path = "/indexes/notes/documents?wait=searchable";
    let body = "{\"id\":1}\n{\"id\":2,\"size\":\"x\"}\n{\"id\":3}\n";
    let (status, answer) = upload(&format!("{path}&timeout_ms=100"), body).await?;
    assert_eq!((status, &answer["accepted"], &answer["rejected_count"]), (202, &json!(2), &json!(1)), "{answer}");
    assert_eq!((&answer["searchable"], &answer["pending_count"]), (&json!(0), &json!(2)), "{answer}");
    let mut pending: Vec<_> = answer["pending"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    pending.sort_unstable();
    assert_eq!(pending, ["1", "3"]);
    for (query, field) in
        [("?wait=found", "wait"), ("?timeout_ms=5", "timeout_ms"), ("?wait=searchable&timeout_ms=0", "timeout_ms")]
    {
        let (status, problem) = upload(&format!("/indexes/notes/documents{query}"), "{}").await?;
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{query}: {problem}");
    }

    // It waits for its answer when the producer dies.
    let request = producer.request(Method::PUT, "/indexes/notes/documents/4?wait=searchable&timeout_ms=60000");
    let mut waiting = JoinSet::new();
    waiting.spawn(http::answer(request.json(&json!({"size": 4}))));
    written(deployment.url(), &query, 3).await?;
    producer.program.kill9()?;
    ensure!(within("the request ends", waiting.join_next()).await?.context("it was started")??.is_err(), "nobody could answer");
    let _worker = deployment.start("worker", &[])?;
    query.found("notes", 3).await?;

    let producer = deployment.serve("producer", &[]).await?;
    let request = producer.request(Method::DELETE, "/indexes/notes/documents/4?wait=searchable&timeout_ms=60000");
    let (status, answer) = http::answer(request).await?;
    assert_eq!((status, &answer["searchable"]), (200, &json!(1)), "{answer}");
    assert_eq!(query.count("notes").await?, 2, "with one replica, a receipt is enough");
    let position = answer["positions"][0].as_str().context("a position")?;
    at_least(&query, position).await
}

/// Waits until so many writes are in the logs of `notes`.
async fn written(url: &str, query: &Api, writes: u32) -> Result<()> {
    let (_, status) = query.get("/status").await?;
    let index = status["indexes"].as_array().and_then(|indexes| indexes.iter().find(|index| index["name"] == "notes"));
    let generation = index.and_then(|index| index["generation"].as_u64()).with_context(|| status.to_string())?;
    let index = IndexRef { name: IndexName::new("notes")?, generation: Generation(generation) };
    let settings = Settings { url: Some(url.to_owned()), ..Settings::default() };
    let broker = warren_broker::connect(&settings, "reader", std::path::Path::new(".")).await?;
    let mut logs = Vec::new();
    for partition in 0..2 {
        let log = LogName::Partition(PartitionId { index: index.clone(), partition });
        logs.push(broker.ports.log.follow(&log, FollowFrom::Start).await?);
    }
    let mut entries = futures_util::stream::select_all(logs);
    let mut found = 0;
    while found < writes {
        let entry = timeout(PATIENCE, entries.next()).await.context("the writes are in the logs")?.context("a log")??;
        if let Kind::Write { operations, .. } = Batch::decode(&entry.message)?.header.kind {
            found += operations;
        }
    }
    drop(entries);
    broker.close().await;
    Ok(())
}

/// What a search answers that cannot see what it must.
async fn at_least(query: &Api, position: &str) -> Result<()> {
    let parts: Vec<u64> = position.split('.').map(str::parse).collect::<Result<_, _>>()?;
    let [generation, partition, place] = parts[..] else { anyhow::bail!("{position}") };
    let get = async |positions: &str| query.get(&format!("/indexes/notes/search?timeout_ms=500&at_least={positions}")).await;
    let (status, answer) = get(position).await?;
    assert_eq!((status, &answer["partitions"]["failed"]), (200, &json!([])));
    let (status, answer) = get(&format!("{position},{generation}.{partition}.{}", place + 1000)).await?;
    assert_eq!((status, &answer["partitions"]["answered"]), (200, &json!(1)), "{answer}");
    let failed = &answer["partitions"]["failed"];
    assert_eq!(failed[0]["partition"], partition, "{answer}");
    assert!(failed[0]["reason"].as_str().is_some_and(|reason| reason.contains(&(place + 1000).to_string())), "{failed}");
    for wrong in ["x", "1.2", &format!("{}.0.1", generation + 1), &format!("{generation}.2.1")] {
        let (status, problem) = get(wrong).await?;
        assert_eq!((status, &problem["field"]), (400, &json!("at_least")), "{wrong}: {problem}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_waits_until_all_is_found_and_says_if_it_is_not() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let (producer, query) = small(&mut deployment, 2).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("notes.ndjson");
    let lines: String = (0..300).map(|number| format!("{}\n", json!({"id": number, "size": number}))).collect();
    std::fs::write(&file, lines)?;
    let file = file.to_str().context("the folder's name is text")?.to_owned();
    let publish = async |target: [&str; 2], more: &[&str]| {
        let mut arguments = vec!["publish", "--index", "notes", "--wait"];
        arguments.extend(target);
        arguments.extend(more);
        arguments.push(&file);
        let mut program = Program::start("warren", &arguments, &[])?;
        let status = program.wait(PATIENCE).await?;
        anyhow::Ok((status.code(), program.all()))
    };
    let (server, broker) = (["--server", &producer.url()], ["--broker", deployment.url()]);
    for target in [server, broker] {
        let (code, said) = publish(target, &["--wait-seconds", "1"]).await?;
        ensure!(
            code == Some(1) && said.contains("300 accepted") && said.contains("300 are kept and cannot be found yet"),
            "{said}"
        );
    }
    let _worker = deployment.start("worker", &[])?;
    query.found("notes", 300).await?;
    let (server, broker) = (["--server", &producer.url()], ["--broker", deployment.url()]);
    for target in [server, broker] {
        let (code, said) = publish(target, &[]).await?;
        ensure!(code == Some(0) && said.contains("300 can be found after"), "{code:?}: {said}");
    }
    assert_eq!(query.count("notes").await?, 300);
    Ok(())
}

/// The pieces of code of docs/receipts.md in one language.
fn examples(language: &str) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/receipts.md"))?;
    let start = format!("```{language}\n");
    page.split(&start).skip(1).map(|rest| Ok(rest.split_once("```").context("code ends")?.0.to_owned())).collect()
}

async fn run(program: &str, flag: &str, code: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args([flag, code]);
    let mut program = Program::spawn(program, command)?;
    let status = program.wait(PATIENCE).await?;
    ensure!(status.success(), "{status}: {}", program.all());
    Ok(program.all())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_do_what_it_says() -> Result<()> {
    let deployment = Deployment::new().await?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().context("the folder's name is text")?;
    let arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", folder, "--broker", deployment.url()];
    let server = Server::ready(Program::start("warren", &arguments, &[])?).await?;
    let mut position = String::new();
    let shell = examples("sh")?;
    assert_eq!(shell.len(), 3);
    for code in shell {
        ensure!(code.contains("127.0.0.1:8080"), "{code}");
        let said = run("/bin/sh", "-c", &code.replace("127.0.0.1:8080", &server.address).replace("17.2.4", &position)).await?;
        let answer = said.lines().find(|line| line.starts_with('{')).with_context(|| said.clone())?;
        let answer: Value = serde_json::from_str(answer)?;
        if let Some(first) = answer["positions"][0].as_str() {
            assert_eq!(answer["accepted"], answer["searchable"], "{answer}");
            if position.is_empty() {
                first.clone_into(&mut position);
            }
        } else {
            assert_eq!(ids(&answer), ["order-1"]);
        }
    }
    let python = examples("python")?;
    let written = "amqp://guest:guest@127.0.0.1:5672/%2f";
    ensure!(python.len() == 1 && python[0].contains(written), "{python:?}");
    let said = run("/usr/bin/python3", "-c", &python[0].replace(written, deployment.url())).await?;
    assert_eq!(said.lines().filter(|line| line.starts_with("searchable order-")).count(), 10, "{said}");
    Ok(())
}
