//! `/dead-letters`: what could not be processed, and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use warren_protocol::Problem;
use warren_protocol::ports::{Message, QueueError, QueueName};
use warren_protocol::problem::Code;
use warren_service::http::{ApiError, ApiQuery};

use crate::QueryService;

/// The most letters of one answer.
const MAX_LIMIT: usize = 100;
/// How much of a body is shown, in bytes.
const PREVIEW_BYTES: usize = 1024;

/// Which letters to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// How many, at most 100; the oldest come first.
    #[param(required = false, default = 20)]
    limit: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { limit: 20 }
    }
}

/// The dead letters.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// How many there are; may be some seconds old.
    count: u64,
    /// The first of them.
    letters: Vec<DeadLetter>,
}

/// A message that could not be processed.
#[derive(Serialize, ToSchema)]
struct DeadLetter {
    /// A stable word for why.
    reason: Option<String>,
    /// The same for people.
    detail: Option<String>,
    /// Where it came from.
    source: Option<String>,
    /// How often it was tried.
    attempts: Option<String>,
    /// Its routing key: the name of the index.
    routing_key: String,
    /// Its message id, if it has one.
    message_id: Option<String>,
    /// Its type, if it has one.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The size of its body.
    body_bytes: usize,
    /// The first 1,024 bytes of its body, as text.
    body: String,
}

impl From<Message> for DeadLetter {
    fn from(mut message: Message) -> Self {
        let preview = message.body.get(..PREVIEW_BYTES).unwrap_or(&message.body);
        Self {
            reason: message.headers.remove("warren-reason"),
            detail: message.headers.remove("warren-detail"),
            source: message.headers.remove("warren-source"),
            attempts: message.headers.remove("warren-attempts"),
            routing_key: message.routing_key,
            message_id: message.message_id,
            kind: message.kind,
            body_bytes: message.body.len(),
            body: String::from_utf8_lossy(preview).into_owned(),
        }
    }
}

/// How many were deleted.
#[derive(Serialize, ToSchema)]
pub(super) struct Purged {
    /// How many dead letters there were.
    purged: u64,
}

/// Look at the dead letters
#[utoipa::path(
    get,
    path = "/dead-letters",
    params(Parameters),
    responses((status = 200, body = DeadLetters), (status = 503, body = Problem, description = "The broker does not answer")),
    tag = "dead letters"
)]
pub(super) async fn list(
    State(service): State<QueryService>,
    ApiQuery(Parameters { limit }): ApiQuery<Parameters>,
) -> Result<Json<DeadLetters>, ApiError> {
    if limit > MAX_LIMIT {
        let problem = Problem::new(Code::InvalidRequest, format!("limit is {limit}: take 0 to {MAX_LIMIT}"));
        return Err(problem.with_field("limit").into());
    }
    let queue = &service.shared.ports.queue;
    let letters = match limit {
        0 => Vec::new(),
        limit => queue.peek(QueueName::DeadLetters, limit).await.map_err(unavailable)?,
    };
    let count = queue.depth(QueueName::DeadLetters).await.map_err(unavailable)?;
    // The count may be older than what was just seen.
    let count = count.max(letters.len() as u64);
    Ok(Json(DeadLetters { count, letters: letters.into_iter().map(DeadLetter::from).collect() }))
}

/// Delete all dead letters
#[utoipa::path(
    delete,
    path = "/dead-letters",
    responses((status = 200, body = Purged), (status = 503, body = Problem, description = "The broker does not answer")),
    tag = "dead letters"
)]
pub(super) async fn purge(State(service): State<QueryService>) -> Result<Json<Purged>, ApiError> {
    let purged = service.shared.ports.queue.purge(QueueName::DeadLetters).await.map_err(unavailable)?;
    Ok(Json(Purged { purged }))
}

fn unavailable(error: QueueError) -> ApiError {
    ApiError::new(Code::Unavailable, error.to_string())
}
