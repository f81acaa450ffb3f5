//! The command line's side of the HTTP interface.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use warren_protocol::Problem;
use warren_service::config::Config;

use crate::ServerArgs;

/// Exit code of a command whose configuration is wrong (EX_CONFIG of sysexits).
const BAD_CONFIGURATION: u8 = 78;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a server may take for any answer; a search's own deadline is at most a minute.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs one command: loads the configuration, starts a runtime, prints an error in one line with its causes.
pub(crate) fn command(server: &ServerArgs, run: impl AsyncFnOnce(Config) -> anyhow::Result<ExitCode>) -> ExitCode {
    let config = match server.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("warren: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(config)));
    outcome.unwrap_or_else(|error| {
        eprintln!("warren: {error:#}");
        ExitCode::FAILURE
    })
}

/// A running Warren, as its clients see it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    key: Option<String>,
}

/// An answer that is not a success.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Refused {
    /// What the server said.
    pub problem: Problem,
    /// After how many seconds to try again, if the server said so.
    pub retry_after: Option<u64>,
}

impl Client {
    /// The server that the configuration names.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        // Fails only if a provider is installed already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .context("cannot set up the HTTP client")?;
        let server = config.client.server.trim_end_matches('/').to_owned();
        anyhow::ensure!(
            server.starts_with("http://") || server.starts_with("https://"),
            "--server must be a URL such as http://127.0.0.1:8080, not {server:?}"
        );
        Ok(Self { http, server, key: config.client.key.as_ref().map(|key| key.expose().to_owned()) })
    }

    /// A request to a path of this server.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and gives the body of the answer, whatever its status; fails if there is no answer.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Option<u64>, Vec<u8>)> {
        let answer = request.send().await.map_err(|error| {
            let hint = if error.is_connect() { ": is it running? `warren up` starts one, --server names another" } else { "" };
            anyhow::Error::new(error.without_url()).context(format!("no answer from {}{hint}", self.server))
        })?;
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let (status, body) = (answer.status(), answer.bytes().await.context("the answer broke off")?);
        Ok((status, retry_after, body.to_vec()))
    }

    /// Sends a request and reads a successful answer; anything else is [`Refused`].
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let (status, retry_after, body) = self.send(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).context("the server's answer is not what this program understands");
        }
        Err(self.refused(status, retry_after, &body))
    }

    /// Sends a request and gives the body of a successful answer; anything else is [`Refused`].
    pub(crate) async fn bytes(&self, request: RequestBuilder) -> anyhow::Result<Vec<u8>> {
        let (status, retry_after, body) = self.send(request).await?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, retry_after, &body)) }
    }

    /// Fails if there is no server, or if it does not take the key. A server that refuses a large body for that reason
    /// closes the connection, and its answer is lost.
    pub(crate) async fn greet(&self) -> anyhow::Result<()> {
        // Any path asks for the key before it is looked up.
        match self.send(self.request(Method::GET, "/indexes")).await? {
            (StatusCode::UNAUTHORIZED, retry_after, body) => Err(self.refused(StatusCode::UNAUTHORIZED, retry_after, &body)),
            _ => Ok(()),
        }
    }

    /// Sends documents. That all of them were refused is an answer like any other.
    pub(crate) async fn upload<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let (status, retry_after, body) = self.send(request).await?;
        if status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY {
            return serde_json::from_slice(&body).context("the server's answer is not what this program understands");
        }
        Err(self.refused(status, retry_after, &body))
    }

    fn refused(&self, status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> anyhow::Error {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Refused { problem, retry_after }.into(),
            Err(_) => anyhow::anyhow!("{} answered {status}, and is perhaps not a Warren", self.server),
        }
    }

    /// `GET`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    /// `POST` or `PUT` with JSON.
    pub(crate) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.json(self.request(method, path).json(body)).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        self.json(self.request(Method::DELETE, path)).await
    }
}
