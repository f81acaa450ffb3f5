//! A session: from the start of a consumer to the loss of its connection.
//!
//! It has an epoch of its own, taken from the catalog after its first message came, and checks that it still holds that
//! message before it uses the epoch. So a session that was cut off without knowing can never open a later epoch than its
//! successor, and whatever it still has on its way is void behind the successor's.
//!
//! A message that makes its handler panic is tried again where it is, then it is a dead letter; no other message notices.
//! One that takes the process along is found by its deliveries: they count for all that the process held, so once
//! messages come that were handed out several times, a cautious session takes one at a time, and only the one that is to
//! blame collects more, up to the queue's delivery limit.

use std::num::NonZeroU16;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use warren_protocol::Problem;
use warren_protocol::catalog::Entry;
use warren_protocol::dead_letter::ROUTING_KEY;
use warren_protocol::ports::Delivery;
use warren_protocol::problem::Code;
use warren_service::stop::Stop;

use super::message::{self, Item};
use super::report::Report;
use super::settling::{Group, Settled, Settling};
use super::way::Way;
use super::{Context, SessionEnd, words_of};
use crate::admission::Admission;
use crate::publisher::{Publisher, Write, WriteError, Writer};
use crate::receipts::Reply;

/// Between two looks at a log that is full.
const FULL_PAUSE: Duration = Duration::from_millis(250);
/// Before a message is tried again whose handler has panicked.
const PANIC_PAUSE: Duration = Duration::from_millis(200);
/// Handed out so often, a message may be one that kills.
const SUSPICIOUS_ATTEMPTS: u32 = 4;

/// How a session ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Messages come that were handed out often: the next session has to be cautious.
    Suspicious,
    /// Messages come that were not handed out before: there is nothing to be cautious about any more.
    Unsuspicious,
}

