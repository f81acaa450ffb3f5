//! One question to all partitions of an index at once, and the documents that one of them has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{Position, RpcTarget, SearchRpc, WorkerId};
use warren_protocol::rpc::{Answer, Fetch, Found, Hits, PartialHit, Question, Search, Statistics};
use warren_protocol::search::{PartitionFailure, Places};
use warren_protocol::{PartitionId, Query};
use warren_service::Roster;

use crate::ask::{Answered, AskError, Refused, TOO_LATE};
use crate::at_least::AtLeast;
use crate::memory::Held;
use crate::pace::{Budget, Paces};

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
    /// What it found.
    pub found: Hits,
}

/// Asks partitions.
pub(crate) struct FanOut {
    pub(crate) rpc: Arc<dyn SearchRpc>,
    pub(crate) roster: Roster,
    pub(crate) paces: Paces,
    pub(crate) budget: Budget,
}

impl FanOut {
    pub(crate) fn new(rpc: Arc<dyn SearchRpc>, roster: Roster) -> Self {
        Self { rpc, roster, paces: Paces::default(), budget: Budget::new() }
    }

    /// Asks all partitions for hits, each of those behind its place and of what it has seen at least. Returns when all have answered, or at `deadline`;
    /// already at `patience` if an answer came without some of its documents, because fetching them takes time too.
    #[expect(clippy::too_many_arguments, reason = "the question, and what bounds its answer")]
    pub(crate) async fn search(
        &self,
        index: &Entry,
        search: Search,
        places: &Places,
        at_least: &AtLeast,
        patience: Instant,
        deadline: Instant,
        held: &Held,
    ) -> Result<Gathered, Refused> {
        let mut gathered = Gathered::default();
        let question = |partition| Question::Search(Box::new(Search { after: places.of(partition).cloned(), ..search.clone() }));
        let failed = self.each(index, question, at_least, deadline, |partition, Answered { worker, answer, bytes }| {
            let Answer::Hits(found) = answer else { return Err(another_question()) };
            held.add(bytes + found.hits.len() * size_of::<PartialHit>())?;
            let end = if found.hits.iter().any(|hit| hit.found.is_none()) { patience } else { deadline };
            gathered.answers.push(PartitionHits { partition, worker, found });
            Ok(end)
        });
        gathered.failed = failed.await?;
        Ok(gathered)
    }

    /// The statistics of each of some queries, summed over the partitions that answer before `deadline`; and whether all did.
    pub(crate) async fn statistics(
        &self,
        index: &Entry,
        queries: Vec<Query>,
        deadline: Instant,
    ) -> Result<(Vec<Statistics>, bool), Refused> {
        let mut sums = vec![Statistics::default(); queries.len()];
        let question = Question::Statistics { queries };
        let whatever = AtLeast::default();
        let failed = self.each(
            index,
            |_| question.clone(),
            &whatever,
            deadline,
            |_, Answered { answer, .. }| {
                let Answer::Statistics(found) = answer else { return Err(another_question()) };
                if found.len() != sums.len() {
                    return Err(another_question());
                }
                sums.iter_mut().zip(found).for_each(|(sum, statistics)| sum.add(statistics));
                Ok(deadline)
            },
        );
        let complete = failed.await?.is_empty();
        Ok((sums, complete))
    }

    /// Asks all partitions and takes their answers, each of which may bring the end forward. Returns the partitions without one, by number.
    pub(crate) async fn each(
        &self,
        index: &Entry,
        question: impl Fn(u32) -> Question,
        at_least: &AtLeast,
        deadline: Instant,
        mut take: impl FnMut(u32, Answered) -> Result<Instant, AskError>,
    ) -> Result<Vec<PartitionFailure>, Refused> {
        let mut waiting: BTreeSet<u32> = (0..index.definition.partitions.get()).collect();
        let question = &question;
        let ask = |partition| async move {
            let id = PartitionId { index: index.index.clone(), partition };
            let at_least = at_least.of(partition);
            (partition, self.ask(&id, &question(partition), at_least, self.first(&id, at_least), deadline).await)
        };
        let mut calls: FuturesUnordered<_> = waiting.iter().map(|partition| ask(*partition)).collect();
        let mut failed = Vec::new();
        let mut end = deadline;
        loop {
            // All have answered, or the time is over.
            let Ok(Some((partition, answer))) = tokio::time::timeout_at(end.into(), calls.next()).await else { break };
            waiting.remove(&partition);
            match answer.and_then(|answered| take(partition, answered)) {
                Ok(sooner) => end = end.min(sooner),
                Err(AskError::Failed(reason)) => failed.push(PartitionFailure { partition, reason }),
                Err(AskError::Refused(refused)) => return Err(refused),
            }
        }
        let late = |partition| PartitionFailure { partition, reason: TOO_LATE.to_owned() };
        failed.extend(waiting.into_iter().map(late));
        failed.sort_by_key(|failure| failure.partition);
        Ok(failed)
    }

    /// Documents of one partition, in the order of their ids. `worker` is asked first, if one is named; `fetch.view` is a view of that one.
    /// An answer holds as many documents as a message may, so it can take several.
    #[expect(clippy::too_many_arguments, reason = "the question, and what bounds its answer")]
    pub(crate) async fn fetch(
        &self,
        index: &Entry,
        partition: u32,
        worker: Option<WorkerId>,
        fetch: Fetch,
        at_least: Option<Position>,
        deadline: Instant,
        held: &Held,
    ) -> Result<Vec<Option<Found>>, AskError> {
        let id = PartitionId { index: index.index.clone(), partition };
        let mut first = worker.map_or_else(|| RpcTarget::Partition(id.clone()), RpcTarget::Worker);
        let mut documents = Vec::with_capacity(fetch.ids.len());
        while documents.len() < fetch.ids.len() {
            let rest = Fetch { ids: fetch.ids[documents.len()..].to_vec(), ..fetch.clone() };
            let asked = rest.ids.len();
            let Answered { worker, answer, bytes } =
                self.ask(&id, &Question::Fetch(rest.into()), at_least, first, deadline).await?;
            held.add_to_answer(bytes)?;
            match answer {
                Answer::Documents(some) if (1..=asked).contains(&some.len()) => documents.extend(some),
                _ => return Err(another_question()),
            }
            first = RpcTarget::Worker(worker);
        }
        Ok(documents)
    }
}

pub(crate) fn another_question() -> AskError {
    AskError::Failed("the worker answered another question".to_owned())
}
