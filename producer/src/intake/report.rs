//! What each way in by queue has done since this process started, as it is announced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warren_protocol::announcement::IntakeReport;

/// The reports of all ways in. All clones are one.
#[derive(Clone, Default)]
pub(crate) struct Reports {
    all: Arc<Mutex<BTreeMap<String, Report>>>,
}

/// The report of one way in. All clones are one.
#[derive(Clone, Default)]
pub(super) struct Report {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    said: IntakeReport,
    /// How many messages wait for room.
    waiting: usize,
}

impl Reports {
    /// What to announce.
    pub(crate) fn all(&self) -> Vec<IntakeReport> {
        self.lock().values().map(|report| report.lock().said.clone()).collect()
    }

    /// The report of that way, with nothing in it yet.
    pub(super) fn begin(&self, label: &str) -> Report {
        let report = Report::default();
        report.lock().said.name = label.to_owned();
        self.lock().insert(label.to_owned(), report.clone());
        report
    }

    /// Forgets a way that is no more.
    pub(super) fn end(&self, label: &str, report: &Report) {
        let mut all = self.lock();
        if all.get(label).is_some_and(|known| Arc::ptr_eq(&known.state, &report.state)) {
            all.remove(label);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Report>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of the documents of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub indexed: u64,
    pub deleted: u64,
    pub refused: u64,
}

impl Report {
    pub(super) fn active(&self, active: bool) {
        self.lock().said.active = active;
    }

    pub(super) fn count(&self, counts: Counts) {
        let said = &mut self.lock().said;
        said.indexed += counts.indexed;
        said.deleted += counts.deleted;
        said.refused += counts.refused;
    }

    pub(super) fn failed(&self, error: String) {
        self.lock().said.last_error = Some(error);
    }

    /// Says that a message waits, until the answer is dropped.
    pub(super) fn wait(&self, why: impl Into<String>) -> Waiting {
        let mut state = self.lock();
        state.waiting += 1;
        state.said.paused = Some(why.into());
        drop(state);
        Waiting { report: self.clone() }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.lock().waiting > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that waits for room.
pub(super) struct Waiting {
    report: Report,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.report.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.said.paused = None;
        }
    }
}
