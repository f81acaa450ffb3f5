//! The lane to one partition's log: packs writes into batches, keeps several on their way, and after a lost connection
//! opens the next epoch and sends again what was not confirmed, under the old numbers.
//!
//! A batch is sent when it is full, when nothing else is on its way, or when its first write has waited for the linger
//! time: a single document goes out at once, and under load batches fill up by themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use warren_protocol::batch::{Epoch, Payload, PayloadBuilder, Sequence, encode_open};
use warren_protocol::ports::{Appended, LogError, LogName, PartitionLog};
use warren_protocol::receipt::Wanted;
use warren_service::config::ProducerConfig;

use crate::log_space::{LetIn, Log};
use crate::publisher::{Write, WriteError, Writer};
use crate::receipts::{Receipts, Wish};

/// Between two tries to open an epoch.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Writes of one caller to one partition, in order.
pub(crate) struct Parcel {
    pub writes: Vec<Write>,
    /// For their receipt.
    pub wish: Option<Wish>,
    /// Their room in the log.
    pub let_in: LetIn,
    /// Their share of the producer's memory, given back when the broker has answered.
    pub room: OwnedSemaphorePermit,
    pub done: oneshot::Sender<Result<(), WriteError>>,
}

impl Parcel {
    /// Answers that there is no such log any more.
    fn refuse(self) {
        // A caller that has gone no longer wants to know.
        let _ = self.done.send(Err(WriteError::IndexGone));
    }
}

/// Those who wait for the confirm of one batch.
#[derive(Default)]
struct Waiting(Vec<(oneshot::Sender<Result<(), WriteError>>, OwnedSemaphorePermit)>);

impl Waiting {
    fn tell(self, outcome: &Result<(), WriteError>) {
        for (done, _room) in self.0 {
            // A caller that has gone no longer wants to know.
            let _ = done.send(outcome.clone());
        }
    }
}

struct InFlight {
    payload: Payload,
    wanted: Option<Wanted>,
    sequence: Sequence,
    confirm: Appended,
    deadline: Instant,
    waiting: Waiting,
}

struct Lane {
    name: LogName,
    log: Arc<dyn PartitionLog>,
    writer: Arc<Writer>,
    config: ProducerConfig,
    space: Arc<Log>,
    receipts: Receipts,
    /// The open epoch; `None`: the next batch needs a new one.
    epoch: Option<Epoch>,
    next: Sequence,
    builder: PayloadBuilder,
    collected: Waiting,
    /// The receipts that are wanted, each with the number of its first operation.
    wishes: Vec<(u32, Wish)>,
    /// The room of what was collected, until it counts as appended.
    let_in: Vec<LetIn>,
    collecting_since: Instant,
    in_flight: VecDeque<InFlight>,
    /// The log was deleted with its index.
    gone: bool,
}

/// Runs a lane until its senders are gone, or its log is.
pub(crate) async fn run(
    name: LogName,
    log: Arc<dyn PartitionLog>,
    writer: Arc<Writer>,
    config: ProducerConfig,
    space: Arc<Log>,
    receipts: Receipts,
    parcels: mpsc::Receiver<Parcel>,
) {
    let lane = Lane {
        name,
        log,
        writer,
        config,
        space,
        receipts,
        epoch: None,
        next: 0,
        builder: PayloadBuilder::default(),
        collected: Waiting::default(),
        wishes: Vec::new(),
        let_in: Vec::new(),
        collecting_since: Instant::now(),
        in_flight: VecDeque::new(),
        gone: false,
    };
    lane.drive(parcels).await;
}

