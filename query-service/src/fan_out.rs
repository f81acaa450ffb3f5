//! One question to all partitions of an index at once, and one to a single partition; each ends at its deadline.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use warren_protocol::PartitionId;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{RpcTarget, SearchRpc};
use warren_protocol::rpc::{Answer, Failure, Found, Item, Message, PartialHit, Question, Reply, Request};
use warren_protocol::search::PartitionFailure;

const TOO_LATE: &str = "no answer within the deadline";

/// Why a partition has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The query is at fault: every partition says so.
    InvalidQuery(String),
    /// Anything else, for people.
    Failed(String),
}

/// The query cannot be understood, for the reason given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidQuery(pub String);

/// What the partitions found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Gathered {
    /// The answers, as they came.
    pub answers: Vec<PartitionHits>,
    /// The partitions without one, by number.
    pub failed: Vec<PartitionFailure>,
}

/// What one partition found.
#[derive(Debug, PartialEq)]
pub(crate) struct PartitionHits {
    /// Its number.
    pub partition: u32,
    /// How many documents match, if that was asked.
    pub total: Option<u64>,
    /// The best of them, in order.
    pub hits: Vec<PartialHit>,
}

/// Asks all partitions for hits. Returns when all have answered, or at `deadline`; already at `patience` if an answer
/// came without some of its documents, because fetching them takes time too.
pub(crate) async fn search(
    rpc: &dyn SearchRpc,
    index: &Entry,
    question: &Question,
    patience: Instant,
    deadline: Instant,
) -> Result<Gathered, InvalidQuery> {
    let mut waiting: BTreeSet<u32> = (0..index.definition.partitions.get()).collect();
    let ask = |partition| async move { (partition, hits(rpc, index, partition, question.clone(), deadline).await) };
    let mut calls: FuturesUnordered<_> = waiting.iter().map(|partition| ask(*partition)).collect();
    let mut gathered = Gathered::default();
    let mut end = deadline;
    loop {
        // All have answered, or the time is over.
        let Ok(Some((partition, answer))) = tokio::time::timeout_at(end.into(), calls.next()).await else { break };
        waiting.remove(&partition);
        match answer {
            Ok(hits) => {
                if hits.hits.iter().any(|hit| hit.found.is_none()) {
                    end = patience;
                }
                gathered.answers.push(hits);
            }
            Err(AskError::Failed(reason)) => gathered.failed.push(PartitionFailure { partition, reason }),
            Err(AskError::InvalidQuery(detail)) => return Err(InvalidQuery(detail)),
        }
    }
    gathered.failed.extend(waiting.into_iter().map(|partition| PartitionFailure { partition, reason: TOO_LATE.to_owned() }));
    gathered.failed.sort_by_key(|failure| failure.partition);
    Ok(gathered)
}

/// Documents of one partition by their ids, in their order; with `highlight`, the passages of that query in them. An
/// answer holds as many of them as a message may, so it can take several.
pub(crate) async fn fetch(
    rpc: &dyn SearchRpc,
    index: &Entry,
    partition: u32,
    ids: Vec<String>,
    highlight: Option<String>,
    deadline: Instant,
) -> Result<Vec<Option<Found>>, AskError> {
    let mut documents = Vec::with_capacity(ids.len());
    while documents.len() < ids.len() {
        let ids = ids[documents.len()..].to_vec();
        let asked = ids.len();
        match ask(rpc, index, partition, Question::Fetch { ids, highlight: highlight.clone() }, deadline).await? {
            Answer::Documents(some) if (1..=asked).contains(&some.len()) => documents.extend(some),
            _ => return Err(AskError::Failed("the worker answered another question".to_owned())),
        }
    }
    Ok(documents)
}

async fn hits(
    rpc: &dyn SearchRpc,
    index: &Entry,
    partition: u32,
    question: Question,
    deadline: Instant,
) -> Result<PartitionHits, AskError> {
    match ask(rpc, index, partition, question, deadline).await? {
        Answer::Hits { total, hits } => Ok(PartitionHits { partition, total, hits }),
        Answer::Documents(_) => Err(AskError::Failed("the worker answered another question".to_owned())),
    }
}

async fn ask(
    rpc: &dyn SearchRpc,
    index: &Entry,
    partition: u32,
    question: Question,
    deadline: Instant,
) -> Result<Answer, AskError> {
    let failed = |reason: String| AskError::Failed(reason);
    let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
    let remaining_ms = u32::try_from(remaining).unwrap_or(u32::MAX);
    if remaining_ms == 0 {
        return Err(failed(TOO_LATE.to_owned()));
    }
    let item = Item { index: index.index.clone(), partition, question };
    let request = Request { remaining_ms, items: vec![item] }.encode().map_err(|error| failed(error.to_string()))?;
    let target = RpcTarget::Partition(PartitionId { index: index.index.clone(), partition });
    let reply = rpc.call(&target, request, deadline).await.map_err(|error| failed(error.to_string()))?;
    let mut reply = Reply::decode(&reply).map_err(|error| failed(error.to_string()))?;
    match reply.answers.pop() {
        Some(Ok(answer)) if reply.answers.is_empty() => Ok(answer),
        Some(Err(Failure::InvalidQuery(detail))) => Err(AskError::InvalidQuery(detail)),
        Some(Err(failure)) => Err(failed(failure.to_string())),
        _ => Err(failed("the worker did not answer one question with one answer".to_owned())),
    }
}
