//! Answers the questions of query services: about one partition, or to this very worker.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use warren_index::{PartitionIndex, SearchError, SearchSpec};
use warren_protocol::ports::{RpcCall, RpcTarget};
use warren_protocol::rpc::{Answer, Failure, Found, Item, Message, Question, Reply, Request};
use warren_protocol::{DocumentId, PartitionId, Query};

use crate::Shared;

/// Between two tries to serve.
const PAUSE: Duration = Duration::from_secs(1);
/// What a worker has unanswered of one queue at a time. More would wait here instead of at a replica that is free.
const CONCURRENCY: NonZeroU16 = NonZeroU16::MIN.saturating_add(15);

/// Serves the questions to this worker, until this future is dropped.
pub(crate) async fn serve_worker(shared: Arc<Shared>) {
    let target = RpcTarget::Worker(shared.id.clone());
    serve(shared, target).await;
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
    let answers = match Request::decode(&call.request) {
        Ok(request) => {
            let deadline = Instant::now() + Duration::from_millis(request.remaining_ms.into());
            let answers = request.items.into_iter().map(|item| answer_item(&shared, item, deadline));
            join_all(answers).await
        }
        // One answer is enough: the caller counts on none.
        Err(error) => vec![Err(Failure::Internal(error.to_string()))],
    };
    match (Reply { worker: shared.id.clone(), answers }).encode() {
        Ok(reply) => {
            if let Err(error) = call.reply(reply).await {
                tracing::warn!(%error, "cannot send a reply");
            }
        }
        Err(error) => tracing::error!(%error, "cannot encode a reply"),
    }
}

async fn answer_item(shared: &Shared, item: Item, deadline: Instant) -> Result<Answer, Failure> {
    let partition = PartitionId { index: item.index, partition: item.partition };
    let index = shared.holdings.index(&partition).ok_or(Failure::NotHere)?;
    let max_bytes = shared.config.max_answer_bytes.get() as usize;
    shared.pool.run(deadline, move || answer(&index, item.question, max_bytes)).await
}

/// The first of these documents, as many as `max_bytes` hold, and at least one: the caller asks again for the rest.
fn fetch(
    index: &PartitionIndex,
    ids: &[String],
    highlight: Option<&Query>,
    max_bytes: usize,
) -> Result<Vec<Option<Found>>, SearchError> {
    let (mut documents, mut bytes) = (Vec::new(), 0);
    for id in ids {
        let found = index.fetch(std::slice::from_ref(id), highlight)?;
        bytes += found.iter().flatten().map(|found| found.body.len()).sum::<usize>();
        documents.extend(found);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(documents)
}

/// A page of ids; shorter than asked where a message could not hold it.
fn ids(index: &PartitionIndex, filter: &Query, after: Option<&str>, limit: u32, max_bytes: usize) -> Result<Answer, SearchError> {
    let limit = (limit as usize).clamp(1, max_bytes.div_ceil(DocumentId::MAX_LEN));
    let ids = index.matching_ids(filter, after, limit)?;
    Ok(Answer::Ids { more: ids.len() == limit, ids })
}

fn answer(index: &PartitionIndex, question: Question, max_bytes: usize) -> Result<Answer, Failure> {
    let answered = match question {
        Question::Search { query, lenient, hits, count, highlight } => {
            let query = Query::parse(&query, lenient).map_err(|error| Failure::InvalidQuery(error.to_string()))?;
            let spec = SearchSpec { query, filter: None, hits: hits as usize, count, highlight, max_bytes };
            index.search(&spec).map(|result| Answer::Hits { total: result.total, hits: result.hits })
        }
        Question::Fetch { ids, highlight } => {
            let highlight = highlight.map(|text| Query::parse(&text, true)).transpose();
            let highlight = highlight.map_err(|error| Failure::InvalidQuery(error.to_string()))?;
            fetch(index, &ids, highlight.as_ref(), max_bytes).map(Answer::Documents)
        }
        Question::Ids { filter, after, limit } => ids(index, &filter, after.as_deref(), limit, max_bytes),
    };
    answered.map_err(|error| {
        if let SearchError::Internal(error) = &error {
            tracing::error!(%error, "a search failed");
        }
        error.into()
    })
}
