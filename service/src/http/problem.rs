//! The one place where a problem becomes an HTTP answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use warren_protocol::Problem;
use warren_protocol::problem::Code;

/// After how many seconds a client may try again what was refused for now.
const RETRY_AFTER_SECONDS: &str = "1";

/// A problem as an answer: `application/problem+json`, with the headers that go with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(pub Problem);

impl ApiError {
    /// A problem of that code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }
}

impl<P: Into<Problem>> From<P> for ApiError {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        problem_response(self.0.status, self.0.code, &self.0)
    }
}

/// A problem whose `body` has members of its own, as RFC 9457 allows; they stand beside those of [`Problem`].
pub fn problem_response(status: u16, code: Code, body: &impl Serialize) -> Response {
    if code == Code::Internal {
        tracing::warn!(problem = serde_json::to_string(body).unwrap_or_default(), "a request failed by a defect");
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"warren\""));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_go_with_the_status() {
        for (code, name, value) in [
            (Code::TooManyRequests, header::RETRY_AFTER, "1"),
            (Code::LogFull, header::RETRY_AFTER, "1"),
            (Code::Unauthorized, header::WWW_AUTHENTICATE, "Bearer realm=\"warren\""),
            (Code::UnknownIndex, header::CONTENT_TYPE, "application/problem+json"),
        ] {
            let response = ApiError::new(code, "detail").into_response();
            assert_eq!(response.status().as_u16(), code.status());
            assert_eq!(response.headers()[name], value);
        }
    }
}
