//! Publishes to a server: one request a part, one after the other, so that writes to one id keep their order.

use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Method;
use serde::Deserialize;
use warren_producer::receipts::Found;
use warren_producer::upload::{Rejection, Summary};
use warren_protocol::IndexName;
use warren_service::config::Config;

use super::source::Part;
use crate::client::{Client, Refused};

/// How long a server may refuse or be away before the command gives up.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest that a server waits for a part to be found.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A server and one of its indexes.
pub(crate) struct ServerTarget {
    client: Client,
    path: String,
    /// Whether it has ever answered: then its absence may be a restart.
    met: bool,
    /// Whether to wait until what is published can be found.
    waits: bool,
}

/// What the server answers to a part.
#[derive(Default, Deserialize)]
pub(crate) struct Published {
    #[serde(flatten)]
    pub summary: Summary,
    #[serde(flatten)]
    pub found: Found,
}

impl ServerTarget {
    /// The server that the configuration names.
    pub(crate) fn new(config: &Config, index: IndexName, wait: Option<Duration>) -> anyhow::Result<Self> {
        let mut path = format!("/indexes/{index}/documents");
        if let Some(wait) = wait {
            path = format!("{path}?wait=searchable&timeout_ms={}", wait.min(LONGEST_WAIT).as_millis());
        }
        Ok(Self { client: Client::new(config)?, path, met: false, waits: wait.is_some() })
    }

    /// Publishes a part; repeats it while the server is busy. Repeating is safe: a document replaces itself.
    pub(crate) async fn publish(&mut self, part: Part) -> anyhow::Result<(Summary, Option<Found>)> {
        let mut own = Summary::default();
        let mut lines = Vec::new();
        let mut body = Vec::new();
        for piece in part.pieces {
            match piece.content {
                Ok(document) => {
                    lines.push(piece.line);
                    // A line break inside a document is white space to JSON, and the end of the document to NDJSON.
                    body.extend(document.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
                    body.push(b'\n');
                }
                Err(error) => {
                    own.rejected_count += 1;
                    own.rejected.push(Rejection { line: piece.line, id: None, code: error.code(), detail: error.to_string() });
                }
            }
        }
        let found = self.waits.then(Found::default);
        if lines.is_empty() {
            return Ok((own, found));
        }
        let Published { mut summary, found: answered } = self.send(body.into()).await?;
        let found = found.map(|_| answered);
        for rejection in &mut summary.rejected {
            let place = usize::try_from(rejection.line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
            rejection.line = *place.context("the server's answer names a line that was not sent")?;
        }
        own.accepted += summary.accepted;
        own.rejected_count += summary.rejected_count;
        own.rejected.append(&mut summary.rejected);
        own.rejected.sort_by_key(|rejection| rejection.line);
        Ok((own, found))
    }

    async fn send(&mut self, body: bytes::Bytes) -> anyhow::Result<Published> {
        if !self.met {
            self.client.greet().await?;
        }
        let began = Instant::now();
        loop {
            let request = self.client.request(Method::POST, &self.path).header("content-type", "application/x-ndjson");
            let error = match self.client.upload(request.body(body.clone())).await {
                Ok(published) => {
                    self.met = true;
                    return Ok(published);
                }
                Err(error) => error,
            };
            let wait = match error.downcast_ref::<Refused>() {
                Some(refused) if [429, 503].contains(&refused.problem.status) => refused.retry_after.map(Duration::from_secs),
                Some(_) => return Err(error),
                None if self.met => None,
                None => return Err(error),
            };
            let wait = wait.unwrap_or(PAUSE).clamp(PAUSE, LONGEST_PAUSE);
            if began.elapsed() + wait > PATIENCE {
                return Err(error.context(format!("given up after {} s", PATIENCE.as_secs())));
            }
            tokio::time::sleep(wait).await;
        }
    }
}