pub(super) struct Session<'a> {
    context: &'a Context,
    way: &'a Way,
    report: &'a Report,
    stop: &'a Stop,
    cautious: bool,
    admission: Admission,
    /// There once the first message has come: then this session is the active one.
    publisher: Option<Publisher>,
    settling: FuturesUnordered<Settling>,
    settled: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(context: &'a Context, way: &'a Way, report: &'a Report, stop: &'a Stop, cautious: bool) -> Self {
        let admission = Admission::new(context.catalog.clone(), context.config.clone());
        let (publisher, settling) = (None, FuturesUnordered::new());
        Self { context, way, report, stop, cautious, admission, publisher, settling, settled: 0 }
    }

    /// How many messages it has settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Consumes until `stop`, or until the session cannot go on: what it holds then comes again.
    pub(super) async fn run(&mut self) -> Result<Ended, SessionEnd> {
        let prefetch = if self.cautious { NonZeroU16::MIN } else { self.context.config.producer.intake_prefetch };
        let mut deliveries = tokio::select! {
            deliveries = self.way.consume(&self.context.ports, prefetch) => deliveries?,
            () = self.stop.requested() => return Ok(Ended::Stopped),
        };
        let mut ended = Ended::Stopped;
        loop {
            tokio::select! {
                () = self.stop.requested() => break,
                Some(settled) = self.settling.next() => self.note(settled)?,
                delivery = deliveries.next(), if !self.report.is_paused() => {
                    let delivery = delivery.ok_or(SessionEnd::ConsumerLost)?;
                    if !self.cautious && delivery.attempts >= SUSPICIOUS_ATTEMPTS {
                        // What came before it is finished, and does not come again.
                        ended = Ended::Suspicious;
                        break;
                    }
                    let fresh = !delivery.redelivered;
                    self.take(delivery).await?;
                    if self.cautious && fresh {
                        ended = Ended::Unsuspicious;
                        break;
                    }
                }
            }
        }
        // What was appended is settled before the consumer goes; the rest goes back to the queue.
        self.settle_all().await?;
        Ok(ended)
    }

    async fn take(&mut self, mut delivery: Delivery) -> Result<(), SessionEnd> {
        let publisher = self.publisher(&delivery).await?;
        if let Some(key) = delivery.message.headers.remove(ROUTING_KEY) {
            // It was replayed into the queue of a source.
            delivery.message.routing_key = key;
        }
        let alone = delivery.redelivered;
        if alone {
            // A message that came before may have killed its consumer: it must not take its neighbours along.
            self.settle_all().await?;
        }
        let reply = self.reply(&delivery);
        let (Some((items, attempts)), false) = (self.read(&delivery).await?, self.stop.is_requested()) else { return Ok(()) };
        let refuses_a_known_id = items.iter().any(|item| item.asked.as_ref().is_err_and(|refusal| refusal.id.is_some()));
        let Some(groups) = self.hand_over(&publisher, &delivery, items, reply.is_some()).await? else { return Ok(()) };
        if refuses_a_known_id {
            // The letter's time has to be behind that of every write that came before it: a replay compares them.
            self.settle_all().await?;
        }
        let settled = Settled { delivery, groups, attempts, reply, report: self.report.clone(), stop: self.stop.clone() };
        self.settling.push(Box::pin(settled.finish()));
        if alone { self.settle_all().await } else { Ok(()) }
    }

    /// Reads a message, again if its handler panics; gives what it asks for, and how often it was tried. `None`: the intake
    /// is to stop.
    async fn read(&mut self, delivery: &Delivery) -> Result<Option<(Vec<Item>, u32)>, SessionEnd> {
        let config = &self.context.config.producer;
        let mut tries = 1;
        loop {
            let reading = message::read(self.way, &self.admission, config, &delivery.message);
            let attempts = delivery.attempts.saturating_sub(1).saturating_add(tries);
            let panic = match AssertUnwindSafe(reading).catch_unwind().await {
                Ok(Ok(items)) => return Ok(Some((items, attempts))),
                Ok(Err(problem)) => return Err(SessionEnd::Index(problem)),
                Err(panic) => words_of(panic.as_ref()),
            };
            tracing::error!(way = self.way.label(), tries, panic, "a message made its handler panic");
            if tries >= config.max_attempts.get() {
                let detail = format!("the message made its handler fail {tries} times: {panic}");
                let index = Some(delivery.message.routing_key.clone()).filter(|_| matches!(self.way, Way::Intake));
                let refused = Item::refused(&delivery.message, index, Problem::new(Code::Poison, detail));
                return Ok(Some((vec![refused], attempts)));
            }
            tries += 1;
            if !self.wait(delivery, PANIC_PAUSE).await? {
                return Ok(None);
            }
        }
    }

    /// Hands the writes of a message over, in their order; waits while a log is full. `None`: the intake is to stop.
    async fn hand_over(
        &mut self,
        publisher: &Publisher,
        delivery: &Delivery,
        items: Vec<Item>,
        receipts: bool,
    ) -> Result<Option<Vec<Group>>, SessionEnd> {
        let mut groups = Vec::new();
        let mut waiting = None;
        for mut group in Group::cut(items, self.context.config.producer.batch_bytes.get() as usize) {
            while let Some((entry, writes)) = group.writes() {
                let handed = tokio::select! {
                    handed = publisher.write_for(&entry, writes, receipts) => handed,
                    () = self.stop.requested() => return Ok(None),
                };
                match handed {
                    Ok(handed) => {
                        group.handed = Some(handed);
                        break;
                    }
                    // The queue fills up meanwhile, and refuses what is published to it.
                    Err(WriteError::LogFull(detail)) => {
                        if waiting.is_none() {
                            tracing::warn!(detail, "the intake waits until a log has room again");
                            waiting = Some(self.report.wait(detail));
                        }
                        if !self.wait(delivery, FULL_PAUSE).await? {
                            return Ok(None);
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            groups.push(group);
        }
        if waiting.is_some() {
            tracing::info!("the log has room again, the intake goes on");
        }
        Ok(Some(groups))
    }

    /// Where the client wants receipts, if it does. What flows through a source has other addressees.
    fn reply(&self, delivery: &Delivery) -> Option<Reply> {
        match self.way {
            Way::Intake => Reply::wanted(&self.context.receipts, &delivery.message, delivery.redelivered),
            Way::Source(_) => None,
        }
    }

    /// The publisher of this session; the first message shows that this consumer is the active one.
    async fn publisher(&mut self, first: &Delivery) -> Result<Publisher, SessionEnd> {
        if let Some(publisher) = &self.publisher {
            return Ok(publisher.clone());
        }
        let Context { catalog, ports, config, space, receipts } = self.context;
        let id = self.way.writer();
        let epoch = catalog.next_epoch(id).await?;
        first.check().await?;
        tracing::info!(way = self.way.label(), epoch, "this process takes documents from the queue");
        self.report.active(true);
        let writer = Writer::Session { id, epoch };
        let publisher = Publisher::new(ports.log.clone(), writer, config.producer.clone(), space.clone(), receipts.clone());
        Ok(self.publisher.insert(publisher).clone())
    }

    /// Waits a little with a message in hand, and settles what was appended before; false if the intake is to stop. What is
    /// in hand then comes again.
    async fn wait(&mut self, in_hand: &Delivery, pause: Duration) -> Result<bool, SessionEnd> {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = self.stop.requested() => return Ok(false),
                Some(settled) = self.settling.next() => self.note(settled)?,
            }
        }
        in_hand.check().await?;
        Ok(true)
    }

    async fn settle_all(&mut self) -> Result<(), SessionEnd> {
        while let Some(settled) = self.settling.next().await {
            self.note(settled)?;
        }
        Ok(())
    }

    fn note(&mut self, settled: Result<(), SessionEnd>) -> Result<(), SessionEnd> {
        settled?;
        self.settled += 1;
        Ok(())
    }
}

/// What a group asks the publisher for.
pub(super) type Writes = (Arc<Entry>, Vec<Write>);
