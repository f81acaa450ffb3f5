//! One download: from a link to a page, whatever the server does.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warren_protocol::ports::QueueName;
use warren_service::config::LinksConfig;

use super::body;
use super::failure::{FetchError, Verdict};
use super::guard::Guard;
use super::hosts::MAX_WAIT;
use super::link::Link;
use super::pauses::Pauses;
use super::resolve::{GuardedResolver, Resolve};
use crate::extract::{self, Kind, Page};

const MAX_REDIRECTS: usize = 10;
const ACCEPTED: &str = "text/html, application/xhtml+xml, text/markdown, text/plain;q=0.9, */*;q=0.1";
/// Pages that are taken apart at a time: each needs memory several times its size.
const EXTRACTIONS: usize = 4;

/// Downloads pages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fetcher {
    http: reqwest::Client,
    guard: Guard,
    pauses: Arc<Pauses>,
    timeout: Duration,
    max_bytes: u64,
    extractions: Arc<Semaphore>,
}

impl Fetcher {
    /// Fails if there is no TLS to be had.
    pub(super) fn new(
        config: &LinksConfig,
        resolver: Arc<dyn Resolve>,
        guard: Guard,
        pauses: Arc<Pauses>,
    ) -> reqwest::Result<Self> {
        // Fails only if a provider is installed already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let timeout = Duration::from_millis(config.timeout_ms.get());
        let headers = [(ACCEPT, ACCEPTED), (ACCEPT_ENCODING, body::ACCEPT_ENCODING)];
        let http = reqwest::Client::builder()
            .user_agent(config.user_agent.as_str())
            .default_headers(HeaderMap::from_iter(headers.map(|(name, value)| (name, HeaderValue::from_static(value)))))
            // Each is followed by hand, and checked as the link was.
            .redirect(redirect::Policy::none())
            // A proxy would look names up by itself, and may stand where private addresses can be reached.
            .no_proxy()
            .dns_resolver(GuardedResolver::new(resolver, guard.clone(), timeout))
            .pool_max_idle_per_host(0)
            // The time limit is around all of it, see `page`.
            .build()?;
        let extractions = Arc::new(Semaphore::new(EXTRACTIONS));
        Ok(Self { http, guard, pauses, timeout, max_bytes: config.max_bytes.get().into(), extractions })
    }

    /// Downloads a page and reads it.
    pub(super) async fn page(&self, link: &Link) -> Result<Page, FetchError> {
        let downloading = tokio::time::timeout(self.timeout, self.download(link));
        let (kind, content_type, bytes) = downloading.await.map_err(|_| FetchError::Timeout(self.timeout))??;
        let permit = Arc::clone(&self.extractions).acquire_owned().await;
        let permit = permit.map_err(|error| FetchError::Defect(error.to_string()))?;
        let extracting = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            extract::extract(kind, &bytes, content_type.as_deref())
        });
        Ok(extracting.await.map_err(|error| FetchError::Defect(error.to_string()))??)
    }

    /// Follows redirects; each takes a turn of the host that it leads to, as the link itself did before.
    async fn download(&self, link: &Link) -> Result<(Kind, Option<String>, Vec<u8>), FetchError> {
        let mut at = link.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.guard.check_link(&at)?;
            let response = self.http.get(at.url().clone()).send().await.map_err(|error| self.failed(error))?;
            let status = response.status();
            if status.is_redirection()
                && let Some(target) = response.headers().get(LOCATION)
            {
                let to = String::from_utf8_lossy(target.as_bytes()).into_owned();
                at = at.join(&to).map_err(|error| FetchError::Redirect { to, why: error.to_string() })?;
                self.turn(at.host_name()).await?;
                continue;
            }
            if !status.is_success() {
                let error = FetchError::Status { status: status.as_u16(), retry_after: retry_after(&response) };
                if let Verdict::Again { not_before, .. } = error.verdict() {
                    self.pauses.rest(at.host_name(), not_before, Instant::now());
                }
                return Err(error);
            }
            return self.read(&at, response).await;
        }
        Err(FetchError::Redirects(MAX_REDIRECTS))
    }

    /// Waits until the host may be asked.
    async fn turn(&self, host: &str) -> Result<(), FetchError> {
        let turn = self.pauses.take(host, Instant::now(), MAX_WAIT);
        tokio::time::sleep_until(turn.map_err(|wait| FetchError::Resting { host: host.to_owned(), wait })?).await;
        Ok(())
    }

    async fn read(&self, at: &Link, response: Response) -> Result<(Kind, Option<String>, Vec<u8>), FetchError> {
        let header = response.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let kind = |bytes: &[u8]| Kind::of_content(header.as_deref(), at.url().path(), bytes);
        let unsupported =
            || FetchError::Type(header.as_deref().map_or("a page without a type".to_owned(), |named| format!("{named:?}")));
        // What is no text by its type is not downloaded.
        if kind(b"").is_none() {
            return Err(unsupported());
        }
        let empty = response.status() == StatusCode::NO_CONTENT;
        let bytes = if empty { Vec::new() } else { body::read(response, self.max_bytes).await? };
        let kind = kind(&bytes).ok_or_else(unsupported)?;
        Ok((kind, header, bytes))
    }

    fn failed(&self, error: reqwest::Error) -> FetchError {
        if error.is_timeout() { FetchError::Timeout(self.timeout) } else { error.into() }
    }
}

/// How long the server asks to be left alone: seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    parse_retry_after(response.headers().get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// The pause that a server asks for; one that asks for more than the longest pause is asked again after that.
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let asked = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    let [.., longest] = QueueName::LINK_PAUSES;
    Some(asked.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 09 Sep 2001 01:47:40 GMT", Some(60)),
            ("Sun, 09 Sep 2001 01:40:00 GMT", Some(0)),
            ("9999999999999999999", Some(3600)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(parse_retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
