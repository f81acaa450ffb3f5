//! `?wait=searchable`: the answer comes when a search sees the writes, or says which are pending when the time is over.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use warren_protocol::Problem;

use crate::receipts::Found;
use crate::upload::Summary;

const DEFAULT_MS: u32 = 10_000;
/// The longest wait, in milliseconds.
const MAX_MS: u32 = 60_000;

/// Whether to wait until the writes can be found, and how long.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// `searchable`: answer 200 when a search sees all accepted writes, with the positions that a search takes as
    /// `at_least`; 202 with what is pending if it does not in time. Without it, answer once they are kept.
    #[param(required = false)]
    wait: Option<Event>,
    /// The milliseconds to wait after the last write is kept: 1 to 60,000.
    #[param(required = false, default = 10_000)]
    timeout_ms: Option<u32>,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// A search sees the writes.
    Searchable,
}

impl Parameters {
    /// How long to wait, if at all.
    pub(super) fn limit(&self) -> Result<Option<Duration>, Problem> {
        match (self.wait, self.timeout_ms) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(Problem::invalid("timeout_ms", "timeout_ms is how long to wait: send wait=searchable with it"))
            }
            (Some(Event::Searchable), limit) => {
                let limit = limit.unwrap_or(DEFAULT_MS);
                Problem::check_range("timeout_ms", limit, 1..=MAX_MS)?;
                Ok(Some(Duration::from_millis(limit.into())))
            }
        }
    }
}

/// What became of an upload, and which of its documents a search sees.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Waited {
    #[serde(flatten)]
    summary: Summary,
    #[serde(flatten)]
    found: Found,
}

/// What became of one write, and whether a search sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitedForOne {
    /// The document's id.
    id: String,
    /// Always 1.
    accepted: u64,
    #[serde(flatten)]
    found: Found,
}

/// 200 if a search sees everything that was accepted, else 202.
fn status(found: &Found) -> StatusCode {
    if found.is_complete() { StatusCode::OK } else { StatusCode::ACCEPTED }
}

/// The answer to an upload.
pub(super) fn answer(summary: Summary, found: Found) -> Response {
    (status(&found), Json(Waited { summary, found })).into_response()
}

/// The answer to one write.
pub(super) fn answer_one(id: String, found: Found) -> Response {
    (status(&found), Json(WaitedForOne { id, accepted: 1, found })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(wait: Option<Event>, timeout_ms: Option<u32>) -> Result<Option<Duration>, Option<String>> {
        Parameters { wait, timeout_ms }.limit().map_err(|problem| problem.field)
    }

    #[test]
    fn a_time_limit_has_a_range_and_needs_something_to_wait_for() {
        let searchable = Some(Event::Searchable);
        let named = Err(Some("timeout_ms".to_owned()));
        assert_eq!(limit(None, None), Ok(None));
        assert_eq!(limit(searchable, None), Ok(Some(Duration::from_secs(10))));
        assert_eq!(limit(searchable, Some(60_000)), Ok(Some(Duration::from_secs(60))));
        for wrong in [limit(None, Some(1)), limit(searchable, Some(0)), limit(searchable, Some(60_001))] {
            assert_eq!(wrong, named);
        }
    }
}
