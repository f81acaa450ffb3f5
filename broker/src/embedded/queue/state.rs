//! Who holds which message of a queue, and which ones wait.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use fjall::{Keyspace, OwnedWriteBatch};
use tokio::sync::Notify;
use tokio::time::Instant;
use warren_protocol::ports::QueueName;

use crate::embedded::lock;
use crate::embedded::store::{StoreError, decode_sequence};

/// What a queue takes at most.
const MAX_MESSAGES: usize = 100_000;
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// One queue. The store keeps its messages by their sequences.
pub(super) struct Queue {
    pub(super) name: QueueName,
    pub(super) messages: Keyspace,
    state: Mutex<State>,
    /// Something changed that a consumer may wait for.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// To be handed out, the lowest sequence first: what comes again is before what never was out.
    waiting: BTreeMap<u64, Item>,
    /// To be handed out after a pause.
    paused: BTreeMap<(Instant, u64), Item>,
    held: HashMap<u64, (ConsumerId, Item)>,
    /// In the order in which they came.
    consumers: BTreeMap<ConsumerId, Capacity>,
    next_sequence: u64,
    next_consumer: ConsumerId,
    /// Of all messages, held ones too, and those that are being settled.
    messages: usize,
    bytes: u64,
}

type ConsumerId = u64;

/// What is known of a message besides its content.
#[derive(Clone, Copy)]
pub(super) struct Item {
    bytes: u32,
    /// How often it was handed out.
    attempts: u32,
}

struct Capacity {
    prefetch: usize,
    held: usize,
}

impl Queue {
    pub(super) fn open(name: QueueName, messages: Keyspace) -> Result<Self, StoreError> {
        let mut state = State { next_sequence: 1, ..State::default() };
        for entry in messages.iter() {
            let (key, _) = entry.into_inner_if(|_| false)?;
            let sequence = decode_sequence(&key).ok_or(StoreError::Unrecoverable)?;
            let bytes = messages.size_of(&key)?.unwrap_or(0);
            // The process before may have handed it out, and died of it.
            state.waiting.insert(sequence, Item { bytes, attempts: 1 });
            state.next_sequence = sequence + 1;
            state.messages += 1;
            state.bytes += u64::from(bytes);
        }
        Ok(Self { name, messages, state: Mutex::new(state), changed: Notify::new() })
    }

