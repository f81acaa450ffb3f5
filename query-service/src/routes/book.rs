//! The query API of the book: a list of words in, documents by the number of their occurrences out.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warren_protocol::problem::Code;
use warren_protocol::search::{Hit, Scoring, SearchRequest};
use warren_protocol::{Problem, QueryInput};
use warren_service::http::{ApiError, ApiJson};

use crate::QueryService;
use crate::memory::Kept;

/// The index of the book's API.
const GOOPHR: &str = "goophr";
/// The most documents of one answer.
const MAX_DOCUMENTS: u32 = 100;
/// What parts the passages of a snippet.
const GAP: &str = " … ";

/// A document that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Document {
    /// Its id: the link in its normal form.
    #[serde(rename = "docID")]
    id: String,
    /// The title that it was fed with, else the page's own.
    title: String,
    /// The link.
    url: String,
    /// How often the terms occur in it.
    score: u64,
    /// Passages in which they stand: HTML-escaped text with the words in `<b>`.
    snippet: String,
}

/// What of a document is shown.
const FIELDS: [&str; 3] = ["title", "link", "url"];

/// Those fields. Whatever is in the index was not necessarily fed as a link.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    title: Option<String>,
    link: Option<String>,
    url: Option<String>,
}

/// Query, as in the book
///
/// Documents of the index `goophr` in which at least one of the terms occurs, by the sum of the occurrences of all terms, equal sums by id;
/// at most 100. Terms are cut into words as the documents were: `Apple` is `apple`, a term that holds no word finds nothing, one of several words
/// is a phrase, and one that is named twice counts once. As long as nothing has been fed, nothing is found.
#[utoipa::path(
    post,
    path = "/api/query",
    request_body(content = Vec<String>, description = "The terms", example = json!(["apple", "cake"])),
    responses(
        (status = 200, body = Vec<Document>),
        (status = 400, body = Problem, description = "The body is no list of texts"),
        (status = 429, body = Problem, description = "Too many searches or large requests at once"),
        (status = 503, body = Problem, description = "A partition did not answer: the list would be incomplete"),
    ),
    tag = "search"
)]
pub(super) async fn query(
    State(service): State<QueryService>,
    ApiJson(terms): ApiJson<Vec<String>>,
) -> Result<Json<Vec<Document>>, ApiError> {
    let arrival = Instant::now();
    let query = query_of(&terms);
    if query.is_empty() {
        return Ok(Json(Vec::new()));
    }
    let request = SearchRequest {
        query: QueryInput::Text(query),
        limit: MAX_DOCUMENTS,
        scoring: Scoring::Occurrences,
        fields: Some(FIELDS.map(str::to_owned).into()),
        total: false,
        lenient: true,
        ..SearchRequest::default()
    };
    let Kept { response: found, held: _held } = match service.search(GOOPHR, request, arrival).await {
        Ok(found) => found,
        Err(problem) if problem.code == Code::UnknownIndex => return Ok(Json(Vec::new())),
        Err(problem) => return Err(ApiError(problem)),
    };
    // A list has no place to say what is missing from it.
    if let Some(failure) = found.partitions.failed.first() {
        let detail = format!("partition {} did not answer ({}): try again", failure.partition, failure.reason);
        return Err(ApiError::new(Code::NoPartition, detail));
    }
    Ok(Json(found.hits.into_iter().map(document).collect()))
}

/// Each term in quotes, so that nothing in it is an operator.
fn query_of(terms: &[String]) -> String {
    let terms = terms.iter().map(|term| term.replace(['"', '\\'], " ")).filter(|term| !term.trim().is_empty());
    terms.map(|term| format!("\"{}\"", term.trim())).collect::<Vec<_>>().join(" ")
}

fn document(hit: Hit) -> Document {
    let page: Page = serde_json::from_str(hit.document.get()).unwrap_or_default();
    let url = page.link.or(page.url).unwrap_or_else(|| hit.id.clone());
    // The text first: what the title says is seen anyway.
    let mut passages: Vec<_> = hit.highlights.into_iter().collect();
    passages.sort_by_key(|(field, _)| field != "body");
    let snippet = passages.into_iter().flat_map(|(_, texts)| texts).collect::<Vec<_>>().join(GAP);
    Document {
        title: page.title.unwrap_or_else(|| url.clone()),
        url,
        score: hit.score.unwrap_or_default() as u64,
        snippet,
        id: hit.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_term_is_an_operator() {
        let of = |terms: &[&str]| query_of(&terms.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["apple", " Cake ", "AND"]), r#""apple" "Cake" "AND""#);
        assert_eq!(of(&["a\" OR *:*", "\\"]), r#""a  OR *:*""#);
        assert_eq!(of(&["--", "", " "]), r#""--""#);
        assert_eq!(of(&[]), "");
    }
}
