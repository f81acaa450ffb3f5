//! Hears what workers and other producers say of the logs that this process writes to, and sees to it that their ends
//! are found out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use warren_protocol::PartitionId;
use warren_protocol::announcement::INTERVAL_MS;
use warren_protocol::ports::LogError;

use super::fill::Found;
use super::{Log, Shared, finding};

/// Announcements that come together are heard together.
const TOGETHER: Duration = Duration::from_millis(10);
/// How many logs are looked at at a time.
const MAX_SEARCHES: usize = 16;
/// After a look that told nothing, the next one.
const PAUSE: Duration = Duration::from_secs(2);

/// A look for a log's end: what had been counted before, and what it brought.
type Search = (Searching, u64, Result<Option<Found>, LogError>);

/// The end of this log is being looked for.
struct Searching(Arc<Log>);

impl Drop for Searching {
    fn drop(&mut self) {
        self.0.lock().searching = false;
    }
}

/// Listens until this future is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.roster.changes();
    let mut tick = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut searches: JoinSet<Search> = JoinSet::new();
    loop {
        tokio::select! {
            _ = tick.tick() => shared.tick(),
            Ok(()) = changes.changed() => {
                tokio::time::sleep(TOGETHER).await;
                changes.mark_unchanged();
            }
            () = shared.signals.met.notified() => {}
            Some(Ok(search)) = searches.join_next() => note(search),
        }
        shared.hear();
        start_searches(&shared, &mut searches);
        shared.signals.changed.send_replace(());
    }
}

impl Shared {
    /// Takes everyone's last word in.
    fn hear(&self) {
        let logs = self.logs().clone();
        if logs.is_empty() {
            return;
        }
        let now = Instant::now();
        let snapshots_count = !self.roster.stores_differ();
        for worker in self.roster.workers() {
            for report in worker.partitions.iter() {
                let partition = PartitionId { index: report.index.clone(), partition: report.partition };
                let Some(log) = logs.get(&partition) else { continue };
                let mut state = log.lock();
                state.fill.hear_replica(report, now);
                if let Some(snapshot) = report.snapshot.filter(|_| snapshots_count) {
                    state.fill.hear_snapshot(snapshot);
                }
            }
        }
        for producer in self.roster.producers().iter().filter(|producer| producer.id != self.id) {
            for report in producer.logs.iter() {
                let partition = PartitionId { index: report.index.clone(), partition: report.partition };
                if let Some(log) = logs.get(&partition) {
                    log.lock().fill.hear_producer(&producer.id, report, now);
                }
            }
        }
    }

    /// Forgets what is gone: deleted indexes, and producers.
    fn tick(&self) {
        let now = Instant::now();
        let mut logs = self.logs();
        logs.retain(|partition, _| self.catalog.get(&partition.index.name).is_some_and(|entry| entry.index == partition.index));
        for log in logs.values() {
            log.lock().fill.tick(now);
        }
    }
}

fn start_searches(shared: &Arc<Shared>, searches: &mut JoinSet<Search>) {
    let now = Instant::now();
    for log in shared.logs().values() {
        if searches.len() >= MAX_SEARCHES {
            return;
        }
        let mut state = log.lock();
        if state.searching || state.not_before > now {
            continue;
        }
        let Some(wanted) = state.fill.wanted(now) else { continue };
        state.searching = true;
        let (shared, searching, before) = (shared.clone(), Searching(log.clone()), state.fill.since_start());
        searches.spawn(async move {
            let found = finding::find(&shared.ports, &shared.roster, &searching.0.partition, wanted).await;
            (searching, before, found)
        });
    }
}

fn note((searching, before, found): Search) {
    let log = &searching.0;
    let mut state = log.lock();
    match found {
        Ok(Some(found)) => return state.fill.found(found, before),
        Ok(None) => {}
        // The catalog says it soon, too.
        Err(LogError::NotFound(_)) => {}
        Err(error) => tracing::warn!(log = %log.name(), %error, "cannot find out how full a log is"),
    }
    state.not_before = Instant::now() + PAUSE;
}
