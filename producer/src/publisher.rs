//! Hands each write to the lane of its partition's log, within a bound of bytes that are taken and not yet confirmed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use warren_protocol::batch::{Epoch, WriterId};
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{LogName, PartitionLog};
use warren_protocol::problem::Code;
use warren_protocol::receipt::WrittenAt;
use warren_protocol::{DocumentId, PartitionId, Problem, partition_of};
use warren_service::config::ProducerConfig;

use crate::lane::{self, Parcel};
use crate::log_space::{Log, LogSpace};
use crate::receipts::{Receipts, Ticket, Wish};

/// How many parcels wait at a lane; what they weigh is bounded by `buffer_bytes`.
const LANE_CAPACITY: usize = 64;

/// A write that passed its checks.
#[derive(Clone, Debug)]
pub struct Write {
    /// The document's id.
    pub id: DocumentId,
    /// The document; `None` deletes it.
    pub body: Option<Bytes>,
}

/// What a write takes besides its id and its body: the structures around them, and their allocations.
const WRITE_OVERHEAD: usize = 160;

impl Write {
    /// Its part of a batch.
    fn bytes(&self) -> usize {
        self.id.as_str().len() + self.body.as_ref().map_or(0, Bytes::len) + 16
    }

    /// The bytes that it holds in memory until it is confirmed.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes() + WRITE_OVERHEAD
    }
}

/// Why a write was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The index was deleted meanwhile: read the catalog again. Nothing was written.
    #[error("the index was deleted")]
    IndexGone,
    /// The log takes no more for now. Of several writes, those to other logs may have happened.
    #[error("{0}")]
    LogFull(String),
    /// The document is larger than the broker takes. Nothing was written.
    #[error("the broker does not take a document of this size: {0}")]
    TooLarge(String),
    /// Too much is on its way already.
    #[error("more documents are on their way than producer.buffer_bytes allows: publish again later")]
    Busy,
    /// The broker does not confirm: the write may or may not happen, publish it again.
    #[error("the broker did not confirm ({0}): publish again, a document that was kept is only replaced by itself")]
    Unknown(String),
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let code = match error {
            WriteError::IndexGone => Code::UnknownIndex,
            WriteError::LogFull(_) => Code::LogFull,
            WriteError::TooLarge(_) => Code::TooLarge,
            WriteError::Busy => Code::TooManyRequests,
            WriteError::Unknown(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Who a publisher is in the logs.
#[derive(Debug)]
pub enum Writer {
    /// A writer of this process only. It counts its epochs itself, and after a lost connection opens the next one.
    Process {
        /// Its name.
        id: WriterId,
        /// The epoch last opened.
        epochs: AtomicU64,
    },
    /// One session of an intake: its epoch is over with the session, and with the first error.
    Session {
        /// The writer that all sessions of that intake are.
        id: WriterId,
        /// The epoch.
        epoch: Epoch,
    },
}

impl Writer {
    /// A writer for this process.
    pub fn process() -> Self {
        Self::Process { id: WriterId::random(), epochs: AtomicU64::new(0) }
    }

    pub(crate) fn id(&self) -> WriterId {
        match self {
            Self::Process { id, .. } | Self::Session { id, .. } => *id,
        }
    }

    /// The epoch to open; each call of a process's writer gives a larger one.
    pub(crate) fn next_epoch(&self) -> Epoch {
        match self {
            Self::Process { epochs, .. } => epochs.fetch_add(1, Ordering::Relaxed) + 1,
            Self::Session { epoch, .. } => *epoch,
        }
    }

    /// Whether it may go on in another epoch after an error.
    pub(crate) fn recovers(&self) -> bool {
        matches!(self, Self::Process { .. })
    }
}

/// Appends writes to partition logs. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn PartitionLog>,
    writer: Arc<Writer>,
    config: ProducerConfig,
    space: LogSpace,
    receipts: Receipts,
    room: Arc<Semaphore>,
    lanes: Mutex<HashMap<PartitionId, mpsc::Sender<Parcel>>>,
    tasks: TaskTracker,
}

/// Writes that were handed over.
#[must_use = "nothing is kept before the confirm"]
#[derive(Debug)]
pub struct Handed {
    parcels: Vec<oneshot::Receiver<Result<(), WriteError>>>,
    tickets: Vec<Ticket>,
}

impl Handed {
    /// What their receipts are waited for with, if they were wanted: one for each parcel, which may be several.
    pub(crate) fn take_tickets(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.tickets)
    }

    /// Waits until the broker has confirmed all of them; the first error otherwise. It ends within the publisher's time limits.
    pub async fn confirmed(self) -> Result<(), WriteError> {
        for parcel in self.parcels {
            parcel.await.unwrap_or_else(|_| Err(WriteError::Unknown("the producer stops".to_owned())))?;
        }
        Ok(())
    }
}

impl Publisher {
    /// A publisher that writes as `writer`, within a room of bytes that all publishers of the process share.
    pub(crate) fn new(
        log: Arc<dyn PartitionLog>,
        writer: Writer,
        config: ProducerConfig,
        space: LogSpace,
        receipts: Receipts,
        room: Arc<Semaphore>,
    ) -> Self {
        let (lanes, tasks) = (Mutex::new(HashMap::new()), TaskTracker::new());
        Self { shared: Arc::new(Shared { log, writer: Arc::new(writer), config, space, receipts, room, lanes, tasks }) }
    }

