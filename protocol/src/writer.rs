//! Exactly once: which batches of a log a follower applies.
//!
//! The broker has no deduplication for us. So each producer process is a writer, each of its connections an epoch,
//! and its batches in one log are numbered densely. After a lost connection the process opens the next epoch, says
//! from which number on nothing was confirmed, and sends those batches again under their old numbers. A follower that
//! keeps this table applies each of them once, and void stragglers of the old connection never.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::{Epoch, Header, Kind, Sequence, WriterId};
use crate::ports::Position;

/// What a follower does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A control batch: nothing to index.
    Opened,
    /// Index it.
    Apply,
    /// Index it, and report: the sequences from `expected` up to `found` are not in the log (yet).
    ApplyAfterGap {
        /// The first missing sequence.
        expected: Sequence,
        /// The sequence of this batch.
        found: Sequence,
    },
    /// A control batch that proves a loss: the broker confirmed the sequences from `expected` up to `next`, and they are not in the log.
    Lost {
        /// The first lost sequence.
        expected: Sequence,
        /// The first sequence after the loss.
        next: Sequence,
    },
    /// It is in the index already.
    Duplicate,
    /// A later epoch of its writer has replaced it.
    Stale,
}

/// How far a follower has come with each writer; part of every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterTable {
    writers: BTreeMap<WriterId, WriterState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WriterState {
    epoch: Epoch,
    /// All sequences below were applied.
    contiguous: Sequence,
    /// One more than the highest sequence applied; above `contiguous` only after a gap.
    highest: Sequence,
    /// Where its last batch stood: the oldest writer leaves a full table first.
    last_seen: Position,
}

impl WriterTable {
    /// The most writers that are remembered. A writer that returns after 1,000 others opens an epoch like a new one.
    pub const MAX_WRITERS: usize = 1000;

    /// Judges the batch at `position` and notes it as applied.
    pub fn judge(&mut self, header: &Header, position: Position) -> Verdict {
        if !self.writers.contains_key(&header.writer) {
            self.make_room();
        }
        let state = self.writers.entry(header.writer).or_insert_with(|| WriterState {
            // A writer that the table does not know starts where it says it is: the log may begin in its middle.
            epoch: header.epoch,
            contiguous: header.first_sequence(),
            highest: header.first_sequence(),
            last_seen: position,
        });
        if header.epoch < state.epoch {
            return Verdict::Stale;
        }
        state.last_seen = position;
        match header.kind {
            Kind::Open { continues, next } => state.open(header.epoch, continues, next),
            Kind::Write { sequence, .. } => state.write(header.epoch, sequence),
        }
    }

    /// How many writers are remembered.
    pub fn len(&self) -> usize {
        self.writers.len()
    }

    /// Whether no writer is remembered.
    pub fn is_empty(&self) -> bool {
        self.writers.is_empty()
    }

    fn make_room(&mut self) {
        if self.writers.len() >= Self::MAX_WRITERS
            && let Some(oldest) = self.writers.iter().min_by_key(|(_, state)| state.last_seen).map(|(writer, _)| *writer)
        {
            self.writers.remove(&oldest);
        }
    }
}

impl Header {
    fn first_sequence(&self) -> Sequence {
        match self.kind {
            Kind::Open { next, .. } => next,
            Kind::Write { sequence, .. } => sequence,
        }
    }
}

impl WriterState {
    fn open(&mut self, epoch: Epoch, continues: bool, next: Sequence) -> Verdict {
        self.epoch = epoch;
        if !continues {
            (self.contiguous, self.highest) = (next, next);
            return Verdict::Opened;
        }
        let expected = self.contiguous;
        self.contiguous = expected.max(next);
        // What came after a gap comes again, in order behind what fills the gap.
        self.highest = self.contiguous;
        if expected < next { Verdict::Lost { expected, next } } else { Verdict::Opened }
    }

