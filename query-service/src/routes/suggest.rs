//! `/indexes/{index}/suggest`: while somebody types.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use warren_protocol::Problem;
use warren_protocol::suggest::SuggestResponse;
use warren_service::http::{ApiError, ApiPath, ApiQuery};

use crate::QueryService;

/// The parameters of suggestions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// What was typed so far, at most 1,024 bytes. Its last word is completed, unless something follows it.
    #[param(required = false)]
    q: String,
    /// How many completions to return, at most 50.
    #[param(required = false, default = 5)]
    limit: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { q: String::new(), limit: 5 }
    }
}

/// Complete what is being typed
///
/// From the words of the index's own texts, the most frequent first; and "did you mean", where a word is in no document.
#[utoipa::path(
    get,
    path = "/indexes/{index}/suggest",
    params(("index" = String, Path, description = "The index"), Parameters),
    responses(
        (status = 200, body = SuggestResponse),
        (status = 400, body = Problem, description = "A parameter is wrong or unknown"),
        (status = 404, body = Problem, description = "There is no such index"),
        (status = 429, body = Problem, description = "Too many searches at once"),
    ),
    tag = "search"
)]
pub(super) async fn suggest(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    ApiQuery(Parameters { q, limit }): ApiQuery<Parameters>,
) -> Result<Json<SuggestResponse>, ApiError> {
    Ok(Json(service.suggest(&index, &q, limit).await?))
}
