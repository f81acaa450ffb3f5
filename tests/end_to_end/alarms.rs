//! A broker that takes nothing for a while, or is away: clear refusals in time, then everything goes on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::deployment::PATIENCE;
use warren_tests::{Api, Node, eventually};

use crate::Deployment;

/// What a write may take; the rest of the time that is allowed for is the machine's.
const WRITE_LIMIT_MS: u64 = 3000;
const SLACK: Duration = Duration::from_secs(20);

/// Writes whose outcome is known.
#[derive(Default)]
struct Writes {
    next: usize,
    confirmed: Vec<usize>,
}

impl Writes {
    /// Tries one write: the status and the problem's code. A refusal for now must say when to come again.
    async fn write(&mut self, producer: &Api, alone: bool) -> Result<(u16, String)> {
        let (number, began) = (self.next, Instant::now());
        self.next += 1;
        let document = json!({"id": format!("d-{number}"), "text": "words"});
        let request = match alone {
            true => producer.request(Method::PUT, &format!("/indexes/alarm/documents/d-{number}")).body(document.to_string()),
            false => producer.request(Method::POST, "/indexes/alarm/documents").body(format!("{document}\n")),
        };
        let response = request.send().await?;
        let (status, retry_after) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
        let answer: Value = response.json().await?;
        ensure!(began.elapsed() < Duration::from_millis(WRITE_LIMIT_MS) + SLACK, "an answer after {:?}", began.elapsed());
        match status {
            202 => self.confirmed.push(number),
            429 | 503 => ensure!(retry_after, "{status} without Retry-After: {answer}"),
            _ => anyhow::bail!("{status}: {answer}"),
        }
        Ok((status, answer["code"].as_str().unwrap_or_default().to_owned()))
    }

    /// Tries until a write is confirmed; says how long that took.
    async fn goes_on(&mut self, producer: &Api) -> Result<Duration> {
        let began = Instant::now();
        eventually("writes are confirmed again", PATIENCE, async || {
            let answer = self.write(producer, true).await?;
            ensure!(answer.0 == 202, "{answer:?}");
            Ok(began.elapsed())
        })
        .await
    }

    /// All that was confirmed is found, and nothing that was never written.
    async fn all_found(&self, query: &Api) -> Result<()> {
        eventually("everything confirmed is found", PATIENCE, async || {
            let found = query.count("alarm").await?;
            ensure!((self.confirmed.len()..=self.next).contains(&usize::try_from(found)?), "{found} of {}", self.next);
            for number in &self.confirmed {
                let (status, _) = query.get(&format!("/indexes/alarm/documents/d-{number}")).await?;
                ensure!(status == 200, "d-{number} was confirmed and is not there");
            }
            Ok(())
        })
        .await
    }
}

async fn not_ready(api: &Api) -> Result<()> {
    eventually("it says that the broker is away", PATIENCE, async || {
        let (status, problem) = api.get("/readyz").await?;
        ensure!(status == 503 && problem["detail"].to_string().contains("the broker is away"), "{status}: {problem}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_or_an_absence_of_the_broker_ends_in_refusals_and_then_all_goes_on() -> Result<()> {
    let node = Node::start().await?;
    let mut deployment = Deployment::on(node.clone()).await?;
    let limit = WRITE_LIMIT_MS.to_string();
    let producer = deployment
        .serve("producer", &[("WARREN__PRODUCER__CONFIRM_TIMEOUT_MS", &limit), ("WARREN__BROKER__TIMEOUT_MS", "10000")])
        .await?;
    let query = deployment.serve("query-service", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    query.create("alarm", &json!({"partitions": 2})).await?;
    let mut writes = Writes::default();
    for _ in 0..20 {
        ensure!(writes.write(&producer, true).await?.0 == 202);
    }
    writes.all_found(&query).await?;

    node.raise_memory_alarm().await?;
    eventually("writes are refused", PATIENCE, async || {
        let answer = writes.write(&producer, false).await?;
        ensure!(answer.0 == 503, "{answer:?}");
        Ok(())
    })
    .await?;
    for alone in [true, false, true, false] {
        let (status, code) = writes.write(&producer, alone).await?;
        ensure!(status == 503 && ["unavailable", "log_full"].contains(&code.as_str()), "{status} {code}");
    }
    // Searches go through the broker, too: they end at their deadline, and say why.
    let began = Instant::now();
    let (status, answer) = query.get("/indexes/alarm/search?q=words&timeout_ms=1000").await?;
    ensure!(status == 200 || (status == 503 && answer["code"] == "no_partition"), "{status}: {answer}");
    ensure!(began.elapsed() < Duration::from_secs(1) + SLACK, "an answer after {:?}", began.elapsed());
    assert_eq!(query.get("/indexes/alarm").await?.0, 200, "what needs no message is answered");

    node.clear_memory_alarm().await?;
    let took = writes.goes_on(&producer).await?;
    println!("confirmed again {took:?} after the alarm");
    let began = Instant::now();
    writes.all_found(&query).await?;
    println!("everything was found {:?} later", began.elapsed());

    node.kill9().await?;
    not_ready(&producer).await?;
    not_ready(&query).await?;
    let (status, code) = writes.write(&producer, true).await?;
    ensure!((status, code.as_str()) == (503, "unavailable"), "{status} {code}");
    node.start_again().await?;
    let began = Instant::now();
    producer.ready().await?;
    query.ready().await?;
    println!("ready {:?} after the broker was back", began.elapsed());
    let took = writes.goes_on(&producer).await?;
    println!("confirmed again {took:?} later");
    writes.all_found(&query).await
}
