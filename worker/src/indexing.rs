//! Turns the messages of a log into an index: judges each batch, applies its operations, commits both with the place in
//! the log. Everything here blocks, and runs on a thread for such work.

use std::sync::Arc;

use bytes::Bytes;
use warren_index::{Checkpoint, IndexError, LastMessage, PartitionIndex, PartitionWriter};
use warren_protocol::batch::{BatchError, Kind, Operations};
use warren_protocol::ports::{FollowFrom, LogEntry, Message, Position};
use warren_protocol::receipt::{Failed, Report, Wanted};
use warren_protocol::writer::Verdict;
use warren_protocol::{Batch, IndexName, Operation};

/// A message of the log with its header read.
pub(crate) struct Received {
    pub entry: LogEntry,
    pub batch: Batch,
}

impl Received {
    /// Reads the header.
    pub(crate) fn new(entry: LogEntry) -> Result<Self, BatchFailure> {
        let batch = Batch::decode(&entry.message).map_err(|error| BatchFailure { position: entry.position, error })?;
        Ok(Self { entry, batch })
    }

    /// The bytes of its documents.
    pub(crate) fn document_bytes(&self) -> u64 {
        match self.batch.header.kind {
            Kind::Write { unpacked_bytes, .. } => unpacked_bytes.into(),
            Kind::Open { .. } => 0,
        }
    }
}

/// A batch that cannot be read. It is never skipped: the partition stops here until a program comes that can.
#[derive(Debug, thiserror::Error)]
#[error("the batch at position {position} of the log cannot be read: {error}")]
pub(crate) struct BatchFailure {
    pub position: Position,
    pub error: BatchError,
}

/// Why indexing stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexingError {
    #[error(transparent)]
    Batch(#[from] BatchFailure),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// One partition's writer with its place in the log.
pub(crate) struct Indexer {
    index: PartitionIndex,
    writer: PartitionWriter,
    /// What the next commit will say.
    place: Checkpoint,
    name: Arc<IndexName>,
}

/// What came of a message.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// The documents that could not be indexed, for the dead letters.
    pub dead: Vec<Message>,
    /// What is to be told once the batch is visible, if somebody wants to know.
    pub report: Option<(Wanted, Report)>,
}

/// What became visible with a commit.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub position: Option<Position>,
    pub documents: u64,
    pub log_bytes: u64,
    pub operations: u64,
    pub lost: Option<String>,
}

/// The longest account of what a partition has lost, in bytes.
const MAX_LOST: usize = 1000;

impl Indexer {
    /// A writer that goes on where the last commit ended.
    pub(crate) fn new(index: PartitionIndex, checkpoint: Option<Checkpoint>, name: IndexName) -> Result<Self, IndexError> {
        let writer = index.writer()?;
        Ok(Self { index, writer, place: checkpoint.unwrap_or_default(), name: Arc::new(name) })
    }

    /// Where to follow the log from.
    pub(crate) fn follow_from(&self) -> FollowFrom {
        match self.place.last {
            Some(LastMessage { position, digest }) => FollowFrom::After { position, digest },
            None => FollowFrom::Start,
        }
    }

    /// What the last commit made visible.
    pub(crate) fn committed(&self) -> Committed {
        Committed {
            position: self.place.last.map(|last| last.position),
            documents: self.index.documents(),
            log_bytes: self.place.log_bytes,
            operations: self.place.operations,
            lost: self.place.lost.clone(),
        }
    }

    /// The writer, for merges.
    pub(crate) fn writer_mut(&mut self) -> &mut PartitionWriter {
        &mut self.writer
    }

    /// Begins with the first message of another log, and keeps what is there.
    pub(crate) fn begin_anew(&mut self) {
        self.place.last = None;
    }

    /// Notes what is lost for ever; it becomes part of every commit and every snapshot from now on.
    pub(crate) fn note_lost(&mut self, what: &str) {
        let lost = self.place.lost.get_or_insert_default();
        if !lost.contains(what) && lost.len() + what.len() <= MAX_LOST {
            if !lost.is_empty() {
                lost.push_str("; ");
            }
            lost.push_str(what);
        }
    }

