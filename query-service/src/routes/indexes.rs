//! `/indexes` and `/indexes/{index}`: which indexes exist, and what they are made of.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use warren_protocol::catalog::Entry;
use warren_protocol::problem::Code;
use warren_protocol::{IndexDefinition, IndexName, Problem};
use warren_service::Creation;
use warren_service::http::{ApiError, ApiPath, problem_response};

use crate::{QueryService, unknown_index};

/// All indexes.
#[derive(Serialize, ToSchema)]
pub(super) struct Indexes {
    /// By name.
    indexes: Vec<Index>,
}

/// One index.
#[derive(Serialize, ToSchema)]
pub(super) struct Index {
    /// Its name.
    name: String,
    /// Which life of that name this is: deleted and created again, it is another one.
    generation: u64,
    /// Whether the first document created it.
    automatic: bool,
    /// What it is made of.
    definition: IndexDefinition,
}

impl From<&Entry> for Index {
    fn from(entry: &Entry) -> Self {
        Self {
            name: entry.index.name.to_string(),
            generation: entry.index.generation.0,
            automatic: entry.automatic,
            definition: entry.definition.clone(),
        }
    }
}

/// A problem that lists what differs.
#[derive(Serialize, ToSchema)]
pub(super) struct Conflict {
    #[serde(flatten)]
    problem: Problem,
    /// What differs, a line each: `partitions: 4 here, 8 asked`.
    differences: Vec<String>,
}

impl Conflict {
    /// That `what` exists with another definition.
    pub(super) fn answer(code: Code, what: &str, differences: Vec<String>) -> Response {
        let differing = differences.join("; ");
        let detail = format!("{what} exists with another definition ({differing}): delete it first, or take another name");
        problem_response(code.status(), code, &Self { problem: Problem::new(code, detail), differences })
    }
}

/// List the indexes
#[utoipa::path(get, path = "/indexes", responses((status = 200, body = Indexes)), tag = "indexes")]
pub(super) async fn list(State(service): State<QueryService>) -> Json<Indexes> {
    Json(Indexes { indexes: service.shared.catalog.list().iter().map(|entry| Index::from(entry.as_ref())).collect() })
}

/// Read the definition of an index
#[utoipa::path(
    get,
    path = "/indexes/{index}",
    params(("index" = String, Path, description = "The index")),
    responses((status = 200, body = Index), (status = 404, body = Problem, description = "There is no such index")),
    tag = "indexes"
)]
pub(super) async fn show(State(service): State<QueryService>, ApiPath(index): ApiPath<String>) -> Result<Json<Index>, ApiError> {
    Ok(Json(service.index(&index)?.as_ref().into()))
}

/// Create an index
///
/// Without a body, with the defaults.
#[utoipa::path(
    put,
    path = "/indexes/{index}",
    params(("index" = String, Path, description = "The index")),
    request_body = Option<IndexDefinition>,
    responses(
        (status = 201, body = Index, description = "It is created"),
        (status = 200, body = Index, description = "It exists with this very definition"),
        (status = 400, body = Problem, description = "The name or the definition breaks a rule"),
        (status = 409, body = Conflict, description = "It exists with another definition"),
        (status = 503, body = Problem, description = "The broker does not answer: try again"),
    ),
    tag = "indexes"
)]
pub(super) async fn create(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let name = IndexName::new(index)?;
    let definition = match body.is_empty() {
        true => IndexDefinition::default(),
        false => IndexDefinition::from_json(&body)?,
    };
    Ok(match service.shared.catalog.create(&name, definition, false).await? {
        Creation::Created(entry) => (StatusCode::CREATED, Json(Index::from(entry.as_ref()))).into_response(),
        Creation::Exists(entry) => Json(Index::from(entry.as_ref())).into_response(),
        Creation::Differs { differences, .. } => Conflict::answer(Code::IndexExists, &format!("index \"{name}\""), differences),
    })
}

/// Delete an index with all its documents
#[utoipa::path(
    delete,
    path = "/indexes/{index}",
    params(("index" = String, Path, description = "The index")),
    responses(
        (status = 200, body = Index, description = "It was this one"),
        (status = 404, body = Problem, description = "There is no such index"),
        (status = 503, body = Problem, description = "The broker does not answer: try again"),
    ),
    tag = "indexes"
)]
pub(super) async fn delete(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
) -> Result<Json<Index>, ApiError> {
    let name = IndexName::new(index)?;
    match service.shared.catalog.delete(&name).await? {
        Some(entry) => Ok(Json(entry.as_ref().into())),
        None => Err(unknown_index(&name).into()),
    }
}
