//! One question to one partition. If the answer takes long and several workers serve the partition, one of them is asked directly, and then
//! another one: so a worker that is frozen, or dies, costs a moment and not the search.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use warren_protocol::announcement::ReplicaState;
use warren_protocol::ports::{Position, RpcTarget, WorkerId};
use warren_protocol::problem::Code;
use warren_protocol::rpc::{Answer, Failure, Item, Message, Question, Reply, Request};
use warren_protocol::{PartitionId, Problem};

use crate::fan_out::FanOut;

pub(crate) const TOO_LATE: &str = "no answer within the deadline";
/// The most ways in which one question is asked: one that is deadly must not reach every worker.
const MAX_WAYS: usize = 3;
/// A partition that nobody has served for so long is not waited for.
const UNSERVED: Duration = Duration::from_secs(2);
/// A worker that is behind and does not wait for it, because many wait already, is asked again after this pause.
const BEHIND: Duration = Duration::from_millis(20);
/// How often that is looked at while a question waits.
const LOOK: Duration = Duration::from_millis(250);

/// Why a partition has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The request is at fault, or asks for too much: no partition needs to be waited for.
    Refused(Refused),
    /// Anything else, for people.
    Failed(String),
}

/// A request that is not answered, whatever the other partitions say; and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Problem);

impl From<Refused> for Problem {
    fn from(Refused(problem): Refused) -> Self {
        problem
    }
}

impl From<Refused> for AskError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl AskError {
    /// For people.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Refused(Refused(problem)) => problem.detail,
            Self::Failed(reason) => reason,
        }
    }
}

/// An answer.
pub(crate) struct Answered {
    /// Who gave it.
    pub worker: WorkerId,
    pub answer: Answer,
    /// How large the message was that brought it.
    pub bytes: usize,
}

impl FanOut {
    /// Asks `first`, which is the partition or one of its workers, and then others until one answers that has seen the log
    /// up to `at_least`. The first good answer counts; ends at the deadline.
    pub(crate) async fn ask(
        &self,
        partition: &PartitionId,
        question: &Question,
        at_least: Option<Position>,
        first: RpcTarget,
        deadline: Instant,
    ) -> Result<Answered, AskError> {
        self.refuse_if_unserved(partition)?;
        let start = Instant::now();
        // A short deadline leaves time for the others, too.
        let pace = self.paces.of(partition);
        let delay = pace.delay().min(deadline.saturating_duration_since(start) / 4);
        let mut others = tokio::time::interval_at((start + delay).into(), delay.max(Duration::from_millis(1)));
        let mut look = tokio::time::interval_at((start + LOOK).into(), LOOK);
        let call = async |target| {
            let start = Instant::now();
            (self.call(&target, partition, question, at_least, deadline).await, start.elapsed())
        };
        let mut asked = vec![first.clone()];
        let mut calls = FuturesUnordered::from_iter([call(first)]);
        loop {
            let next = tokio::select! {
                Some((answer, took)) = calls.next() => match answer {
                    Ok(answered) => {
                        // The pace of commits is another one.
                        if at_least.is_none() {
                            pace.answered(took);
                        }
                        self.budget.earn();
                        return Ok(answered);
                    }
                    Err(AskError::Failed(reason)) if calls.is_empty() => {
                        let next = self.another(partition, &asked).filter(|_| Instant::now() < deadline);
                        Some(next.ok_or(AskError::Failed(reason))?)
                    }
                    Err(AskError::Failed(_)) => None,
                    Err(error) => return Err(error),
                },
                _ = others.tick(), if asked.len() < MAX_WAYS => {
                    // Whoever serves it alone has the question, and would only work twice.
                    let several = self.roster.servers(partition) > 1;
                    let next = self.another(partition, &asked).filter(|_| several && self.budget.spend());
                    if next.is_none() {
                        others.reset_after(LOOK);
                    }
                    next
                }
                _ = look.tick() => {
                    self.refuse_if_unserved(partition)?;
                    None
                }
            };
            if let Some(target) = next {
                asked.push(target.clone());
                calls.push(call(target));
            }
        }
    }

