//! What a writer knows of its documents: what each of them must be in the end.
//!
//! A writer has ids of its own, and writes to one id at a time, through one way in: then the last confirmed write is
//! the last one. What was written and never confirmed may be there or not.

use fastrand::Rng;
use serde_json::{Value, json};

/// What is there under an id: the version of the document, or nothing.
pub type State = Option<u64>;

/// Two of these make a word of the documents.
const HALVES: [&str; 24] = [
    "amber", "birch", "cloud", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "larch", "marsh", "north",
    "oasis", "prism", "quarry", "ridge", "shoal", "thorn", "umber", "valley", "willow", "yonder",
];

/// The documents of one writer. As large at the end as at the start.
pub struct Ledger {
    writer: String,
    entries: Vec<Entry>,
    padding: usize,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    versions: u64,
    confirmed: State,
    /// What was written last, if it is not confirmed.
    pending: Option<State>,
}

/// One write, which stays the same however often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    number: usize,
    state: State,
}

/// What an id turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it must be.
    Right,
    /// A confirmed document is not there.
    Lost,
    /// Another version than the last confirmed one is there.
    WrongVersion,
    /// A deleted document is there.
    Ghost,
}

impl Ledger {
    /// So many ids for a writer of this name. `padding` bytes make each document larger.
    pub fn new(writer: &str, ids: usize, padding: usize) -> Self {
        Self { writer: writer.to_owned(), entries: vec![Entry::default(); ids], padding }
    }

    /// The next writes: of `count` different ids, or fewer if there are fewer; new versions, or deletions of what may be there.
    pub fn begin(&mut self, random: &mut Rng, count: usize, delete: bool) -> Vec<Write> {
        let first = random.usize(..self.entries.len());
        let step = 1 + random.usize(..self.entries.len().div_ceil(count.max(1)));
        let mut writes = Vec::new();
        for number in (first..self.entries.len()).step_by(step).take(count) {
            let entry = &mut self.entries[number];
            if delete && entry.confirmed.is_none() {
                continue;
            }
            entry.versions += 1;
            let state = if delete { None } else { Some(entry.versions) };
            entry.pending = Some(state);
            writes.push(Write { number, state });
        }
        writes
    }

    /// Notes that a write is kept.
    pub fn confirm(&mut self, write: Write) {
        let entry = &mut self.entries[write.number];
        (entry.confirmed, entry.pending) = (write.state, None);
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        (0..self.entries.len()).map(|number| self.name(number))
    }

    /// The id that a write is about.
    pub fn id(&self, write: Write) -> String {
        self.name(write.number)
    }

    /// The document of a write; `None` for a deletion.
    pub fn document(&self, write: Write) -> Option<Value> {
        let version = write.state?;
        let mut random = Rng::with_seed(write.number as u64 ^ (version << 32));
        let mut document = json!({"id": self.id(write), "version": version, "text": text(&mut random)});
        if self.padding > 0 {
            // Nothing that a compressor could make small.
            document["padding"] = (0..self.padding).map(|_| random.alphanumeric()).collect::<String>().into();
        }
        Some(document)
    }

    /// How many documents must be there, at least and at most.
    pub fn live(&self) -> (u64, u64) {
        let surely = |entry: &&Entry| entry.confirmed.is_some() && entry.pending.is_none_or(|pending| pending.is_some());
        let perhaps = |entry: &&Entry| entry.confirmed.is_some() || entry.pending.flatten().is_some();
        (self.entries.iter().filter(surely).count() as u64, self.entries.iter().filter(perhaps).count() as u64)
    }

    /// How many ids have a write that was never confirmed.
    pub fn unconfirmed(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.pending.is_some()).count() as u64
    }

    /// Judges what was found under the id with this number, in the order of [`Self::ids`].
    pub fn judge(&self, number: usize, found: State) -> Finding {
        let entry = &self.entries[number];
        if found == entry.confirmed || entry.pending == Some(found) {
            return Finding::Right;
        }
        match (found, entry.confirmed) {
            (None, _) => Finding::Lost,
            (Some(_), None) => Finding::Ghost,
            (Some(_), Some(_)) => Finding::WrongVersion,
        }
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{number:06}", self.writer)
    }
}

/// What a document says.
pub fn text(random: &mut Rng) -> String {
    (0..12).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// A word that documents are made of. The second most frequent of the 576 is half as frequent as the first, the third a third, and so on,
/// as in the texts of people (Zipf's law).
pub fn word(random: &mut Rng) -> String {
    let words = (HALVES.len() * HALVES.len()) as f64;
    let rank = words.powf(random.f64()) as usize - 1;
    [HALVES[rank % HALVES.len()], HALVES[rank / HALVES.len()]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confirmed_must_be_there_and_what_is_not_may() {
        let (mut ledger, mut random) = (Ledger::new("w", 1, 0), Rng::with_seed(1));
        assert_eq!((ledger.judge(0, None), ledger.judge(0, Some(1))), (Finding::Right, Finding::Ghost));
        let first = ledger.begin(&mut random, 1, false)[0];
        assert_eq!((ledger.judge(0, None), ledger.judge(0, Some(1))), (Finding::Right, Finding::Right));
        assert_eq!((ledger.live(), ledger.unconfirmed()), ((0, 1), 1));
        ledger.confirm(first);
        assert_eq!((ledger.judge(0, None), ledger.judge(0, Some(2))), (Finding::Lost, Finding::WrongVersion));
        let deletion = ledger.begin(&mut random, 1, true)[0];
        assert_eq!((ledger.live(), ledger.document(deletion)), ((0, 1), None));
        ledger.confirm(deletion);
        assert_eq!((ledger.judge(0, Some(1)), ledger.live()), (Finding::Ghost, (0, 0)));
        assert!(ledger.begin(&mut random, 1, true).is_empty(), "what is not there is not deleted");
    }

    #[test]
    fn the_writes_of_one_batch_are_of_different_ids() {
        let (mut ledger, mut random) = (Ledger::new("w", 50, 10), Rng::with_seed(7));
        for _ in 0..100 {
            let writes = ledger.begin(&mut random, 20, false);
            let mut numbers: Vec<_> = writes.iter().map(|write| write.number).collect();
            numbers.dedup();
            assert!(!numbers.is_empty() && numbers.len() == writes.len());
            assert_eq!(ledger.document(writes[0]), ledger.document(writes[0]), "a write stays the same");
        }
    }
}
