//! What became of the searches: counts by cause, latencies, gaps; bounded however long it takes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::latencies::Latencies;

/// The seconds of which each has its own figures.
const SECONDS: usize = 300;
/// Causes beyond so many different ones count as one.
const CAUSES: usize = 50;

/// The figures of all searches so far.
#[derive(Clone, Debug)]
pub struct Figures {
    /// When they began.
    pub started: Instant,
    /// Searches that every partition answered.
    pub complete: u64,
    /// Searches that failed, by cause.
    pub causes: BTreeMap<String, u64>,
    /// Tries that were followed by another one, by cause.
    pub retries: BTreeMap<String, u64>,
    /// From the first try to the complete answer.
    pub latencies: Latencies,
    /// The longest time without a complete answer.
    pub longest_gap: Duration,
    /// The last seconds, by the time when the searches began.
    pub seconds: VecDeque<Second>,
    last_complete: Instant,
    last_failed: Option<Instant>,
    /// Since when no search has failed, if one is complete since.
    complete_since: Option<Instant>,
}

/// The searches that began within one second.
#[derive(Clone, Debug)]
pub struct Second {
    /// When it began.
    pub start: Instant,
    /// Searches without a complete answer.
    pub failed: u64,
    /// Of the complete ones.
    pub latencies: Latencies,
    /// How many were complete.
    pub complete: u64,
}

impl Figures {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            complete: 0,
            causes: BTreeMap::new(),
            retries: BTreeMap::new(),
            latencies: Latencies::default(),
            longest_gap: Duration::ZERO,
            seconds: VecDeque::new(),
            last_complete: now,
            last_failed: None,
            complete_since: None,
        }
    }

    /// How many searches have failed.
    pub fn failed(&self) -> u64 {
        self.causes.values().sum()
    }

    /// When the last one failed.
    pub fn last_failed(&self) -> Option<Instant> {
        self.last_failed
    }

    /// The failures since an earlier moment, by cause.
    pub fn causes_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let new = |(cause, count): (&String, &u64)| {
            let count = count - earlier.causes.get(cause).copied().unwrap_or(0);
            (count > 0).then(|| (cause.clone(), count))
        };
        self.causes.iter().filter_map(new).collect()
    }

    pub(super) fn add(&mut self, began: Instant, ended: Result<(), String>) {
        let now = Instant::now();
        match ended {
            Ok(()) => {
                self.complete += 1;
                self.latencies.add(now - began);
                self.longest_gap = self.longest_gap.max(now - self.last_complete);
                self.last_complete = now;
                self.complete_since.get_or_insert(now);
                if let Some(second) = self.second(began) {
                    second.latencies.add(now - began);
                    second.complete += 1;
                }
            }
            Err(cause) => {
                count(&mut self.causes, cause);
                self.complete_since = None;
                self.last_failed = Some(now);
                if let Some(second) = self.second(began) {
                    second.failed += 1;
                }
            }
        }
    }

    pub(super) fn retried(&mut self, cause: &str) {
        count(&mut self.retries, cause.to_owned());
    }

    /// Since when no search has failed, if one is complete since, and answers still come.
    pub(super) fn complete_since(&self) -> Option<Instant> {
        self.complete_since.filter(|_| self.last_complete.elapsed() < Duration::from_secs(1))
    }

    /// The time without an answer at the end counts, too.
    pub(super) fn end(&mut self) {
        self.longest_gap = self.longest_gap.max(self.last_complete.elapsed());
    }

    fn second(&mut self, began: Instant) -> Option<&mut Second> {
        let one = Duration::from_secs(1);
        let mut start = self.seconds.back().map_or(self.started, |last| last.start + one);
        while start <= began {
            self.seconds.push_back(Second { start, failed: 0, latencies: Latencies::default(), complete: 0 });
            start += one;
        }
        while self.seconds.len() > SECONDS {
            self.seconds.pop_front();
        }
        self.seconds.iter_mut().rev().find(|second| second.start <= began)
    }
}

fn count(counts: &mut BTreeMap<String, u64>, cause: String) {
    let cause = if counts.len() < CAUSES || counts.contains_key(&cause) { cause } else { "other".to_owned() };
    *counts.entry(cause).or_default() += 1;
}
