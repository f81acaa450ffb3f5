//! `/dead-letters`: what could not be processed, and why; replaying and deleting it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use warren_protocol::Problem;
use warren_protocol::dead_letter;
use warren_protocol::ports::QueueName;
use warren_protocol::problem::Code;
use warren_service::http::{ApiError, ApiJson, ApiPath, ApiQuery};

use crate::QueryService;
use crate::dead_letters::{self, Filter, index_of, unavailable};

/// The most letters of one answer.
const MAX_LIMIT: u32 = 100;
/// How much of a body is shown in a list, in bytes.
const PREVIEW_BYTES: usize = 1024;

/// Which letters to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// How many, at most 100; the oldest come first.
    #[param(required = false, default = 20)]
    limit: u32,
    /// Only those with this reason, such as `invalid_json`.
    reason: Option<String>,
    /// Only those that came by this way: `warren.intake`, `warren.source.NAME`.
    source: Option<String>,
    /// Only those for this index.
    index: Option<String>,
    /// Only those of this document.
    document_id: Option<String>,
    /// Only the one with this id.
    id: Option<String>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { limit: 20, reason: None, source: None, index: None, document_id: None, id: None }
    }
}

/// Which letters to replay; without any of `reason`, `source`, `index`, `document_id` and `id`, all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplayRequest {
    /// Only those with this reason, such as `invalid_json`.
    reason: Option<String>,
    /// Only those that came by this way: `warren.intake`, `warren.source.NAME`.
    source: Option<String>,
    /// Only those for this index.
    index: Option<String>,
    /// Only those of this document.
    document_id: Option<String>,
    /// Only the one with this id.
    id: Option<String>,
    /// Also those whose documents were written since, or may have been.
    force: bool,
    /// Only those from before this moment, in Unix milliseconds: now, unless it is given. Whoever repeats a replay that
    /// was not complete gives the moment of the first answer.
    before_ms: Option<u64>,
}

/// The dead letters.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// How many there are, whichever are asked for; may be some seconds old.
    count: u64,
    /// The first of those that are asked for.
    letters: Vec<DeadLetter>,
    /// Whether there are more of those.
    more: bool,
}

/// A message that could not be processed.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetter {
    /// Tells it from all others.
    id: String,
    /// A stable word for why.
    reason: Option<String>,
    /// The same for people.
    detail: Option<String>,
    /// The way that it came by.
    source: Option<String>,
    /// How often it was tried.
    attempts: Option<u64>,
    /// When it was refused, in Unix milliseconds.
    time_ms: Option<u64>,
    /// The index that it was meant for.
    index: Option<String>,
    /// The id of its document, where that can be read.
    document_id: Option<String>,
    /// Which document of a batch it is, from 1.
    ordinal: Option<u64>,
    /// The message's routing key.
    routing_key: String,
    /// The message's `message_id`, if it has one.
    message_id: Option<String>,
    /// Its type, if it has one.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Its content type, if it has one.
    content_type: Option<String>,
    /// Its content encoding, if it has one.
    content_encoding: Option<String>,
    /// Its correlation id, if it has one.
    correlation_id: Option<String>,
    /// Its reply address, if it has one.
    reply_to: Option<String>,
    /// Its own headers, those that are texts or whole numbers.
    headers: BTreeMap<String, String>,
    /// The size of its body.
    body_bytes: usize,
    /// Its body as text; in a list, the first 1,024 bytes of it.
    body: String,
}

impl DeadLetter {
    fn new(letter: dead_letter::DeadLetter, preview: usize) -> Self {
        let index = index_of(&letter).map(str::to_owned);
        let dead_letter::DeadLetter { id, reason, detail, source, attempts, time_ms, document_id, ordinal, message, .. } = letter;
        let shown = message.body.get(..preview).unwrap_or(&message.body);
        Self {
            id,
            reason,
            detail,
            source,
            attempts,
            time_ms,
            index,
            document_id,
            ordinal,
            routing_key: message.routing_key,
            message_id: message.message_id,
            kind: message.kind,
            content_type: message.content_type,
            content_encoding: message.content_encoding,
            correlation_id: message.correlation_id,
            reply_to: message.reply_to,
            headers: message.headers,
            body_bytes: message.body.len(),
            body: String::from_utf8_lossy(shown).into_owned(),
        }
    }
}

/// How many were deleted.
#[derive(Serialize, ToSchema)]
pub(super) struct Purged {
    /// How many dead letters there were.
    purged: u64,
    /// Whether all were looked at; if not, ask again.
    complete: bool,
}

/// What was replayed.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    /// How many are back on their way.
    replayed: u64,
    /// How many stay where they are.
    skipped_count: u64,
    /// The first of those, with the reasons.
    skipped: Vec<Skipped>,
    /// Whether all were looked at; if not, ask again, with this `before_ms`.
    complete: bool,
    /// Letters from this moment on were left alone.
    before_ms: u64,
}

