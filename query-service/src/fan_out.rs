//! One question to all partitions of an index at once, and the documents that one of them has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use warren_protocol::PartitionId;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{RpcTarget, SearchRpc, WorkerId};
use warren_protocol::rpc::{Answer, Found, PartialHit, Question};
use warren_protocol::search::PartitionFailure;
use warren_service::Roster;

use crate::ask::{Answered, AskError, TOO_LATE};
use crate::pace::Pace;

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
    /// Who answered: the documents that did not come along are there.
    pub worker: WorkerId,
    /// How many documents match, if that was asked.
    pub total: Option<u64>,
    /// The best of them, in order.
    pub hits: Vec<PartialHit>,
}

/// Asks partitions.
pub(crate) struct FanOut {
    pub(crate) rpc: Arc<dyn SearchRpc>,
    pub(crate) roster: Roster,
    pub(crate) pace: Pace,
}

impl FanOut {
    pub(crate) fn new(rpc: Arc<dyn SearchRpc>, roster: Roster) -> Self {
        Self { rpc, roster, pace: Pace::new() }
    }

    /// Asks all partitions for hits. Returns when all have answered, or at `deadline`; already at `patience` if an answer
    /// came without some of its documents, because fetching them takes time too.
    pub(crate) async fn search(
        &self,
        index: &Entry,
        question: &Question,
        patience: Instant,
        deadline: Instant,
    ) -> Result<Gathered, InvalidQuery> {
        let mut waiting: BTreeSet<u32> = (0..index.definition.partitions.get()).collect();
        let ask = |partition| async move { (partition, self.hits(index, partition, question, deadline).await) };
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
        let late = |partition| PartitionFailure { partition, reason: TOO_LATE.to_owned() };
        gathered.failed.extend(waiting.into_iter().map(late));
        gathered.failed.sort_by_key(|failure| failure.partition);
        Ok(gathered)
    }

    async fn hits(
        &self,
        index: &Entry,
        partition: u32,
        question: &Question,
        deadline: Instant,
    ) -> Result<PartitionHits, AskError> {
        let id = PartitionId { index: index.index.clone(), partition };
        match self.ask(&id, question, RpcTarget::Partition(id.clone()), deadline).await? {
            Answered { worker, answer: Answer::Hits { total, hits } } => Ok(PartitionHits { partition, worker, total, hits }),
            Answered { .. } => Err(another_question()),
        }
    }

    /// Documents of one partition by their ids, in their order; with `highlight`, the passages of that query in them.
    /// `worker` is asked first, if one is named. An answer holds as many of them as a message may, so it can take several.
    pub(crate) async fn fetch(
        &self,
        index: &Entry,
        partition: u32,
        worker: Option<WorkerId>,
        ids: &[String],
        highlight: Option<String>,
        deadline: Instant,
    ) -> Result<Vec<Option<Found>>, AskError> {
        let id = PartitionId { index: index.index.clone(), partition };
        let mut first = worker.map_or_else(|| RpcTarget::Partition(id.clone()), RpcTarget::Worker);
        let mut documents = Vec::with_capacity(ids.len());
        while documents.len() < ids.len() {
            let rest = ids[documents.len()..].to_vec();
            let asked = rest.len();
            let question = Question::Fetch { ids: rest, highlight: highlight.clone() };
            let Answered { worker, answer } = self.ask(&id, &question, first, deadline).await?;
            match answer {
                Answer::Documents(some) if (1..=asked).contains(&some.len()) => documents.extend(some),
                _ => return Err(another_question()),
            }
            first = RpcTarget::Worker(worker);
        }
        Ok(documents)
    }
}

fn another_question() -> AskError {
    AskError::Failed("the worker answered another question".to_owned())
}
