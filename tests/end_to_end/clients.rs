//! Clients in other languages: the examples, and what goes wrong with searches over AMQP.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future;
use serde_json::{Value, json};
use warren_broker::{Broker, Settings};
use warren_protocol::ports::{ClientReply, ClientRequest, QueueName};
use warren_tests::{Program, Proxy, eventually};

use crate::Deployment;
use crate::deployment::{PATIENCE, ids};

const DOCUMENTS: usize = 200;
/// About a third of what a client sends for its documents.
const CUT_AFTER: u32 = 20_000;

/// The examples in one language.
struct Language {
    name: &'static str,
    interpreter: &'static str,
    suffix: &'static str,
    folder: PathBuf,
}

impl Language {
    async fn all() -> Result<[Self; 3]> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clients");
        // Debian's own Python, whichever other comes first in the PATH.
        let python = Self { name: "python", interpreter: "/usr/bin/python3", suffix: "py", folder: folder.clone() };
        let node = Self { name: "node", interpreter: "node", suffix: "mjs", folder: with_amqplib(&folder).await? };
        Ok([python, node, Self { name: "shell", interpreter: "sh", suffix: "sh", folder }])
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Result<Program> {
        let mut command = Command::new(self.interpreter);
        command.arg(self.folder.join(format!("{program}.{}", self.suffix))).args(arguments);
        Program::spawn(&format!("{program}.{}", self.suffix), command)
    }
}

/// A copy of the Node examples beside the library that they use. Debian has no package of it: npm gets the one version,
/// with the checksum, that package-lock.json names, once.
async fn with_amqplib(examples: &Path) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-clients");
    std::fs::create_dir_all(&folder)?;
    let lock = std::fs::read(examples.join("package-lock.json"))?;
    let done = folder.join("installed-lock.json");
    for file in ["publish.mjs", "search.mjs", "package.json", "package-lock.json"] {
        std::fs::copy(examples.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    if std::fs::read(&done).ok() != Some(lock.clone()) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        let mut npm = Program::spawn("npm ci", npm)?;
        let status = npm.wait(PATIENCE).await?;
        ensure!(status.success(), "npm ci: {status}: {}", npm.all());
        std::fs::write(done, lock)?;
    }
    Ok(folder)
}

