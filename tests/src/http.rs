//! HTTP as a client of Warren speaks it.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// A client that waits for no answer longer than half a minute.
pub fn client() -> Result<reqwest::Client> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // An error means that another crate of this process has installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?)
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
