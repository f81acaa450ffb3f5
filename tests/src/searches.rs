//! Steady searching: so many searches a second, whether or not the last ones are answered, over all query services in turn.
//!
//! A search counts as failed unless every partition has answered. A client that finds nobody listening asks the next
//! query service, once; what else is asked again is said by [`Retried`].

mod figures;
mod latencies;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::{eventually, http, ledger};
pub use figures::{Figures, Second};
pub use latencies::Latencies;

/// Searches beyond it wait for nothing: they count as failed.
const MAX_UNDER_WAY: usize = 1000;
/// The client gives up so much later than the query service, whose answer says what is missing.
const GRACE: Duration = Duration::from_secs(8);

/// What is to be searched.
#[derive(Clone, Debug)]
pub struct SearchLoad {
    /// In which index.
    pub index: String,
    /// Searches a second.
    pub per_second: u32,
    /// The time that each search has.
    pub timeout: Duration,
    /// What is asked again.
    pub retried: Retried,
}

/// What clients ask another query service again, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// What nobody took: a refused connection.
    Refused,
    /// That, and what was answered with status 503.
    RefusedAnd503,
}

/// Searches under way.
pub struct Searches {
    load: JoinSet<()>,
    stop: CancellationToken,
    figures: Arc<Mutex<Figures>>,
}

/// How one search ended.
enum Outcome {
    Complete,
    Failed { cause: String, again: bool },
}

struct Searcher {
    client: reqwest::Client,
    urls: Vec<String>,
    load: SearchLoad,
    figures: Arc<Mutex<Figures>>,
}

impl Searches {
    /// Starts to search at the query services with these addresses.
    pub fn start(load: &SearchLoad, addresses: &[String]) -> Result<Self> {
        let (figures, stop) = (Arc::new(Mutex::new(Figures::new())), CancellationToken::new());
        let urls = addresses.iter().map(|address| format!("http://{address}/indexes/{}/search", load.index)).collect();
        let client = http::fresh_client(load.timeout + GRACE)?;
        let searcher = Arc::new(Searcher { client, urls, load: load.clone(), figures: Arc::clone(&figures) });
        let mut load = JoinSet::new();
        load.spawn(searcher.run(stop.clone()));
        Ok(Self { load, stop, figures })
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        lock(&self.figures).clone()
    }

    /// How many searches have failed so far.
    pub fn failed(&self) -> u64 {
        lock(&self.figures).failed()
    }

    /// Waits until answers have been complete for so long, without exception.
    pub async fn steady(&self, long: Duration, deadline: Duration) -> Result<()> {
        let begin = Instant::now();
        eventually("searches are answered by all partitions", deadline, async || {
            let figures = lock(&self.figures);
            let since = figures.complete_since().map(|since| since.max(begin));
            ensure!(since.is_some_and(|since| since.elapsed() >= long), "the failed ones: {:?}", figures.causes);
            Ok(())
        })
        .await
    }

    /// Stops searching, and awaits the answers to what was asked.
    pub async fn finish(mut self) -> Result<Figures> {
        self.stop.cancel();
        while let Some(ended) = self.load.join_next().await {
            ended?;
        }
        let mut figures = lock(&self.figures);
        figures.end();
        Ok(figures.clone())
    }
}

impl Searcher {
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(Duration::from_secs(1) / self.load.per_second.max(1));
        let mut searches = JoinSet::new();
        for number in 0_usize.. {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => break,
            }
            while searches.try_join_next().is_some() {}
            if searches.len() >= MAX_UNDER_WAY {
                lock(&self.figures).add(Instant::now(), Err("too many searches are under way".to_owned()));
            } else {
                searches.spawn(Arc::clone(&self).search(number));
            }
        }
        searches.join_all().await;
    }

    async fn search(self: Arc<Self>, number: usize) {
        let mut random = Rng::with_seed(number as u64);
        let query = format!("{} {}", ledger::word(&mut random), ledger::word(&mut random));
        let body = json!({"query": query, "timeout_ms": self.load.timeout.as_millis() as u64});
        let began = Instant::now();
        let mut outcome = self.ask(number, &body).await;
        if let Outcome::Failed { cause, again: true } = &outcome {
            lock(&self.figures).retried(cause);
            outcome = self.ask(number + 1, &body).await;
        }
        let ended = match outcome {
            Outcome::Complete => Ok(()),
            Outcome::Failed { cause, .. } => Err(cause),
        };
        lock(&self.figures).add(began, ended);
    }

    async fn ask(&self, number: usize, body: &Value) -> Outcome {
        let answer = async {
            let response = self.client.post(&self.urls[number % self.urls.len()]).json(body).send().await?;
            Ok((response.status().as_u16(), response.json::<Value>().await?))
        };
        match answer.await {
            Ok((200, answer)) if answer["partitions"]["answered"] == answer["partitions"]["total"] => Outcome::Complete,
            Ok((200, answer)) => {
                let reason = answer["partitions"]["failed"][0]["reason"].as_str().unwrap_or("no reason");
                Outcome::Failed { cause: format!("partial: {reason}"), again: false }
            }
            Ok((status, answer)) => {
                let cause = format!("{status} {}", answer["code"].as_str().unwrap_or_default());
                Outcome::Failed { cause, again: status == 503 && self.load.retried == Retried::RefusedAnd503 }
            }
            Err(error) => Outcome::Failed { cause: http::cause(&error).to_owned(), again: http::is_refused(&error) },
        }
    }
}

fn lock(figures: &Mutex<Figures>) -> std::sync::MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}