    /// Applies a message.
    pub(crate) fn apply(&mut self, received: &Received) -> Result<Applied, IndexingError> {
        let Received { entry, batch } = received;
        let position = entry.position;
        if self.place.last.is_some_and(|last| position <= last.position) {
            return Ok(Applied::default()); // a log that was followed from its start again
        }
        // Read to its end before anything of it counts: a batch is applied whole or not at all.
        let failure = |error| BatchFailure { position, error };
        let operations = batch.operations().map_err(failure)?;
        operations.iter().try_for_each(|operation| operation.map(drop)).map_err(failure)?;
        let applied = match self.place.writers.judge(&batch.header, position) {
            Verdict::Apply => self.index_operations(batch, &operations, position)?,
            Verdict::ApplyAfterGap { expected, found } => {
                let writer = batch.header.writer;
                if self.place.last.is_some_and(|last| position.0 > last.position.0 + 1) {
                    // What stood at the positions between was more than the beginning of a segment.
                    tracing::error!(%position, %writer, expected, found, "batches were cut off the log before they were read: they are lost");
                    self.note_lost(&format!("{} batches of writer {writer} before position {position}", found - expected));
                } else {
                    tracing::error!(%position, %writer, expected, found, "batches are missing in the log, they may still come");
                }
                self.index_operations(batch, &operations, position)?
            }
            Verdict::Lost { expected, next } => {
                let writer = batch.header.writer;
                tracing::error!(%position, %writer, expected, next, "the broker has lost batches that it had confirmed");
                self.note_lost(&format!("{} batches of writer {writer} before position {position}", next - expected));
                Applied::default()
            }
            Verdict::Opened => Applied::default(),
            verdict @ (Verdict::Duplicate | Verdict::Stale) => {
                tracing::debug!(%position, ?verdict, "skipped a batch");
                Applied::default()
            }
        };
        self.place.last = Some(LastMessage { position, digest: entry.digest() });
        self.place.log_bytes += entry.message.len() as u64;
        if let Kind::Write { operations, .. } = batch.header.kind {
            self.place.operations += u64::from(operations);
        }
        Ok(applied)
    }

    fn index_operations(&mut self, batch: &Batch, operations: &Operations, position: Position) -> Result<Applied, IndexingError> {
        let (mut dead, mut failed) = (Vec::new(), Vec::new());
        for (number, operation) in (0..).zip(operations.iter()) {
            match operation.map_err(|error| BatchFailure { position, error })? {
                Operation::Delete { id } => self.writer.delete(id),
                Operation::Put { id, body } => match self.writer.put(id, body) {
                    Ok(()) => {}
                    Err(IndexError::Document { reason, .. }) => {
                        dead.push(self.dead_letter(id, body, &reason));
                        failed.push(Failed { operation: number, detail: reason });
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        let report = batch.wanted.map(|wanted| (wanted, Report { batch: wanted.batch, position, failed }));
        Ok(Applied { dead, report })
    }

    /// The producer checks documents; what passed there and fails here is a difference between the two that a person has
    /// to look at, with the document at hand.
    fn dead_letter(&self, id: &str, body: &[u8], detail: &str) -> Message {
        tracing::error!(id, detail, "a document cannot be indexed, it goes to the dead letters");
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Message {
            body: Bytes::copy_from_slice(body),
            routing_key: self.name.to_string(),
            message_id: Some(id.to_owned()),
            headers: [
                header("warren-reason", "not_indexable"),
                header("warren-detail", detail),
                header("warren-source", "worker"),
                header("warren-attempts", "1"),
            ]
            .into(),
            ..Message::default()
        }
    }

    /// The bytes that wait for the commit, deletions included.
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        self.writer.uncommitted_bytes()
    }

    /// Makes everything applied so far visible and remembers the place in the log, in one.
    pub(crate) fn commit(&mut self) -> Result<Committed, IndexError> {
        if self.place.last.is_some() {
            self.writer.commit(&self.place)?;
        }
        Ok(self.committed())
    }
}
