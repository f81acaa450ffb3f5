//! What is known of a request from outside: its id, and a line in the log.

use std::time::Instant;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: &str = "x-request-id";
/// A longer id from outside is replaced.
const MAX_ID_LEN: usize = 100;

/// Gives the request an id (its own `x-request-id` if it has a decent one), which the answer and every log line carry.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let sent = request.headers().get(REQUEST_ID).filter(|id| id.len() <= MAX_ID_LEN && id.to_str().is_ok()).cloned();
    let id = sent.or_else(|| HeaderValue::from_str(&Uuid::new_v4().simple().to_string()).ok());
    let shown = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("request", id = shown, method = %request.method(), path = request.uri().path());
    async move {
        let start = Instant::now();
        let mut response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), elapsed = ?start.elapsed(), "request answered");
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
    .instrument(span)
    .await
}
