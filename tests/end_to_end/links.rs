//! Links: the acceptance test of the book, what hostile links and servers can do, and the examples of docs/links.md.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::web::{Resource, Web};
use warren_tests::{Api, Program, eventually, http, memory};

use crate::deployment::PATIENCE;
use crate::{Deployment, Server};

/// The books of the book.
const BOOKS: [(&str, &str, &str); 3] = [
    ("Book 1", "/book1.txt", "apple apple cat zebra"),
    ("Book 2", "/book2.txt", "banana cake zebra"),
    ("Book 3", "/book3.txt", "apple cake cake whale"),
];

async fn post(api: &Api, path: &str, body: &Value) -> Result<(u16, Value)> {
    http::answer(api.request(Method::POST, path).json(body)).await
}

async fn feed(producer: &Api, title: &str, link: &str) -> Result<()> {
    let (status, answer) = post(producer, "/api/feeder", &json!({"title": title, "link": link})).await?;
    ensure!(status == 202 && answer["accepted"] == 1, "{status}: {answer}");
    Ok(())
}

/// The titles that a query of the book finds, in order, each of which comes with its link and a snippet.
async fn titles(query: &Api, terms: &[&str]) -> Result<Vec<String>> {
    let (status, answer) = post(query, "/api/query", &json!(terms)).await?;
    ensure!(status == 200, "{status}: {answer}");
    let mut titles = Vec::new();
    for document in answer.as_array().context("a list")? {
        ensure!(document["snippet"].as_str().is_some_and(|snippet| snippet.contains("<b>")), "{document}");
        ensure!(document["url"] == document["docID"], "{document}");
        titles.push(document["title"].as_str().context("a title")?.to_owned());
    }
    Ok(titles)
}

/// All that the book says of its three books.
async fn as_in_the_book(query: &Api) -> Result<()> {
    let expected: [(&[&str], &[&str]); 9] = [
        (&["apple"], &["Book 1", "Book 3"]),
        (&["cake"], &["Book 3", "Book 2"]),
        (&["cake", "apple"], &["Book 3", "Book 1", "Book 2"]),
        (&["cat", "zebra"], &["Book 1", "Book 2"]),
        // As it is indexed, once, and whatever else is asked.
        (&["Apple"], &["Book 1", "Book 3"]),
        (&["apple", "APPLE", "apple"], &["Book 1", "Book 3"]),
        (&["zebra"], &["Book 1", "Book 2"]),
        (&["--", "OR", "whale\"*"], &["Book 3"]),
        (&["--"], &[]),
    ];
    for (terms, books) in expected {
        let found = titles(query, terms).await?;
        ensure!(found == books, "{terms:?} finds {found:?}, not {books:?}");
    }
    Ok(())
}

