//! One search, from its arrival to its answer: plan, statistics, fan out, merge, fetch what is missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use serde_json::value::RawValue;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{Position, WorkerId};
use warren_protocol::problem::Code;
use warren_protocol::rpc::{DocumentParts, Fetch, Found, Ranking, Search, Statistics, by_score};
use warren_protocol::search::{
    Cursor, Hit, PartitionFailure, PartitionsReport, Scoring, SearchRequest, SearchResponse, SortBy, SortKey,
};
use warren_protocol::{DocumentId, Problem, Query, partition_of};

use crate::ask::{AskError, Refused};
use crate::at_least::AtLeast;
use crate::fan_out::{Gathered, PartitionHits};
use crate::memory::{Held, Kept};
use crate::merge::{MergedHit, merge, total};
use crate::{QueryService, aggregating};

/// How long a document by its id may take.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(2);
/// How many different reasons a problem lists.
const MAX_REASONS: usize = 3;

impl QueryService {
    /// Answers a search that arrived at `arrival`.
    pub(crate) async fn search(
        &self,
        index: &str,
        request: SearchRequest,
        arrival: Instant,
    ) -> Result<Kept<SearchResponse>, Problem> {
        let _slot = self.admit()?;
        self.search_admitted(index, request, arrival).await
    }

    /// The same; while others are under way it awaits its turn, until its deadline.
    pub(crate) async fn search_in_turn(
        &self,
        index: &str,
        request: SearchRequest,
        arrival: Instant,
    ) -> Result<Kept<SearchResponse>, Problem> {
        let deadline = arrival + Duration::from_millis(u64::from(request.timeout_ms));
        let Ok(Ok(_slot)) = tokio::time::timeout_at(deadline.into(), self.shared.searches.acquire()).await else {
            let detail = format!("no turn came within {} ms: ask again, or fewer at a time", request.timeout_ms);
            return Err(Problem::new(Code::TooManyRequests, detail));
        };
        self.search_admitted(index, request, arrival).await
    }

    async fn search_admitted(
        &self,
        index: &str,
        request: SearchRequest,
        arrival: Instant,
    ) -> Result<Kept<SearchResponse>, Problem> {
        request.validate()?;
        let index = self.index(index)?;
        let at_least = AtLeast::new(&index, &request.at_least)?;
        let cursor = request.after.as_ref().map(|after| Cursor::read(after, &index.index, &request)).transpose()?;
        let aggregations = aggregating::plan(&request, &index, self.shared.max_buckets)?;
        let timeout = Duration::from_millis(u64::from(request.timeout_ms));
        let deadline = arrival + timeout;
        let (query, filter) = request.parse()?;
        let (places, carried) = cursor.map(|cursor| (cursor.places, cursor.statistics)).unwrap_or_default();
        // A partition that keeps silent must not take the time of those that answer.
        let ranking = self.ranking(&index, &request, &query, carried, arrival + timeout * 2 / 5).await?;
        let parts = DocumentParts { fields: request.fields.clone(), highlight: request.highlight.options().cloned() };
        let search = Search {
            query: query.clone(),
            filter,
            hits: request.offset + request.limit,
            count: request.total,
            sort: request.sort.clone(),
            after: None,
            ranking: ranking.clone(),
            document: parts.clone(),
            aggregations: aggregating::question(aggregations.as_ref())?,
        };
        // If documents are to be fetched after the fan-out, the last fifth of the time is theirs.
        let patience = arrival + timeout * 4 / 5;
        let held = self.shared.memory.hold();
        let Gathered { mut answers, mut failed } =
            self.shared.fan_out.search(&index, search, &places, &at_least, patience, deadline, &held).await?;
        if answers.is_empty() {
            return Err(no_partition(&index, &failed));
        }
        let total = total(&answers, !failed.is_empty());
        // In the order of the partitions: sums of fractions depend on the order of their parts.
        answers.sort_unstable_by_key(|answer| answer.partition);
        let found = answers.iter_mut().filter_map(|answer| answer.found.aggregations.take()).collect();
        let aggregations = match aggregations {
            Some(aggregations) => Some(aggregating::answer(aggregations, found, deadline).await?),
            None => None,
        };
        let statistics = match ranking {
            Ranking::Global(statistics) => Some(statistics),
            _ => answers.iter_mut().find_map(|answer| answer.found.statistics.take()),
        };
        let merged = merge(&mut answers, &request.sort, request.offset, request.limit);
        held.keep_answer(merged.iter().map(|merged| merged.hit.bytes()).sum())?;
        let (full, last) = (merged.len() == request.limit as usize, merged.last().map(|last| last.hit.place(&request.sort)));
        let source = |answer: PartitionHits| {
            let at_least = at_least.of(answer.partition);
            (answer.partition, Source { worker: answer.worker, view: answer.found.view, at_least })
        };
        let sources = answers.into_iter().map(source).collect();
        let highlighted = parts.highlight.is_some().then_some(query);
        let fetch = Fetch { document: parts, query: highlighted, ..Fetch::default() };
        let merged = self.complete(&index, merged, sources, fetch, deadline, &held, &mut failed).await?;
        let partitions = index.definition.partitions.get();
        // A full page may have another one behind it, and so may the partitions that are missing from this one.
        let after = match request.limit > 0 && (full || !failed.is_empty()) {
            true => {
                let has_failed = |partition| failed.iter().any(|failure| failure.partition == partition);
                let places = places.advanced(last, partitions, has_failed, &request.sort);
                Some(Cursor::new(&index.index, &request, places, statistics).encode()?)
            }
            false => None,
        };
        let hits = present(merged, &request.sort, &mut failed);

        failed.sort_by_key(|failure| failure.partition);
        let answered = partitions - u32::try_from(failed.len()).unwrap_or(partitions);
        let response = SearchResponse {
            took_ms: u64::try_from(arrival.elapsed().as_millis()).unwrap_or(u64::MAX),
            total,
            partitions: PartitionsReport { total: partitions, answered, failed },
            hits,
            aggregations,
            after,
        };
        Ok(Kept { response, held })
    }

