//! Who is let in: a key where keys are set, and otherwise nobody whom a web page has sent.
//!
//! Without keys every program on the machine may use the server, but a browser must not be turned against it: a page of
//! another origin is refused by its `Origin`, and a name that was rebound to this machine by its `Host`. Addresses
//! as `Host` are let in, because only names can be rebound.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use warren_protocol::problem::Code;

use super::ApiError;
use crate::config::{Config, Secret};

/// What every request passes first.
pub(super) struct Guard {
    keys: Vec<Secret>,
    hosts: Vec<String>,
    slots: Semaphore,
    max_requests: u32,
}

impl Guard {
    pub(super) fn new(config: &Config) -> Self {
        let max_requests = config.http.max_requests.get();
        Self {
            keys: config.auth.keys.clone(),
            hosts: config.http.hosts.clone(),
            slots: Semaphore::new(max_requests as usize),
            max_requests,
        }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.keys.is_empty() {
            return self.check_origin(uri, headers);
        }
        if is_open(method, uri) || self.has_key(headers) {
            return Ok(());
        }
        Err(ApiError::new(Code::Unauthorized, "send the header `Authorization: Bearer KEY` with one of the keys in auth.keys"))
    }

    fn has_key(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, key)) = header.and_then(|value| value.split_once(' ')) else { return false };
        // Every key is compared, so that the time does not tell which one fits.
        let fits = self.keys.iter().fold(false, |fits, secret| fits | secret.matches(key.trim()));
        scheme.eq_ignore_ascii_case("bearer") && fits
    }

    fn check_origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = uri.authority().map(Authority::as_str).or_else(|| text(header::HOST));
        if let Some(host) = host
            && !self.is_ours(host)
        {
            let detail = format!("this server does not answer to the host {host:?}: name it in http.hosts, or set auth.keys");
            return Err(ApiError::new(Code::Forbidden, detail));
        }
        if let Some(origin) = text(header::ORIGIN) {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let named = |authority| self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name_of(authority)));
            if !authority.is_some_and(|authority| Some(authority) == host || named(authority)) {
                let detail = format!("pages of {origin} may not use this server: name its host in http.hosts, or set auth.keys");
                return Err(ApiError::new(Code::Forbidden, detail));
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = name_of(host);
        name.eq_ignore_ascii_case("localhost")
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// The routes that tell nothing: health, and the page, whose own calls need the key.
fn is_open(method: &Method, uri: &Uri) -> bool {
    (method == Method::GET || method == Method::HEAD) && (is_health(uri) || uri.path() == "/")
}

fn is_health(uri: &Uri) -> bool {
    matches!(uri.path(), "/healthz" | "/readyz")
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Lets a request through, or answers it: 401, 403, or 429 when too many are being worked on.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = guard.check(request.method(), request.uri(), request.headers()) {
        return refusal.into_response();
    }
    if is_health(request.uri()) {
        return next.run(request).await;
    }
    match guard.slots.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => {
            let detail = format!("{} requests are being worked on already (http.max_requests): try again", guard.max_requests);
            ApiError::new(Code::TooManyRequests, detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, uri: &str, headers: &[(header::HeaderName, &str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        guard.check(&Method::GET, &uri.parse().unwrap(), &headers).map_or_else(|refusal| refusal.0.status, |()| 200)
    }

    #[test]
    fn with_keys_only_they_open() {
        let mut config = Config::default();
        config.auth.keys = vec![Secret::new("0123456789abcdef").unwrap(), Secret::new("another-key-of-ours").unwrap()];
        let guard = Guard::new(&config);
        for (value, status) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer another-key-of-ours", 200),
            ("Bearer 0123456789abcdeX", 401),
            ("Basic 0123456789abcdef", 401),
            ("0123456789abcdef", 401),
            ("Bearer ", 401),
        ] {
            assert_eq!(check(&guard, "/indexes", &[(header::AUTHORIZATION, value)]), status, "{value}");
        }
        for (path, status) in [("/indexes", 401), ("/openapi.json", 401), ("/", 200), ("/healthz", 200), ("/readyz", 200)] {
            assert_eq!(check(&guard, path, &[]), status, "{path}");
        }
        let post = guard.check(&Method::POST, &"/".parse().unwrap(), &HeaderMap::new());
        assert!(post.is_err(), "only reading the page is open");
    }

    #[test]
    fn without_keys_foreign_names_and_origins_are_refused() {
        let mut config = Config::default();
        config.http.hosts = vec!["search.example".to_owned()];
        let guard = Guard::new(&config);
        for (host, status) in [
            ("localhost:8080", 200),
            ("LOCALHOST", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]:8080", 200),
            ("search.example", 200),
            ("rebound.example:8080", 403),
            ("localhost.example", 403),
            ("127.0.0.1.example", 403),
            ("", 403),
        ] {
            assert_eq!(check(&guard, "/", &[(header::HOST, host)]), status, "{host}");
        }
        for (origin, status) in [
            ("http://127.0.0.1:8080", 200),
            ("https://search.example", 200),
            ("http://127.0.0.1:3000", 403),
            ("http://foreign.example", 403),
            ("null", 403),
        ] {
            let headers = [(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, origin)];
            assert_eq!(check(&guard, "/indexes", &headers), status, "{origin}");
        }
        assert_eq!(check(&guard, "http://rebound.example/indexes", &[(header::HOST, "localhost")]), 403);
        assert_eq!(check(&guard, "/indexes", &[]), 200, "no browser leaves the host out");
    }
}
