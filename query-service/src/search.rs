//! One search, from its arrival to its answer: plan, fan out, merge, fetch what is missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::value::RawValue;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::WorkerId;
use warren_protocol::problem::Code;
use warren_protocol::rpc::{Found, Question};
use warren_protocol::search::{Hit, PartitionFailure, PartitionsReport, SearchRequest, SearchResponse};
use warren_protocol::{DocumentId, Problem, partition_of};

use crate::QueryService;
use crate::ask::AskError;
use crate::at_least::AtLeast;
use crate::fan_out::{Gathered, InvalidQuery};
use crate::merge::{MergedHit, merge};

/// How long a document by its id may take.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(2);
/// How many different reasons a problem lists.
const MAX_REASONS: usize = 3;

impl QueryService {
    /// Answers a search that arrived at `arrival`.
    pub(crate) async fn search(&self, index: &str, request: SearchRequest, arrival: Instant) -> Result<SearchResponse, Problem> {
        let Ok(_slot) = self.shared.searches.try_acquire() else {
            let detail = format!("{} searches are under way already (query.max_concurrent): try again", self.shared.max_searches);
            return Err(Problem::new(Code::TooManyRequests, detail));
        };
        self.search_admitted(index, request, arrival).await
    }

    /// The same; while others are under way it awaits its turn, until its deadline.
    pub(crate) async fn search_in_turn(
        &self,
        index: &str,
        request: SearchRequest,
        arrival: Instant,
    ) -> Result<SearchResponse, Problem> {
        let deadline = arrival + Duration::from_millis(u64::from(request.timeout_ms));
        let Ok(Ok(_slot)) = tokio::time::timeout_at(deadline.into(), self.shared.searches.acquire()).await else {
            let detail = format!("no turn came within {} ms: ask again, or fewer at a time", request.timeout_ms);
            return Err(Problem::new(Code::TooManyRequests, detail));
        };
        self.search_admitted(index, request, arrival).await
    }

    async fn search_admitted(&self, index: &str, request: SearchRequest, arrival: Instant) -> Result<SearchResponse, Problem> {
        request.validate()?;
        let index = self.index(index)?;
        let at_least = AtLeast::new(&index, &request.at_least)?;
        let timeout = Duration::from_millis(u64::from(request.timeout_ms));
        let deadline = arrival + timeout;
        let question = Question::Search {
            query: request.query.clone(),
            lenient: request.lenient,
            hits: request.offset + request.limit,
            count: request.total,
            highlight: request.highlight,
        };
        // If documents are to be fetched after the fan-out, the last fifth of the time is theirs.
        let patience = arrival + timeout * 4 / 5;
        let gathered = self.shared.fan_out.search(&index, &question, &at_least, patience, deadline).await;
        let Gathered { answers, mut failed } =
            gathered.map_err(|InvalidQuery(detail)| Problem::new(Code::InvalidQuery, detail).with_field("query"))?;
        if answers.is_empty() {
            return Err(no_partition(&index, &failed));
        }
        let workers = answers.iter().map(|answer| (answer.partition, answer.worker.clone())).collect();
        let (total, merged) = merge(answers, request.offset, request.limit, !failed.is_empty());
        let highlight = (request.highlight && !request.query.is_empty()).then_some(request.query);
        let merged = self.complete(&index, merged, workers, highlight, &at_least, deadline, &mut failed).await;
        let hits = present(merged, &mut failed);

        failed.sort_by_key(|failure| failure.partition);
        let partitions = index.definition.partitions.get();
        let answered = partitions - u32::try_from(failed.len()).unwrap_or(partitions);
        Ok(SearchResponse {
            took_ms: u64::try_from(arrival.elapsed().as_millis()).unwrap_or(u64::MAX),
            total,
            partitions: PartitionsReport { total: partitions, answered, failed },
            hits,
        })
    }

