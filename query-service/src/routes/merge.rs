//! `/indexes/{index}/merge`: for those who have stopped writing.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use warren_protocol::Problem;
use warren_protocol::merging::MergeResponse;
use warren_service::http::{ApiError, ApiPath, ApiQuery};

use crate::QueryService;

/// The longest that a merge can be waited for.
const MAX_TIMEOUT_MS: u32 = 60_000;

/// The parameters of a merge.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// The milliseconds after which the answer comes, whether all is done or not: 1 to 60,000. The merges go on.
    #[param(required = false, default = 10000)]
    timeout_ms: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { timeout_ms: 10_000 }
    }
}

/// Merge the segments of an index
///
/// Each replica of each partition becomes one segment without deleted documents, which count in no statistics any more. Searches and
/// writes go on meanwhile; what is written meanwhile comes into segments of its own. For an index that nobody writes to any more: while one is
/// written to, its segments are merged all the time.
#[utoipa::path(
    post,
    path = "/indexes/{index}/merge",
    params(("index" = String, Path, description = "The index"), Parameters),
    responses(
        (status = 200, body = MergeResponse, description = "All is merged"),
        (status = 202, body = MergeResponse, description = "Not all is merged yet: it goes on, ask again"),
        (status = 400, body = Problem, description = "A parameter is wrong or unknown"),
        (status = 404, body = Problem, description = "There is no such index"),
        (status = 429, body = Problem, description = "Others wait for merges already: ask again later"),
        (status = 503, body = Problem, description = "A partition is not served, or a worker does not answer: try again"),
    ),
    tag = "indexes"
)]
pub(super) async fn merge(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    ApiQuery(Parameters { timeout_ms }): ApiQuery<Parameters>,
) -> Result<(StatusCode, Json<MergeResponse>), ApiError> {
    Problem::check_range("timeout_ms", timeout_ms, 1..=MAX_TIMEOUT_MS)?;
    let merged = service.merge(&index, Duration::from_millis(timeout_ms.into())).await?;
    let status = if merged.done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(merged)))
}