async fn dead_letters(query: &Api, count: usize) -> Result<Vec<Value>> {
    eventually("the dead letters", PATIENCE, async || {
        let (_, answer) = query.get("/dead-letters?limit=100").await?;
        let letters = answer["letters"].as_array().context("a list")?;
        ensure!(letters.len() == count, "{} of {count}: {answer}", letters.len());
        Ok(letters.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_are_fed_by_link_are_found_as_in_the_book() -> Result<()> {
    let files = BOOKS.map(|(_, path, text)| (path, Resource::text(text)));
    let dashes = ["/dashes.txt", "/dashes.txt?last"].map(|path| (path, Resource::text("--")));
    let web = Web::start(files.into_iter().chain(dashes)).await?;
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let producer = deployment.serve("producer", &[("WARREN__LINKS__ALLOW_PRIVATE", "true")]).await?;
    let _worker = deployment.start("worker", &[])?;
    assert_eq!(titles(&query, &["apple"]).await?, Vec::<String>::new(), "nothing has been fed");
    feed(&producer, "Dashes", &format!("{}/dashes.txt", web.url)).await?;
    for (title, path, _) in BOOKS {
        feed(&producer, title, &format!("{}{path}", web.url)).await?;
    }
    query.found("goophr", 4).await?;
    as_in_the_book(&query).await?;
    // Once more, in another order and another spelling: each document is replaced by itself.
    let before = web.requests();
    for (title, path, _) in BOOKS.into_iter().rev() {
        feed(&producer, title, &format!("{}/x/..{path}#part", web.url.replace("http", "HTTP"))).await?;
    }
    eventually("the books are fetched again", PATIENCE, async || {
        ensure!(web.requests() == before + BOOKS.len(), "{} requests", web.requests());
        Ok(())
    })
    .await?;
    // Nothing is on its way any more once the queue's last job is done, too.
    feed(&producer, "Last", &format!("{}/dashes.txt?last", web.url)).await?;
    query.found("goophr", 5).await?;
    as_in_the_book(&query).await?;

    // Any other index, with the word of the search API for the same order.
    let mut links: Vec<_> = BOOKS.map(|(_, path, _)| json!({"url": format!("{}{path}", web.url)})).into();
    links.push(json!({"url": "ftp://example.org/"}));
    let (status, answer) = post(&producer, "/indexes/shelf/links", &json!(links)).await?;
    assert_eq!((status, &answer["accepted"], &answer["rejected"][0]["line"]), (202, &json!(3), &json!(4)), "{answer}");
    query.found("shelf", 3).await?;
    let request = json!({"query": "cake apple", "scoring": "occurrences"});
    let (_, answer) = post(&query, "/indexes/shelf/search", &request).await?;
    let hits: Vec<_> = answer["hits"].as_array().into_iter().flatten().map(|hit| (&hit["id"], &hit["score"])).collect();
    let ids = [2, 0, 1].map(|book: usize| json!(format!("{}{}", web.url, BOOKS[book].1)));
    assert_eq!(hits, [(&ids[0], &json!(3.0)), (&ids[1], &json!(2.0)), (&ids[2], &json!(1.0))]);
    let (status, answer) = post(&producer, "/indexes/shelf/links", &json!({"url": "nowhere"})).await?;
    assert_eq!((status, &answer["code"]), (422, &json!("all_rejected")), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_links_are_dead_letters_and_hold_up_nobody() -> Result<()> {
    let packed = |command: &str, arguments: &[&str]| -> Result<Vec<u8>> {
        let script = format!("head -c 100000000 /dev/zero | {command} {}", arguments.join(" "));
        let output = Command::new("/bin/sh").args(["-c", &script]).output()?;
        ensure!(output.status.success() && output.stdout.len() < 300_000, "{command}: {} bytes", output.stdout.len());
        Ok(output.stdout)
    };
    let bomb = |encoding: &str, bytes| Resource::File("text/html", format!("Content-Encoding: {encoding}\r\n"), bytes);
    let web = Web::start([
        ("/good.txt", Resource::text("good apple")),
        ("/loop", Resource::Redirect("/loop".to_owned())),
        ("/endless", Resource::Endless),
        ("/drops", Resource::Drops),
        ("/hangs", Resource::Hangs),
        ("/gzip", bomb("gzip", packed("gzip", &["-6"])?)),
        ("/zstd", bomb("zstd", packed("zstd", &["-1", "-q", "-c"])?)),
    ])
    .await?;
    let port = web.url.rsplit(':').next().context("a port")?;
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let mut producer = deployment.serve("producer", &[]).await?;
    let _worker = deployment.start("worker", &[])?;

    // By default, nothing on this machine and in its networks is asked.
    let hosts = ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254", "10.0.0.1"];
    for host in hosts {
        feed(&producer, host, &format!("http://{host}:{port}/good.txt")).await?;
    }
    for letter in dead_letters(&query, hosts.len()).await? {
        ensure!(letter["reason"] == "forbidden_address" && letter["source"] == "warren.links", "{letter}");
    }
    ensure!(web.requests() == 0, "the server was asked {} times", web.requests());
    producer.program.signal("TERM")?;
    ensure!(producer.program.wait(Duration::from_secs(15)).await?.success(), "not a clean stop");

    // Allowed to ask, fetchers end with everything in time, and have room for what is good meanwhile.
    let limits = [
        ("WARREN__LINKS__ALLOW_PRIVATE", "true"),
        ("WARREN__LINKS__TIMEOUT_MS", "4000"),
        ("WARREN__LINKS__MAX_BYTES", "1000000"),
        ("WARREN__LINKS__ATTEMPTS", "1"),
        ("WARREN__LINKS__PER_HOST", "16"),
        ("WARREN__LINKS__HOST_PAUSE_MS", "0"),
    ];
    let producer = deployment.serve("producer", &limits).await?;
    let expected = [
        ("/loop", "bad_redirect"),
        ("/endless", "too_large"),
        ("/gzip", "too_large"),
        ("/zstd", "too_large"),
        ("/drops", "page_timeout"),
        ("/hangs", "page_timeout"),
        ("/missing", "page_not_found"),
    ];
    for (path, _) in expected {
        feed(&producer, path, &format!("{}{path}", web.url)).await?;
    }
    feed(&producer, "Good", &format!("{}/good.txt", web.url)).await?;
    eventually("the good page is found", PATIENCE, async || {
        let found = titles(&query, &["apple"]).await?;
        ensure!(found == ["Good"], "{found:?}");
        Ok(())
    })
    .await?;
    let letters = dead_letters(&query, hosts.len() + expected.len()).await?;
    for (path, reason) in expected {
        let letter = letters.iter().find(|letter| letter.to_string().contains(&format!("{}{path}", web.url)));
        let letter = letter.with_context(|| format!("no dead letter for {path}"))?;
        ensure!(letter["reason"] == reason, "{path}: {letter}");
    }
    let peak = memory(producer.program.id())?.peak;
    ensure!(peak < 250, "the producer has taken {peak} MiB");
    Ok(())
}

/// The shell commands of docs/links.md, and the answer to the last of them.
fn example() -> Result<(String, Value)> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/links.md"))?;
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n"))?;
        Some(rest.split_once("```")?.0.to_owned())
    };
    let answer = block("json").context("docs/links.md has JSON")?;
    Ok((block("sh").context("docs/links.md has a shell example")?, serde_json::from_str(&answer)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_documentation_do_what_they_say() -> Result<()> {
    let (commands, answer) = example()?;
    let web = Web::start(BOOKS.map(|(_, path, text)| (path, Resource::text(text)))).await?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().context("the folder's name is text")?;
    let arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", folder];
    let environment = [("WARREN__LINKS__ALLOW_PRIVATE", "true")];
    let server = Server::ready(Program::start("warren", &arguments, &environment)?).await?;
    let (written_server, written_web) = ("http://127.0.0.1:8080", "http://files.example");
    ensure!(
        commands.contains(written_server) && commands.contains(written_web),
        "docs/links.md names {written_server}, {written_web}"
    );
    let commands = commands.replace(written_server, &server.url()).replace(written_web, &web.url);
    let answer: Value = serde_json::from_str(&answer.to_string().replace(written_web, &web.url))?;
    let (feeding, asking) = commands.trim_end().rsplit_once("\n\n").context("the last command stands alone")?;
    let shell = async |script: &str| -> Result<String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-euc", script]);
        let mut program = Program::spawn("sh", command)?;
        let status = program.wait(PATIENCE).await?;
        ensure!(status.success(), "{status}: {}", program.all());
        Ok(program.said())
    };
    shell(feeding).await?;
    eventually("the documented answer", PATIENCE, async || {
        let said = shell(asking).await?;
        let start = said.find('[').context("a list")?;
        let found: Value = serde_json::from_str(said[start..].trim()).with_context(|| said.clone())?;
        ensure!(found == answer, "{found}");
        Ok(())
    })
    .await
}
