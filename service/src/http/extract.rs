//! Extractors whose refusals are problems that name the field.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header;
use axum::http::request::Parts;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warren_protocol::Problem;
use warren_protocol::problem::Code;

use super::ApiError;
use crate::work;

/// The largest body that is read whole.
const MAX_JSON_BYTES: usize = 2 << 20;
/// A larger body takes more than a millisecond: what it holds may be tens of thousands of small objects.
const LARGE_BYTES: usize = 16 << 10;
/// How many large bodies are read at once.
static LARGE: Semaphore = Semaphore::const_new(8);
/// How long one awaits its turn to be read.
const TURN: Duration = Duration::from_secs(2);
/// How long what a client still sends is read and dropped.
const LINGER: Duration = Duration::from_secs(2);
/// What is dropped between two pauses, and how long they are: it must not take the time of those who are answered.
const LINGER_BYTES: usize = 256 << 10;
const LINGER_PAUSE: Duration = Duration::from_millis(1);

/// A JSON body, whatever its content type says; an empty one is `{}`. At most 2 MiB.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

/// The parameters behind the `?`.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery<T>(pub T);

/// The parameters in the path.
#[derive(Debug, Clone, Copy)]
pub struct ApiPath<T>(pub T);

impl<T: DeserializeOwned + Send + 'static, S: Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            let detail = format!("content-encoding {encoding:?} is not read here: send the body as it is");
            linger(&mut request.into_body().into_data_stream()).await;
            return Err(ApiError::new(Code::UnsupportedMediaType, detail));
        }
        let body = whole(request.into_body()).await?;
        Ok(Self(parse_json(body, Instant::now() + TURN).await?))
    }
}

/// Reads the JSON of a request; nothing at all is `{}`. The problem names the field. A large one has to get its turn before the deadline.
pub async fn parse_json<T, B>(body: B, deadline: Instant) -> Result<T, Problem>
where
    T: DeserializeOwned + Send + 'static,
    B: AsRef<[u8]> + Send + 'static,
{
    if body.as_ref().len() <= LARGE_BYTES {
        return parsed(body.as_ref());
    }
    let parsing = work::in_turn(&LARGE, deadline, move || parsed(body.as_ref())).await?;
    parsing.give_way();
    parsing.await?
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let json: &[u8] = if body.is_empty() { b"{}" } else { body };
    let mut parser = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| named(error).0)?;
    parser.end().map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    Ok(value)
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let parser = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(parser).map(Self).map_err(named)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::new(Code::InvalidRequest, rejection.body_text()))?;
        Ok(Self(value))
    }
}

async fn whole(body: Body) -> Result<Vec<u8>, Problem> {
    let (mut chunks, mut whole) = (body.into_data_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::new(Code::InvalidRequest, format!("the body cannot be read: {error}")))?;
        if whole.len() + chunk.len() > MAX_JSON_BYTES {
            linger(&mut chunks).await;
            return Err(Problem::new(Code::TooLarge, "the body is larger than the 2 MiB that this route takes"));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// Drops what the client still sends, for a moment. Many read no answer before they have sent all, and a connection that is closed
/// before takes the answer along.
pub async fn linger<E>(chunks: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) {
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len();
            if bytes >= LINGER_BYTES {
                bytes = 0;
                tokio::time::sleep(LINGER_PAUSE).await;
            }
        }
    };
    // Whoever sends on for longer learns of it by the lost connection.
    let _ = tokio::time::timeout(LINGER, rest).await;
}

fn named<E: std::fmt::Display>(error: serde_path_to_error::Error<E>) -> ApiError {
    let (path, detail) = (error.path().to_string(), error.inner().to_string());
    let problem = Problem::new(Code::InvalidRequest, detail);
    ApiError(if path == "." { problem } else { problem.with_field(path) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Things {
        text: String,
        number: u32,
        flag: bool,
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        number: u8,
    }

    async fn query(query: &str) -> Result<Things, Problem> {
        let (mut parts, ()) = Request::builder().uri(format!("/x?{query}")).body(()).unwrap().into_parts();
        ApiQuery::from_request_parts(&mut parts, &()).await.map(|ApiQuery(things)| things).map_err(|error| error.0)
    }

    async fn json(body: impl Into<Body>) -> Result<Things, Problem> {
        let request = Request::builder().uri("/x").body(body.into()).unwrap();
        ApiJson::from_request(request, &()).await.map(|ApiJson(things)| things).map_err(|error| error.0)
    }

    #[tokio::test]
    async fn good_parameters_and_bodies_are_read() {
        let expected = Things { text: "a b&c".to_owned(), number: 7, flag: true, ..Things::default() };
        assert_eq!(query("text=a+b%26c&number=7&flag=true").await.unwrap(), expected);
        assert_eq!(json(r#"{"text":"a b&c","number":7,"flag":true}"#).await.unwrap(), expected);
        assert_eq!((query("").await.unwrap(), json("").await.unwrap()), (Things::default(), Things::default()));
    }

    #[tokio::test]
    async fn refusals_name_what_is_wrong() {
        for (problem, field, word) in [
            (query("numbr=7").await, None, "numbr"),
            (query("number=x").await, Some("number"), "invalid digit"),
            (query("number=-1").await, Some("number"), "invalid digit"),
            (query("number=1&number=2").await, None, "duplicate"),
            (json(r#"{"numbr":7}"#).await, Some("numbr"), "expected one of"),
            (json(r#"{"inner":{"number":300}}"#).await, Some("inner.number"), "300"),
            (json(r#"{"number":1} x"#).await, None, "trailing"),
            (json("{").await, None, "EOF"),
        ] {
            let problem = problem.unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest);
            assert!(problem.detail.contains(word), "{problem:?} does not say {word:?}");
            if let Some(field) = field {
                assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
            }
        }
        let large = |field: &str| format!(r#"{{"{field}":"{}"}}"#, "x".repeat(2 * LARGE_BYTES));
        assert_eq!(json(large("text")).await.unwrap().text.len(), 2 * LARGE_BYTES);
        assert_eq!(json(large("number")).await.unwrap_err().field.unwrap(), "number");
        assert_eq!(json(vec![b' '; 3 << 20]).await.unwrap_err().code, Code::TooLarge);
    }
}
