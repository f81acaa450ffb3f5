//! Answers the questions of query services: about one partition, or to this very worker.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use warren_index::{Limits, SearchError, View};
use warren_protocol::merging::MergeState;
use warren_protocol::ports::{RpcCall, RpcTarget, WorkerId};
use warren_protocol::rpc::{
    Answer, Failure, Hits, Item, MAX_REPLY_BYTES, MAX_STATISTICS, Message, MessageError, Question, Reply, Request, VERSION,
};
use warren_protocol::{PartitionId, Query};

use crate::Shared;

/// Between two tries to serve.
const PAUSE: Duration = Duration::from_secs(1);
/// What a worker has unanswered of one queue at a time. More would wait here instead of at a replica that is free.
const CONCURRENCY: NonZeroU16 = NonZeroU16::MIN.saturating_add(15);
/// A question whose queries cost more takes long, see [`Query::cost`].
const DEAR: usize = 64;

/// The most time that is kept for the reply that a partition is behind.
const LONGEST_MARGIN: Duration = Duration::from_millis(100);

/// Serves the questions to this worker, until this future is dropped.
pub(crate) async fn serve_worker(shared: Arc<Shared>) {
    let target = RpcTarget::Worker(shared.id.clone());
    tokio::join!(serve(shared.clone(), target), shared.views.sweep());
}

/// Serves the questions to a partition, until this future is dropped; what is being answered then is still answered.
pub(crate) async fn serve_partition(shared: Arc<Shared>, partition: PartitionId) {
    serve(shared, RpcTarget::Partition(partition)).await;
}

