//! Tells everyone, each second, what this worker holds and how far it is.

use std::sync::Arc;
use std::time::Duration;

use warren_protocol::announcement::{Announcement, INTERVAL_MS};

use crate::Shared;

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
        let announcement = Announcement { worker: shared.id.clone(), leaving, partitions };
        if let Err(error) = shared.ports.bulletin.announce(&announcement).await {
            tracing::warn!(%error, "cannot announce what this worker holds");
        }
        if leaving {
            return;
        }
    }
}
