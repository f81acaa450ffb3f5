//! Publishes to a server: one request a part, one after the other, so that writes to one id keep their order.

use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Method;
use serde::Deserialize;
use warren_producer::receipts::Found;
use warren_producer::upload::Summary;
use warren_protocol::problem::Code;
use warren_protocol::{IndexDefinition, IndexName, Problem};
use warren_service::config::Config;

use super::source::Part;
use crate::client::{Client, Refused};

/// How long a server, or a broker, may refuse or be away before the command gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest that a server waits for a part to be found.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A server and one of its indexes.
pub(crate) struct ServerTarget {
    client: Client,
    index: IndexName,
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
        Ok(Self { client: Client::new(config)?, index, path, met: false, waits: wait.is_some() })
    }

    /// What the index says of its fields; the defaults, if there is no such index yet.
    pub(crate) async fn definition(&self) -> anyhow::Result<IndexDefinition> {
        /// What matters here of the server's answer.
        #[derive(serde::Deserialize)]
        struct Index {
            definition: IndexDefinition,
        }
        match self.client.get::<Index>(&format!("/indexes/{}", self.index)).await {
            Ok(index) => Ok(index.definition),
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if refused.problem.code == Code::UnknownIndex => Ok(IndexDefinition::default()),
                Some(refused) if [404, 405].contains(&refused.problem.status) => {
                    let server = "this server takes documents only and does not say how the index is defined";
                    eprintln!("{server}: all values of tables are published as strings; name a server that searches, too");
                    Ok(IndexDefinition::default())
                }
                _ => Err(error),
            },
        }
    }

    /// Publishes a part; repeats it while the server is busy. Repeating is safe: a document replaces itself.
    pub(crate) async fn publish(&mut self, part: Part) -> anyhow::Result<(Summary, Option<Found>)> {
        let mut own = Summary::default();
        let mut places = Vec::new();
        let mut body = Vec::new();
        for piece in part.pieces {
            match piece.content {
                Ok(document) => match one_line(&document, &mut body) {
                    Ok(()) => places.push((piece.line, piece.number)),
                    Err(problem) => own.reject(piece.line, piece.number, problem),
                },
                Err(error) => own.reject(piece.line, piece.number, Problem::new(error.code(), error.to_string())),
            }
        }
        let found = self.waits.then(Found::default);
        if places.is_empty() {
            return Ok((own, found));
        }
        let Published { mut summary, found: answered } = self.send(body.into()).await?;
        let found = found.map(|_| answered);
        for rejection in &mut summary.rejected {
            let place = usize::try_from(rejection.line).ok().and_then(|line| places.get(line.checked_sub(1)?));
            (rejection.line, rejection.number) = *place.context("the server's answer names a line that was not sent")?;
        }
        own.accepted += summary.accepted;
        own.rejected_count += summary.rejected_count;
        own.rejected.append(&mut summary.rejected);
        own.rejected.sort_by_key(|rejection| (rejection.line, rejection.number));
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

/// Adds a document to the body as one line. A line break between its parts is white space to JSON, and the end of the document to
/// NDJSON; one in a string is an error, which must not be mended on the way.
fn one_line(document: &[u8], body: &mut Vec<u8>) -> Result<(), Problem> {
    let (start, mut in_string, mut escaped) = (body.len(), false, false);
    for byte in document {
        let is_break = matches!(byte, b'\n' | b'\r');
        if is_break && in_string {
            body.truncate(start);
            return Err(Problem::new(Code::InvalidJson, "a line break stands in a string: write it as \\n"));
        }
        body.push(if is_break { b' ' } else { *byte });
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    body.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_one_line_or_is_refused() {
        let mut body = b"{}\n".to_vec();
        one_line(b"{\n \"a\\\\\": \"x\\\"\",\r\n \"b\": 1\n}", &mut body).unwrap();
        assert_eq!(String::from_utf8_lossy(&body), "{}\n{  \"a\\\\\": \"x\\\"\",   \"b\": 1 }\n");
        let before = body.clone();
        assert_eq!(one_line(b"{\"a\":\"x\ny\"}", &mut body).unwrap_err().code, Code::InvalidJson);
        assert_eq!(body, before);
    }
}
