//! The dead letters: looking through them, sending some back the way that they came by, deleting some.
//!
//! A letter leaves the queue once it is kept where it goes. So whoever is killed in between leaves it in both places, and
//! it is written twice, as the same document; it is never lost.

mod since;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;
use warren_protocol::dead_letter::{DeadLetter, now_ms};
use warren_protocol::ports::{Delivery, QueueError, QueueName, Settlement, Sifted, Way};
use warren_protocol::problem::Code;
use warren_protocol::{Problem, SourceEntry};

use crate::QueryService;

/// How long one look through the letters, one replay or one purge may take; what is not done then is said to be left.
const LIMIT: Duration = Duration::from_secs(45);
/// So many letters, or bytes of them, are looked up together before they are replayed.
const CHUNK_LETTERS: usize = 500;
const CHUNK_BYTES: usize = 32 << 20;
/// The most letters that an answer lists as skipped; all are counted.
const MAX_LISTED: usize = 100;

/// Which letters; without anything, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only the one with this id.
    pub id: Option<String>,
    /// Only those with this reason, such as `invalid_json`.
    pub reason: Option<String>,
    /// Only those that came by this way: `warren.intake`, `warren.source.NAME`.
    pub source: Option<String>,
    /// Only those for this index.
    pub index: Option<String>,
    /// Only those of this document.
    pub document_id: Option<String>,
}

impl Filter {
    fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn takes(&self, letter: &DeadLetter) -> bool {
        let fits = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        fits(&self.id, Some(&letter.id))
            && fits(&self.reason, letter.reason.as_deref())
            && fits(&self.source, letter.source.as_deref())
            && fits(&self.index, index_of(letter))
            && fits(&self.document_id, letter.document_id.as_deref())
    }
}

/// The index that a letter was meant for, as far as it says so.
pub(crate) fn index_of(letter: &DeadLetter) -> Option<&str> {
    let from_intake = letter.source.as_deref() == Some("warren.intake");
    letter.index.as_deref().or_else(|| from_intake.then_some(letter.message.routing_key.as_str()))
}

/// What a replay did.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub replayed: u64,
    pub skipped_count: u64,
    pub skipped: Vec<Skipped>,
    /// Whether all letters were looked at.
    pub complete: bool,
    /// Letters from this moment on, in Unix milliseconds, were left alone.
    pub before_ms: u64,
    /// The documents that it wrote itself: a later letter of one of them is newer than that. No more than there are letters.
    written: HashSet<(String, String)>,
}

/// A letter that stays where it is.
#[derive(Debug)]
pub(crate) struct Skipped {
    pub letter: DeadLetter,
    pub why: String,
}

impl QueryService {
    /// The first letters that the filter takes, and whether those are all.
    pub(crate) async fn letters(&self, filter: &Filter, limit: usize) -> Result<(Vec<DeadLetter>, bool), Problem> {
        let deadline = Instant::now() + LIMIT;
        let mut found = Vec::new();
        let mut letters = self.sift().await?;
        while Instant::now() < deadline
            && let Some(delivery) = letters.next().await
        {
            let letter = DeadLetter::from(delivery.map_err(unavailable)?.message.clone());
            if filter.takes(&letter) {
                if found.len() == limit {
                    return Ok((found, false));
                }
                found.push(letter);
            }
        }
        Ok((found, Instant::now() < deadline))
    }

    /// Deletes the letters that the filter takes, and says how many, and whether those were all.
    pub(crate) async fn purge(&self, filter: &Filter) -> Result<(u64, bool), Problem> {
        if filter.is_all() {
            return Ok((self.shared.ports.queue.purge(QueueName::DeadLetters).await.map_err(unavailable)?, true));
        }
        let deadline = Instant::now() + LIMIT;
        let mut purged = 0;
        let mut letters = self.sift().await?;
        while Instant::now() < deadline
            && let Some(delivery) = letters.next().await
        {
            let broken = |error| after(error, purged, "deleted");
            let delivery = delivery.map_err(broken)?;
            if filter.takes(&DeadLetter::from(delivery.message.clone())) {
                delivery.settle(Settlement::Done).await.map_err(broken)?;
                purged += 1;
            }
        }
        Ok((purged, Instant::now() < deadline))
    }

