//! The one writer of a partition.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{IndexWriter, TantivyError, Term};
use warren_protocol::ports::Position;
use warren_protocol::writer::WriterTable;

use crate::directory::CacheDirectory;
use crate::document::{Prepared, convert};
use crate::error::IndexError;
use crate::known_ids::KnownIds;
use crate::partition::PartitionIndex;

/// What tantivy asks for at least; its hash table alone takes 5 MB for each open segment.
const MIN_TANTIVY_BYTES: usize = 15_000_000;
const MAX_TANTIVY_BYTES: usize = 2_000_000_000;
/// What one deletion takes until the commit.
const DELETION_BYTES: usize = 1500;
/// A document on its way takes a multiple of its JSON: its values, its words, and the JSON itself.
const PREPARED_FACTOR: usize = 4;
/// The longest that the indexing thread may leave the queue full, writing a large segment.
const STALLED: Duration = Duration::from_secs(300);

/// Where in its log an index is; part of every commit, so that the two cannot part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last message whose operations are in the commit; `None` if the index holds what another log said, and nothing
    /// of its log yet.
    pub last: Option<LastMessage>,
    /// How far each writer of the log is applied.
    pub writers: WriterTable,
    /// The bytes of all messages up to there, since the index was created.
    pub log_bytes: u64,
    /// The operations of all batches up to there, since the index was created.
    pub operations: u64,
    /// What the partition has lost for ever, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// The last message that was read of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMessage {
    /// Where it stands.
    pub position: Position,
    /// What tells it from a message of another log, see [`LogEntry::digest`](warren_protocol::ports::LogEntry::digest).
    pub digest: u32,
}

/// The exclusive right to write a partition. All calls block: it lives on an indexing thread.
///
/// Dropping it saves the last commit, loses what was not committed, and does not wait for merges.
pub struct PartitionWriter {
    index: PartitionIndex,
    tantivy: IndexWriter<Prepared>,
    /// Behind tantivy's writer, which is dropped first.
    _closing: Closing,
    known: KnownIds,
    queue: Arc<Queue>,
    uncommitted_bytes: usize,
}

impl fmt::Debug for PartitionWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionWriter").field("index", &self.index).finish_non_exhaustive()
    }
}

impl PartitionWriter {
    pub(crate) fn new(index: &PartitionIndex, memory_bytes: usize) -> Result<Self, IndexError> {
        // A quarter for documents on their way, the rest for the segment that grows.
        let queue_bytes = memory_bytes / 4;
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread((memory_bytes - queue_bytes).clamp(MIN_TANTIVY_BYTES, MAX_TANTIVY_BYTES))
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        let tantivy = index
            .tantivy()
            .writer_with_options(options)
            .map_err(|error| IndexError::writer(index.directory().to_owned(), error))?;
        tantivy.set_merge_policy(Box::new(merge_policy()));
        let closing = Closing(index.files().clone());
        closing.0.begin();
        let mut known = KnownIds::default();
        for segment in index.searcher().segment_readers() {
            let ids = segment.inverted_index(index.fields().id)?;
            let mut stream = ids.terms().stream().map_err(TantivyError::from)?;
            while stream.advance() {
                known.insert(stream.key());
            }
        }
        let queue = Arc::new(Queue { bytes: Mutex::new(0), limit: queue_bytes, freed: Condvar::new() });
        Ok(Self { index: index.clone(), tantivy, _closing: closing, known, queue, uncommitted_bytes: 0 })
    }

    /// Adds a document in the place of the one with the same id. `IndexError::Document` concerns this document only.
    pub fn put(&mut self, id: &str, body: &[u8]) -> Result<(), IndexError> {
        let values =
            convert(self.index.fields(), id, body).map_err(|reason| IndexError::Document { id: id.to_owned(), reason })?;
        if self.known.insert(id.as_bytes()) {
            self.delete_known(id);
        }
        let in_flight = Queue::enter(&self.queue, body.len() * PREPARED_FACTOR)?;
        self.tantivy.add_document(Prepared { values, in_flight })?;
        self.uncommitted_bytes += body.len() + id.len();
        Ok(())
    }

    /// Removes the document with that id, if there is one.
    pub fn delete(&mut self, id: &str) {
        if self.known.may_have(id.as_bytes()) {
            self.delete_known(id);
        }
    }

    pub(crate) fn index(&self) -> &PartitionIndex {
        &self.index
    }

    pub(crate) fn tantivy_mut(&mut self) -> &mut IndexWriter<Prepared> {
        &mut self.tantivy
    }

    fn delete_known(&mut self, id: &str) {
        self.index.word_counts().doubt();
        self.tantivy.delete_term(Term::from_field_text(self.index.fields().id, id));
        self.uncommitted_bytes += DELETION_BYTES;
    }

    /// Makes everything since the last commit visible to searches, together with its place in the log. Both reach the folder with a later
    /// commit, a snapshot, or the end of this writer ([`Options::save_interval`](crate::Options)): a process that is killed leaves one whole
    /// commit, which may be an earlier one.
    pub fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), IndexError> {
        let payload = serde_json::to_string(checkpoint)?;
        let mut commit = self.tantivy.prepare_commit()?;
        commit.set_payload(&payload);
        commit.commit()?;
        self.index.reload()?;
        self.index.word_counts().refresh(&self.index.searcher())?;
        self.uncommitted_bytes = 0;
        Ok(())
    }

    /// The bytes that were put, and that deletions take, since the last commit. The memory of the documents is bounded without a
    /// commit, that of the deletions is not: commit before this exceeds the memory that is to be kept.
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }
}

/// Saves the last commit when it is dropped.
struct Closing(CacheDirectory);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            tracing::warn!(%error, "the last commits could not be saved: they are read from the log again");
        }
    }
}

/// tantivy's, but for what ten commits a second and many deletions ask for: segments of some hundred documents are not
/// all alike, and a third of deleted documents is too much.
pub(crate) fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_min_layer_size(200);
    policy.set_del_docs_ratio_before_merge(0.3);
    policy
}

/// What lies between the caller and the indexing thread. tantivy bounds it by documents, of which each may have megabytes.
#[derive(Debug)]
struct Queue {
    bytes: Mutex<usize>,
    limit: usize,
    freed: Condvar,
}

impl Queue {
    /// Waits for room; a document larger than the whole queue waits until it is empty.
    fn enter(queue: &Arc<Self>, bytes: usize) -> Result<InFlight, IndexError> {
        let used = queue.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut used, waited) = queue
            .freed
            .wait_timeout_while(used, STALLED, |used| *used > 0 && *used + bytes > queue.limit)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(
                TantivyError::ErrorInThread(format!("the indexing thread took nothing for {} s", STALLED.as_secs())).into()
            );
        }
        *used += bytes;
        Ok(InFlight { queue: queue.clone(), bytes })
    }
}

/// A document's room in the queue.
#[derive(Debug)]
pub(crate) struct InFlight {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.queue.bytes.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.queue.freed.notify_one();
    }
}
