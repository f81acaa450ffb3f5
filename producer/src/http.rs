//! The HTTP way in: many documents streamed in one request, one document by its id, or links; and deletion by query.

mod body;
mod collecting;
mod delete_by_query;
mod links;
mod waiting;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use warren_protocol::catalog::Entry;
use warren_protocol::document::IdSource;
use warren_protocol::problem::Code;
use warren_protocol::{DocumentId, IndexName, Problem};
use warren_service::http::{ApiError, ApiPath, ApiQuery, linger};

use crate::Producer;
use crate::admission::Admission;
use crate::publisher::{Handed, Write};
use crate::receipts::Gathering;
use crate::split::Splitter;
use crate::upload::{Interrupted, Summary, Upload};
use body::{decoded, form, unreadable};
use collecting::Collecting;

/// The routes, with their descriptions for `/openapi.json`.
pub fn api(producer: Producer) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(upload_documents))
        .routes(routes!(put_document, delete_document))
        .routes(routes!(delete_by_query::delete_documents))
        // The document whose id is the last word of that route.
        .route("/indexes/{index}/documents/delete", put(put_delete).delete(delete_delete))
        .merge(links::api())
        .with_state(producer)
}

impl Producer {
    fn admission(&self) -> Admission {
        Admission::new(self.catalog.clone(), self.config.clone())
    }

    /// The memory of a request that brings documents.
    async fn collecting(&self, headers: &HeaderMap) -> Result<Collecting, Problem> {
        Collecting::begin(self.collecting.clone(), &self.config, headers).await
    }

    /// The right to one of the few long requests, each of which holds memory of its own.
    fn slot(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.uploads.clone().try_acquire_owned().map_err(|_| {
            let limit = self.config.producer.max_uploads;
            let detail = format!("{limit} uploads are being taken already (producer.max_uploads): try again");
            Problem::new(Code::TooManyRequests, detail)
        })
    }
}

/// Routes without parameters; naming one that is not there is an error, not a silent nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

/// The path of an index.
#[derive(Debug, Deserialize)]
struct IndexPath {
    index: String,
}

/// The path of a document.
#[derive(Debug, Deserialize)]
struct DocumentPath {
    index: String,
    id: String,
}

/// Publish documents
///
/// An object, an array of objects, or NDJSON, as it is or compressed with gzip or zstd, streamed. An index that does
/// not exist is created with the defaults. A bad document is listed with its line, its number in the body and its id, and
/// harms no other. The answer comes once the broker has confirmed every accepted document, or, with `wait=searchable`,
/// once a search sees them.
#[utoipa::path(
    post,
    path = "/indexes/{index}/documents",
    params(("index" = String, Path, description = "The index"), waiting::Parameters),
    request_body(content_type = "application/x-ndjson", description = "NDJSON, a JSON array of objects, or one object"),
    responses(
        (status = 200, body = waiting::Waited, description = "With wait=searchable: a search sees the accepted documents"),
        (status = 202, body = Summary, description = "The accepted documents are kept and will be found; refused ones are listed, with wait=searchable also the pending ones"),
        (status = 400, body = Problem, description = "The body cannot be read; what was taken before is counted"),
        (status = 413, body = Problem, description = "The body is too large; what was taken before is counted"),
        (status = 422, body = Refusal, description = "Every document was refused"),
        (status = 429, body = Problem, description = "Too much is being taken already: publish again later"),
        (status = 503, body = Refusal, description = "The broker does not take or confirm documents: publish again later"),
    ),
    tag = "documents"
)]
async fn upload_documents(
    State(producer): State<Producer>,
    ApiPath(path): ApiPath<IndexPath>,
    ApiQuery(waiting): ApiQuery<waiting::Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let index = IndexName::new(path.index)?;
    let wait = waiting.limit()?;
    let _slot = producer.slot()?;
    let mut splitter = Splitter::new(form(&headers)?, producer.config.http.max_document_bytes.get() as usize);
    let mut chunks = decoded(&headers, body, producer.config.http.max_body_bytes.get())?;
    let mut collecting = producer.collecting(&headers).await?;
    let max_listed = producer.config.producer.max_rejected_listed as usize;
    let mut upload = Upload::new(producer.admission(), producer.publisher.clone(), index, max_listed);
    if wait.is_some() {
        upload = upload.with_receipts();
    }
    loop {
        while let Some(piece) = splitter.next_piece() {
            if let Err(problem) = upload.take(piece).await {
                let ended = upload.interrupt(problem).await;
                linger(&mut chunks).await;
                return Ok(interrupted(ended));
            }
        }
        match chunks.next().await {
            Some(Ok(chunk)) => {
                if let Err(problem) = collecting.hold(splitter.buffered() + chunk.len()).await {
                    let ended = upload.interrupt(problem).await;
                    linger(&mut chunks).await;
                    return Ok(interrupted(ended));
                }
                splitter.push(&chunk);
            }
            Some(Err(error)) => return Ok(interrupted(upload.interrupt(unreadable(&error)).await)),
            None => break,
        }
    }
    splitter.finish();
    while let Some(piece) = splitter.next_piece() {
        if let Err(problem) = upload.take(piece).await {
            return Ok(interrupted(upload.interrupt(problem).await));
        }
    }
    Ok(match upload.finish_within(wait.unwrap_or_default()).await {
        Ok((summary, _)) if summary.accepted == 0 && summary.rejected_count > 0 => {
            let detail = format!("all {} documents were rejected: see the list", summary.rejected_count);
            refusal(Problem::new(Code::AllRejected, detail), summary)
        }
        Ok((summary, Some(found))) => waiting::answer(summary, found),
        Ok((summary, None)) => (StatusCode::ACCEPTED, Json(summary)).into_response(),
        Err(error) => interrupted(error),
    })
}

