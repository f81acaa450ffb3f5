//! HTTP as a client of Warren speaks it.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// A client that waits for no answer longer than half a minute.
pub fn client() -> Result<reqwest::Client> {
    Ok(builder().timeout(Duration::from_secs(30)).build()?)
}

/// A client that waits for no answer longer than `limit`, and opens a connection for each request: so an error tells
/// whether a server had the request.
pub fn fresh_client(limit: Duration) -> Result<reqwest::Client> {
    Ok(builder().timeout(limit).pool_max_idle_per_host(0).build()?)
}

fn builder() -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // An error means that another crate of this process has installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
}

/// Why a request has no answer, in a word or two.
pub fn cause(error: &reqwest::Error) -> &'static str {
    if is_refused(error) {
        "connection refused"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "connection lost"
    }
}

/// Whether nobody listened: no server had the request.
pub fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

/// The status of an answer, and its body as JSON; `null` if it is empty.
pub async fn answer(request: reqwest::RequestBuilder) -> Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.text().await?;
    if body.is_empty() {
        return Ok((status, Value::Null));
    }
    let json = serde_json::from_str(&body).with_context(|| format!("status {status}, no JSON: {body}"))?;
    Ok((status, json))
}
