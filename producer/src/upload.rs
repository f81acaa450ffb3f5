//! One upload of many documents: checks each, writes them in chunks, and counts what became of them.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use warren_protocol::catalog::Entry;
use warren_protocol::document::{IdSource, id_in};
use warren_protocol::problem::Code;
use warren_protocol::{IndexDefinition, IndexName, Problem};

use crate::admission::{Admission, Refused};
use crate::publisher::{Publisher, Write, WriteError};
use crate::receipts::{Found, Gathering, Ticket};
use crate::split::Piece;

/// A chunk is handed to the publisher at this size: small enough that checking it does not hold up the runtime.
const CHUNK_BYTES: usize = 64 * 1024;

/// What became of an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// How many documents the broker has confirmed.
    pub accepted: u64,
    /// How many were refused.
    pub rejected_count: u64,
    /// The first of those, with their reasons.
    pub rejected: Vec<Rejection>,
}

impl Summary {
    /// Counts and lists a document that was refused.
    pub fn reject(&mut self, line: u64, number: u64, problem: Problem) {
        self.rejected_count += 1;
        self.rejected.push(Rejection { line, number, id: None, code: problem.code, detail: problem.detail });
    }
}

/// A document that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejection {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Which document of the body it is, from 1.
    #[serde(default)]
    pub number: u64,
    /// Its id, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A stable word for programs.
    pub code: Code,
    /// What is wrong, and how to mend it.
    pub detail: String,
}

/// An upload that ended early.
#[derive(Debug, thiserror::Error)]
#[error("{problem} ({} documents before were confirmed)", summary.accepted)]
pub struct Interrupted {
    /// Why.
    pub problem: Problem,
    /// What had become of the documents before.
    pub summary: Summary,
}

/// A chunk that was handed over.
struct Sent {
    documents: u64,
    /// To write them again; empty unless the upload can go on.
    writes: Vec<Write>,
    tickets: Vec<Ticket>,
}

/// An upload that is under way.
pub struct Upload {
    admission: Admission,
    publisher: Publisher,
    index: IndexName,
    entry: Option<Arc<Entry>>,
    chunk: Vec<Write>,
    chunk_bytes: usize,
    on_their_way: FuturesOrdered<BoxFuture<'static, (Sent, Result<(), WriteError>)>>,
    /// Chunks that were not handed over; all of them come behind those on their way. Empty unless it can go on.
    not_sent: VecDeque<Vec<Write>>,
    /// A piece whose index could not be used; it comes behind those.
    not_admitted: Option<Piece>,
    goes_on: bool,
    /// Their receipts, if they are wanted.
    gathering: Option<Gathering>,
    summary: Summary,
    max_listed: usize,
}

impl Upload {
    /// An upload to `index`, which lists at most `max_listed` refused documents.
    pub fn new(admission: Admission, publisher: Publisher, index: IndexName, max_listed: usize) -> Self {
        let entry = admission.known(&index);
        Self {
            admission,
            publisher,
            index,
            entry,
            chunk: Vec::new(),
            chunk_bytes: 0,
            on_their_way: FuturesOrdered::new(),
            not_sent: VecDeque::new(),
            not_admitted: None,
            goes_on: false,
            gathering: None,
            summary: Summary::default(),
            max_listed,
        }
    }

    /// The same, with receipts for all documents.
    #[must_use]
    pub fn with_receipts(mut self) -> Self {
        self.gathering = Some(Gathering::new(self.max_listed));
        self
    }

    /// The same, which can [go on](Self::go_on) after an error: it keeps what is not confirmed.
    #[must_use]
    pub fn that_goes_on(mut self) -> Self {
        self.goes_on = true;
        self
    }

    /// What has become of the documents so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Takes the next piece; waits where the broker is slower than the client.
    pub async fn take(&mut self, piece: Piece) -> Result<(), Problem> {
        let body = match piece.content {
            Ok(body) => body,
            Err(error) => {
                self.reject(piece.line, piece.number, &Bytes::new(), Problem::new(error.code(), error.to_string()));
                return Ok(());
            }
        };
        match self.admit(body.clone()).await {
            Ok(write) => self.add(write).await,
            Err(Refused::Document(problem)) => {
                self.reject(piece.line, piece.number, &body, problem);
                Ok(())
            }
            Err(Refused::Index(problem)) => {
                self.not_admitted = self.goes_on.then_some(Piece { content: Ok(body), ..piece });
                Err(problem)
            }
        }
    }

    async fn admit(&mut self, body: Bytes) -> Result<Write, Refused> {
        if let Some(entry) = &self.entry {
            let checked = self.admission.check(&self.index, &entry.definition, body, IdSource::Document);
            return checked.map_err(Refused::Document);
        }
        let (entry, write) = self.admission.put(&self.index, body, IdSource::Document).await?;
        self.entry = Some(entry);
        Ok(write)
    }

