//! The end of a message: its writes are confirmed, what was refused of it is in the dead letters, then it is settled.

use futures_util::future::BoxFuture;
use warren_protocol::Problem;
use warren_protocol::dead_letter::{Letter, Part};
use warren_protocol::ports::{Delivery, Settlement};
use warren_service::stop::Stop;

use super::SessionEnd;
use super::message::{Item, Refusal};
use super::pump::Weight;
use super::report::{Counts, Report};
use super::session::Writes;
use crate::burying::bury;
use crate::publisher::{Handed, WriteError};
use crate::receipts::{Reply, Ticket};

/// What is told while the dead letters are full.
const FULL: &str = "the dead letters take no more: replay or purge some (warren dead-letters), or end the broker's alarm";

/// The end of one message, under way; gives the bytes that it had unpacked.
pub(super) type Settling = BoxFuture<'static, Result<usize, SessionEnd>>;

/// Documents of one message that share their fate: a large one is alone, so that it is known whom the broker refused.
#[derive(Debug)]
pub(super) struct Group {
    items: Vec<Item>,
    /// The confirm of those that are written.
    pub handed: Option<Handed>,
}

impl Group {
    /// Cuts the documents of a message into groups, in their order.
    pub(super) fn cut(items: Vec<Item>, large: usize) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        let mut open = false;
        for item in items {
            let alone = item.body.len() >= large;
            match groups.last_mut() {
                Some(group) if open && !alone && group.belongs(&item) => group.items.push(item),
                _ => groups.push(Self { items: vec![item], handed: None }),
            }
            open = !alone;
        }
        groups
    }

    /// Whether all writes of the group are for the same life of the index.
    fn belongs(&self, item: &Item) -> bool {
        let entries = || self.items.iter().filter_map(|item| item.asked.as_ref().ok().map(|(entry, _)| &entry.index));
        item.asked.as_ref().map_or(true, |(entry, _)| entries().all(|index| *index == entry.index))
    }

    /// What is to be written; `None` if all of it is refused.
    pub(super) fn writes(&self) -> Option<Writes> {
        let mut asked = self.items.iter().filter_map(|item| item.asked.as_ref().ok());
        let (entry, first) = asked.next()?;
        Some((entry.clone(), std::iter::once(first).chain(asked.map(|(_, write)| write)).cloned().collect()))
    }

    /// Waits until the broker has confirmed the writes. One that is too large for it is refused from then on.
    async fn confirmed(&mut self) -> Result<(), WriteError> {
        let Some(handed) = self.handed.take() else { return Ok(()) };
        match handed.confirmed().await {
            Err(error @ WriteError::TooLarge(_)) if self.items.len() == 1 => {
                let item = &mut self.items[0];
                if let Ok((entry, write)) = &item.asked {
                    let (index, id) = (Some(entry.index.name.to_string()), Some(String::from(write.id.clone())));
                    item.asked = Err(Refusal { problem: Problem::from(error), index, id });
                }
                Ok(())
            }
            // All of them come again in the order of the queue; of a deleted index, the catalog may know a new one then.
            outcome => outcome,
        }
    }
}

/// A message whose writes are on their way.
pub(super) struct Settled {
    pub delivery: Delivery,
    pub weight: Weight,
    pub groups: Vec<Group>,
    /// The bytes that it has unpacked.
    pub unpacked: usize,
    /// How often the message was tried.
    pub attempts: u32,
    /// Who wants to know what has become of its documents.
    pub reply: Option<Reply>,
    pub report: Report,
    pub stop: Stop,
}

impl Settled {
    /// Waits for the confirms, puts what is refused into the dead letters, and settles the message.
    pub(super) async fn finish(self) -> Result<usize, SessionEnd> {
        let Self { delivery, weight, groups, unpacked, attempts, reply, report, stop } = self;
        let (mut counts, mut tickets, mut refused) = (Counts::default(), Vec::<Ticket>::new(), Vec::new());
        for mut group in groups {
            let promised = group.handed.as_mut().map(Handed::take_tickets);
            group.confirmed().await?;
            let mut written = false;
            for item in group.items {
                match item.asked {
                    Ok((_, write)) => {
                        written = true;
                        let count = if write.body.is_some() { &mut counts.indexed } else { &mut counts.deleted };
                        *count += 1;
                    }
                    Err(refusal) => {
                        counts.refused += 1;
                        report.failed(refusal.problem.to_string());
                        refused.push((refusal.id.clone(), refusal.problem.clone()));
                        let letter = letter(refusal, item.ordinal, item.body, attempts);
                        // Until there is room the intake takes nothing more.
                        if !bury(&delivery, letter, &stop, || report.wait(FULL)).await? {
                            // It comes again.
                            return Ok(unpacked);
                        }
                    }
                }
            }
            if written {
                tickets.extend(promised.into_iter().flatten());
            }
        }
        drop(weight);
        delivery.settle(Settlement::Done).await?;
        report.count(counts);
        if let Some(reply) = reply {
            reply.answer(tickets, refused);
        }
        Ok(unpacked)
    }
}

fn letter(refusal: Refusal, ordinal: Option<u64>, body: bytes::Bytes, attempts: u32) -> Letter {
    let mut letter = Letter::new(refusal.problem.code.as_str(), refusal.problem.detail);
    (letter.index, letter.document_id, letter.attempts) = (refusal.index, refusal.id, Some(attempts));
    letter.part = ordinal.map(|ordinal| Part { ordinal, body });
    letter
}
