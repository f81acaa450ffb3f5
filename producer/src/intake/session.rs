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
use super::pump::{InHand, Pump};
use super::report::Report;
use super::settling::{Group, Settled, Settling};
use super::way::Way;
use super::{Context, Pace, SessionEnd, words_of};
use crate::admission::Admission;
use crate::publisher::{Publisher, Write, WriteError, Writer};
use crate::receipts::Reply;

/// Between two looks at what is full.
const FULL_PAUSE: Duration = Duration::from_millis(250);
/// Before a message is tried again whose handler has panicked.
const PANIC_PAUSE: Duration = Duration::from_millis(200);
/// After so many messages that were not handed out before, their size tells how many may be prefetched.
const ENOUGH_TO_WEIGH: u32 = 200;
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
    /// The messages are larger than was thought, or smaller: the next session has to prefetch so many.
    Weighed(NonZeroU16),
}

pub(super) struct Session<'a> {
    context: &'a Context,
    way: &'a Way,
    report: &'a Report,
    stop: &'a Stop,
    pace: Pace,
    /// The bytes that it may have in hand, as they come; and as many again unpacked.
    share: usize,
    admission: Admission,
    /// There once the first message has come: then this session is the active one.
    publisher: Option<Publisher>,
    settling: FuturesUnordered<Settling>,
    /// The bytes that packed messages in `settling` have unpacked.
    unpacked: usize,
    settled: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(context: &'a Context, way: &'a Way, report: &'a Report, stop: &'a Stop, pace: Pace) -> Self {
        let admission = Admission::new(context.catalog.clone(), context.config.clone());
        let (share, publisher, settling) = (context.share(), None, FuturesUnordered::new());
        Self { context, way, report, stop, pace, share, admission, publisher, settling, unpacked: 0, settled: 0 }
    }

    /// How many messages it has settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Consumes until `stop`, or until the session cannot go on: what it holds then comes again.
    pub(super) async fn run(&mut self) -> Result<Ended, SessionEnd> {
        let prefetch = if self.pace.cautious { NonZeroU16::MIN } else { self.pace.prefetch };
        let deliveries = tokio::select! {
            deliveries = self.way.consume(&self.context.ports, prefetch) => deliveries?,
            () = self.stop.requested() => return Ok(Ended::Stopped),
        };
        let mut pump = Pump::start(deliveries, prefetch, self.share);
        let ended = self.work(&mut pump).await;
        pump.stop().await;
        match pump.overfull() {
            Some(largest) => Ok(Ended::Weighed(self.context.fitting(self.share, largest))),
            None => ended,
        }
    }

    async fn work(&mut self, pump: &mut Pump) -> Result<Ended, SessionEnd> {
        let mut ended = Ended::Stopped;
        // What came, one message after the other that was not handed out before: how many, and the largest.
        let (mut fresh_ones, mut largest) = (0, 0);
        loop {
            tokio::select! {
                () = self.stop.requested() => break,
                Some(settled) = self.settling.next() => self.note(settled)?,
                in_hand = pump.next(), if !self.report.is_paused() && self.unpacked <= self.share => {
                    let in_hand = in_hand.ok_or(SessionEnd::ConsumerLost)?;
                    if !self.pace.cautious && in_hand.delivery.attempts >= SUSPICIOUS_ATTEMPTS {
                        // What came before it is finished, and does not come again.
                        ended = Ended::Suspicious;
                        break;
                    }
                    let fresh = !in_hand.delivery.redelivered;
                    (fresh_ones, largest) = if fresh { (fresh_ones + 1, in_hand.weight.bytes().max(largest)) } else { (0, 0) };
                    self.take(in_hand).await?;
                    if self.pace.cautious {
                        if fresh {
                            ended = Ended::Unsuspicious;
                            break;
                        }
                    } else if fresh_ones >= ENOUGH_TO_WEIGH {
                        let fitting = self.context.fitting(self.share, largest);
                        if fitting.get() / 2 >= self.pace.prefetch.get() {
                            ended = Ended::Weighed(fitting);
                            break;
                        }
                        (fresh_ones, largest) = (0, 0);
                    }
                }
            }
        }
        // What was appended is settled before the consumer goes; the rest goes back to the queue.
        self.settle_all().await?;
        Ok(ended)
    }

    async fn take(&mut self, InHand { mut delivery, weight }: InHand) -> Result<(), SessionEnd> {
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
        let unpacked = unpacked(&delivery, &items);
        let refuses_a_known_id = items.iter().any(|item| item.asked.as_ref().is_err_and(|refusal| refusal.id.is_some()));
        let Some(groups) = self.hand_over(&publisher, &delivery, items, reply.is_some()).await? else { return Ok(()) };
        if refuses_a_known_id {
            // The letter's time has to be behind that of every write that came before it: a replay compares them.
            self.settle_all().await?;
        }
        let (report, stop) = (self.report.clone(), self.stop.clone());
        let settled = Settled { delivery, weight, groups, unpacked, attempts, reply, report, stop };
        self.unpacked += unpacked;
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
                    Err(error @ (WriteError::LogFull(_) | WriteError::Busy)) => {
                        if waiting.is_none() {
                            tracing::warn!(%error, "the intake waits until there is room again");
                            waiting = Some(self.report.wait(error.to_string()));
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
            tracing::info!("there is room again, the intake goes on");
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
        let Context { catalog, ports, config, space, receipts, room, .. } = self.context;
        let id = self.way.writer();
        let epoch = catalog.next_epoch(id).await?;
        first.check().await?;
        tracing::info!(way = self.way.label(), epoch, "this process takes documents from the queue");
        self.report.active(true);
        let writer = Writer::Session { id, epoch };
        let (log, config, space, receipts) = (ports.log.clone(), config.producer.clone(), space.clone(), receipts.clone());
        let publisher = Publisher::new(log, writer, config, space, receipts, room.clone());
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

    fn note(&mut self, unpacked: Result<usize, SessionEnd>) -> Result<(), SessionEnd> {
        self.unpacked -= unpacked?;
        self.settled += 1;
        Ok(())
    }
}

/// The bytes that a message has unpacked: none if it was not packed, and its documents are parts of itself.
fn unpacked(delivery: &Delivery, items: &[Item]) -> usize {
    let whole = delivery.message.body.as_ptr_range();
    let body = |item: &Item| match &item.asked {
        Ok((_, Write { body: Some(body), .. })) => body.clone(),
        _ => item.body.clone(),
    };
    items.iter().map(body).filter(|body| !whole.contains(&body.as_ptr())).map(|body| body.len()).sum()
}

/// What a group asks the publisher for.
pub(super) type Writes = (Arc<Entry>, Vec<Write>);