/// A letter that stays where it is.
#[derive(Serialize, ToSchema)]
struct Skipped {
    /// Its id.
    id: String,
    /// The index that it was meant for.
    index: Option<String>,
    /// The id of its document.
    document_id: Option<String>,
    /// Why it is not replayed.
    why: String,
}

/// Look at the dead letters
///
/// While somebody looks, replays or purges, others may see fewer.
#[utoipa::path(
    get,
    path = "/dead-letters",
    params(Parameters),
    responses((status = 200, body = DeadLetters), (status = 503, body = Problem, description = "The broker does not answer")),
    tag = "dead letters"
)]
pub(super) async fn list(
    State(service): State<QueryService>,
    ApiQuery(Parameters { limit, reason, source, index, document_id, id }): ApiQuery<Parameters>,
) -> Result<Json<DeadLetters>, ApiError> {
    Problem::check_range("limit", limit, 0..=MAX_LIMIT)?;
    let filter = Filter { id, reason, source, index, document_id };
    let (letters, all) = match limit {
        0 => (Vec::new(), false),
        limit => service.letters(&filter, limit as usize).await?,
    };
    let count = service.shared.ports.queue.depth(QueueName::DeadLetters).await.map_err(unavailable)?;
    // The count may be older than what was just seen.
    let count = count.max(letters.len() as u64);
    let letters = letters.into_iter().map(|letter| DeadLetter::new(letter, PREVIEW_BYTES)).collect();
    Ok(Json(DeadLetters { count, letters, more: !all }))
}

/// Read one dead letter
#[utoipa::path(
    get,
    path = "/dead-letters/{id}",
    params(("id" = String, Path, description = "The letter's id")),
    responses((status = 200, body = DeadLetter), (status = 404, body = Problem, description = "There is no such dead letter")),
    tag = "dead letters"
)]
pub(super) async fn show(
    State(service): State<QueryService>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<DeadLetter>, ApiError> {
    Ok(Json(DeadLetter::new(one(&service, id).await?, usize::MAX)))
}

/// Read the body of one dead letter
///
/// The bytes as they came: what can be mended and published again.
#[utoipa::path(
    get,
    path = "/dead-letters/{id}/body",
    params(("id" = String, Path, description = "The letter's id")),
    responses(
        (status = 200, description = "The body", content_type = "application/octet-stream"),
        (status = 404, body = Problem, description = "There is no such dead letter"),
    ),
    tag = "dead letters"
)]
pub(super) async fn body(State(service): State<QueryService>, ApiPath(id): ApiPath<String>) -> Result<Response, ApiError> {
    let body = one(&service, id).await?.message.body;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

async fn one(service: &QueryService, id: String) -> Result<dead_letter::DeadLetter, Problem> {
    let missing = || Problem::new(Code::UnknownDeadLetter, format!("there is no dead letter \"{id}\""));
    let filter = Filter { id: Some(id.clone()), ..Filter::default() };
    match service.letters(&filter, 1).await? {
        (mut letters, all) if all || !letters.is_empty() => letters.pop().ok_or_else(missing),
        _ => Err(Problem::new(Code::Unavailable, "not all dead letters could be looked at in time: try again")),
    }
}

/// Replay dead letters
///
/// Sends them back the way that they came by, and takes them out of the dead letters once they are kept there. One whose
/// document was written since is skipped.
#[utoipa::path(
    post,
    path = "/dead-letters/replay",
    request_body = ReplayRequest,
    responses(
        (status = 200, body = Replayed),
        (status = 429, body = Problem, description = "Too many large requests at once: ask again"),
        (status = 503, body = Problem, description = "The broker does not answer"),
    ),
    tag = "dead letters"
)]
pub(super) async fn replay(
    State(service): State<QueryService>,
    ApiJson(request): ApiJson<ReplayRequest>,
) -> Result<Json<Replayed>, ApiError> {
    let ReplayRequest { reason, source, index, document_id, id, force, before_ms } = request;
    let filter = Filter { id, reason, source, index, document_id };
    let done = service.replay(&filter, force, before_ms).await?;
    let skipped = |dead_letters::Skipped { letter, why }| Skipped {
        index: index_of(&letter).map(str::to_owned),
        id: letter.id,
        document_id: letter.document_id,
        why,
    };
    Ok(Json(Replayed {
        replayed: done.replayed,
        skipped_count: done.skipped_count,
        skipped: done.skipped.into_iter().map(skipped).collect(),
        complete: done.complete,
        before_ms: done.before_ms,
    }))
}

/// Delete dead letters
#[utoipa::path(
    delete,
    path = "/dead-letters",
    params(Filter),
    responses((status = 200, body = Purged), (status = 503, body = Problem, description = "The broker does not answer")),
    tag = "dead letters"
)]
pub(super) async fn purge(
    State(service): State<QueryService>,
    ApiQuery(filter): ApiQuery<Filter>,
) -> Result<Json<Purged>, ApiError> {
    let (purged, complete) = service.purge(&filter).await?;
    Ok(Json(Purged { purged, complete }))
}
