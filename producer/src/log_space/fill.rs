//! What a producer knows of one log: where it ends, and how much of it is in no snapshot.
//!
//! No broker says how long a log is. So this counts what the process appends and what the others say that they append,
//! and takes what workers have read into account. Bytes are rather counted too high, since a write that fails may be in
//! the log all the same; once the log is quiet, the count begins anew. Operations are rather counted too low: they only
//! show how far replicas lag.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use warren_protocol::announcement::{AppendReport, PartitionReport, ProducerId, SnapshotReport};
use warren_protocol::ports::Position;

/// Nobody has written for so long, and no replica has moved: then a replica that is at the end knows best.
const QUIET: Duration = Duration::from_secs(5);
/// A producer that has not named the log for so long is forgotten. It may have been there all the time, unheard.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Messages of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub bytes: u64,
    pub operations: u64,
}

impl Volume {
    fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), operations: self.operations.max(other.operations) }
    }
}

/// Where the count begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// With this process: what was there before it is not known yet.
    Start,
    /// With the first message that the log still has. No worker was there to say what came before, or what is in a
    /// snapshot.
    Retained,
    /// With the index's creation, as workers and snapshots count.
    Creation,
}

/// What is to be found out about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Its end, whatever it takes.
    End,
    /// Its end, if a replica has read up to it.
    ReadEnd,
}

/// The log's end, found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub volume: Volume,
    pub origin: Origin,
}

/// What is known of one log.
#[derive(Debug)]
pub(super) struct Fill {
    /// The most that another producer appends before it says so.
    unheard: u64,
    origin: Origin,
    /// From the origin to the end, as counted here.
    counted: Volume,
    /// The bytes that were counted since this process knows the log: what came while its end was being found out.
    since_start: u64,
    /// What this process appended.
    own: Volume,
    /// The bytes of it that the others have been told of.
    told: u64,
    /// What the other producers have appended, by their last word, and when that was.
    others: HashMap<ProducerId, (Volume, Instant)>,
    /// As far as the furthest replica has read, and since when.
    read: Option<(Position, Volume, Instant)>,
    /// How far that was one tick and two ticks ago.
    read_before: [Volume; 2],
    snapshot: Option<SnapshotReport>,
    last_append: Instant,
}

impl Fill {
    /// A log of which nothing is known. Its producers announce themselves whenever they have appended `unheard` bytes.
    pub(super) fn new(unheard: u64, now: Instant) -> Self {
        Self {
            unheard,
            origin: Origin::Start,
            counted: Volume::default(),
            since_start: 0,
            own: Volume::default(),
            told: 0,
            others: HashMap::new(),
            read: None,
            read_before: [Volume::default(); 2],
            snapshot: None,
            last_append: now,
        }
    }

    /// This process puts a message on its way.
    pub(super) fn append(&mut self, bytes: u64, now: Instant) {
        self.own.bytes += bytes;
        self.count(bytes, now);
    }

    /// The broker has confirmed a message of this process.
    pub(super) fn confirm(&mut self, operations: u64) {
        self.own.operations += operations;
        self.counted.operations += operations;
    }

    fn count(&mut self, bytes: u64, now: Instant) {
        self.counted.bytes += bytes;
        self.since_start += bytes;
        self.last_append = now;
    }

    /// Another producer's word.
    pub(super) fn hear_producer(&mut self, producer: &ProducerId, report: &AppendReport, now: Instant) {
        let said = Volume { bytes: report.appended_bytes, operations: report.appended_operations };
        match self.others.insert(producer.clone(), (said, now)) {
            Some((before, _)) if before == said => {}
            Some((before, _)) => {
                self.count(said.bytes.saturating_sub(before.bytes), now);
                self.counted.operations += said.operations.saturating_sub(before.operations);
            }
            // Most of it may be old. What is new it has just begun to append, or it would have been heard before.
            None => self.count(said.bytes.min(self.unheard), now),
        }
    }

    /// How far a replica has read.
    pub(super) fn hear_replica(&mut self, report: &PartitionReport, now: Instant) {
        let Some(position) = report.position else { return };
        let volume = Volume { bytes: report.log_bytes, operations: report.operations };
        if self.read.is_none_or(|(_, furthest, _)| furthest.bytes < volume.bytes) {
            self.read = Some((position, volume, now));
        }
    }

    /// A snapshot that all workers can reach; the newest one counts.
    pub(super) fn hear_snapshot(&mut self, snapshot: SnapshotReport) {
        if self.saved() <= snapshot.log_bytes {
            self.snapshot = Some(snapshot);
        }
    }

    /// Once in each interval of the announcements: forgets the producers that are gone, and corrects the count where a
    /// replica has read more. All have told since two ticks ago what was read then.
    pub(super) fn tick(&mut self, now: Instant) {
        self.others.retain(|_, (_, heard)| now.duration_since(*heard) < FORGET_AFTER);
        let [before, long_before] = self.read_before;
        if self.origin == Origin::Creation {
            self.counted = self.counted.max(long_before);
        }
        self.read_before = [self.read.map_or(before, |(_, volume, _)| volume), before];
    }

