//! Tells everyone, each second and after each large step, what this process has appended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use warren_protocol::announcement::{Announcement, INTERVAL_MS, ProducerAnnouncement};

use super::{Log, Shared};

/// A log that was not written to for so long is not named any more.
const NAMED: Duration = Duration::from_secs(60);
/// The most logs that an announcement names: those that were written to last.
const MAX_NAMED: usize = 1000;
/// How long a stop waits for the last announcement.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Announces until `closing`, and then once more that the producer leaves.
pub(super) async fn run(shared: Arc<Shared>, closing: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.signals.tell.notified() => {}
            () = closing.cancelled() => break,
        }
        tokio::select! {
            () = announce(&shared, false) => {}
            () = closing.cancelled() => break,
        }
    }
    if tokio::time::timeout(LAST_WORD, announce(&shared, true)).await.is_err() {
        tracing::debug!("nobody hears in time that this producer leaves");
    }
}

async fn announce(shared: &Shared, leaving: bool) {
    let logs = written(shared);
    let reports: Vec<_> = logs.iter().map(|log| log.report()).collect();
    let said =
        ProducerAnnouncement { producer: shared.id.clone(), leaving, logs: reports.clone(), intakes: shared.reports.all() };
    match shared.ports.bulletin.announce(&Announcement::Producer(said)).await {
        Ok(()) => {
            for (log, report) in logs.iter().zip(reports) {
                log.lock().fill.told(report.appended_bytes);
            }
        }
        Err(error) => tracing::warn!(%error, "cannot announce what this producer has appended"),
    }
}

/// The logs that were written to lately.
fn written(shared: &Shared) -> Vec<Arc<Log>> {
    let logs: Vec<_> = shared.logs().values().cloned().collect();
    let mut written: Vec<_> = logs
        .into_iter()
        .filter_map(|log| {
            let ago = log.lock().written?.elapsed();
            (ago < NAMED).then_some((ago, log))
        })
        .collect();
    written.sort_by_key(|(ago, _)| *ago);
    written.into_iter().take(MAX_NAMED).map(|(_, log)| log).collect()
}
