//! Claims on exclusive queues: a slot is held by the connection that declared its queue, and freed with it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::Instant;
use tracing::{debug, info};
use warren_protocol::ports::{ClaimError, Claims, HeldSlot, Slot};

use super::connection::{Context, Link};
use super::failure::{Failure, until};
use super::topology;

/// What the broker has to answer that a slot is given back: a process that stops has many of them and little time. Behind
/// it the request stands all the same, and the end of the connection frees what it did not reach.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct ExclusiveQueues {
    context: Arc<Context>,
    /// A connection for nothing else, with short heartbeats: what it loses, others get soon.
    link: Arc<Link>,
    /// An exclusive queue can be declared again by the connection that holds it, so the process has to know.
    held: Arc<Mutex<HashSet<Slot>>>,
}

impl ExclusiveQueues {
    pub(super) fn new(context: &Arc<Context>, link: &Arc<Link>) -> Self {
        Self { context: Arc::clone(context), link: Arc::clone(link), held: Arc::default() }
    }
}

#[async_trait]
impl Claims for ExclusiveQueues {
    async fn try_claim(&self, slot: &Slot) -> Result<Option<Box<dyn HeldSlot>>, ClaimError> {
        let Some(mark) = Mark::set(&self.held, slot) else { return Ok(None) };
        let deadline = self.context.deadline();
        let connection = self.link.connection(deadline).await?;
        let channel = until(deadline, connection.create_channel()).await?;
        let queue = slot.to_string();
        // From here on a cancelled claim leaves a queue behind, which only this process could delete.
        let mut taken = Taken { context: Arc::clone(&self.context), hold: Some(Hold { channel: channel.clone(), queue, mark }) };
        let queue = slot.to_string();
        match until(deadline, topology::declare_slot(&channel, &queue)).await {
            Ok(()) => {}
            Err(Failure::Locked) => {
                taken.hold = None;
                return Ok(None);
            }
            Err(failure) => return Err(failure.into()),
        }
        // Nothing is ever sent there: the consumer ends when the queue or the connection does.
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
        let end = until(deadline, consuming).await?;
        Ok(Some(Box::new(QueueSlot { taken, end, lost: false })))
    }
}

struct QueueSlot {
    taken: Taken,
    end: Consumer,
    lost: bool,
}

#[async_trait]
impl HeldSlot for QueueSlot {
    async fn lost(&mut self) {
        while !self.lost {
            if !matches!(self.end.next().await, Some(Ok(_))) {
                self.lost = true;
                info!(slot = self.taken.hold.as_ref().map(|hold| hold.queue.as_str()), "the connection that held a slot is lost");
            }
        }
    }

    async fn release(mut self: Box<Self>) -> Result<(), ClaimError> {
        let deadline = self.taken.context.deadline().min(Instant::now() + RELEASE_LIMIT);
        match self.taken.hold.take() {
            Some(hold) => Ok(hold.delete(deadline).await?),
            None => Ok(()),
        }
    }
}

/// A slot's queue, which is deleted when this is dropped.
struct Taken {
    context: Arc<Context>,
    hold: Option<Hold>,
}

struct Hold {
    channel: Channel,
    queue: String,
    /// Taken away last: until the queue is gone, the slot is not free for this process either.
    mark: Mark,
}

impl Hold {
    async fn delete(self, deadline: Instant) -> Result<(), Failure> {
        if !self.channel.status().connected() {
            // The queue went with the connection.
            return Ok(());
        }
        let deleting = self.channel.queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default());
        let outcome = until(deadline, deleting).await.map(drop);
        drop(self.mark);
        outcome
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let deadline = self.context.deadline();
        let deleting = async move {
            if let Err(error) = hold.delete(deadline).await {
                debug!(%error, "a slot is freed with its connection only");
            }
        };
        self.context.tasks.spawn_on(deleting, &self.context.runtime);
    }
}

/// A slot's place in the set of those that this process holds.
struct Mark {
    held: Arc<Mutex<HashSet<Slot>>>,
    slot: Slot,
}

impl Mark {
    fn set(held: &Arc<Mutex<HashSet<Slot>>>, slot: &Slot) -> Option<Self> {
        let new = held.lock().unwrap_or_else(PoisonError::into_inner).insert(slot.clone());
        new.then(|| Self { held: Arc::clone(held), slot: slot.clone() })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.slot);
    }
}