    fn write(&mut self, epoch: Epoch, sequence: Sequence) -> Verdict {
        self.epoch = epoch;
        if sequence < self.highest {
            return Verdict::Duplicate;
        }
        let expected = self.highest;
        self.highest = sequence + 1;
        if sequence > expected {
            return Verdict::ApplyAfterGap { expected, found: sequence };
        }
        if self.contiguous == expected {
            self.contiguous = self.highest;
        }
        Verdict::Apply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log as its follower sees it: judges headers one after the other.
    struct Follower {
        table: WriterTable,
        position: u64,
    }

    impl Follower {
        fn new() -> Self {
            Self { table: WriterTable::default(), position: 0 }
        }

        fn judge(&mut self, writer: u128, epoch: Epoch, kind: Kind) -> Verdict {
            self.position += 1;
            let header = Header { writer: WriterId(uuid::Uuid::from_u128(writer)), epoch, kind };
            self.table.judge(&header, Position(self.position))
        }

        fn open(&mut self, epoch: Epoch, continues: bool, next: Sequence) -> Verdict {
            self.judge(7, epoch, Kind::Open { continues, next })
        }

        fn write(&mut self, epoch: Epoch, sequence: Sequence) -> Verdict {
            self.judge(7, epoch, Kind::Write { sequence, operations: 1, unpacked_bytes: 1 })
        }
    }

    #[test]
    fn what_was_stored_before_the_connection_died_is_not_applied_again() {
        let mut log = Follower::new();
        assert_eq!(log.open(1, false, 0), Verdict::Opened);
        assert_eq!((log.write(1, 0), log.write(1, 1)), (Verdict::Apply, Verdict::Apply));
        // 1 was stored, its confirm was lost; 2 was never stored.
        assert_eq!(log.open(2, true, 1), Verdict::Opened);
        assert_eq!((log.write(2, 1), log.write(2, 2)), (Verdict::Duplicate, Verdict::Apply));
        assert_eq!((log.write(1, 2), log.open(1, false, 0)), (Verdict::Stale, Verdict::Stale));
        assert_eq!(log.write(2, 3), Verdict::Apply);
    }

    #[test]
    fn a_gap_is_reported_and_its_filling_is_applied_in_order() {
        let mut log = Follower::new();
        log.open(1, false, 0);
        assert_eq!(log.write(1, 0), Verdict::Apply);
        assert_eq!(log.write(1, 2), Verdict::ApplyAfterGap { expected: 1, found: 2 });
        assert_eq!(log.write(1, 3), Verdict::Apply);
        assert_eq!(log.open(2, true, 1), Verdict::Opened);
        assert_eq!((log.write(2, 1), log.write(2, 2), log.write(2, 3)), (Verdict::Apply, Verdict::Apply, Verdict::Apply));
    }

    #[test]
    fn confirmed_batches_that_are_missing_are_a_loss() {
        let mut log = Follower::new();
        log.open(1, false, 0);
        log.write(1, 0);
        assert_eq!(log.open(2, true, 3), Verdict::Lost { expected: 1, next: 3 });
        assert_eq!(log.write(2, 3), Verdict::Apply);
    }

    #[test]
    fn a_successor_that_does_not_know_the_numbers_starts_anew() {
        let mut log = Follower::new();
        log.open(5, false, 0);
        log.write(5, 0);
        assert_eq!(log.open(9, false, 0), Verdict::Opened);
        assert_eq!((log.write(9, 0), log.write(5, 1)), (Verdict::Apply, Verdict::Stale));
    }

    #[test]
    fn a_log_that_begins_in_the_middle_of_a_writer_is_no_gap() {
        assert_eq!(Follower::new().write(3, 41), Verdict::Apply);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest_first() {
        let mut log = Follower::new();
        for writer in 0..=WriterTable::MAX_WRITERS as u128 {
            log.judge(writer, 1, Kind::Open { continues: false, next: 0 });
        }
        assert_eq!(log.table.len(), WriterTable::MAX_WRITERS);
        assert!(!log.table.writers.contains_key(&WriterId(uuid::Uuid::from_u128(0))));
    }

    #[test]
    fn the_table_survives_a_commit() {
        let mut log = Follower::new();
        log.open(1, false, 0);
        log.write(1, 0);
        let kept = serde_json::to_string(&log.table).unwrap();
        assert_eq!(serde_json::from_str::<WriterTable>(&kept).unwrap(), log.table);
    }
}