/// A problem that says what became of the documents all the same.
#[derive(Debug, Serialize, ToSchema)]
struct Refusal {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    summary: Summary,
}

fn refusal(problem: Problem, summary: Summary) -> Response {
    let (headers, _) = ApiError(problem.clone()).into_response().into_parts();
    Response::from_parts(headers, Json(Refusal { problem, summary }).into_response().into_body())
}

fn interrupted(Interrupted { mut problem, summary }: Interrupted) -> Response {
    problem.detail = format!("{} ({} documents of this request were confirmed before)", problem.detail, summary.accepted);
    refusal(problem, summary)
}

/// That one write is kept.
#[derive(Debug, Serialize, ToSchema)]
struct Accepted {
    /// The document's id.
    id: String,
    /// Always 1.
    accepted: u64,
}

/// Publish one document
///
/// In place of the document with this id, if there is one. The id in the document may be left out; another one is an error.
#[utoipa::path(
    put,
    path = "/indexes/{index}/documents/{id}",
    params(("index" = String, Path, description = "The index"), ("id" = String, Path, description = "The document's id"), waiting::Parameters),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = waiting::WaitedForOne, description = "With wait=searchable: a search sees the document"),
        (status = 202, body = Accepted, description = "The document is kept and will be found"),
        (status = 400, body = Problem), (status = 429, body = Problem, description = "Too much is being taken already"),
        (status = 503, body = Problem)),
    tag = "documents"
)]
async fn put_document(
    State(producer): State<Producer>,
    ApiPath(path): ApiPath<DocumentPath>,
    ApiQuery(waiting): ApiQuery<waiting::Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (index, id, wait) = (IndexName::new(path.index)?, DocumentId::new(path.id)?, waiting.limit()?);
    let slot = producer.slot()?;
    let limit = producer.config.http.max_document_bytes.get() as usize;
    let mut chunks = decoded(&headers, body, limit as u64)?;
    let mut collecting = producer.collecting(&headers).await?;
    let mut document = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| unreadable(&error))?;
        collecting.hold(document.len() + chunk.len()).await?;
        document.extend_from_slice(&chunk);
        if document.len() > limit {
            return Err(Problem::new(Code::TooLarge, format!("the document has more than {limit} bytes")).into());
        }
    }
    let admitted = producer.admission().put(&index, document.into(), IdSource::Required(&id)).await;
    let (entry, write) = admitted.map_err(Problem::from)?;
    let (id, handed) = hand_over(&producer, &entry, write, wait).await?;
    // What is on its way has a bound of its own.
    drop((slot, collecting));
    kept(id, handed, wait).await
}

/// Delete one document
///
/// Accepted whether or not there is such a document.
#[utoipa::path(
    delete,
    path = "/indexes/{index}/documents/{id}",
    params(("index" = String, Path, description = "The index"), ("id" = String, Path, description = "The document's id"), waiting::Parameters),
    responses((status = 200, body = waiting::WaitedForOne, description = "With wait=searchable: no search sees the document any more"),
        (status = 202, body = Accepted, description = "The document will be gone"),
        (status = 404, body = Problem), (status = 503, body = Problem)),
    tag = "documents"
)]
async fn delete_document(
    State(producer): State<Producer>,
    ApiPath(path): ApiPath<DocumentPath>,
    ApiQuery(waiting): ApiQuery<waiting::Parameters>,
) -> Result<Response, ApiError> {
    let (index, id, wait) = (IndexName::new(path.index)?, DocumentId::new(path.id)?, waiting.limit()?);
    let (entry, write) = producer.admission().delete(&index, id)?;
    let (id, handed) = hand_over(&producer, &entry, write, wait).await?;
    kept(id, handed, wait).await
}

async fn put_delete(
    producer: State<Producer>,
    ApiPath(IndexPath { index }): ApiPath<IndexPath>,
    parameters: ApiQuery<waiting::Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    put_document(producer, ApiPath(DocumentPath { index, id: "delete".to_owned() }), parameters, headers, body).await
}

async fn delete_delete(
    producer: State<Producer>,
    ApiPath(IndexPath { index }): ApiPath<IndexPath>,
    parameters: ApiQuery<waiting::Parameters>,
) -> Result<Response, ApiError> {
    delete_document(producer, ApiPath(DocumentPath { index, id: "delete".to_owned() }), parameters).await
}

/// Hands one write over; gives its id, too.
async fn hand_over(
    producer: &Producer,
    entry: &Entry,
    write: Write,
    wait: Option<Duration>,
) -> Result<(String, Handed), ApiError> {
    let id = String::from(write.id.clone());
    let handed = producer.publisher.write_for(entry, vec![write], wait.is_some()).await.map_err(Problem::from)?;
    Ok((id, handed))
}

/// Answers once the broker has confirmed the write, or once a search sees it.
async fn kept(id: String, mut handed: Handed, wait: Option<Duration>) -> Result<Response, ApiError> {
    let tickets = handed.take_tickets();
    handed.confirmed().await.map_err(Problem::from)?;
    let Some(wait) = wait else {
        return Ok((StatusCode::ACCEPTED, Json(Accepted { id, accepted: 1 })).into_response());
    };
    let mut gathering = Gathering::new(1);
    gathering.add(tickets);
    Ok(waiting::answer_one(id, gathering.finish(tokio::time::Instant::now() + wait).await))
}