    /// Sends the letters that the filter takes back the way that they came by. A document that was written since stays as
    /// it is, unless `force` says otherwise. Letters from `before_ms` on are left alone: a letter that comes back at once
    /// is not replayed for ever.
    pub(crate) async fn replay(&self, filter: &Filter, force: bool, before_ms: Option<u64>) -> Result<Replayed, Problem> {
        let deadline = Instant::now() + LIMIT;
        let mut done = Replayed { before_ms: before_ms.unwrap_or_else(now_ms), ..Replayed::default() };
        let mut letters = self.sift().await?;
        loop {
            let mut chunk = Vec::new();
            let mut bytes = 0;
            done.complete = true;
            while let Some(delivery) = letters.next().await {
                let delivery = delivery.map_err(|error| after(error, done.replayed, "replayed"))?;
                let letter = DeadLetter::from(delivery.message.clone());
                if filter.takes(&letter) && letter.time_ms.is_none_or(|time| time <= done.before_ms) {
                    bytes += letter.message.body.len();
                    chunk.push((delivery, letter));
                }
                done.complete = chunk.len() < CHUNK_LETTERS && bytes < CHUNK_BYTES && Instant::now() < deadline;
                if !done.complete {
                    break;
                }
            }
            self.replay_chunk(chunk, force, &mut done).await?;
            if done.complete || Instant::now() >= deadline {
                return Ok(done);
            }
        }
    }

    async fn replay_chunk(&self, chunk: Vec<(Delivery, DeadLetter)>, force: bool, done: &mut Replayed) -> Result<(), Problem> {
        let written = match force {
            true => vec![None; chunk.len()],
            false => self.written_since(&chunk.iter().map(|(_, letter)| letter).collect::<Vec<_>>()).await,
        };
        for ((delivery, letter), why) in chunk.into_iter().zip(written) {
            let document = index_of(&letter).map(str::to_owned).zip(letter.document_id.clone());
            let why = why.filter(|_| document.as_ref().is_none_or(|document| !done.written.contains(document)));
            match why.map_or_else(|| self.way_of(&letter), Err) {
                Ok(way) => {
                    let returned = delivery.settle(Settlement::Return(way)).await;
                    returned.map_err(|error| after(error, done.replayed, "replayed"))?;
                    done.replayed += 1;
                    done.written.extend(document);
                }
                Err(why) => {
                    done.skipped_count += 1;
                    if done.skipped.len() < MAX_LISTED {
                        done.skipped.push(Skipped { letter, why });
                    }
                }
            }
        }
        Ok(())
    }

    /// The way that a letter came by, or why there is none.
    fn way_of(&self, letter: &DeadLetter) -> Result<Way, String> {
        let source = letter.source.as_deref().unwrap_or_default();
        if let Some(name) = SourceEntry::name_of(source) {
            let entry = self.shared.catalog.source(&name);
            let gone = || format!("the source \"{name}\" that it came from is no more");
            return entry.map(|entry| Way::Source(entry.queue())).ok_or_else(gone);
        }
        match source.parse() {
            Ok(QueueName::DeadLetters) | Err(()) => Err(format!("nothing is known of the way that it came by ({source:?})")),
            Ok(queue) => Ok(Way::Queue(queue)),
        }
    }

    async fn sift(&self) -> Result<Sifted, Problem> {
        self.shared.ports.queue.sift(QueueName::DeadLetters).await.map_err(unavailable)
    }
}

pub(crate) fn unavailable(error: QueueError) -> Problem {
    Problem::new(Code::Unavailable, error.to_string())
}

/// An error in the middle: what was done before is done.
fn after(error: QueueError, done: u64, what: &str) -> Problem {
    Problem::new(Code::Unavailable, format!("{error} ({done} dead letters were {what} before; the others are where they were)"))
}