impl Lane {
    async fn drive(mut self, mut parcels: mpsc::Receiver<Parcel>) {
        let mut held: Option<Parcel> = None;
        let mut open = true;
        while open || held.is_some() || !self.builder.is_empty() || !self.in_flight.is_empty() {
            if self.gone {
                std::mem::take(&mut self.collected).tell(&Err(WriteError::IndexGone));
                held.into_iter().for_each(Parcel::refuse);
                parcels.close();
                while let Some(parcel) = parcels.recv().await {
                    parcel.refuse();
                }
                return;
            }
            if let Some(parcel) = held.take_if(|parcel| self.fits(parcel)) {
                self.collect(parcel);
            }
            let full = held.is_some() || self.builder.bytes() >= self.config.batch_bytes.get() as usize;
            let linger = self.collecting_since + Duration::from_millis(self.config.linger_ms);
            let due = full || !open || self.in_flight.is_empty() || Instant::now() >= linger;
            // Without an epoch, one batch at a time goes ahead and opens it.
            let has_slot = match self.epoch {
                Some(_) => self.in_flight.len() < usize::from(self.config.in_flight_batches.get()),
                None => self.in_flight.is_empty(),
            };
            if !self.builder.is_empty() && due && has_slot {
                self.send().await;
                continue;
            }
            tokio::select! {
                outcome = next_confirm(&mut self.in_flight), if !self.in_flight.is_empty() => self.answered(outcome).await,
                parcel = parcels.recv(), if open && held.is_none() => match parcel {
                    Some(parcel) => {
                        held = Some(parcel);
                    }
                    None => open = false,
                },
                () = tokio::time::sleep_until(linger), if !self.builder.is_empty() && has_slot => {}
            }
        }
    }

    fn fits(&self, parcel: &Parcel) -> bool {
        let bytes: usize = parcel.writes.iter().map(|write| write.body.as_ref().map_or(0, bytes::Bytes::len)).sum();
        self.builder.is_empty() || self.builder.bytes() + bytes <= self.config.batch_bytes.get() as usize
    }

    fn collect(&mut self, parcel: Parcel) {
        if self.builder.is_empty() {
            self.collecting_since = Instant::now();
        }
        self.wishes.extend(parcel.wish.map(|wish| (self.builder.operations(), wish)));
        for write in &parcel.writes {
            self.builder.push(&write.id, write.body.as_deref());
        }
        self.let_in.push(parcel.let_in);
        self.collected.0.push((parcel.done, parcel.room));
    }

    /// Packs what was collected and puts it on its way. An error is that batch's answer, and comes with its confirm.
    async fn send(&mut self) {
        let waiting = std::mem::take(&mut self.collected);
        let wishes = std::mem::take(&mut self.wishes);
        let _let_in = std::mem::take(&mut self.let_in);
        let payload = match std::mem::take(&mut self.builder).finish() {
            Ok(payload) => payload,
            Err(error) => return waiting.tell(&Err(WriteError::Unknown(format!("the batch cannot be packed: {error}")))),
        };
        let wanted = self.receipts.register(wishes);
        let confirm = match self.opened().await {
            Ok(epoch) => append(self.log.as_ref(), &self.name, self.encode(&payload, epoch, self.next, wanted)).await,
            Err(error) => failed(error),
        };
        let deadline = Instant::now() + Duration::from_millis(self.config.confirm_timeout_ms.get());
        self.in_flight.push_back(InFlight { payload, wanted, sequence: self.next, confirm, deadline, waiting });
        self.next += 1;
    }

    fn encode(&self, payload: &Payload, epoch: Epoch, sequence: Sequence, wanted: Option<Wanted>) -> bytes::Bytes {
        let message = payload.encode(self.writer.id(), epoch, sequence, wanted);
        self.space.append(message.len() as u64);
        message
    }

    /// The open epoch; opens the first one if there is none.
    async fn opened(&mut self) -> Result<Epoch, LogError> {
        match self.epoch {
            Some(epoch) => Ok(epoch),
            None => {
                self.next = 0;
                self.open(false, 0).await
            }
        }
    }

    async fn open(&mut self, continues: bool, next: Sequence) -> Result<Epoch, LogError> {
        let epoch = self.writer.next_epoch();
        let message = encode_open(self.writer.id(), epoch, continues, next);
        self.space.append(message.len() as u64);
        self.log.append(&self.name, message).await?.await?;
        self.epoch = Some(epoch);
        Ok(epoch)
    }

