//! Tells everyone, each second, what this worker holds and how far it is.

use std::sync::Arc;
use std::time::Duration;

use warren_protocol::announcement::{Announcement, INTERVAL_MS, WorkerAnnouncement};

use crate::Shared;

/// How long a stop waits for the last announcement.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Announces until the worker stops, and then once more that it leaves.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let leaving = tokio::select! {
            _ = tick.tick() => false,
            () = shared.stop.requested() => true,
        };
        let partitions = if leaving { Vec::new() } else { shared.holdings.reports() };
        let announcement = Announcement::Worker(WorkerAnnouncement {
            worker: shared.id.clone(),
            leaving,
            stopping: leaving,
            cpu_percent: 0,
            store: None,
            partitions,
        });
        let announced = tokio::select! {
            announced = shared.ports.bulletin.announce(&announcement) => announced,
            () = shared.stop.requested(), if !leaving => continue,
            () = tokio::time::sleep(LAST_WORD), if leaving => return,
        };
        if let Err(error) = announced {
            tracing::warn!(%error, "cannot announce what this worker holds");
        }
        if leaving {
            return;
        }
    }
}
