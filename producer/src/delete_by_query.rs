//! Deletion by query: asks the workers for the ids of what matches, page by page, and writes a deletion of each.
//!
//! Pages come in the order of the ids, each behind the last id of the one before, so none that matched when it began is left
//! out, and none is deleted twice. The worker that gave the first page of a partition gives the others, too: it is behind
//! no other one of its own pages. Memory holds one page of a few partitions.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use utoipa::ToSchema;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::RpcTarget;
use warren_protocol::problem::Code;
use warren_protocol::query::{Bool, Kind, QueryInput};
use warren_protocol::rpc::{Answer, DocumentParts, Failure, Item, Message, PartialHit, Question, Reply, Request, Search};
use warren_protocol::search::{Missing, PartitionFailure, PartitionsReport, SortBy, SortKey};
use warren_protocol::{DocumentId, PartitionId, Problem, Query};

use crate::Producer;
use crate::publisher::{Write, WriteError};

/// Partitions that are worked on at a time.
const AT_A_TIME: usize = 4;
/// Ids of one page.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1999);
/// Between two tries to get a page.
const PAUSE: Duration = Duration::from_millis(250);
/// A partition that nobody has served for so long is not waited for.
const UNSERVED: Duration = Duration::from_secs(2);

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Deleted {
    /// How many documents matched and have a confirmed deletion.
    pub deleted: u64,
    /// The partitions that were looked through to their end, and those that were not.
    pub partitions: PartitionsReport,
}

/// A deletion that was not brought to its end. To repeat it is safe: what is deleted does not match any more.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub problem: Problem,
    /// What was deleted all the same.
    pub deleted: Deleted,
}

/// Why a partition was not looked through to its end.
enum Stopped {
    /// The filter is at fault.
    Filter(String),
    /// It does not answer.
    Silent(String),
    /// It does not take the deletions.
    Refuses(WriteError),
}

/// A filter that says what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Query);

impl Filter {
    /// Takes a query, as text or as a tree. One that matches everything has to say so: `*`, or `match_all`.
    pub fn new(input: &QueryInput) -> Result<Self, Problem> {
        let says_all = match input {
            QueryInput::Text(text) => text.trim() == "*",
            QueryInput::Tree(tree) => tree.contains_key("match_all"),
        };
        let is_blank = matches!(input, QueryInput::Text(text) if text.trim().is_empty())
            || matches!(input, QueryInput::Tree(tree) if tree.is_empty());
        let query = if is_blank { Query::all() } else { input.parse("filter", false)? };
        let is_empty_group = matches!(&query.root.kind, Kind::Bool(group) if *group == Bool::default());
        if !says_all && (query.is_all() || is_empty_group) {
            let detail = "this filter would delete every document: write \"*\" or {\"match_all\": {}} if that is meant";
            return Err(Problem::invalid("filter", detail));
        }
        Ok(Self(query))
    }
}

impl Producer {
    /// Deletes all documents of the index that match.
    pub async fn delete_by_query(&self, entry: &Entry, filter: &Filter) -> Result<Deleted, Unfinished> {
        let total = entry.definition.partitions.get();
        let partitions = (0..total).map(|partition| PartitionId { index: entry.index.clone(), partition });
        let mut ended = stream::iter(partitions)
            .map(|partition| async move {
                let mut deleted = 0;
                let stopped = self.delete_in_partition(entry, &partition, filter, &mut deleted).await.err();
                (partition.partition, deleted, stopped)
            })
            .buffer_unordered(AT_A_TIME);
        let mut account = Deleted { deleted: 0, partitions: PartitionsReport { total, answered: 0, failed: Vec::new() } };
        let mut first_problem = None;
        while let Some((partition, deleted, stopped)) = ended.next().await {
            account.deleted += deleted;
            let Some(stopped) = stopped else {
                account.partitions.answered += 1;
                continue;
            };
            let (code, reason) = match stopped {
                Stopped::Filter(reason) => (Code::InvalidQuery, reason),
                Stopped::Silent(reason) => (Code::NoPartition, reason),
                Stopped::Refuses(error) => {
                    let problem = Problem::from(error);
                    (problem.code, problem.detail)
                }
            };
            account.partitions.failed.push(PartitionFailure { partition, reason: reason.clone() });
            if code == Code::InvalidQuery && account.deleted == 0 {
                let problem = Problem::new(code, reason).with_field("filter");
                return Err(Unfinished { problem, deleted: account });
            }
            first_problem.get_or_insert((code, partition, reason));
        }
        account.partitions.failed.sort_by_key(|failure| failure.partition);
        let Some((code, partition, reason)) = first_problem else { return Ok(account) };
        let name = &entry.index.name;
        if self.catalog.get(name).is_none_or(|now| now.index != entry.index) {
            let problem = Problem::new(Code::UnknownIndex, format!("index \"{name}\" was deleted meanwhile"));
            return Err(Unfinished { problem, deleted: account });
        }
        let detail = format!(
            "{} of {total} partitions were not searched to their end, the first one partition {partition}: {reason} ({} documents \
             were deleted; to repeat the deletion is safe)",
            account.partitions.failed.len(),
            account.deleted
        );
        Err(Unfinished { problem: Problem::new(code, detail), deleted: account })
    }