    async fn answered(&mut self, outcome: Result<(), LogError>) {
        match outcome {
            Ok(()) => {
                if let Some(batch) = self.in_flight.pop_front() {
                    self.space.confirm(batch.payload.operations());
                    batch.waiting.tell(&Ok(()));
                }
            }
            Err(LogError::Unavailable(reason)) if self.writer.recovers() => self.recover(reason).await,
            Err(error) => self.give_up(match error {
                LogError::NotFound(_) => WriteError::IndexGone,
                LogError::Full => WriteError::LogFull(error.to_string()),
                LogError::TooLarge { .. } => WriteError::TooLarge(error.to_string()),
                LogError::Unavailable(_) | LogError::Truncated { .. } | LogError::Replaced { .. } => {
                    WriteError::Unknown(error.to_string())
                }
            }),
        }
    }

    /// Opens the next epoch and sends everything unconfirmed again, until it works or the first batch's time is up.
    async fn recover(&mut self, mut reason: String) {
        let mut pause = FIRST_PAUSE;
        tracing::warn!(log = %self.name, reason, unconfirmed = self.in_flight.len(), "the broker did not confirm, sending again");
        while let Some(first) = self.in_flight.front() {
            let (sequence, deadline) = (first.sequence, first.deadline);
            if Instant::now() + pause >= deadline {
                return self.give_up(WriteError::Unknown(reason));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // The first epoch of a lane may be the one that could not be opened: then nothing of it was confirmed.
            let continues = self.epoch.is_some();
            match tokio::time::timeout_at(deadline, self.open(continues, sequence)).await {
                Ok(Ok(epoch)) => return self.send_again(epoch).await,
                Ok(Err(LogError::Unavailable(again))) => reason = again,
                Ok(Err(error)) => return self.give_up(WriteError::Unknown(error.to_string())),
                Err(_) => {}
            }
        }
    }

    async fn send_again(&mut self, epoch: Epoch) {
        for at in 0..self.in_flight.len() {
            let InFlight { payload, sequence, wanted, .. } = &self.in_flight[at];
            let message = self.encode(payload, epoch, *sequence, *wanted);
            self.in_flight[at].confirm = append(self.log.as_ref(), &self.name, message).await;
        }
    }

    /// Tells everyone who waits, and forgets the numbers: what is unknown must not be mistaken for what comes next.
    fn give_up(&mut self, error: WriteError) {
        tracing::warn!(log = %self.name, %error, batches = self.in_flight.len(), "writes were not confirmed");
        self.epoch = None;
        self.gone = error == WriteError::IndexGone;
        // The error is the first batch's answer; what became of those behind it nobody knows.
        let behind = if self.gone { error.clone() } else { WriteError::Unknown(format!("an earlier batch failed: {error}")) };
        let answers = std::iter::once(error).chain(std::iter::repeat(behind));
        for (batch, error) in self.in_flight.drain(..).zip(answers) {
            batch.wanted.into_iter().for_each(|wanted| self.receipts.forget(wanted));
            batch.waiting.tell(&Err(error));
        }
    }
}

/// Puts a message on its way. An error is its answer, and comes with the confirm.
async fn append(log: &dyn PartitionLog, name: &LogName, message: bytes::Bytes) -> Appended {
    match log.append(name, message).await {
        Ok(confirm) => confirm,
        Err(error) => failed(error),
    }
}

/// The answer to the oldest batch on its way.
async fn next_confirm(in_flight: &mut VecDeque<InFlight>) -> Result<(), LogError> {
    match in_flight.front_mut() {
        Some(batch) => (&mut batch.confirm).await,
        None => std::future::pending().await,
    }
}

fn failed(error: LogError) -> Appended {
    Box::pin(std::future::ready(Err(error)))
}
