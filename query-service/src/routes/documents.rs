//! `/indexes/{index}/documents/{id}`: one document.

use axum::extract::State;
use warren_protocol::Problem;
use warren_service::http::{ApiError, ApiPath};

use crate::QueryService;
use crate::memory::Kept;

/// Read one document
///
/// The answer is the JSON object as it was published.
#[utoipa::path(
    get,
    path = "/indexes/{index}/documents/{id}",
    params(("index" = String, Path, description = "The index"), ("id" = String, Path, description = "The document's id")),
    responses(
        (status = 200, description = "The document", content_type = "application/json"),
        (status = 404, body = Problem, description = "There is no such index or document"),
        (status = 503, body = Problem, description = "Its partition does not answer"),
    ),
    tag = "documents"
)]
pub(super) async fn show(
    State(service): State<QueryService>,
    ApiPath((index, id)): ApiPath<(String, String)>,
) -> Result<Kept<Vec<u8>>, ApiError> {
    Ok(service.document(&index, id).await?)
}

pub(super) async fn show_delete(
    service: State<QueryService>,
    ApiPath(index): ApiPath<String>,
) -> Result<Kept<Vec<u8>>, ApiError> {
    show(service, ApiPath((index, "delete".to_owned()))).await
}