    /// How documents are scored: by the statistics of the whole index, where that matters.
    async fn ranking(
        &self,
        index: &Entry,
        request: &SearchRequest,
        query: &Query,
        carried: Option<Statistics>,
        deadline: Instant,
    ) -> Result<Ranking, Problem> {
        let scored = request.limit > 0 && by_score(&request.sort);
        match request.scoring {
            Scoring::Occurrences => return Ok(Ranking::Occurrences),
            Scoring::Local => return Ok(Ranking::Local),
            Scoring::Global if !scored => return Ok(Ranking::Local),
            Scoring::Global => {}
        }
        if let Some(statistics) = carried {
            return Ok(Ranking::Global(statistics));
        }
        if index.definition.partitions.get() == 1 {
            return Ok(Ranking::Only);
        }
        let statistics = self.shared.statistics.get(&self.shared.fan_out, index, query, deadline).await?;
        Ok(statistics.map_or(Ranking::Local, Ranking::Global))
    }

    /// One document as it was published.
    pub(crate) async fn document(&self, index: &str, id: String) -> Result<Kept<Vec<u8>>, Problem> {
        let deadline = Instant::now() + DOCUMENT_LIMIT;
        let index = self.index(index)?;
        let name = &index.index.name;
        let id = DocumentId::new(id)?;
        let partition = partition_of(&id, index.definition.partitions);
        let fetch = Fetch { ids: vec![id.to_string()], ..Fetch::default() };
        let held = self.shared.memory.hold();
        let fetched = self.shared.fan_out.fetch(&index, partition, None, fetch, None, deadline, &held).await;
        match fetched.map(|mut found| found.pop().flatten()) {
            Ok(Some(found)) => Ok(Kept { response: found.body, held }),
            Ok(None) => Err(Problem::new(Code::UnknownDocument, format!("index \"{name}\" has no document \"{id}\""))),
            Err(AskError::Refused(refused)) => Err(refused.into()),
            Err(AskError::Failed(reason)) => {
                let detail =
                    format!("partition {partition} of index \"{name}\", which has the document if there is one: {reason}");
                Err(Problem::new(Code::NoPartition, detail))
            }
        }
    }

    /// Fetches the documents that did not come with their hits, from the workers that answered and from what they searched. The hits of a
    /// partition that does not send them in time are left out, and it counts as failed.
    #[expect(clippy::too_many_arguments, reason = "what is missing, and what bounds its answer")]
    async fn complete(
        &self,
        index: &Entry,
        mut hits: Vec<MergedHit>,
        mut sources: BTreeMap<u32, Source>,
        fetch: Fetch,
        deadline: Instant,
        held: &Held,
        failed: &mut Vec<PartitionFailure>,
    ) -> Result<Vec<MergedHit>, Refused> {
        let mut wanted = BTreeMap::<u32, Vec<String>>::new();
        for merged in hits.iter().filter(|merged| merged.hit.found.is_none()) {
            wanted.entry(merged.partition).or_default().push(merged.hit.id.clone());
        }
        let fetches = wanted.into_iter().map(|(partition, ids)| {
            let source = sources.remove(&partition);
            let (view, at_least) = source.as_ref().map_or((None, None), |source| (source.view, source.at_least));
            let fetch = Fetch { ids: ids.clone(), view, ..fetch.clone() };
            let worker = source.map(|source| source.worker);
            async move {
                let fetched = self.shared.fan_out.fetch(index, partition, worker, fetch, at_least, deadline, held).await;
                (partition, ids, fetched)
            }
        });
        let mut documents = BTreeMap::<String, Found>::new();
        let mut fetches: FuturesUnordered<_> = fetches.collect();
        while let Some((partition, ids, fetched)) = fetches.next().await {
            match fetched {
                // One that is not there any more was deleted since the view was let go: it is no hit any more, either.
                Ok(found) => documents.extend(ids.into_iter().zip(found).filter_map(|(id, found)| Some((id, found?)))),
                Err(AskError::Refused(refused)) => return Err(refused),
                Err(AskError::Failed(reason)) => {
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
        Ok(hits)
    }
}

/// Where the documents of a partition's hits are that did not come along.
struct Source {
    worker: WorkerId,
    /// What the worker searched.
    view: Option<u64>,
    /// What another worker must have seen.
    at_least: Option<Position>,
}

/// The hits as clients see them.
fn present(hits: Vec<MergedHit>, sort: &[SortKey], failed: &mut Vec<PartitionFailure>) -> Vec<Hit> {
    let mut presented = Vec::with_capacity(hits.len());
    for MergedHit { partition, hit } in hits {
        let sort = sort.iter().zip(&hit.sort).map(|(key, value)| match key.by {
            SortBy::Score => hit.score.map_or(Value::Null, short),
            _ => value.to_json(),
        });
        let sort = sort.collect();
        let Some(found) = hit.found else { continue };
        match String::from_utf8(found.body).map_err(|error| error.to_string()).and_then(json) {
            Ok(document) => {
                presented.push(Hit { id: hit.id, score: hit.score, sort, document, highlights: found.highlights });
            }
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

/// A score with its few digits: as a float of 64 bits it would have those of its rounding, too.
fn short(score: f32) -> Value {
    score.to_string().parse::<f64>().map_or(Value::Null, Value::from)
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
