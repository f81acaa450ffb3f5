//! Merges on demand: every worker that serves a partition is asked for one, and asked again until it is done or the time is over. The merges go on
//! then; nobody waits for them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use warren_protocol::announcement::ReplicaState;
use warren_protocol::merging::{MergeResponse, MergeState, MergedReplica};
use warren_protocol::ports::{RpcTarget, WorkerId};
use warren_protocol::problem::Code;
use warren_protocol::rpc::{Answer, Question};
use warren_protocol::{PartitionId, Problem};

use crate::QueryService;
use crate::ask::Answered;

/// The pauses between two questions to one replica.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long one question may take; a merge takes as long as it takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How many failures a problem lists.
const MAX_LISTED: usize = 5;

impl QueryService {
    /// Merges each replica of each partition into one segment; answers when all are done, or after `timeout`.
    pub(crate) async fn merge(&self, index: &str, timeout: Duration) -> Result<MergeResponse, Problem> {
        let arrival = Instant::now();
        let _slot = self.admit_merge()?;
        let index = self.index(index)?;
        let (mut merges, mut failed) = (Vec::new(), Vec::new());
        for partition in 0..index.definition.partitions.get() {
            let id = PartitionId { index: index.index.clone(), partition };
            let mut replicas = self.shared.roster.partition(&id).replicas;
            // One that is not done with its log will be made of what the others have.
            replicas.retain(|replica| replica.report.state != ReplicaState::CatchingUp);
            if replicas.is_empty() {
                failed.push(format!("no worker serves partition {partition}"));
            }
            merges.extend(replicas.into_iter().map(|replica| self.merge_one(id.clone(), replica.worker, arrival + timeout)));
        }
        let mut replicas = Vec::new();
        for merged in join_all(merges).await {
            match merged {
                Ok(replica) => replicas.push(replica),
                Err(reason) => failed.push(reason),
            }
        }
        if !failed.is_empty() {
            failed.truncate(MAX_LISTED);
            let detail =
                format!("not every replica of index \"{}\" can be merged ({}): try again", index.index.name, failed.join("; "));
            return Err(Problem::new(Code::NoPartition, detail));
        }
        Ok(MergeResponse {
            took_ms: u64::try_from(arrival.elapsed().as_millis()).unwrap_or(u64::MAX),
            done: replicas.iter().all(|replica| replica.done),
            replicas,
        })
    }

    async fn merge_one(&self, id: PartitionId, worker: WorkerId, deadline: Instant) -> Result<MergedReplica, String> {
        let (mut ticket, mut pause) = (None, FIRST_PAUSE);
        let target = RpcTarget::Worker(worker.clone());
        let failed = |reason: String| format!("partition {} at worker {worker}: {reason}", id.partition);
        loop {
            let question = Question::Merge { ticket };
            let answered = self.shared.fan_out.call(&target, &id, &question, None, Instant::now() + ANSWER_WITHIN).await;
            let MergeState { ticket: given, done, segments, documents, deleted } = match answered {
                Ok(Answered { answer: Answer::Merge(state), .. }) => state,
                Ok(_) => return Err(failed("the worker answered another question".to_owned())),
                Err(error) => return Err(failed(error.reason())),
            };
            if done || Instant::now() + pause >= deadline {
                let worker = worker.to_string();
                return Ok(MergedReplica { partition: id.partition, worker, done, segments, documents, deleted });
            }
            ticket = Some(given);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
