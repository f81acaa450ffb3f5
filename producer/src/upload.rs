//! One upload of many documents: checks each, writes them in chunks, and counts what became of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use warren_protocol::catalog::Entry;
use warren_protocol::document::IdSource;
use warren_protocol::problem::Code;
use warren_protocol::{IndexName, Problem};

use crate::admission::{Admission, Refused};
use crate::publisher::{Publisher, Write, WriteError};
use crate::receipts::{Found, Gathering};
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

/// A document that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejection {
    /// The line on which it begins, from 1.
    pub line: u64,
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

/// An upload that is under way.
pub struct Upload {
    admission: Admission,
    publisher: Publisher,
    index: IndexName,
    entry: Option<Arc<Entry>>,
    chunk: Vec<Write>,
    chunk_bytes: usize,
    on_their_way: FuturesUnordered<BoxFuture<'static, (u64, Result<(), WriteError>)>>,
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
            on_their_way: FuturesUnordered::new(),
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

    /// What has become of the documents so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Takes the next piece; waits where the broker is slower than the client.
    pub async fn take(&mut self, piece: Piece) -> Result<(), Problem> {
        let Piece { line, content } = piece;
        let body = match content {
            Ok(body) => body,
            Err(error) => {
                self.reject(line, Problem::new(error.code(), error.to_string()));
                return Ok(());
            }
        };
        match self.admit(body).await {
            Ok(write) => self.add(write).await,
            Err(Refused::Document(problem)) => {
                self.reject(line, problem);
                Ok(())
            }
            Err(Refused::Index(problem)) => Err(problem),
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
        self.chunk_bytes += write.body.as_ref().map_or(0, Bytes::len);
        self.chunk.push(write);
        if self.chunk_bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.send_chunk().await?;
        while let Some(Some((documents, outcome))) = futures_util::FutureExt::now_or_never(self.on_their_way.next()) {
            self.confirmed(documents, outcome)?;
        }
        Ok(())
    }

    async fn send_chunk(&mut self) -> Result<(), Problem> {
        let (Some(entry), false) = (&self.entry, self.chunk.is_empty()) else {
            return Ok(());
        };
        let writes = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        let documents = writes.len() as u64;
        let mut handed = self.publisher.write_for(entry, writes, self.gathering.is_some()).await?;
        if let Some(gathering) = &mut self.gathering {
            gathering.add(handed.take_tickets());
        }
        self.on_their_way.push(Box::pin(async move { (documents, handed.confirmed().await) }));
        Ok(())
    }

    fn confirmed(&mut self, documents: u64, outcome: Result<(), WriteError>) -> Result<(), Problem> {
        outcome?;
        self.summary.accepted += documents;
        Ok(())
    }

    fn reject(&mut self, line: u64, problem: Problem) {
        self.summary.rejected_count += 1;
        if self.summary.rejected.len() < self.max_listed {
            self.summary.rejected.push(Rejection { line, id: None, code: problem.code, detail: problem.detail });
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
        while let Some((documents, confirm)) = self.on_their_way.next().await {
            outcome = outcome.and(self.confirmed(documents, confirm));
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