async fn serve(shared: Arc<Shared>, target: RpcTarget) {
    loop {
        match shared.ports.rpc.serve(&target, CONCURRENCY).await {
            Ok(mut incoming) => {
                let answering = TaskTracker::new();
                while let Some(call) = incoming.next().await {
                    answering.spawn(answer_call(shared.clone(), call));
                }
            }
            Err(error) => tracing::warn!(%target, %error, "cannot serve searches"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answer_call(shared: Arc<Shared>, call: RpcCall) {
    let (answers, version) = match Request::decode_versioned(&call.request) {
        Ok((request, version)) => {
            let deadline = Instant::now() + Duration::from_millis(request.remaining_ms.into());
            let answers = request.items.into_iter().map(|item| answer_item(&shared, item, deadline));
            (join_all(answers).await, version)
        }
        // One answer is enough: the caller counts on none.
        Err(error) => (vec![Err(Failure::Internal(error.to_string()))], VERSION),
    };
    match encoded(&shared.id, answers, version) {
        Ok(reply) => {
            if let Err(error) = call.reply(reply).await {
                tracing::warn!(%error, "cannot send a reply");
            }
        }
        Err(error) => tracing::error!(%error, "cannot encode a reply"),
    }
}

/// The reply to questions of that version; where no message can hold it, what to ask for instead.
fn encoded(worker: &WorkerId, answers: Vec<Result<Answer, Failure>>, version: u8) -> Result<Bytes, MessageError> {
    let aggregations = |answer: &Result<Answer, Failure>| match answer {
        Ok(Answer::Hits(Hits { aggregations: Some(found), .. })) => found.len(),
        _ => 0,
    };
    let aggregated = answers.iter().map(aggregations).sum::<usize>() > MAX_REPLY_BYTES / 2;
    let asked = answers.len();
    let reply = Reply { worker: worker.clone(), answers }.encode_for(version)?;
    if reply.len() <= MAX_REPLY_BYTES {
        return Ok(reply);
    }
    let (field, less) = match aggregated {
        true => ("aggregations", "aggregate into fewer buckets"),
        false => ("limit", "ask for fewer hits (limit and offset), fewer fields, or shorter passages"),
    };
    let detail = format!("a partition's answer has {} bytes, and a message at most {MAX_REPLY_BYTES}: {less}", reply.len());
    let failure = Failure::InvalidRequest { field: field.to_owned(), detail };
    Reply { worker: worker.clone(), answers: vec![Err(failure); asked] }.encode_for(version)
}

async fn answer_item(shared: &Arc<Shared>, item: Item, deadline: Instant) -> Result<Answer, Failure> {
    let partition = PartitionId { index: item.index, partition: item.partition };
    let replica = shared.holdings.holding(&partition).ok_or(Failure::NotHere)?;
    let index = match item.at_least {
        None => replica.index().ok_or(Failure::NotHere)?,
        // It says in time that it cannot.
        Some(position) => replica.index_at(position, deadline - reply_margin(deadline)).await?,
    };
    let worker = shared.clone();
    match item.question {
        Question::Suggest(typed) => {
            shared.pool.run(deadline, false, move || answered(index.suggest(&typed).map(Answer::Suggestions))).await
        }
        Question::Merge { ticket } => {
            let holding = shared.holdings.holding(&partition).ok_or(Failure::NotHere)?;
            let (ticket, done) = holding.merges.ask(ticket);
            let state = move || {
                let (segments, documents, deleted) = (index.size().segments, index.documents(), index.deleted());
                Ok(Answer::Merge(MergeState { ticket, done, segments, documents, deleted }))
            };
            shared.pool.run(deadline, false, state).await
        }
        question => {
            let is_dear = cost(&question) > DEAR;
            let search = move || answer(&worker, index.view(), question, deadline);
            shared.pool.run(deadline, is_dear, search).await
        }
    }
}

/// How much the queries of a question cost.
fn cost(question: &Question) -> usize {
    match question {
        Question::Search(search) => search.query.cost() + search.filter.as_ref().map_or(0, Query::cost),
        Question::Statistics { queries } => queries.iter().map(Query::cost).sum(),
        // The query of a fetch only says what to highlight.
        Question::Fetch(_) | Question::Suggest(_) | Question::Merge { .. } => 0,
    }
}

/// What is kept of the time that is left for the way back.
fn reply_margin(deadline: Instant) -> Duration {
    (deadline.saturating_duration_since(Instant::now()) / 10).min(LONGEST_MARGIN)
}

fn answer(shared: &Shared, view: View, question: Question, deadline: Instant) -> Result<Answer, Failure> {
    let limits = Limits { bytes: shared.config.max_answer_bytes.get() as usize, deadline: deadline.into() };
    let found = match question {
        Question::Search(search) => view.search(&search, &limits).map(|mut hits| {
            if hits.hits.iter().any(|hit| hit.found.is_none()) {
                hits.view = shared.views.keep(view, deadline);
            }
            Answer::Hits(hits)
        }),
        Question::Fetch(fetch) => {
            let seen = fetch.view.and_then(|name| shared.views.get(name)).unwrap_or(view);
            seen.fetch(&fetch, &limits).map(Answer::Documents)
        }
        Question::Statistics { queries } => queries
            .iter()
            .take(MAX_STATISTICS)
            .map(|query| view.statistics(query))
            .collect::<Result<_, _>>()
            .map(Answer::Statistics),
        Question::Suggest(_) | Question::Merge { .. } => return Err(Failure::Internal("this is no search".to_owned())),
    };
    answered(found)
}

fn answered(answer: Result<Answer, SearchError>) -> Result<Answer, Failure> {
    answer.map_err(|error| {
        if let SearchError::Internal(error) = &error {
            tracing::error!(%error, "a search failed");
        }
        error.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_message_holds_becomes_a_refusal_that_names_the_part_to_change() {
        let worker = WorkerId("w".to_owned());
        let large = || Some(vec![7; MAX_REPLY_BYTES]);
        let aggregated = Answer::Hits(Hits { aggregations: large(), ..Hits::default() });
        let found = large().map(|body| warren_protocol::rpc::Found { body, highlights: Default::default() });
        for (answer, field) in [(aggregated, "aggregations"), (Answer::Documents(vec![found]), "limit")] {
            let reply = encoded(&worker, vec![Ok(answer), Err(Failure::NotHere)], VERSION).unwrap();
            let answers = Reply::decode(&reply).unwrap().answers;
            assert_eq!(answers.len(), 2);
            assert!(matches!(&answers[0], Err(Failure::InvalidRequest { field: named, .. }) if named == field), "{answers:?}");
        }
        let small = vec![Ok(Answer::Hits(Hits::default()))];
        assert_eq!(Reply::decode(&encoded(&worker, small.clone(), VERSION).unwrap()).unwrap().answers, small);
    }
}