    /// What is to be found out now, if anything.
    pub(super) fn wanted(&self, now: Instant) -> Option<Wanted> {
        match self.origin {
            Origin::Start => Some(Wanted::End),
            Origin::Retained => self.read.map(|_| Wanted::End),
            Origin::Creation => {
                let (_, read, since) = self.read?;
                let too_high = self.counted.bytes > read.bytes || self.counted.operations > read.operations;
                let is_quiet = now.duration_since(self.last_append.max(since)) >= QUIET;
                (too_high && is_quiet).then_some(Wanted::ReadEnd)
            }
        }
    }

    /// What to give back to [`Fill::found`]: taken before the log's end is looked for.
    pub(super) fn since_start(&self) -> u64 {
        self.since_start
    }

    /// The log's end was found out, as it was when [`Fill::since_start`] was `then` or a little later.
    pub(super) fn found(&mut self, found: Found, then: u64) {
        self.origin = found.origin;
        let bytes = found.volume.bytes + (self.since_start - then);
        self.counted = Volume { bytes, operations: found.volume.operations };
    }

    /// How many bytes of the log are in no snapshot; `None` if that is not known yet.
    pub(super) fn unsaved(&self) -> Option<u64> {
        match self.origin {
            Origin::Start => None,
            Origin::Retained => Some(self.counted.bytes),
            Origin::Creation => {
                let read = self.read.map_or(0, |(_, volume, _)| volume.bytes);
                Some(self.counted.bytes.max(read).saturating_sub(self.saved()))
            }
        }
    }

    fn saved(&self) -> u64 {
        self.snapshot.map_or(0, |snapshot| snapshot.log_bytes)
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&self) -> Option<SnapshotReport> {
        self.snapshot
    }

    /// What this process has appended, and where it believes the end to be.
    pub(super) fn said(&self) -> (Volume, Volume) {
        (self.own, self.counted)
    }

    /// The bytes that this process has appended.
    pub(super) fn appended(&self) -> u64 {
        self.own.bytes
    }

    /// The others have been told that this process has appended so many bytes.
    pub(super) fn told(&mut self, bytes: u64) {
        self.told = bytes;
    }

