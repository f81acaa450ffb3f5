//! Steady writing: several writers, each with ids of its own and one way in, who repeat each write until it is confirmed.
//!
//! A writer keeps to its way in, as Warren promises the order of writes for one way in. It keeps to its order, too: a
//! write that is not confirmed is repeated before the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use warren_broker::Broker;
use warren_protocol::ports::{Message, Ports, QueueName};

use crate::http;
use crate::ledger::{Ledger, Write};

/// The pause before a write is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a server may take for its answer: longer than it is ever frozen.
const ANSWER: Duration = Duration::from_secs(60);
const MAX_BATCH: usize = 20;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct WriteLoad {
    /// Into which index.
    pub index: String,
    /// The ids of each writer.
    pub ids: usize,
    /// Documents a second, of all writers together.
    pub per_second: u32,
    /// Bytes that make each document larger.
    pub padding: usize,
    /// What the writes are chosen by.
    pub seed: u64,
}

/// A writer's way in.
#[derive(Clone, Debug)]
pub enum Way {
    /// The producer at this address.
    Http(String),
    /// The intake queue of the broker at this URL.
    Intake(String),
}

/// What was written so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Confirmed writes: new documents, new versions, deletions.
    pub confirmed: u64,
    /// Tries without a confirm, by cause.
    pub retried: BTreeMap<String, u64>,
    /// When the last write was confirmed.
    pub last_confirmed: Option<Instant>,
}

/// Writers at work.
pub struct Writers {
    tasks: JoinSet<Result<Ledger>>,
    stop: CancellationToken,
    hurry: CancellationToken,
    progress: Arc<Mutex<Progress>>,
    brokers: Vec<Broker>,
}

struct Writer {
    load: WriteLoad,
    pace: Duration,
    way: Open,
    ledger: Ledger,
    random: Rng,
    stop: CancellationToken,
    hurry: CancellationToken,
    progress: Arc<Mutex<Progress>>,
}

/// A way in that is open.
enum Open {
    Http(reqwest::Client, String),
    Intake(Ports),
}

impl Progress {
    fn note(&mut self, writes: usize, written: &Result<()>) {
        match written {
            Ok(()) => {
                self.confirmed += writes as u64;
                self.last_confirmed = Some(Instant::now());
            }
            Err(cause) => *self.retried.entry(cause.to_string()).or_default() += 1,
        }
    }
}

impl Writers {
    /// Starts one writer for each way in.
    pub async fn start(load: &WriteLoad, ways: &[Way]) -> Result<Self> {
        let mut writers = Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
            progress: Arc::default(),
            brokers: Vec::new(),
        };
        for (number, way) in ways.iter().enumerate() {
            let writer = Writer {
                load: load.clone(),
                pace: Duration::from_secs_f64(ways.len() as f64 / f64::from(load.per_second.max(1))),
                way: writers.open(way).await?,
                ledger: Ledger::new(&format!("w{number}"), load.ids, load.padding),
                random: Rng::with_seed(load.seed.wrapping_add(number as u64)),
                stop: writers.stop.clone(),
                hurry: writers.hurry.clone(),
                progress: Arc::clone(&writers.progress),
            };
            writers.tasks.spawn(writer.run());
        }
        Ok(writers)
    }

    async fn open(&mut self, way: &Way) -> Result<Open> {
        match way {
            Way::Http(address) => Ok(Open::Http(http::fresh_client(ANSWER)?, address.clone())),
            Way::Intake(url) => {
                let settings = warren_broker::Settings { url: Some(url.clone()), ..Default::default() };
                // The folder is the embedded broker's.
                let broker = warren_broker::connect(&settings, "writer", std::path::Path::new(".")).await?;
                let ports = broker.ports.clone();
                self.brokers.push(broker);
                Ok(Open::Intake(ports))
            }
        }
    }

    /// What was written so far.
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops writing once each write that was begun is confirmed, or has been tried for so long.
    pub async fn finish(mut self, limit: Duration) -> Result<(Vec<Ledger>, Progress)> {
        self.stop.cancel();
        let mut ledgers = Vec::new();
        let mut deadline = std::pin::pin!(sleep(limit));
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ledger) => ledgers.push(ledger??),
                    None => break,
                },
                () = deadline.as_mut(), if !self.hurry.is_cancelled() => self.hurry.cancel(),
            }
        }
        let progress = self.progress();
        for broker in self.brokers {
            broker.close().await;
        }
        Ok((ledgers, progress))
    }
}