    async fn add(&mut self, write: Write) -> Result<(), Problem> {
        self.chunk_bytes += write.held_bytes();
        self.chunk.push(write);
        if self.chunk_bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.send_chunk().await?;
        while let Some(Some((sent, outcome))) = self.on_their_way.next().now_or_never() {
            self.confirmed_or_kept(sent, outcome)?;
        }
        Ok(())
    }

    async fn send_chunk(&mut self) -> Result<(), Problem> {
        let writes = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        if writes.is_empty() { Ok(()) } else { self.send(writes).await }
    }

    async fn send(&mut self, writes: Vec<Write>) -> Result<(), Problem> {
        let Some(entry) = &self.entry else { return Ok(()) };
        let (documents, again) = (writes.len() as u64, if self.goes_on { writes.clone() } else { Vec::new() });
        let mut handed = match self.publisher.write_for(entry, writes, self.gathering.is_some()).await {
            Ok(handed) => handed,
            Err(error) => {
                if self.goes_on {
                    self.not_sent.push_front(again);
                }
                return Err(error.into());
            }
        };
        let sent = Sent { documents, writes: again, tickets: handed.take_tickets() };
        self.on_their_way.push_back(Box::pin(async move { (sent, handed.confirmed().await) }));
        Ok(())
    }

    fn confirmed(&mut self, sent: Sent, outcome: Result<(), WriteError>) -> Result<(), Problem> {
        outcome?;
        self.summary.accepted += sent.documents;
        if let Some(gathering) = &mut self.gathering {
            gathering.add(sent.tickets);
        }
        Ok(())
    }

    /// The same; what is not confirmed stays the first of those on their way, if the upload can go on.
    fn confirmed_or_kept(&mut self, sent: Sent, outcome: Result<(), WriteError>) -> Result<(), Problem> {
        if self.goes_on
            && let Err(error) = outcome
        {
            self.on_their_way.push_front(Box::pin(ready((sent, Err(error.clone())))));
            return Err(error.into());
        }
        self.confirmed(sent, outcome)
    }

    /// Writes again what was not confirmed, and whatever came behind it, so that the last state of a document stays the last one.
    /// For whoever has waited after an error of an upload [that goes on](Self::that_goes_on); before the next piece.
    pub async fn go_on(&mut self) -> Result<(), Problem> {
        let mut again = VecDeque::new();
        while let Some((sent, outcome)) = self.on_their_way.next().await {
            match outcome {
                Ok(()) if again.is_empty() => self.confirmed(sent, Ok(()))?,
                _ => again.push_back(sent.writes),
            }
        }
        again.append(&mut self.not_sent);
        self.not_sent = again;
        while let Some(writes) = self.not_sent.pop_front() {
            self.send(writes).await?;
        }
        match self.not_admitted.take() {
            Some(piece) => self.take(piece).await,
            None => Ok(()),
        }
    }

    /// Waits until all pieces so far are confirmed.
    pub async fn flush(&mut self) -> Result<(), Problem> {
        self.send_chunk().await?;
        while let Some((sent, outcome)) = self.on_their_way.next().await {
            self.confirmed_or_kept(sent, outcome)?;
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, number: u64, body: &[u8], problem: Problem) {
        self.summary.rejected_count += 1;
        if self.summary.rejected.len() < self.max_listed {
            let id = match &self.entry {
                Some(entry) => id_in(&entry.definition, body),
                None => id_in(&IndexDefinition::default(), body),
            };
            let (id, code, detail) = (id.map(String::from), problem.code, problem.detail);
            self.summary.rejected.push(Rejection { line, number, id, code, detail });
        }
    }

    /// Waits for the last confirms.
    pub async fn finish(mut self) -> Result<Summary, Interrupted> {
        let outcome = self.drain().await;
        self.end(outcome)
    }

    /// Waits for the last confirms; with receipts, also until a search sees what was confirmed, at most for `wait`.
    pub async fn finish_within(mut self, wait: Duration) -> Result<(Summary, Option<Found>), Interrupted> {
        let outcome = self.drain().await;
        let gathering = self.gathering.take();
        let summary = self.end(outcome)?;
        let found = match gathering {
            Some(gathering) => Some(gathering.finish(Instant::now() + wait).await),
            None => None,
        };
        Ok((summary, found))
    }

    /// Ends the upload early, for this reason; what was handed over before is still counted.
    pub async fn interrupt(mut self, problem: Problem) -> Interrupted {
        self.chunk.clear();
        // The first problem is the one to tell.
        let _ = self.drain().await;
        Interrupted { problem, summary: self.summary }
    }

    async fn drain(&mut self) -> Result<(), Problem> {
        let mut outcome = self.send_chunk().await;
        while let Some((sent, confirm)) = self.on_their_way.next().await {
            outcome = outcome.and(self.confirmed(sent, confirm));
        }
        outcome
    }

    fn end(self, outcome: Result<(), Problem>) -> Result<Summary, Interrupted> {
        match outcome {
            Ok(()) => Ok(self.summary),
            Err(problem) => Err(Interrupted { problem, summary: self.summary }),
        }
    }
}
