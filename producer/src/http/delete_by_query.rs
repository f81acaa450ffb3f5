//! `POST /indexes/{index}/documents/delete`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warren_protocol::problem::Code;
use warren_protocol::query::QueryInput;
use warren_protocol::{IndexName, Problem};
use warren_service::http::{ApiError, ApiJson, ApiPath, ApiQuery, problem_response};

use super::{IndexPath, NoParameters};
use crate::Producer;
use crate::delete_by_query::{Deleted, Filter, Unfinished};

/// What is to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteRequest {
    /// A query as a search takes it: a text such as `status:old` or `+customer:ada -open:true`, or a tree. `*` deletes every
    /// document.
    filter: QueryInput,
}

/// A problem that says what was deleted all the same.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletionProblem {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    deleted: Deleted,
}

/// Delete by query
///
/// Deletes every document that matches the filter when the deletion begins, as far as searches see it. What is written while
/// it runs may be deleted if it matches, or if its earlier version did. The answer comes once the broker has confirmed
/// every deletion. If some partitions do not answer, it is an error that says how many documents were deleted; to repeat it is safe.
#[utoipa::path(
    post,
    path = "/indexes/{index}/documents/delete",
    params(("index" = String, Path, description = "The index")),
    request_body = DeleteRequest,
    responses(
        (status = 202, body = Deleted, description = "All that matched will be gone"),
        (status = 400, body = Problem, description = "The filter is missing, empty, or cannot be understood"),
        (status = 404, body = Problem, description = "There is no such index"),
        (status = 429, body = DeletionProblem, description = "Too much is being worked on: repeat it later"),
        (status = 503, body = DeletionProblem, description = "Not all partitions answered or took the deletions: repeat it later"),
    ),
    tag = "documents"
)]
pub(super) async fn delete_documents(
    State(producer): State<Producer>,
    ApiPath(path): ApiPath<IndexPath>,
    ApiQuery(NoParameters {}): ApiQuery<NoParameters>,
    ApiJson(request): ApiJson<DeleteRequest>,
) -> Result<Response, ApiError> {
    let (index, filter) = (IndexName::new(path.index)?, Filter::new(&request.filter)?);
    let Some(entry) = producer.catalog.get(&index) else {
        return Err(match producer.catalog.is_ready() {
            true => ApiError::new(Code::UnknownIndex, format!("there is no index \"{index}\"")),
            false => ApiError::new(Code::Unavailable, "the catalog of indexes is not read yet: try again"),
        });
    };
    let _slot = producer.slot()?;
    Ok(match producer.delete_by_query(&entry, &filter).await {
        Ok(deleted) => (StatusCode::ACCEPTED, Json(deleted)).into_response(),
        Err(Unfinished { problem, deleted }) => {
            problem_response(problem.status, problem.code, &DeletionProblem { problem, deleted })
        }
    })
}
