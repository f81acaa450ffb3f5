//! `/sources` and `/sources/{source}`: the exchanges and queues whose messages are indexed, too.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use warren_protocol::problem::Code;
use warren_protocol::{Problem, SourceDefinition, SourceEntry, SourceName};
use warren_service::SourceCreation;
use warren_service::http::{ApiError, ApiJson, ApiPath};

use super::indexes::Conflict;
use crate::QueryService;

/// All sources.
#[derive(Serialize, ToSchema)]
pub(super) struct Sources {
    /// By name.
    sources: Vec<Source>,
}

/// One source.
#[derive(Serialize, ToSchema)]
pub(super) struct Source {
    /// Its name.
    name: String,
    /// Which life of that name this is: deleted and created again, it is another one.
    generation: u64,
    /// The queue that is consumed.
    consumes: String,
    /// What it takes, and what becomes of it.
    definition: SourceDefinition,
}

impl From<&SourceEntry> for Source {
    fn from(entry: &SourceEntry) -> Self {
        Self {
            name: entry.name.to_string(),
            generation: entry.generation,
            consumes: entry.queue().queue,
            definition: entry.definition.clone(),
        }
    }
}

/// List the sources
#[utoipa::path(get, path = "/sources", responses((status = 200, body = Sources)), tag = "sources")]
pub(super) async fn list(State(service): State<QueryService>) -> Json<Sources> {
    Json(Sources { sources: service.shared.catalog.sources().iter().map(|entry| Source::from(entry.as_ref())).collect() })
}

/// Read the definition of a source
#[utoipa::path(
    get,
    path = "/sources/{source}",
    params(("source" = String, Path, description = "The source")),
    responses((status = 200, body = Source), (status = 404, body = Problem, description = "There is no such source")),
    tag = "sources"
)]
pub(super) async fn show(
    State(service): State<QueryService>,
    ApiPath(source): ApiPath<String>,
) -> Result<Json<Source>, ApiError> {
    let name: SourceName = source.parse()?;
    let entry = service.shared.catalog.source(&name).ok_or_else(|| unknown(&name))?;
    Ok(Json(entry.as_ref().into()))
}

/// Create a source
///
/// From then on, the messages of its exchange or queue are indexed. Needs RabbitMQ.
#[utoipa::path(
    put,
    path = "/sources/{source}",
    params(("source" = String, Path, description = "The source")),
    request_body = SourceDefinition,
    responses(
        (status = 201, body = Source, description = "It is created"),
        (status = 200, body = Source, description = "It exists with this very definition"),
        (status = 400, body = Problem, description = "The name or the definition breaks a rule, or there is no such exchange or queue"),
        (status = 409, body = Conflict, description = "It exists with another definition"),
        (status = 429, body = Problem, description = "Too many large requests at once: ask again"),
        (status = 501, body = Problem, description = "This is the embedded broker"),
        (status = 503, body = Problem, description = "The broker does not answer: try again"),
    ),
    tag = "sources"
)]
pub(super) async fn create(
    State(service): State<QueryService>,
    ApiPath(source): ApiPath<String>,
    ApiJson(definition): ApiJson<SourceDefinition>,
) -> Result<Response, ApiError> {
    let name: SourceName = source.parse()?;
    Ok(match service.shared.catalog.create_source(&name, definition).await? {
        SourceCreation::Created(entry) => (StatusCode::CREATED, Json(Source::from(entry.as_ref()))).into_response(),
        SourceCreation::Exists(entry) => Json(Source::from(entry.as_ref())).into_response(),
        SourceCreation::Differs { differences, .. } => {
            Conflict::answer(Code::SourceExists, &format!("source \"{name}\""), differences)
        }
    })
}

/// Delete a source
///
/// What it has indexed stays. Messages that wait in its queue go with the queue, if that is Warren's own.
#[utoipa::path(
    delete,
    path = "/sources/{source}",
    params(("source" = String, Path, description = "The source")),
    responses(
        (status = 200, body = Source, description = "It was this one"),
        (status = 404, body = Problem, description = "There is no such source"),
        (status = 503, body = Problem, description = "The broker does not answer: try again"),
    ),
    tag = "sources"
)]
pub(super) async fn delete(
    State(service): State<QueryService>,
    ApiPath(source): ApiPath<String>,
) -> Result<Json<Source>, ApiError> {
    let name: SourceName = source.parse()?;
    let deleted = service.shared.catalog.delete_source(&name).await?.ok_or_else(|| unknown(&name))?;
    Ok(Json(deleted.as_ref().into()))
}

fn unknown(name: &SourceName) -> Problem {
    Problem::new(Code::UnknownSource, format!("there is no source \"{name}\": create it with PUT /sources/{name}"))
}
