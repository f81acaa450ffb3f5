//! Warren as it is deployed: processes, their folders, a broker between them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use warren_tests::{Node, Program, eventually, http};

/// What takes longer than this on a busy machine is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Processes that share a virtual host of RabbitMQ.
pub struct Deployment {
    url: String,
    folder: TempDir,
    started: usize,
}

/// A process that serves HTTP.
pub struct Server {
    pub program: Program,
    pub address: String,
    client: reqwest::Client,
}

impl Deployment {
    /// On a virtual host of its own on the node that all tests share.
    pub async fn new() -> Result<Self> {
        let node = Node::shared().await?;
        let vhost = node.vhost().await?;
        Ok(Self { url: node.url(&vhost), folder: tempfile::tempdir()?, started: 0 })
    }

    /// The address of the virtual host.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts a role in a folder of its own.
    pub fn start(&mut self, role: &str, environment: &[(&str, &str)]) -> Result<Program> {
        self.started += 1;
        self.start_in(&format!("data-{}", self.started), role, environment)
    }

    /// Starts a role in this folder, where another process may have run before.
    pub fn start_in(&self, folder: &str, role: &str, environment: &[(&str, &str)]) -> Result<Program> {
        let folder = self.folder.path().join(folder);
        let folder = folder.to_str().context("the folder's name is text")?;
        let mut all = vec![
            ("WARREN__BROKER__URL", self.url.as_str()),
            ("WARREN__DATA_DIR", folder),
            ("WARREN__HTTP__LISTEN", "127.0.0.1:0"),
        ];
        all.extend(environment);
        Program::start(role, &[], &all)
    }

    /// Starts a role that serves HTTP, and waits until it is ready.
    pub async fn serve(&mut self, role: &str, environment: &[(&str, &str)]) -> Result<Server> {
        Server::ready(self.start(role, environment)?).await
    }
}

impl Server {
    /// Waits until a program listens and is ready.
    pub async fn ready(mut program: Program) -> Result<Self> {
        let address = program.address().await?;
        let server = Self { program, address, client: http::client()? };
        eventually("the server is ready", PATIENCE, async || {
            let (status, body) = server.get("/readyz").await?;
            ensure!(status == 200, "{body}");
            Ok(())
        })
        .await?;
        Ok(server)
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

    /// Creates an index.
    pub async fn create(&self, index: &str, definition: &Value) -> Result<()> {
        let (status, body) = self.put(&format!("/indexes/{index}"), definition).await?;
        ensure!([200, 201].contains(&status), "{status}: {body}");
        Ok(())
    }

    /// Publishes documents as NDJSON; all must be accepted.
    pub async fn publish(&self, index: &str, documents: &[Value]) -> Result<()> {
        let body: String = documents.iter().map(|document| format!("{document}\n")).collect();
        let request = self.request(Method::POST, &format!("/indexes/{index}/documents"));
        let (status, answer) = http::answer(request.header("content-type", "application/x-ndjson").body(body)).await?;
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