impl Writer {
    async fn run(mut self) -> Result<Ledger> {
        let mut next = Instant::now();
        while !self.stop.is_cancelled() {
            let delete = self.random.u8(..100) < 15;
            let count = 1 + self.random.usize(..MAX_BATCH);
            let batch = self.ledger.begin(&mut self.random, count, delete);
            if !self.confirmed(&batch).await {
                break;
            }
            // What an outage has delayed is made up for by a second's worth at most.
            let earliest = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(next);
            next = next.max(earliest) + self.pace * u32::try_from(batch.len().max(1))?;
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.stop.cancelled() => {}
            }
        }
        Ok(self.ledger)
    }

    /// Tries until all is confirmed; `false` if there is no time left for it.
    async fn confirmed(&mut self, batch: &[Write]) -> bool {
        while !batch.is_empty() {
            let written = self.write(batch).await;
            self.progress.lock().unwrap_or_else(PoisonError::into_inner).note(batch.len(), &written);
            if written.is_ok() {
                batch.iter().for_each(|write| self.ledger.confirm(*write));
                return true;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.hurry.cancelled() => return false,
            }
        }
        true
    }

    /// Tries once; the error is its cause, in a word or two.
    async fn write(&self, batch: &[Write]) -> Result<()> {
        let documents: Option<Vec<_>> = batch.iter().map(|write| self.ledger.document(*write)).collect();
        match (&self.way, documents) {
            (Open::Http(client, address), Some(documents)) if documents.len() == 1 => {
                let url = format!("http://{address}/indexes/{}/documents/{}", self.load.index, self.ledger.id(batch[0]));
                accepted(client.request(Method::PUT, url).json(&documents[0]), 1).await
            }
            (Open::Http(client, address), Some(documents)) => {
                let body: String = documents.iter().map(|document| format!("{document}\n")).collect();
                let url = format!("http://{address}/indexes/{}/documents", self.load.index);
                let request = client.request(Method::POST, url).header("content-type", "application/x-ndjson").body(body);
                accepted(request, batch.len()).await
            }
            (Open::Http(client, address), None) => {
                for write in batch {
                    let url = format!("http://{address}/indexes/{}/documents/{}", self.load.index, self.ledger.id(*write));
                    accepted(client.request(Method::DELETE, url), 1).await?;
                }
                Ok(())
            }
            (Open::Intake(ports), _) => {
                for write in batch {
                    let document = self.ledger.document(*write);
                    let message = Message {
                        kind: document.is_none().then(|| "delete".to_owned()),
                        message_id: Some(self.ledger.id(*write)),
                        body: document.map(|document| document.to_string()).unwrap_or_default().into(),
                        routing_key: self.load.index.clone(),
                        ..Message::default()
                    };
                    let published = ports.queue.publish(QueueName::Intake, message).await;
                    published.map_err(|_| anyhow::anyhow!("the intake queue does not confirm"))?;
                }
                Ok(())
            }
        }
    }
}

/// Sends a request for so many writes, all of which must be confirmed.
async fn accepted(request: reqwest::RequestBuilder, writes: usize) -> Result<()> {
    let response = request.send().await.map_err(|error| anyhow::anyhow!(http::cause(&error)))?;
    let status = response.status().as_u16();
    let answer: serde_json::Value = response.json().await.context("connection lost")?;
    let code = answer["code"].as_str().unwrap_or("not all accepted");
    anyhow::ensure!(status == 202 && answer["accepted"] == writes, "{status} {code}");
    Ok(())
}
