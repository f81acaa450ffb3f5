//! Links over HTTP: `/indexes/{index}/links` for any index, and the feeder of the book.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use warren_protocol::definition::{FieldDefinition, FieldType};
use warren_protocol::problem::Code;
use warren_protocol::{IndexDefinition, IndexName, Problem};
use warren_service::http::{ApiError, ApiJson, ApiPath, ApiQuery};

use super::{IndexPath, NoParameters, Refusal, refusal};
use crate::Producer;
use crate::links::{self, JobRequest, Link};
use crate::upload::{Rejection, Summary};

/// The index of the book's API.
const GOOPHR: &str = "goophr";
/// The most links of one request.
const MAX_LINKS: usize = 1000;
/// How many of them are on their way to the broker at a time.
const CONCURRENCY: usize = 8;

pub(super) fn api() -> OpenApiRouter<Producer> {
    OpenApiRouter::new().routes(routes!(feed)).routes(routes!(feed_many))
}

/// That a link is kept.
#[derive(Debug, Serialize, ToSchema)]
struct Fed {
    /// Always 1.
    accepted: u64,
    /// The id that its document will have.
    #[serde(rename = "docID")]
    id: String,
    /// The link in its normal form.
    url: String,
}

/// Feed a link, as in the book
///
/// The page is downloaded, and its text is indexed in `goophr`, which is created if there is none. The answer comes once the broker has
/// confirmed the job; a page that cannot be had is in the dead letters after the last attempt.
#[utoipa::path(
    post,
    path = "/api/feeder",
    request_body = JobRequest,
    responses(
        (status = 202, body = Fed, description = "The link is kept and will be fetched"),
        (status = 400, body = Problem, description = "The link or the title is wrong"),
        (status = 429, body = Problem, description = "Too many large requests at once: ask again"),
        (status = 503, body = Problem, description = "The broker does not take or confirm links: feed it again later"),
    ),
    tag = "links"
)]
async fn feed(
    State(producer): State<Producer>,
    ApiQuery(NoParameters {}): ApiQuery<NoParameters>,
    ApiJson(request): ApiJson<JobRequest>,
) -> Result<Response, ApiError> {
    let link = request.check()?;
    let index = IndexName::new(GOOPHR)?;
    if producer.catalog.get(&index).is_none() {
        // One that is there by now is as good, whatever its definition.
        producer.catalog.create(&index, goophr(), false).await?;
    }
    links::publish(&*producer.queue, &index, &link, request.title).await?;
    let fed = Fed { accepted: 1, id: link.document_id(&index).into(), url: link.to_string() };
    Ok((StatusCode::ACCEPTED, Json(fed)).into_response())
}

/// What a page is made of. Words are not stemmed: the book counts them as they stand.
fn goophr() -> IndexDefinition {
    let field = |kind| FieldDefinition { kind, analyzer: None, boost: None };
    let fields = [("title", FieldType::Text), ("link", FieldType::Keyword), ("body", FieldType::Text)];
    IndexDefinition {
        partitions: NonZeroU32::MIN.saturating_add(3),
        dynamic: false,
        fields: fields.map(|(name, kind)| (name.to_owned(), field(kind))).into(),
        ..IndexDefinition::default()
    }
}

/// Feed links
///
/// One object or a list of at most 1,000. The pages are downloaded, and indexed as documents with `title`, `link` and `body`; the id is the
/// link in its normal form. An index that does not exist is created with the defaults. The answer comes once the broker has confirmed the jobs;
/// a page that cannot be had is in the dead letters after the last attempt.
#[utoipa::path(
    post,
    path = "/indexes/{index}/links",
    params(("index" = String, Path, description = "The index")),
    request_body(content = Vec<JobRequest>, description = "One link, or a list"),
    responses(
        (status = 202, body = Summary, description = "The accepted links are kept and will be fetched; refused ones are listed by their place"),
        (status = 400, body = Problem, description = "The body is neither an object nor a list"),
        (status = 422, body = Refusal, description = "Every link was refused"),
        (status = 429, body = Problem, description = "Too many large requests at once: ask again"),
        (status = 503, body = Refusal, description = "The broker does not take or confirm links: feed them again later"),
    ),
    tag = "links"
)]
async fn feed_many(
    State(producer): State<Producer>,
    ApiPath(path): ApiPath<IndexPath>,
    ApiQuery(NoParameters {}): ApiQuery<NoParameters>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let index = IndexName::new(path.index)?;
    let requests = match body {
        Value::Array(requests) if requests.len() > MAX_LINKS => {
            let detail = format!("the list has {} links: at most {MAX_LINKS} are taken at once", requests.len());
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        Value::Array(requests) => requests,
        one @ Value::Object(_) => vec![one],
        _ => return Err(ApiError::new(Code::InvalidRequest, "send {\"url\": …, \"title\": …}, or a list of such objects")),
    };
    let (good, bad): (Vec<_>, Vec<_>) =
        (1..).zip(requests).map(|(line, request)| checked(line, request)).partition(Result::is_ok);
    let mut rejected: Vec<Rejection> = bad.into_iter().filter_map(Result::err).collect();
    let mut summary = Summary { rejected_count: rejected.len() as u64, ..Summary::default() };
    rejected.truncate(producer.config.producer.max_rejected_listed as usize);
    summary.rejected = rejected;
    if good.is_empty() && summary.rejected_count > 0 {
        let detail = format!("all {} links were rejected: see the list", summary.rejected_count);
        return Ok(refusal(Problem::new(Code::AllRejected, detail), summary));
    }
    producer.catalog.get_or_create(&index, &producer.config.indexes).await?;
    let kept = stream::iter(good.into_iter().filter_map(Result::ok))
        .map(async |(link, title)| links::publish(&*producer.queue, &index, &link, title).await);
    let mut kept = kept.buffered(CONCURRENCY);
    loop {
        match kept.try_next().await {
            Ok(Some(())) => summary.accepted += 1,
            Ok(None) => break,
            Err(mut problem) => {
                problem.detail = format!("{} ({} links of this request were confirmed before)", problem.detail, summary.accepted);
                return Ok(refusal(problem, summary));
            }
        }
    }
    Ok((StatusCode::ACCEPTED, Json(summary)).into_response())
}

/// A link that may be fed, with its title; or what is wrong with it.
fn checked(line: u64, request: Value) -> Result<(Link, Option<String>), Rejection> {
    let refuse = |problem: Problem| Rejection { line, number: line, id: None, code: problem.code, detail: problem.detail };
    let request = JobRequest::deserialize(request).map_err(|error| {
        refuse(Problem::new(Code::InvalidRequest, format!("a link is {{\"url\": …, \"title\": …}}: {error}")))
    })?;
    let link = request.check().map_err(refuse)?;
    Ok((link, request.title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_index_keeps_the_rules() {
        goophr().validate().unwrap();
    }

    #[test]
    fn what_is_refused_is_told_by_its_place() {
        let (link, title) = checked(1, serde_json::json!({"link": "http://a/#x", "title": "A"})).unwrap();
        assert_eq!((link.to_string().as_str(), title.as_deref()), ("http://a/", Some("A")));
        for request in [serde_json::json!({"title": "A"}), serde_json::json!("http://a/"), serde_json::json!({"url": "ftp://a/"})]
        {
            let rejection = checked(7, request).unwrap_err();
            assert_eq!((rejection.line, rejection.code), (7, Code::InvalidRequest));
        }
    }
}
