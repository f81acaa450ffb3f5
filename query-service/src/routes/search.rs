//! `/indexes/{index}/search`: by parameters for people, by JSON for programs.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use warren_protocol::Problem;
use warren_protocol::search::{SearchRequest, SearchResponse};
use warren_service::http::{ApiError, ApiJson, ApiPath, ApiQuery};

use crate::QueryService;

/// The parameters of a search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Words, joined by OR; `+must`, `-not`, `"a phrase"`, `field:word`. What cannot be understood is searched as far
    /// as it can be. Empty: all documents.
    #[param(required = false)]
    q: String,
    /// How many hits to return, at most 1,000.
    #[param(required = false, default = 10)]
    limit: u32,
    /// How many hits to leave out first, at most 10,000.
    #[param(required = false, default = 0)]
    offset: u32,
    /// The milliseconds after which the answer comes, complete or not: 1 to 60,000.
    #[param(required = false, default = 2000)]
    timeout_ms: u32,
    /// Whether each hit carries the passages in which the query was found.
    #[param(required = false, default = true)]
    highlight: bool,
    /// Whether to count all hits.
    #[param(required = false, default = true)]
    total: bool,
    /// Positions from receipts, with commas between them: the search sees those writes.
    #[param(required = false)]
    at_least: String,
}

impl Default for Parameters {
    fn default() -> Self {
        let SearchRequest { query, limit, offset, highlight, total, timeout_ms, lenient: _, at_least: _ } =
            SearchRequest::default();
        Self { q: query, limit, offset, timeout_ms, highlight, total, at_least: String::new() }
    }
}

impl From<Parameters> for SearchRequest {
    fn from(Parameters { q, limit, offset, timeout_ms, highlight, total, at_least }: Parameters) -> Self {
        let at_least = at_least.split(',').filter(|position| !position.is_empty()).map(str::to_owned).collect();
        Self { query: q, limit, offset, timeout_ms, highlight, total, lenient: true, at_least }
    }
}

/// Search
///
/// Partitions that do not answer in time are named in the answer; only if none does, the search fails.
#[utoipa::path(
    get,
    path = "/indexes/{index}/search",
    params(("index" = String, Path, description = "The index"), Parameters),
    responses(
        (status = 200, body = SearchResponse),
        (status = 400, body = Problem, description = "A parameter is wrong or unknown"),
        (status = 404, body = Problem, description = "There is no such index"),
        (status = 429, body = Problem, description = "Too many searches at once"),
        (status = 503, body = Problem, description = "No partition answered"),
    ),
    tag = "search"
)]
pub(super) async fn by_parameters(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Json<SearchResponse>, ApiError> {
    let arrival = Instant::now();
    service.search(&index, parameters.into(), arrival).await.map(Json).map_err(renamed)
}

/// Search by a JSON request
///
/// A query that cannot be understood is refused, unless the request is lenient.
#[utoipa::path(
    post,
    path = "/indexes/{index}/search",
    params(("index" = String, Path, description = "The index")),
    request_body = SearchRequest,
    responses(
        (status = 200, body = SearchResponse),
        (status = 400, body = Problem, description = "The request or its query is wrong"),
        (status = 404, body = Problem, description = "There is no such index"),
        (status = 429, body = Problem, description = "Too many searches at once"),
        (status = 503, body = Problem, description = "No partition answered"),
    ),
    tag = "search"
)]
pub(super) async fn by_request(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    ApiJson(request): ApiJson<SearchRequest>,
) -> Result<Json<SearchResponse>, ApiError> {
    let arrival = Instant::now();
    Ok(Json(service.search(&index, request, arrival).await?))
}

/// The parameter is called `q` where the request says `query`.
fn renamed(mut problem: Problem) -> ApiError {
    if problem.field.as_deref() == Some("query") {
        problem.field = Some("q".to_owned());
    }
    ApiError(problem)
}