    /// Who else can be asked: any worker that takes the partition's questions, else the workers that serve it, the one
    /// that was heard last first.
    fn another(&self, partition: &PartitionId, asked: &[RpcTarget]) -> Option<RpcTarget> {
        if asked.len() >= MAX_WAYS {
            return None;
        }
        let mut replicas = self.roster.partition(partition).replicas;
        replicas.retain(|replica| replica.report.state != ReplicaState::CatchingUp);
        replicas.sort_by_key(|replica| std::cmp::Reverse((replica.report.state == ReplicaState::Serving, replica.heard)));
        let workers = replicas.into_iter().map(|replica| RpcTarget::Worker(replica.worker));
        std::iter::once(RpcTarget::Partition(partition.clone())).chain(workers).find(|target| !asked.contains(target))
    }

    fn refuse_if_unserved(&self, partition: &PartitionId) -> Result<(), AskError> {
        match self.roster.unserved(partition) {
            Some(since) if since >= UNSERVED => {
                let reason = format!("no worker serves partition {} since {} s", partition.partition, since.as_secs());
                Err(AskError::Failed(reason))
            }
            _ => Ok(()),
        }
    }

    /// Asks this one, and nobody else.
    pub(crate) async fn call(
        &self,
        target: &RpcTarget,
        partition: &PartitionId,
        question: &Question,
        at_least: Option<Position>,
        deadline: Instant,
    ) -> Result<Answered, AskError> {
        let failed = |reason: String| AskError::Failed(reason);
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
            let remaining_ms = u32::try_from(remaining).unwrap_or(u32::MAX);
            if remaining_ms == 0 {
                return Err(failed(TOO_LATE.to_owned()));
            }
            let (index, question) = (partition.index.clone(), question.clone());
            let item = Item { index, partition: partition.partition, at_least, question };
            let request = Request { remaining_ms, items: vec![item] }.encode().map_err(|error| failed(error.to_string()))?;
            let reply = self.rpc.call(target, request, deadline).await.map_err(|error| failed(error.to_string()))?;
            let bytes = reply.len();
            let Reply { worker, mut answers } = Reply::decode(&reply).map_err(|error| failed(error.to_string()))?;
            let refused = |code, field: &str, detail| Err(Refused(Problem::new(code, detail).with_field(field)).into());
            return match answers.pop() {
                Some(Ok(answer)) if answers.is_empty() => Ok(Answered { worker, answer, bytes }),
                Some(Err(Failure::InvalidQuery(detail))) => refused(Code::InvalidQuery, "query", detail),
                Some(Err(Failure::InvalidRequest { field, detail })) => refused(Code::InvalidRequest, &field, detail),
                Some(Err(Failure::Behind(_))) if Instant::now() + BEHIND * 4 < deadline => {
                    tokio::time::sleep(BEHIND).await;
                    continue;
                }
                Some(Err(failure)) => Err(failed(failure.to_string())),
                _ => Err(failed("the worker did not answer one question with one answer".to_owned())),
            };
        }
    }

    /// Whom to ask first for what has seen the log up to `at_least`: a worker that has said so, else any.
    pub(crate) fn first(&self, partition: &PartitionId, at_least: Option<Position>) -> RpcTarget {
        let anybody = RpcTarget::Partition(partition.clone());
        if at_least.is_none() {
            return anybody;
        }
        let mut replicas = self.roster.partition(partition).replicas;
        replicas.retain(|replica| replica.report.state == ReplicaState::Serving && replica.report.position >= at_least);
        let latest = replicas.into_iter().max_by_key(|replica| replica.heard);
        latest.map_or(anybody, |replica| RpcTarget::Worker(replica.worker))
    }
}