    /// Waits until it is known how full the logs of an index are. Whoever lives for one upload only does this before it:
    /// others may write a little while it is being found out, and many who do that one after the other are not a little.
    pub async fn known(&self, entry: &Entry) -> Result<(), WriteError> {
        for partition in 0..entry.definition.partitions.get() {
            let partition = PartitionId { index: entry.index.clone(), partition };
            let log = self.shared.space.log(&partition, entry.definition.log_max_bytes);
            self.shared.space.known(&log, self.patience()).await?;
        }
        Ok(())
    }

    /// Hands writes over, in their order; waits for room, but not for the confirms.
    pub async fn write(&self, entry: &Entry, writes: Vec<Write>) -> Result<Handed, WriteError> {
        self.write_for(entry, writes, false).await
    }

    /// Hands one write over; the future says where it stands once a search sees it, `None` if that cannot be known. It ends
    /// within the time limit of receipts.
    pub async fn write_with_receipt(
        &self,
        entry: &Entry,
        write: Write,
    ) -> Result<impl Future<Output = Option<WrittenAt>> + Send + use<>, WriteError> {
        let mut handed = self.write_for(entry, vec![write], true).await?;
        Ok(async move {
            let ticket = handed.take_tickets().pop();
            handed.confirmed().await.ok()?;
            Some(ticket?.seen().await?.position)
        })
    }

    /// The same, with tickets for the receipts of the writes, if they are wanted.
    pub(crate) async fn write_for(&self, entry: &Entry, writes: Vec<Write>, receipts: bool) -> Result<Handed, WriteError> {
        let mut by_partition: HashMap<u32, Vec<Write>> = HashMap::new();
        for write in writes {
            by_partition.entry(partition_of(&write.id, entry.definition.partitions)).or_default().push(write);
        }
        let mut by_log = Vec::with_capacity(by_partition.len());
        for (partition, writes) in by_partition {
            let partition = PartitionId { index: entry.index.clone(), partition };
            let log = self.shared.space.log(&partition, entry.definition.log_max_bytes);
            self.shared.space.check(&log)?;
            by_log.push((partition, log, writes));
        }
        let (mut parcels, mut tickets) = (Vec::new(), Vec::new());
        for (partition, log, writes) in by_log {
            for writes in self.cut(writes) {
                let mut wish = None;
                if receipts {
                    let ids = writes.iter().map(|write| write.id.clone()).collect();
                    let (made, ticket) = self.shared.receipts.wish(&partition, ids).await;
                    wish = made;
                    tickets.push(ticket);
                }
                parcels.push(self.hand_over(&partition, &log, writes, wish).await?);
            }
        }
        Ok(Handed { parcels, tickets })
    }

    /// Cuts writes so that a parcel fits into a batch; what is larger than a batch travels alone.
    fn cut(&self, writes: Vec<Write>) -> Vec<Vec<Write>> {
        let most = self.shared.config.batch_bytes.get() as usize;
        let mut parcels: Vec<Vec<Write>> = Vec::new();
        let mut weight = usize::MAX;
        for write in writes {
            let bytes = write.bytes();
            match parcels.last_mut() {
                Some(parcel) if weight.saturating_add(bytes) <= most => {
                    weight += bytes;
                    parcel.push(write);
                }
                _ => {
                    weight = bytes;
                    parcels.push(vec![write]);
                }
            }
        }
        parcels
    }

    async fn hand_over(
        &self,
        partition: &PartitionId,
        log: &Arc<Log>,
        writes: Vec<Write>,
        wish: Option<Wish>,
    ) -> Result<oneshot::Receiver<Result<(), WriteError>>, WriteError> {
        let bytes: usize = writes.iter().map(Write::bytes).sum();
        let let_in = self.shared.space.let_in(log, bytes as u64, self.patience()).await?;
        let room = self.wait_for_room(writes.iter().map(Write::held_bytes).sum()).await?;
        let (done, outcome) = oneshot::channel();
        let mut parcel = Parcel { writes, wish, let_in, room, done };
        loop {
            match self.lane(partition, log).send(parcel).await {
                Ok(()) => return Ok(outcome),
                Err(returned) => parcel = returned.0, // the lane had just ended with its log
            }
        }
    }

    async fn wait_for_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, WriteError> {
        let permits = bytes.min(self.shared.config.buffer_bytes.get() as usize) as u32;
        match tokio::time::timeout(self.patience(), self.shared.room.clone().acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(WriteError::Busy),
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.shared.config.confirm_timeout_ms.get())
    }

    /// The running lane of a partition, started if there is none.
    fn lane(&self, partition: &PartitionId, space: &Arc<Log>) -> mpsc::Sender<Parcel> {
        let shared = &self.shared;
        let mut lanes = shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(partition).filter(|lane| !lane.is_closed()) {
            return lane.clone();
        }
        lanes.retain(|_, lane| !lane.is_closed());
        let (sender, parcels) = mpsc::channel(LANE_CAPACITY);
        let name = LogName::Partition(partition.clone());
        let (log, writer, config) = (shared.log.clone(), shared.writer.clone(), shared.config.clone());
        shared.tasks.spawn(lane::run(name, log, writer, config, space.clone(), shared.receipts.clone(), parcels));
        lanes.insert(partition.clone(), sender.clone());
        sender
    }

    /// Waits until all that was handed over is confirmed or refused.
    pub async fn close(&self) {
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}
