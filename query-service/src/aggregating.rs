//! The aggregations and facets of a search: checked before anybody is asked, merged from what the partitions answer.

use std::time::Instant;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use warren_protocol::Problem;
use warren_protocol::aggregations::{Aggregations, FinishError, Mismatch, Refusal, Reply};
use warren_protocol::catalog::Entry;
use warren_protocol::problem::Code;
use warren_protocol::search::SearchRequest;
use warren_service::work;

/// To merge more takes some milliseconds.
const LARGE_BYTES: usize = 64 << 10;
/// How many such merges there are at once.
static LARGE: Semaphore = Semaphore::const_new(8);

/// The aggregations of a request; `None` if it has none.
pub(crate) fn plan(request: &SearchRequest, index: &Entry, max_buckets: u32) -> Result<Option<Aggregations>, Problem> {
    let mut aggregations = Aggregations::parse(&request.aggregations, &index.definition, max_buckets)?;
    aggregations.add_facets(&request.facets, &index.definition)?;
    Ok((!aggregations.nodes.is_empty()).then_some(aggregations))
}

/// What is sent to the partitions.
pub(crate) fn question(aggregations: Option<&Aggregations>) -> Result<Option<String>, Problem> {
    let json = aggregations.map(serde_json::to_string).transpose();
    json.map_err(|error| Problem::new(Code::Internal, error.to_string()))
}

/// The answer, from those of the partitions.
pub(crate) async fn answer(
    aggregations: Aggregations,
    replies: Vec<Vec<u8>>,
    deadline: Instant,
) -> Result<Map<String, Value>, Problem> {
    if replies.iter().map(Vec::len).sum::<usize>() <= LARGE_BYTES {
        return merged(&aggregations, &replies);
    }
    work::in_turn(&LARGE, deadline.into(), move || merged(&aggregations, &replies)).await?.await?
}

fn merged(aggregations: &Aggregations, replies: &[Vec<u8>]) -> Result<Map<String, Value>, Problem> {
    let mut partials = aggregations.empty();
    for reply in replies {
        match Reply::decode(reply).map_err(broken)? {
            Reply::Partials(found) => aggregations.merge(&mut partials, found).map_err(broken)?,
            Reply::Refused(refusal) => return Err(refused(&refusal)),
        }
        aggregations.shrink(&mut partials).map_err(|refusal| refused(&refusal))?;
    }
    aggregations.finish(partials).map_err(|error| match error {
        FinishError::Refused(refusal) => refused(&refusal),
        FinishError::Mismatch(mismatch) => broken(mismatch),
    })
}

fn refused(refusal: &Refusal) -> Problem {
    Problem::new(Code::TooManyBuckets, refusal.to_string()).with_field("aggregations")
}

fn broken(mismatch: Mismatch) -> Problem {
    tracing::error!(%mismatch, "the aggregations of a partition cannot be merged");
    Problem::new(Code::Internal, mismatch.to_string())
}
