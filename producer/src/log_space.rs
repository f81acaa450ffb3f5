//! How full each partition's log is: writes are refused before the broker would truncate what is in no snapshot.
//!
//! A broker's retention knows no consumers. So workers announce how far they have read and how far the newest snapshot
//! goes, producers announce what they append, and a log takes writes until half of its limit is in no snapshot. The other
//! half is for what was appended and not announced yet.
//!
//! [`fill`] counts, [`log`] lets writes in, [`listening`] hears what the others say, [`announcing`] tells what this
//! process appends, [`finding`] finds out where a log ends that this process has just met, and [`words`] says why a write
//! is refused.

mod announcing;
mod fill;
mod finding;
mod listening;
mod log;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use warren_protocol::PartitionId;
use warren_protocol::announcement::ProducerId;
use warren_protocol::ports::Ports;
use warren_service::catalog::CatalogHandle;
use warren_service::roster::Roster;

use crate::intake::Reports;
use crate::publisher::WriteError;
use log::Verdict;

pub(crate) use log::{LetIn, Log};

/// The logs that this process writes to. All clones are one; the last one ends the listening and the announcing.
#[derive(Clone)]
pub(crate) struct LogSpace {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    closing: CancellationToken,
    _guard: Arc<DropGuard>,
}

struct Shared {
    id: ProducerId,
    ports: Ports,
    roster: Roster,
    catalog: CatalogHandle,
    /// Those that were written to, as long as their indexes exist.
    logs: Mutex<HashMap<PartitionId, Arc<Log>>>,
    signals: Arc<Signals>,
    /// What is announced along with the logs.
    reports: Reports,
}

/// What the parts of this module tell each other.
#[derive(Default)]
struct Signals {
    /// There may be room in a log where there was none.
    changed: watch::Sender<()>,
    /// A log is written to for the first time.
    met: Notify,
    /// Much was appended that the others do not know of.
    tell: Notify,
}

impl Shared {
    fn logs(&self) -> MutexGuard<'_, HashMap<PartitionId, Arc<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSpace {
    /// Starts to listen and to announce.
    pub(crate) fn start(ports: &Ports, catalog: CatalogHandle, roster: Roster) -> Self {
        let (logs, signals, reports) = (Mutex::default(), Arc::default(), Reports::default());
        let shared = Arc::new(Shared { id: ProducerId::random(), ports: ports.clone(), roster, catalog, logs, signals, reports });
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(closing.clone().run_until_cancelled_owned(listening::run(shared.clone())));
        tasks.spawn(announcing::run(shared.clone(), closing.clone()));
        let _guard = Arc::new(closing.clone().drop_guard());
        Self { shared, tasks, closing, _guard }
    }

    /// What this process says of its intakes.
    pub(crate) fn reports(&self) -> &Reports {
        &self.shared.reports
    }

    /// A partition's log, whose limit on the broker is `max_bytes`.
    pub(crate) fn log(&self, partition: &PartitionId, max_bytes: u64) -> Arc<Log> {
        let mut logs = self.shared.logs();
        if let Some(log) = logs.get(partition) {
            return log.clone();
        }
        let log = Arc::new(Log::new(partition.clone(), max_bytes, self.shared.signals.clone()));
        logs.insert(partition.clone(), log.clone());
        self.shared.signals.met.notify_one();
        log
    }

    /// Refuses if the log is full.
    pub(crate) fn check(&self, log: &Log) -> Result<(), WriteError> {
        log.is_full().map_or(Ok(()), |unsaved| Err(self.full(log, unsaved)))
    }

    /// Lets so many bytes of documents in to a log. Waits while it is not known how full the log is, and while what was
    /// let in before has to be packed to see how much room it leaves; `Busy` if that takes longer than `patience`.
    pub(crate) async fn let_in(&self, log: &Arc<Log>, bytes: u64, patience: Duration) -> Result<LetIn, WriteError> {
        let mut changes = self.shared.signals.changed.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match log.let_in(bytes) {
                Ok(let_in) => return Ok(let_in),
                Err(Verdict::Full(unsaved)) => return Err(self.full(log, unsaved)),
                Err(verdict) => match tokio::time::timeout_at(deadline, changes.changed()).await {
                    Ok(_) => {}
                    Err(_) if verdict == Verdict::Unknown => return Err(WriteError::LogFull(words::unknown(&log.partition))),
                    Err(_) => return Err(WriteError::Busy),
                },
            }
        }
    }

    /// Waits until it is known how full the log is.
    pub(crate) async fn known(&self, log: &Log, patience: Duration) -> Result<(), WriteError> {
        let mut changes = self.shared.signals.changed.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        while log.lock().fill.unsaved().is_none() {
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(WriteError::LogFull(words::unknown(&log.partition)));
            }
        }
        Ok(())
    }

    fn full(&self, log: &Log, unsaved: u64) -> WriteError {
        let snapshot = log.lock().fill.snapshot();
        let cause = words::cause(&self.shared.roster, &log.partition, snapshot.is_some());
        WriteError::LogFull(words::full(&log.partition, unsaved, log.max_bytes, snapshot, &cause))
    }

    /// Says its last word. Call it once nothing is written any more.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
