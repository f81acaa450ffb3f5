//! `/indexes/{index}/search`: by parameters for people, by JSON for programs.

use std::time::Instant;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use warren_protocol::Problem;
use warren_protocol::query::{Fuzziness, QueryInput};
use warren_protocol::search::{Scoring, SearchRequest, SearchResponse, SortKey, fuzziness};
use warren_service::http::{ApiError, ApiJson, ApiPath, ApiQuery};

use crate::QueryService;
use crate::memory::Kept;

/// The parameters of a search.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Words, joined by OR; `+must`, `-not`, `"a phrase"`, `field:word`. What cannot be understood is searched as far
    /// as it can be. Empty: all documents.
    #[param(required = false)]
    q: String,
    /// How many typos plain words of `q` may have: `auto` (none up to 2 letters, one up to 5, else two), or 0 to 2.
    #[param(required = false, value_type = String, example = "auto", default = "0")]
    #[serde(with = "fuzziness")]
    fuzziness: Fuzziness,
    /// How many hits to return, at most 1,000.
    #[param(required = false, value_type = u32, default = 10)]
    limit: Option<u32>,
    /// How many hits to leave out first, at most 10,000.
    #[param(required = false, default = 0)]
    offset: u32,
    /// The milliseconds after which the answer comes, complete or not: 1 to 60,000.
    #[param(required = false, value_type = u32, default = 2000)]
    timeout_ms: Option<u32>,
    /// Whether each hit carries the passages in which the query was found.
    #[param(required = false, value_type = bool, default = true)]
    highlight: Option<bool>,
    /// Whether to count all hits.
    #[param(required = false, value_type = bool, default = true)]
    total: Option<bool>,
    /// By what hits are ordered: fields, `_score` and `id`, separated by commas, `-` in front for descending.
    #[param(required = false)]
    sort: String,
    /// A query that hits must match, too, and that counts for no score.
    #[param(required = false)]
    filter: Option<String>,
    /// What of a document comes back: paths with dots, which may end in `*`, separated by commas. All by default.
    #[param(required = false)]
    fields: Option<String>,
    /// Fields whose most frequent values are counted, separated by commas.
    #[param(required = false)]
    facets: String,
    /// Where the page before ended: the `after` of its response.
    #[param(required = false)]
    after: Option<String>,
    /// How documents are scored: `global`, `local` or `occurrences`.
    #[param(required = false, inline)]
    scoring: Scoring,
    /// Positions from receipts, separated by commas: the search sees those writes.
    #[param(required = false)]
    at_least: String,
}

impl TryFrom<Parameters> for SearchRequest {
    type Error = Problem;

    fn try_from(given: Parameters) -> Result<Self, Problem> {
        let default = Self::default();
        let key = |text: &str| SortKey::parse(text).map_err(|detail| Problem::invalid("sort", detail));
        Ok(Self {
            query: QueryInput::Text(given.q),
            fuzziness: given.fuzziness,
            filter: given.filter.map(QueryInput::Text),
            limit: given.limit.unwrap_or(default.limit),
            offset: given.offset,
            after: given.after,
            sort: listed(&given.sort).iter().map(|text| key(text)).collect::<Result<_, _>>()?,
            fields: given.fields.as_deref().map(listed),
            highlight: given.highlight.map_or(default.highlight, Into::into),
            facets: listed(&given.facets),
            timeout_ms: given.timeout_ms.unwrap_or(default.timeout_ms),
            scoring: given.scoring,
            total: given.total.unwrap_or(default.total),
            lenient: true,
            at_least: listed(&given.at_least),
            ..default
        })
    }
}

/// What stands between the commas.
fn listed(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
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
        (status = 413, body = Problem, description = "The hits of the answer are too large: ask for fewer, or for less of each"),
        (status = 429, body = Problem, description = "Too many searches or large requests at once, or they hold too much"),
        (status = 503, body = Problem, description = "No partition answered"),
    ),
    tag = "search"
)]
pub(super) async fn by_parameters(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Kept<Vec<u8>>, ApiError> {
    let arrival = Instant::now();
    let request = SearchRequest::try_from(parameters).map_err(ApiError)?;
    service.search(&index, request, arrival).await.and_then(Kept::json).map_err(renamed)
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
        (status = 413, body = Problem, description = "The hits of the answer are too large: ask for fewer, or for less of each"),
        (status = 429, body = Problem, description = "Too many searches or large requests at once, or they hold too much"),
        (status = 503, body = Problem, description = "No partition answered"),
    ),
    tag = "search"
)]
pub(super) async fn by_request(
    State(service): State<QueryService>,
    ApiPath(index): ApiPath<String>,
    ApiJson(request): ApiJson<SearchRequest>,
) -> Result<Kept<Vec<u8>>, ApiError> {
    let arrival = Instant::now();
    Ok(service.search(&index, request, arrival).await?.json()?)
}

/// The parameter is called `q` where the request says `query`.
fn renamed(mut problem: Problem) -> ApiError {
    if problem.field.as_deref() == Some("query") {
        problem.field = Some("q".to_owned());
    }
    ApiError(problem)
}
