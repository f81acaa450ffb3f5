//! Searches of clients that speak to the broker only: taken from the queue for which all query services compete, and
//! answered to where the client says.
//!
//! Where HTTP refuses, a queue waits: a search awaits its turn among those of HTTP, until its own deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;
use warren_protocol::Problem;
use warren_protocol::ports::{ClientCall, ClientCalls, ClientReply, RpcError};
use warren_protocol::problem::Code;
use warren_protocol::search::{SearchRequest, SearchResponse};
use warren_service::config::Config;
use warren_service::{Stop, http};

use crate::QueryService;
use crate::memory::Kept;

/// The largest request, as over HTTP.
const MAX_REQUEST_BYTES: usize = 2 << 20;
/// The largest reply: brokers since RabbitMQ 4.0 take messages of at most 16 MiB, and close the channel of a larger one.
const MAX_REPLY_BYTES: usize = 12 << 20;
/// The longest time that a search may have.
const LONGEST: Duration = Duration::from_millis(SearchRequest::MAX_TIMEOUT_MS as u64);
/// How long one wait for the catalog may take, and the pause before serving is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The searches of clients in one process.
pub struct ClientSearches {
    tasks: TaskTracker,
}

/// What became of them, since the process started.
#[derive(Default)]
pub(crate) struct Counts {
    answered: AtomicU64,
    unanswerable: AtomicU64,
    late: AtomicU64,
}

/// Searches over AMQP that this query service has taken since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ClientSearchesStatus {
    /// Answered, with hits or with a problem.
    answered: u64,
    /// Dropped, because they had no `reply_to`, or one that is a queue of Warren's own.
    unanswerable: u64,
    /// Not started, because they came after their own `expiration`.
    late: u64,
}

impl Counts {
    pub(crate) fn status(&self) -> ClientSearchesStatus {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ClientSearchesStatus { answered: of(&self.answered), unanswerable: of(&self.unanswerable), late: of(&self.late) }
    }
}

impl ClientSearches {
    /// Serves until `stop`.
    pub fn start(service: QueryService, config: &Config, stop: &Stop) -> Self {
        let (tasks, stop) = (TaskTracker::new(), stop.clone());
        let concurrency = config.query.amqp_concurrent;
        let limit = Duration::from_millis(config.stop_timeout_ms.get());
        tasks.spawn(async move {
            while !stop.is_requested() {
                let serving = async {
                    // Searches that come before it is read would be told that there is no index.
                    service.shared.catalog.ready(Instant::now() + PAUSE).await.map_err(|error| error.to_string())?;
                    service.shared.ports.rpc.serve_clients(concurrency).await.map_err(|error| error.to_string())
                };
                let served = tokio::select! {
                    served = serving => served,
                    () = stop.requested() => break,
                };
                match served {
                    Ok(calls) => service.answer_clients(calls, &stop, limit).await,
                    Err(error) => tracing::warn!(error, "cannot serve searches over AMQP yet"),
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.requested() => {}
                }
            }
        });
        tasks.close();
        Self { tasks }
    }

    /// Waits until what was taken is answered, or given back.
    pub async fn stopped(self) {
        self.tasks.wait().await;
    }
}

impl QueryService {
    /// Answers until `stop`, then what was taken, for as long as `limit`; what is left then goes back.
    async fn answer_clients(&self, mut calls: ClientCalls, stop: &Stop, limit: Duration) {
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.requested() => break,
                // One that panicked was logged, and goes to another query service.
                Some(_) = answering.join_next() => {}
                call = calls.next() => match call {
                    Some(call) => {
                        let service = self.clone();
                        answering.spawn(async move { service.answer_client(call).await });
                    }
                    None => break,
                },
            }
        }
        let rest = async { while answering.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, rest).await.is_err() {
            tracing::warn!(searches = answering.len(), "searches over AMQP are given back: the time to stop is over");
        }
    }

    async fn answer_client(self, call: ClientCall) {
        let counts = &self.shared.client_counts;
        if let Some(reason) = &call.no_address {
            let before = counts.unanswerable.fetch_add(1, Ordering::Relaxed);
            // All of them are counted; that there are some is said now and then.
            if (before + 1).is_power_of_two() {
                tracing::warn!(index = call.request.index, %reason, count = before + 1, "a search over AMQP was dropped");
            }
            return sent(call.discard().await);
        }
        let remaining = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if remaining.is_some_and(|remaining| remaining.is_zero()) {
            counts.late.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(index = call.request.index, "a search over AMQP had expired before it could start");
            return sent(call.discard().await);
        }
        let answer =
            self.answer_to(&call, remaining).await.and_then(|Kept { response, held }| Ok((encoded(&response)?, Some(held))));
        let (reply, _held) = answer.unwrap_or_else(|problem| (as_reply(&problem), None));
        // Counted first: whoever has the reply finds it counted.
        counts.answered.fetch_add(1, Ordering::Relaxed);
        sent(call.reply(reply).await);
    }

    async fn answer_to(&self, call: &ClientCall, remaining: Option<Duration>) -> Result<Kept<SearchResponse>, Problem> {
        let request = &call.request;
        if let Some(encoding) = request.content_encoding.as_deref().filter(|encoding| !is_plain(encoding)) {
            let detail = format!("content_encoding is {encoding:?}: publish the JSON as it is");
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        if request.body.len() > MAX_REQUEST_BYTES {
            let detail = format!("the request has {} bytes: at most {MAX_REQUEST_BYTES}", request.body.len());
            return Err(Problem::new(Code::TooLarge, detail));
        }
        let deadline = call.deadline.unwrap_or(call.arrival + LONGEST);
        let mut search: SearchRequest = http::parse_json(request.body.clone(), deadline.into()).await?;
        search.validate()?;
        if let Some(remaining) = remaining {
            // Nobody awaits the answer any longer than that.
            let remaining = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX).max(1);
            search.timeout_ms = search.timeout_ms.min(remaining);
        }
        self.search_in_turn(&request.index, search, call.arrival).await
    }
}

/// What clients call a text that is not compressed.
fn is_plain(encoding: &str) -> bool {
    matches!(encoding.to_ascii_lowercase().as_str(), "" | "identity" | "utf-8" | "utf8")
}

fn encoded(response: &SearchResponse) -> Result<ClientReply, Problem> {
    let body = serde_json::to_vec(response).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    if body.len() > MAX_REPLY_BYTES {
        let detail = format!(
            "the answer has {} bytes, and a message at most {MAX_REPLY_BYTES}: ask for fewer hits at a time, or over HTTP",
            body.len()
        );
        return Err(Problem::new(Code::TooLarge, detail).with_field("limit"));
    }
    Ok(ClientReply { content_type: "application/json".to_owned(), body: body.into() })
}

fn as_reply(problem: &Problem) -> ClientReply {
    if problem.code == Code::Internal {
        tracing::warn!(%problem, "a search over AMQP failed by a defect");
    }
    // A problem is made of texts and numbers: it always can be written.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    ClientReply { content_type: "application/problem+json".to_owned(), body: Bytes::from(body) }
}

/// That a reply could not be sent: the broker is gone, and the client asks again.
fn sent(outcome: Result<(), RpcError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot answer a search over AMQP");
    }
}