/// The lines that a program printed as JSON.
fn json_lines(said: &str) -> impl Iterator<Item = Value> {
    said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_lose_nothing_when_their_connections_are_cut() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let _producer = deployment.serve("producer", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    query.create("orders", &json!({})).await?;
    let folder = tempfile::tempdir()?;
    let languages = Language::all().await?;
    let published = future::try_join_all(languages.iter().map(async |language| {
        let id = |number: usize| format!("{}-{number}", language.name);
        let lines: String = (0..DOCUMENTS)
            .map(|number| format!("{}\n", json!({"id": id(number), "text": format!("{number} apples by {}", language.name)})))
            .collect();
        let file = folder.path().join(format!("{}.ndjson", language.name));
        std::fs::write(&file, lines)?;
        let proxy = Proxy::start(deployment.url()).await?;
        proxy.cut_after(CUT_AFTER);
        let mut program = language.start("publish", &[proxy.url(), "orders", file.to_str().context("a name that is text")?])?;
        let status = program.wait(PATIENCE * 2).await?;
        let said = program.all();
        ensure!(status.success(), "{}: {status}: {said}", language.name);
        assert_eq!(proxy.cuts(), 1, "{}: the cut came in the middle", language.name);
        let receipts: BTreeMap<String, Value> =
            json_lines(&said).map(|receipt| (receipt["id"].as_str().unwrap_or_default().to_owned(), receipt)).collect();
        for (id, receipt) in &receipts {
            assert_eq!((&receipt["index"], &receipt["status"]), (&json!("orders"), &json!("searchable")), "{id}");
            assert!(receipt["position"].is_string(), "{receipt}");
        }
        assert_eq!(receipts.into_keys().collect::<BTreeSet<_>>(), (0..DOCUMENTS).map(id).collect(), "{}", language.name);
        Ok::<_, anyhow::Error>(())
    }))
    .await?;
    // All had their receipts: all can be found, at once, and each once.
    assert_eq!(query.count("orders").await?, (published.len() * DOCUMENTS) as u64);

    future::try_join_all(languages.iter().map(async |language| {
        let words = format!("+\"17 apples\" +{}", language.name);
        let mut program = language.start("search", &[deployment.url(), "orders", &words])?;
        let (status, said) = (program.wait(PATIENCE).await?, program.all());
        ensure!(status.success(), "{}: {status}: {said}", language.name);
        let answer = json_lines(&said).next().context("an answer")?;
        assert_eq!(ids(&answer), [format!("{}-17", language.name)]);
        assert_eq!((&answer["total"]["value"], &answer["partitions"]["answered"]), (&json!(1), &json!(4)));

        // A query that is none: a problem, and an exit code that says so.
        let mut program = language.start("search", &[deployment.url(), "orders", "\"17 apples"])?;
        let (status, said) = (program.wait(PATIENCE).await?, program.all());
        assert_eq!(status.code(), Some(1), "{said}");
        let problem = json_lines(&said).next().context("a problem")?;
        assert_eq!((&problem["code"], &problem["status"]), (&json!("invalid_query"), &json!(400)), "{problem}");
        Ok::<_, anyhow::Error>(())
    }))
    .await?;
    Ok(())
}

/// A client of the broker that is no process of Warren's.
async fn client(deployment: &Deployment) -> Result<Broker> {
    let settings = Settings { url: Some(deployment.url().to_owned()), ..Settings::default() };
    Ok(warren_broker::connect(&settings, "client", Path::new(".")).await?)
}

async fn ask(client: &Broker, body: &Value) -> Result<Value> {
    let request = ClientRequest { index: "notes".to_owned(), content_encoding: None, body: body.to_string().into() };
    let ClientReply { content_type, body } = client.ports.rpc.ask(request, Instant::now() + Duration::from_secs(20)).await?;
    ensure!(content_type == "application/json", "{content_type}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

/// Runs the Python of docs/amqp-search.md on this broker, in the index `notes`.
async fn documented_search(url: &str) -> Result<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/amqp-search.md"))?;
    let (_, rest) = page.split_once("```python\n").context("the page has Python")?;
    let (code, _) = rest.split_once("```").context("its Python ends")?;
    let (broker, index) = ("amqp://guest:guest@127.0.0.1:5672/%2f", "\"packages\"");
    ensure!(code.contains(broker) && code.contains(index), "the Python asks {index} at {broker}");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", &code.replace(broker, url).replace(index, "\"notes\"")]);
    let mut python = Program::spawn("the documentation's Python", python)?;
    let (status, said) = (python.wait(PATIENCE).await?, python.all());
    ensure!(status.success(), "{status}: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_without_a_good_address_harms_nothing() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    query.create("notes", &json!({"partitions": 1})).await?;
    let _worker = deployment.start("worker", &[])?;
    query.found("notes", 0).await?;
    let client = client(&deployment).await?;
    for reply_to in ["", "--reply-to=warren.intake", "--reply-to=nobody.is.here"] {
        let mut command = Command::new("amqp-publish");
        command.arg(format!("--url={}", deployment.url())).args(["--exchange=warren.search", "--routing-key=notes", "--body={}"]);
        command.args(Some(reply_to).filter(|argument| !argument.is_empty()));
        let mut program = Program::spawn("amqp-publish", command)?;
        let status = program.wait(PATIENCE).await?;
        ensure!(status.success(), "{status}: {}", program.all());
    }
    assert_eq!(ask(&client, &json!({"limit": 0, "timeout_ms": 15_000})).await?["total"]["value"], 0);
    let said = documented_search(deployment.url()).await?;
    ensure!(said.starts_with("application/json {") && said.contains("'answered': 1"), "{said}");
    eventually("all five are counted", PATIENCE, async || {
        let (_, status) = query.get("/status").await?;
        let expected = json!({"answered": 3, "unanswerable": 2, "late": 0});
        ensure!(status["amqp_searches"] == expected, "{}", status["amqp_searches"]);
        Ok(())
    })
    .await?;
    for queue in [QueueName::Intake, QueueName::DeadLetters] {
        assert_eq!(client.ports.queue.depth(queue).await?, 0, "{queue}");
    }
    client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_over_amqp_are_answered_while_query_services_come_and_go() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let mut one = deployment.serve("query-service", &[]).await?;
    let producer = deployment.serve("producer", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    one.create("notes", &json!({"partitions": 2})).await?;
    producer.publish("notes", &[json!({"id": "a", "text": "words"})]).await?;
    one.found("notes", 1).await?;
    let mut two = deployment.serve("query-service", &[]).await?;
    let client = client(&deployment).await?;
    let (done, asked) = (tokio_util::sync::CancellationToken::new(), std::sync::atomic::AtomicUsize::new(0));
    let load = future::try_join_all((0..4).map(async |_| {
        while !done.is_cancelled() {
            let answer = ask(&client, &json!({"query": "words", "timeout_ms": 15_000})).await?;
            ensure!(ids(&answer) == ["a"] && answer["partitions"]["answered"] == 2, "{answer}");
            asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok::<_, anyhow::Error>(())
    }));
    let more = async || {
        let before = asked.load(std::sync::atomic::Ordering::Relaxed);
        eventually("some more are answered", PATIENCE, async || {
            ensure!(asked.load(std::sync::atomic::Ordering::Relaxed) > before + 20);
            Ok(())
        })
        .await
    };
    let disturb = async {
        more().await?;
        one.program.signal("TERM")?;
        ensure!(one.program.wait(PATIENCE).await?.success(), "a clean stop");
        more().await?;
        let mut three = deployment.serve("query-service", &[]).await?;
        two.program.kill9()?;
        more().await?;
        done.cancel();
        three.program.signal("TERM")?;
        ensure!(three.program.wait(PATIENCE).await?.success(), "a clean stop");
        Ok::<_, anyhow::Error>(())
    };
    let (load, disturbed) = tokio::join!(load, disturb);
    disturbed?;
    load?;
    client.close().await;
    Ok(())
}
