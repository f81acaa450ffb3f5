//! The HTTP way in: many documents streamed in one request, one document by its id, or links.

mod links;

mod waiting;

use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::io::{ReaderStream, StreamReader};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use warren_protocol::catalog::Entry;
use warren_protocol::document::IdSource;
use warren_protocol::problem::Code;
use warren_protocol::{DocumentId, IndexName, Problem};
use warren_service::http::{ApiError, ApiPath, ApiQuery};

use crate::Producer;
use crate::admission::Admission;
use crate::publisher::Write;
use crate::receipts::Gathering;
use crate::split::{Form, Splitter};
use crate::upload::{Interrupted, Summary, Upload};

/// The routes, with their descriptions for `/openapi.json`.
pub fn api(producer: Producer) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(upload_documents))
        .routes(routes!(put_document, delete_document))
        .merge(links::api())
        .with_state(producer)
}

impl Producer {
    fn admission(&self) -> Admission {
        Admission::new(self.catalog.clone(), self.config.clone())
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
/// not exist is created with the defaults. The answer comes once the broker has confirmed every accepted document, or,
/// with `wait=searchable`, once a search sees them.
#[utoipa::path(
    post,
    path = "/indexes/{index}/documents",
    params(("index" = String, Path, description = "The index"), waiting::Parameters),
    request_body(content_type = "application/x-ndjson", description = "NDJSON, a JSON array of objects, or one object"),
    responses(
        (status = 200, body = waiting::Waited, description = "With wait=searchable: a search sees the accepted documents"),
        (status = 202, body = Summary, description = "The accepted documents are kept and will be found; refused ones are listed, with wait=searchable also the pending ones"),
        (status = 422, body = Refusal, description = "Every document was refused"),
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
    let mut splitter = Splitter::new(form(&headers)?, producer.config.http.max_document_bytes.get() as usize);
    let mut chunks = decoded(&headers, body, producer.config.http.max_body_bytes.get())?;
    let max_listed = producer.config.producer.max_rejected_listed as usize;
    let mut upload = Upload::new(producer.admission(), producer.publisher.clone(), index, max_listed);
    if wait.is_some() {
        upload = upload.with_receipts();
    }
    loop {
        while let Some(piece) = splitter.next_piece() {
            if let Err(problem) = upload.take(piece).await {
                return Ok(interrupted(upload.interrupt(problem).await));
            }
        }
        match chunks.next().await {
            Some(Ok(chunk)) => splitter.push(&chunk),
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

fn unreadable(error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return Problem::new(Code::TooLarge, error.to_string());
    }
    Problem::new(Code::InvalidRequest, format!("the body cannot be read to its end: {error}"))
}

/// How documents follow each other in this body. What clients send when nobody told them a type is looked at.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    let kind = content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match kind {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok(Form::Lines),
        "application/json" => Ok(Form::Json),
        "" | "text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(Form::Sniff),
        other => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content type {other:?}: send application/json or application/x-ndjson"),
        )),
    }
}

type Chunks = BoxStream<'static, std::io::Result<Bytes>>;

/// The body as it comes, decompressed, and ended with an error once more than `limit` bytes came over the network.
fn decoded(headers: &HeaderMap, body: Body, limit: u64) -> Result<Chunks, Problem> {
    let mut received = 0;
    let raw = body.into_data_stream().map_err(std::io::Error::other).map(move |chunk: std::io::Result<Bytes>| {
        let chunk = chunk?;
        received += chunk.len() as u64;
        if received > limit {
            let text = format!("the body has more than {limit} bytes (http.max_body_bytes): send several requests");
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
        }
        Ok(chunk)
    });
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some("" | "identity") => Ok(raw.boxed()),
        Some("gzip" | "x-gzip") => {
            let mut decoder = GzipDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            Ok(ReaderStream::new(decoder).boxed())
        }
        Some("zstd") => {
            let mut decoder = ZstdDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            Ok(ReaderStream::new(decoder).boxed())
        }
        Some(other) => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content encoding {other:?}: send gzip, zstd, or the text as it is"),
        )),
    }
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
        (status = 400, body = Problem), (status = 503, body = Problem)),
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
    let limit = producer.config.http.max_document_bytes.get() as usize;
    let mut chunks = decoded(&headers, body, limit as u64)?;
    let mut document = Vec::new();
    while let Some(chunk) = chunks.next().await {
        document.extend_from_slice(&chunk.map_err(|error| unreadable(&error))?);
        if document.len() > limit {
            return Err(Problem::new(Code::TooLarge, format!("the document has more than {limit} bytes")).into());
        }
    }
    let admitted = producer.admission().put(&index, document.into(), IdSource::Required(&id)).await;
    let (entry, write) = admitted.map_err(Problem::from)?;
    keep(&producer, &entry, write, wait).await
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
    keep(&producer, &entry, write, wait).await
}

/// Answers once the broker has confirmed the write, or once a search sees it.
async fn keep(producer: &Producer, entry: &Entry, write: Write, wait: Option<Duration>) -> Result<Response, ApiError> {
    let id = String::from(write.id.clone());
    let mut handed = producer.publisher.write_for(entry, vec![write], wait.is_some()).await.map_err(Problem::from)?;
    let tickets = handed.take_tickets();
    handed.confirmed().await.map_err(Problem::from)?;
    let Some(wait) = wait else {
        return Ok((StatusCode::ACCEPTED, Json(Accepted { id, accepted: 1 })).into_response());
    };
    let mut gathering = Gathering::new(1);
    gathering.add(tickets);
    Ok(waiting::answer_one(id, gathering.finish(tokio::time::Instant::now() + wait).await))
}