    async fn delete_in_partition(
        &self,
        entry: &Entry,
        partition: &PartitionId,
        filter: &Filter,
        deleted: &mut u64,
    ) -> Result<(), Stopped> {
        let mut target = RpcTarget::Partition(partition.clone());
        let mut search = first_page(filter);
        loop {
            let hits = self.page(partition, &search, &mut target).await?;
            let Some(last) = hits.last() else { return Ok(()) };
            let (count, is_last) = (hits.len() as u64, hits.len() < PAGE.get() as usize);
            search.after = Some(last.place(&search.sort));
            let ids = hits.into_iter().map(|hit| DocumentId::new(hit.id).map(|id| Write { id, body: None }));
            let writes: Vec<Write> = ids.collect::<Result<_, _>>().map_err(|error| Stopped::Silent(error.to_string()))?;
            let handed = self.publisher.write(entry, writes).await.map_err(Stopped::Refuses)?;
            handed.confirmed().await.map_err(Stopped::Refuses)?;
            *deleted += count;
            if is_last {
                return Ok(());
            }
        }
    }

    /// One page, from `target` or, if it has gone, from any other worker of the partition. Whoever answers is the next target.
    async fn page(&self, partition: &PartitionId, search: &Search, target: &mut RpcTarget) -> Result<Vec<PartialHit>, Stopped> {
        let patience = Duration::from_millis(self.config.producer.confirm_timeout_ms.get());
        let deadline = Instant::now() + patience;
        loop {
            let silent = match self.ask(partition, search, target, Instant::now() + patience / 3).await {
                Err(Stopped::Silent(reason)) => reason,
                answered => return answered,
            };
            *target = RpcTarget::Partition(partition.clone());
            let unserved = self.roster.unserved(partition).is_some_and(|since| since >= UNSERVED);
            if unserved || Instant::now() + PAUSE >= deadline {
                return Err(Stopped::Silent(silent));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(
        &self,
        partition: &PartitionId,
        search: &Search,
        target: &mut RpcTarget,
        deadline: Instant,
    ) -> Result<Vec<PartialHit>, Stopped> {
        let silent = |reason: String| Stopped::Silent(reason);
        if let Some(since) = self.roster.unserved(partition).filter(|since| *since >= UNSERVED) {
            return Err(silent(format!("no worker serves partition {} since {} s", partition.partition, since.as_secs())));
        }
        let (index, question) = (partition.index.clone(), Question::Search(Box::new(search.clone())));
        let item = Item { index, partition: partition.partition, at_least: None, question };
        let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
        let request = Request { remaining_ms: u32::try_from(remaining).unwrap_or(u32::MAX), items: vec![item] };
        let request = request.encode().map_err(|error| silent(error.to_string()))?;
        let reply = self.rpc.call(target, request, deadline).await.map_err(|error| silent(error.to_string()))?;
        let Reply { worker, mut answers } = Reply::decode(&reply).map_err(|error| silent(error.to_string()))?;
        match answers.pop() {
            Some(Ok(Answer::Hits(found))) if answers.is_empty() => {
                *target = RpcTarget::Worker(worker);
                Ok(found.hits)
            }
            Some(Err(Failure::InvalidQuery(detail))) => Err(Stopped::Filter(detail)),
            Some(Err(failure)) => Err(silent(failure.to_string())),
            _ => Err(silent("the worker answered another question".to_owned())),
        }
    }
}

/// The first documents that match, in the order of their ids, and nothing of them but the id.
fn first_page(filter: &Filter) -> Search {
    let by_id = SortKey { by: SortBy::Id, descending: false, missing: Missing::default() };
    let document = DocumentParts { fields: Some(Vec::new()), highlight: None };
    Search { query: filter.0.clone(), hits: PAGE.get(), sort: vec![by_id], document, ..Search::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_deleted_only_by_those_who_say_so() {
        let filter = |json: &str| Filter::new(&serde_json::from_str(json).unwrap());
        for empty in [r#""""#, r#"" ""#, r#""\t\n""#, "{}", r#"{"bool":{}}"#, r#"{"bool":{"must":[]}}"#] {
            let problem = filter(empty).unwrap_err();
            assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidRequest, Some("filter")), "{empty}");
            assert!(problem.detail.contains("\"*\""), "{problem}");
        }
        assert_eq!(filter(r#""*""#).unwrap().0, Query::all());
        assert_eq!(filter(r#"{"match_all":{}}"#).unwrap().0, Query::all());
        assert!(filter(r#"{"term":{"kind":"old"}}"#).is_ok() && filter(r#""kind:old""#).is_ok());
        for wrong in [r#""kind:[a TO""#, r#"{"nonsense":{}}"#] {
            assert_eq!(filter(wrong).unwrap_err().code, Code::InvalidQuery, "{wrong}");
        }
    }
}