    /// How many bytes this process has appended that the others have not been told of.
    pub(super) fn untold(&self) -> u64 {
        self.own.bytes - self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::announcement::ReplicaState;
    use warren_protocol::{Generation, IndexName, IndexRef};

    const UNHEARD: u64 = 100;
    const SECOND: Duration = Duration::from_secs(1);

    fn index() -> IndexRef {
        IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) }
    }

    fn producer(name: &str) -> ProducerId {
        ProducerId(name.to_owned())
    }

    /// What a producer says that has appended so much.
    fn said((own, end): (Volume, Volume)) -> AppendReport {
        AppendReport {
            index: index(),
            partition: 0,
            appended_bytes: own.bytes,
            appended_operations: own.operations,
            end_bytes: end.bytes,
            end_operations: end.operations,
        }
    }

    /// What a replica says that has read so much.
    fn replica(bytes: u64) -> PartitionReport {
        PartitionReport {
            index: index(),
            partition: 0,
            replica: 0,
            held: true,
            state: ReplicaState::Serving,
            position: Some(Position(bytes)),
            documents: 0,
            log_bytes: bytes,
            operations: bytes / 10,
            segments: 1,
            bytes: 1,
            snapshot: None,
            lost: None,
            error: None,
        }
    }

    fn snapshot(log_bytes: u64) -> SnapshotReport {
        SnapshotReport { position: Position(log_bytes), log_bytes, taken_ms: 0 }
    }

    fn volume(bytes: u64) -> Volume {
        Volume { bytes, operations: bytes / 10 }
    }

    /// A log that is known to have had so many bytes.
    fn known(bytes: u64, now: Instant) -> Fill {
        let mut fill = Fill::new(UNHEARD, now);
        fill.found(Found { volume: volume(bytes), origin: Origin::Creation }, 0);
        fill
    }

    fn append(fill: &mut Fill, bytes: u64, now: Instant) {
        fill.append(bytes, now);
        fill.confirm(bytes / 10);
    }

    #[test]
    fn two_who_write_at_once_count_each_other() {
        let now = Instant::now();
        let (mut a, mut b) = (known(0, now), known(0, now));
        for _ in 0..10 {
            append(&mut a, 50, now);
            append(&mut b, 70, now);
            let (from_a, from_b) = (said(a.said()), said(b.said()));
            a.hear_producer(&producer("b"), &from_b, now);
            b.hear_producer(&producer("a"), &from_a, now);
        }
        assert_eq!((a.unsaved(), b.unsaved()), (Some(1200), Some(1200)));
        a.hear_replica(&replica(900), now);
        assert_eq!(a.unsaved(), Some(1200), "a worker that has read a part of it changes nothing");
        a.hear_snapshot(snapshot(800));
        a.hear_snapshot(snapshot(700));
        assert_eq!(a.unsaved(), Some(400), "the newest snapshot counts");
        // What a worker reads of it before it is told is not counted twice.
        append(&mut b, 60, now);
        a.hear_replica(&replica(1260), now);
        a.hear_producer(&producer("b"), &said(b.said()), now);
        for _ in 0..3 {
            a.tick(now + FORGET_AFTER);
        }
        assert_eq!((a.unsaved(), a.said().1), (Some(460), volume(1260)), "the word of one that has gone still counts");
    }

    #[test]
    fn a_producer_that_is_first_heard_counts_with_what_may_be_new() {
        let now = Instant::now();
        let mut fill = known(1000, now);
        let old_hand = |bytes| said((volume(bytes), volume(0)));
        fill.hear_producer(&producer("old"), &old_hand(50_000), now);
        assert_eq!(fill.unsaved(), Some(1000 + UNHEARD));
        fill.hear_producer(&producer("old"), &old_hand(50_020), now);
        fill.hear_producer(&producer("old"), &old_hand(50_020), now);
        fill.hear_producer(&producer("new"), &old_hand(30), now);
        assert_eq!(fill.unsaved(), Some(1000 + UNHEARD + 20 + 30));
    }

    #[test]
    fn one_that_starts_late_knows_nothing_until_the_end_is_found() {
        let now = Instant::now();
        let mut late = Fill::new(UNHEARD, now);
        late.hear_producer(&producer("a"), &said((volume(5000), volume(5000))), now);
        let then = late.since_start();
        late.append(40, now);
        late.hear_replica(&replica(3000), now);
        assert_eq!((late.unsaved(), late.wanted(now)), (None, Some(Wanted::End)));
        late.found(Found { volume: volume(5000), origin: Origin::Creation }, then);
        assert_eq!((late.unsaved(), late.wanted(now)), (Some(5040), None), "what came meanwhile counts on top");
        assert_eq!(late.said().1, Volume { bytes: 5040, operations: 500 });
    }

    #[test]
    fn without_workers_all_that_is_there_counts_until_one_comes() {
        let now = Instant::now();
        let mut fill = Fill::new(UNHEARD, now);
        fill.found(Found { volume: volume(700), origin: Origin::Retained }, 0);
        assert_eq!((fill.unsaved(), fill.wanted(now)), (Some(700), None));
        fill.hear_replica(&replica(9000), now);
        fill.hear_snapshot(snapshot(9000));
        fill.tick(now);
        fill.tick(now);
        assert_eq!((fill.unsaved(), fill.wanted(now)), (Some(700), Some(Wanted::End)), "they count from different origins");
        fill.found(Found { volume: volume(9300), origin: Origin::Creation }, fill.since_start());
        assert_eq!(fill.unsaved(), Some(300));
    }

    #[test]
    fn what_was_counted_too_high_is_put_right_when_the_log_is_quiet() {
        let now = Instant::now();
        let mut fill = known(0, now);
        append(&mut fill, 500, now);
        fill.append(500, now); // sent again, and in the log only once
        fill.hear_replica(&replica(500), now + SECOND);
        assert_eq!(fill.unsaved(), Some(1000));
        assert_eq!(fill.wanted(now + QUIET), None, "the replica moved a second later");
        assert_eq!(fill.wanted(now + SECOND + QUIET), Some(Wanted::ReadEnd));
        // Whoever writes meanwhile is counted on top.
        let then = fill.since_start();
        append(&mut fill, 20, now + SECOND + QUIET);
        assert_eq!(fill.wanted(now + SECOND + QUIET), None);
        fill.found(Found { volume: volume(500), origin: Origin::Creation }, then);
        assert_eq!(fill.unsaved(), Some(520));
        fill.hear_replica(&replica(520), now + SECOND * 20);
        assert_eq!(fill.wanted(now + SECOND * 20 + QUIET), None, "nothing is wrong");
    }

    #[test]
    fn what_was_never_told_is_seen_by_the_workers() {
        let now = Instant::now();
        let mut fill = known(100, now);
        fill.hear_replica(&replica(400), now);
        assert_eq!(fill.unsaved(), Some(400));
        append(&mut fill, 50, now);
        assert_eq!(fill.unsaved(), Some(400), "it may be in what was read");
        for _ in 0..3 {
            fill.tick(now);
        }
        append(&mut fill, 50, now);
        assert_eq!(fill.unsaved(), Some(450));
    }

    #[test]
    fn the_others_are_told_what_they_have_not_heard() {
        let now = Instant::now();
        let mut fill = known(0, now);
        append(&mut fill, 60, now);
        let (own, _) = fill.said();
        append(&mut fill, 30, now);
        fill.told(own.bytes);
        assert_eq!(fill.untold(), 30);
    }
}
