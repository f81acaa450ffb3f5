//! Receipts for whoever waits within a request: how many of its writes can be found, where they stand, which are pending.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use warren_protocol::DocumentId;
use warren_protocol::ports::Position;
use warren_protocol::receipt::WrittenAt;

use super::{Seen, Ticket};

/// Which writes a search sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Found {
    /// How many of the accepted writes a search sees.
    pub searchable: u64,
    /// Where those stand, one position for each partition: a search with them as `at_least` sees them all.
    #[schema(value_type = Vec<String>, example = json!(["17.2.1043"]))]
    pub positions: Vec<WrittenAt>,
    /// How many are kept, and not known to be seen by a search yet.
    pub pending_count: u64,
    /// The ids of the first of those.
    pub pending: Vec<String>,
    /// Those that passed the checks and could not be indexed all the same; they are dead letters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
}

/// A document that could not be indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lost {
    /// Its id.
    pub id: String,
    /// Why.
    pub detail: String,
}

impl Found {
    /// Whether a search sees every write.
    pub fn is_complete(&self) -> bool {
        self.pending_count == 0 && self.lost.is_empty()
    }

    /// Adds what another request has written.
    pub fn add(&mut self, other: Self, max_listed: usize) {
        self.searchable += other.searchable;
        self.pending_count += other.pending_count;
        self.positions.extend(other.positions);
        self.pending.extend(other.pending);
        self.lost.extend(other.lost);
        self.pending.truncate(max_listed);
        self.lost.truncate(max_listed);
        let mut furthest = BTreeMap::new();
        for position in self.positions.drain(..) {
            note(&mut furthest, position);
        }
        self.positions = positions(furthest);
    }
}

type Furthest = BTreeMap<(u64, u32), Position>;

fn note(furthest: &mut Furthest, written: WrittenAt) {
    let position = furthest.entry((written.generation.0, written.partition)).or_insert(written.position);
    *position = written.position.max(*position);
}

fn positions(furthest: Furthest) -> Vec<WrittenAt> {
    let written = |((generation, partition), position)| {
        let generation = warren_protocol::Generation(generation);
        WrittenAt { generation, partition, position }
    };
    furthest.into_iter().map(written).collect()
}

/// The tickets of one request.
#[derive(Default)]
pub(crate) struct Gathering {
    waiting: FuturesUnordered<BoxFuture<'static, (u64, Option<Seen>)>>,
    /// The documents of those that are waited for, by the number of their ticket.
    ids: BTreeMap<u64, Vec<DocumentId>>,
    next: u64,
    furthest: Furthest,
    found: Found,
    max_listed: usize,
}

impl Gathering {
    /// Lists at most so many pending documents; all are counted.
    pub(crate) fn new(max_listed: usize) -> Self {
        Self { max_listed, ..Self::default() }
    }

    /// Waits for these, too; takes what has come of others meanwhile.
    pub(crate) fn add(&mut self, tickets: Vec<Ticket>) {
        for mut ticket in tickets {
            let number = self.next;
            self.next += 1;
            self.ids.insert(number, std::mem::take(&mut ticket.ids));
            self.waiting.push(async move { (number, ticket.seen().await) }.boxed());
        }
        while let Some(Some((number, seen))) = self.waiting.next().now_or_never() {
            self.take(number, seen);
        }
    }

    /// How many tickets are waited for.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Waits for all, at most until then.
    pub(crate) async fn finish(mut self, until: Instant) -> Found {
        while let Ok(Some((number, seen))) = tokio::time::timeout_at(until, self.waiting.next()).await {
            self.take(number, seen);
        }
        for ids in std::mem::take(&mut self.ids).into_values() {
            self.pend(&ids);
        }
        self.found.positions = positions(self.furthest);
        self.found
    }

    fn take(&mut self, number: u64, seen: Option<Seen>) {
        let ids = self.ids.remove(&number).unwrap_or_default();
        let Some(Seen { position, failed }) = seen else { return self.pend(&ids) };
        note(&mut self.furthest, position);
        self.found.searchable += (ids.len() - failed.len().min(ids.len())) as u64;
        for failed in failed {
            if let Some(id) = ids.get(failed.operation as usize)
                && self.found.lost.len() < self.max_listed.max(1)
            {
                self.found.lost.push(Lost { id: id.to_string(), detail: failed.detail });
            }
        }
    }

    fn pend(&mut self, ids: &[DocumentId]) {
        self.found.pending_count += ids.len() as u64;
        let room = self.max_listed.saturating_sub(self.found.pending.len());
        self.found.pending.extend(ids.iter().take(room).map(ToString::to_string));
    }
}