    /// Adds a message to the batch, `None` if the queue is full. Once committed, it has to [`wait`](Self::wait).
    pub(super) fn add(&self, batch: &mut OwnedWriteBatch, value: Vec<u8>) -> Option<(u64, Item)> {
        let mut state = lock(&self.state);
        let item = Item { bytes: value.len() as u32, attempts: 0 };
        if state.messages >= MAX_MESSAGES || state.bytes + u64::from(item.bytes) > MAX_BYTES {
            return None;
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        state.messages += 1;
        state.bytes += u64::from(item.bytes);
        batch.insert(&self.messages, sequence.to_be_bytes(), value);
        Some((sequence, item))
    }

    /// Puts a message where consumers take it.
    pub(super) fn wait(&self, sequence: u64, item: Item) {
        lock(&self.state).waiting.insert(sequence, item);
        self.changed.notify_waiters();
    }

    pub(super) fn join(&self, prefetch: NonZeroU16) -> ConsumerId {
        let mut state = lock(&self.state);
        let id = state.next_consumer;
        state.next_consumer += 1;
        state.consumers.insert(id, Capacity { prefetch: prefetch.get().into(), held: 0 });
        id
    }

    /// The id of a consumer that nothing is handed out to, but by [`take_after`](Self::take_after).
    pub(super) fn visit(&self) -> ConsumerId {
        let mut state = lock(&self.state);
        state.next_consumer += 1;
        state.next_consumer - 1
    }

    /// Ends a consumer and takes back what it holds.
    pub(super) fn leave(&self, consumer: ConsumerId) {
        let mut state = lock(&self.state);
        state.consumers.remove(&consumer);
        let held: Vec<_> = state.held.extract_if(|_, (holder, _)| *holder == consumer).collect();
        state.waiting.extend(held.into_iter().map(|(sequence, (_, item))| (sequence, item)));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Awaits the next message for a consumer.
    pub(super) async fn take(self: &Arc<Self>, consumer: ConsumerId) -> Hold {
        loop {
            // Made before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            let next_due = {
                let mut state = lock(&self.state);
                state.end_pauses(Instant::now());
                if let Some((sequence, attempts)) = state.hand_out(consumer, self.name == QueueName::Intake) {
                    return Hold { queue: Arc::clone(self), consumer, sequence, attempts };
                }
                state.paused.first_key_value().map(|((due, _), _)| *due)
            };
            match next_due {
                Some(due) => {
                    // The end of a pause is a change, too.
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// The first message that waits behind `after`, for a consumer that does not wait.
    pub(super) fn take_after(self: &Arc<Self>, consumer: ConsumerId, after: u64) -> Option<Hold> {
        let mut state = lock(&self.state);
        state.end_pauses(Instant::now());
        let sequence = *state.waiting.range(after + 1..).next()?.0;
        let item = state.waiting.remove(&sequence)?;
        let attempts = state.hold(consumer, sequence, item);
        Some(Hold { queue: Arc::clone(self), consumer, sequence, attempts })
    }

    /// How many messages wait.
    pub(super) fn depth(&self) -> u64 {
        let state = lock(&self.state);
        (state.waiting.len() + state.paused.len()) as u64
    }

    /// The sequences of the first messages that wait.
    pub(super) fn first(&self, limit: usize) -> Vec<u64> {
        let mut state = lock(&self.state);
        state.end_pauses(Instant::now());
        state.waiting.keys().take(limit).copied().collect()
    }

    /// Removes all messages that wait, and says how many.
    pub(super) fn remove_all(&self, batch: &mut OwnedWriteBatch) -> u64 {
        let mut state = lock(&self.state);
        let waiting = std::mem::take(&mut state.waiting);
        let paused = std::mem::take(&mut state.paused);
        let all = waiting.into_iter().chain(paused.into_iter().map(|((_, sequence), item)| (sequence, item)));
        let mut removed = 0;
        for (sequence, item) in all {
            batch.remove(&self.messages, sequence.to_be_bytes());
            state.forget(item);
            removed += 1;
        }
        removed
    }
}

impl State {
    fn end_pauses(&mut self, now: Instant) {
        while let Some(pause) = self.paused.first_entry()
            && pause.key().0 <= now
        {
            let ((_, sequence), item) = pause.remove_entry();
            self.waiting.insert(sequence, item);
        }
    }

    /// Gives a consumer the next message, and says how often that was out before.
    fn hand_out(&mut self, consumer: ConsumerId, single_active: bool) -> Option<(u64, u32)> {
        if single_active && self.consumers.first_key_value().is_some_and(|(active, _)| *active != consumer) {
            return None;
        }
        let capacity = self.consumers.get_mut(&consumer).filter(|capacity| capacity.held < capacity.prefetch)?;
        let (sequence, item) = self.waiting.pop_first()?;
        capacity.held += 1;
        Some((sequence, self.hold(consumer, sequence, item)))
    }

    /// Notes who has a message, and says how often it was out before.
    fn hold(&mut self, consumer: ConsumerId, sequence: u64, item: Item) -> u32 {
        self.held.insert(sequence, (consumer, Item { attempts: item.attempts + 1, ..item }));
        item.attempts
    }

    /// Takes a message out of a consumer's hands.
    fn take_back(&mut self, consumer: ConsumerId, sequence: u64) -> Option<Item> {
        if self.held.get(&sequence).is_none_or(|(holder, _)| *holder != consumer) {
            return None;
        }
        let (_, item) = self.held.remove(&sequence)?;
        if let Some(capacity) = self.consumers.get_mut(&consumer) {
            capacity.held -= 1;
        }
        Some(item)
    }

    fn forget(&mut self, item: Item) {
        self.messages -= 1;
        self.bytes -= u64::from(item.bytes);
    }
}

/// A message in the hands of a consumer; dropped, it waits again.
pub(super) struct Hold {
    queue: Arc<Queue>,
    consumer: ConsumerId,
    sequence: u64,
    attempts: u32,
}

impl Hold {
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How often it was handed out, this time included.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts + 1
    }

    pub(super) fn redelivered(&self) -> bool {
        self.attempts > 0
    }

    /// Whether the consumer still has it.
    pub(super) fn is_held(&self) -> bool {
        lock(&self.queue.state).held.get(&self.sequence).is_some_and(|(holder, _)| *holder == self.consumer)
    }

    /// Takes it from the consumer to settle it; `None` if the consumer has lost it.
    pub(super) fn settle(self) -> Option<Unsettled> {
        let item = lock(&self.queue.state).take_back(self.consumer, self.sequence)?;
        self.queue.changed.notify_waiters();
        Some(Unsettled { queue: Arc::clone(&self.queue), sequence: self.sequence, item: Some(item) })
    }

    /// Leaves it in the store, and hands it out no more.
    pub(super) fn keep(self) {
        // It still counts: it is there.
        lock(&self.queue.state).take_back(self.consumer, self.sequence);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let item = lock(&self.queue.state).take_back(self.consumer, self.sequence);
        if let Some(item) = item {
            self.queue.wait(self.sequence, item);
        }
    }
}

/// A message that is being settled; dropped before that is done, it waits again.
pub(super) struct Unsettled {
    queue: Arc<Queue>,
    sequence: u64,
    /// `None` once it is settled.
    item: Option<Item>,
}

impl Unsettled {
    pub(super) fn attempts(&self) -> u32 {
        self.item.map_or(0, |item| item.attempts)
    }

    /// Adds its removal to the batch; once committed, it is [`done`](Self::done).
    pub(super) fn remove(&self, batch: &mut OwnedWriteBatch) {
        batch.remove(&self.queue.messages, self.sequence.to_be_bytes());
    }

    pub(super) fn done(mut self) {
        if let Some(item) = self.item.take() {
            lock(&self.queue.state).forget(item);
        }
    }

    /// Adds its new value to the batch: as if it had been published anew.
    pub(super) fn replace(mut self, batch: &mut OwnedWriteBatch, value: Vec<u8>) -> Self {
        let bytes = value.len() as u32;
        if let Some(old) = self.item.replace(Item { bytes, attempts: 0 }) {
            let mut state = lock(&self.queue.state);
            state.bytes = state.bytes - u64::from(old.bytes) + u64::from(bytes);
        }
        batch.insert(&self.queue.messages, self.sequence.to_be_bytes(), value);
        self
    }

    /// Lets it wait for a pause.
    pub(super) fn retry(mut self, due: Instant) {
        if let Some(item) = self.item.take() {
            lock(&self.queue.state).paused.insert((due, self.sequence), item);
            self.queue.changed.notify_waiters();
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.queue.wait(self.sequence, item);
        }
    }
}
