//! One log as its writers see it: whether it takes another write, and what is on its way to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use warren_protocol::PartitionId;
use warren_protocol::announcement::AppendReport;
use warren_protocol::ports::LogName;

use super::Signals;
use super::fill::Fill;

/// A producer tells the others once it has appended this part of a log's limit.
const TOLD_PART: u64 = 32;
/// What a process appends at most to a log before it knows how full it is, as a part of the log's limit.
const CREDIT_PART: u64 = 32;

/// One log.
pub(crate) struct Log {
    pub(super) partition: PartitionId,
    /// The limit of the log on the broker.
    pub(super) max_bytes: u64,
    state: Mutex<State>,
    signals: Arc<Signals>,
}

/// What is known of a log, and on its way to it.
pub(super) struct State {
    pub fill: Fill,
    /// The bytes of documents that were let in and are not packed into messages yet. Packed they are fewer.
    pub waiting: u64,
    /// When this process last wrote to it.
    pub written: Option<Instant>,
    /// Whether its end is being looked for.
    pub searching: bool,
    /// After a look that failed, the next one.
    pub not_before: Instant,
}

/// Whether a write may be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    /// So many bytes of the log are in no snapshot: too many.
    Full(u64),
    /// The log is nearly full, and what was let in is to be packed first.
    NotYet,
    /// How full the log is has to be found out first.
    Unknown,
}

impl State {
    fn verdict(&self, bytes: u64, max_bytes: u64) -> Verdict {
        let limit = max_bytes / 2;
        match self.fill.unsaved() {
            None if self.fill.appended() + self.waiting + bytes <= max_bytes / CREDIT_PART => Verdict::Yes,
            None => Verdict::Unknown,
            Some(unsaved) if unsaved >= limit => Verdict::Full(unsaved),
            // One that is alone may go beyond the limit: there is room for that in the other half.
            Some(unsaved) if self.waiting == 0 || unsaved + self.waiting + bytes <= limit => Verdict::Yes,
            Some(_) => Verdict::NotYet,
        }
    }
}

impl Log {
    pub(super) fn new(partition: PartitionId, max_bytes: u64, signals: Arc<Signals>) -> Self {
        let now = Instant::now();
        let fill = Fill::new(max_bytes / TOLD_PART, now);
        let state = State { fill, waiting: 0, written: None, searching: false, not_before: now };
        Self { partition, max_bytes, state: Mutex::new(state), signals }
    }

    pub(super) fn name(&self) -> LogName {
        LogName::Partition(self.partition.clone())
    }

    /// Lets so many bytes of documents in, or says why not.
    pub(super) fn let_in(self: &Arc<Self>, bytes: u64) -> Result<LetIn, Verdict> {
        let mut state = self.lock();
        match state.verdict(bytes, self.max_bytes) {
            Verdict::Yes => {
                state.waiting += bytes;
                Ok(LetIn { log: self.clone(), bytes })
            }
            verdict => Err(verdict),
        }
    }

    /// Whether a write would be refused, and then how many bytes are in no snapshot.
    pub(super) fn is_full(&self) -> Option<u64> {
        match self.lock().verdict(0, self.max_bytes) {
            Verdict::Full(unsaved) => Some(unsaved),
            _ => None,
        }
    }

    /// Notes that a message of so many bytes is about to be appended.
    pub(crate) fn append(&self, bytes: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        state.fill.append(bytes, now);
        state.written = Some(now);
        if state.fill.untold() >= self.max_bytes / TOLD_PART {
            self.signals.tell.notify_one();
        }
    }

    /// Notes that the broker has confirmed a message with so many operations.
    pub(crate) fn confirm(&self, operations: u32) {
        self.lock().fill.confirm(operations.into());
    }

    /// What is announced of it.
    pub(super) fn report(&self) -> AppendReport {
        let (own, end) = self.lock().fill.said();
        AppendReport {
            index: self.partition.index.clone(),
            partition: self.partition.partition,
            appended_bytes: own.bytes,
            appended_operations: own.operations,
            end_bytes: end.bytes,
            end_operations: end.operations,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Documents that were let in to a log. To be dropped once their message counts there, or when they are given up.
pub(crate) struct LetIn {
    log: Arc<Log>,
    bytes: u64,
}

impl Drop for LetIn {
    fn drop(&mut self) {
        self.log.lock().waiting -= self.bytes;
        self.log.signals.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::super::fill::{Found, Origin, Volume};
    use super::*;
    use warren_protocol::{Generation, IndexName, IndexRef};

    fn log(max_bytes: u64) -> Arc<Log> {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        Arc::new(Log::new(PartitionId { index, partition: 0 }, max_bytes, Arc::new(Signals::default())))
    }

    fn find(log: &Log, bytes: u64) {
        let volume = Volume { bytes, operations: 0 };
        log.lock().fill.found(Found { volume, origin: Origin::Creation }, 0);
    }

    #[test]
    fn a_log_of_which_nothing_is_known_takes_a_little() {
        let log = log(3200);
        let first = log.let_in(60).unwrap();
        assert_eq!(log.let_in(50).err(), Some(Verdict::Unknown));
        log.append(20);
        drop(first);
        let _second = log.let_in(80).unwrap();
        assert_eq!(log.let_in(1).err(), Some(Verdict::Unknown));
        assert_eq!(log.is_full(), None);
    }

    #[test]
    fn a_log_takes_writes_until_half_of_its_limit() {
        let log = log(1000);
        find(&log, 300);
        let first = log.let_in(150).unwrap();
        assert_eq!(log.let_in(60).err(), Some(Verdict::NotYet));
        let _second = log.let_in(50).unwrap();
        log.append(40); // what the first one was packed into
        drop(first);
        let third = log.let_in(100).unwrap();
        log.append(160);
        assert_eq!((log.let_in(1).err(), log.is_full()), (Some(Verdict::Full(500)), Some(500)));
        drop(third);
        assert_eq!(log.let_in(1).err(), Some(Verdict::Full(500)));
    }

    #[test]
    fn a_large_document_is_let_in_alone() {
        let log = log(1000);
        find(&log, 490);
        let _large = log.let_in(400).unwrap();
        assert_eq!(log.let_in(5).err(), Some(Verdict::NotYet));
    }

    #[test]
    fn much_is_told_at_once() {
        let log = log(3200);
        log.append(99);
        let told = || futures_util::FutureExt::now_or_never(log.signals.tell.notified()).is_some();
        assert!(!told());
        log.append(1);
        assert!(told());
    }
}
