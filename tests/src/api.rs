//! A server of Warren's, as its clients know it: an address, and JSON over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{eventually, http};

/// What takes longer than this on a busy machine is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server, whether or not it runs.
#[derive(Clone)]
pub struct Api {
    /// Host and port.
    pub address: String,
    client: reqwest::Client,
}

impl Api {
    /// The server at this address.
    pub fn new(address: String) -> Result<Self> {
        Ok(Self { address, client: http::client()? })
    }

    /// The URL, for commands.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A request.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// `GET`: the status and the JSON.
    pub async fn get(&self, path: &str) -> Result<(u16, Value)> {
        http::answer(self.request(Method::GET, path)).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        http::answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> Result<()> {
        eventually("the server is ready", PATIENCE, async || {
            let (status, body) = self.get("/readyz").await?;
            ensure!(status == 200, "{body}");
            Ok(())
        })
        .await
    }

    /// Creates an index.
    pub async fn create(&self, index: &str, definition: &Value) -> Result<()> {
        let (status, body) = self.put(&format!("/indexes/{index}"), definition).await?;
        ensure!([200, 201].contains(&status), "{status}: {body}");
        Ok(())
    }

    /// Publishes documents as NDJSON: the status and the answer.
    pub async fn upload(&self, index: &str, documents: &[Value]) -> Result<(u16, Value)> {
        let body: String = documents.iter().map(|document| format!("{document}\n")).collect();
        let request = self.request(Method::POST, &format!("/indexes/{index}/documents"));
        http::answer(request.header("content-type", "application/x-ndjson").body(body)).await
    }

    /// Publishes documents as NDJSON; all must be accepted.
    pub async fn publish(&self, index: &str, documents: &[Value]) -> Result<()> {
        let (status, answer) = self.upload(index, documents).await?;
        ensure!(status == 202 && answer["accepted"] == documents.len(), "{status}: {answer}");
        Ok(())
    }

    /// Searches; every partition must answer.
    pub async fn search(&self, index: &str, query: &str, limit: usize) -> Result<Value> {
        let request = json!({"query": query, "limit": limit, "timeout_ms": 30_000, "lenient": true});
        let path = format!("/indexes/{index}/search");
        let (status, answer) = http::answer(self.request(Method::POST, &path).json(&request)).await?;
        ensure!(status == 200, "{status}: {answer}");
        ensure!(answer["partitions"]["answered"] == answer["partitions"]["total"], "{answer}");
        Ok(answer)
    }

    /// How many documents a search for everything finds.
    pub async fn count(&self, index: &str) -> Result<u64> {
        self.search(index, "*", 0).await?["total"]["value"].as_u64().context("a total")
    }

    /// Waits until a search finds so many documents, and no more.
    pub async fn found(&self, index: &str, documents: usize) -> Result<()> {
        eventually(&format!("{documents} documents of {index} are found"), PATIENCE, async || {
            let found = self.count(index).await?;
            ensure!(found == documents as u64, "{found} are found");
            Ok(())
        })
        .await
    }
}

/// The ids of the hits, in order.
pub fn ids(answer: &Value) -> Vec<String> {
    hits(answer).iter().map(|hit| hit["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The hits.
pub fn hits(answer: &Value) -> &[Value] {
    answer["hits"].as_array().map(Vec::as_slice).unwrap_or_default()
}