    /// One document as it was published.
    pub(crate) async fn document(&self, index: &str, id: String) -> Result<Vec<u8>, Problem> {
        let deadline = Instant::now() + DOCUMENT_LIMIT;
        let index = self.index(index)?;
        let name = &index.index.name;
        let id = DocumentId::new(id)?;
        let partition = partition_of(&id, index.definition.partitions);
        let fetched = self.shared.fan_out.fetch(&index, partition, None, &[id.to_string()], None, None, deadline).await;
        match fetched.map(|mut found| found.pop().flatten()) {
            Ok(Some(found)) => Ok(found.body),
            Ok(None) => Err(Problem::new(Code::UnknownDocument, format!("index \"{name}\" has no document \"{id}\""))),
            Err(AskError::InvalidQuery(reason) | AskError::Failed(reason)) => {
                let detail =
                    format!("partition {partition} of index \"{name}\", which has the document if there is one: {reason}");
                Err(Problem::new(Code::NoPartition, detail))
            }
        }
    }

    /// Fetches the documents that did not come with their hits, from the workers that answered. The hits of a partition
    /// that does not send them in time are left out, and it counts as failed.
    async fn complete(
        &self,
        index: &Entry,
        mut hits: Vec<MergedHit>,
        mut workers: BTreeMap<u32, WorkerId>,
        highlight: Option<String>,
        at_least: &AtLeast,
        deadline: Instant,
        failed: &mut Vec<PartitionFailure>,
    ) -> Vec<MergedHit> {
        let mut wanted = BTreeMap::<u32, Vec<String>>::new();
        for merged in hits.iter().filter(|merged| merged.hit.found.is_none()) {
            wanted.entry(merged.partition).or_default().push(merged.hit.id.clone());
        }
        let fetches = wanted.into_iter().map(|(partition, ids)| {
            let (worker, highlight) = (workers.remove(&partition), highlight.clone());
            async move {
                let at_least = at_least.of(partition);
                let fetched = self.shared.fan_out.fetch(index, partition, worker, &ids, highlight, at_least, deadline).await;
                (partition, ids, fetched)
            }
        });
        let mut documents = BTreeMap::<String, Found>::new();
        for (partition, ids, fetched) in join_all(fetches).await {
            match fetched {
                // One that is not there any more was deleted since: it is no hit any more, either.
                Ok(found) => documents.extend(ids.into_iter().zip(found).filter_map(|(id, found)| Some((id, found?)))),
                Err(AskError::InvalidQuery(reason) | AskError::Failed(reason)) => {
                    let reason = format!("{} of its documents could not be fetched: {reason}", ids.len());
                    failed.push(PartitionFailure { partition, reason });
                }
            }
        }
        for merged in &mut hits {
            if merged.hit.found.is_none() {
                merged.hit.found = documents.remove(&merged.hit.id);
            }
        }
        hits.retain(|merged| merged.hit.found.is_some());
        hits
    }
}

/// The hits as clients see them.
fn present(hits: Vec<MergedHit>, failed: &mut Vec<PartitionFailure>) -> Vec<Hit> {
    let mut presented = Vec::with_capacity(hits.len());
    for MergedHit { partition, hit } in hits {
        let Some(found) = hit.found else { continue };
        match String::from_utf8(found.body).map_err(|error| error.to_string()).and_then(json) {
            Ok(document) => presented.push(Hit { id: hit.id, score: hit.score, document, highlights: found.highlights }),
            Err(error) => {
                let reason = format!("the document {:?} cannot be read: {error}", hit.id);
                tracing::error!(partition, reason, "a worker sent a document that is no JSON");
                if failed.iter().all(|failure| failure.partition != partition) {
                    failed.push(PartitionFailure { partition, reason });
                }
            }
        }
    }
    presented
}

fn json(body: String) -> Result<Box<RawValue>, String> {
    RawValue::from_string(body).map_err(|error| error.to_string())
}

fn no_partition(index: &Entry, failed: &[PartitionFailure]) -> Problem {
    let mut reasons: Vec<&str> = failed.iter().map(|failure| failure.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.truncate(MAX_REASONS);
    let detail = format!(
        "none of the {} partitions of index \"{}\" answered ({}): does a worker run?",
        failed.len(),
        index.index.name,
        reasons.join("; ")
    );
    Problem::new(Code::NoPartition, detail)
}
