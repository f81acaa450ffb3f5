//! Consumes the sources of the catalog, each for itself, and removes the queues of those that were deleted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use warren_protocol::SourceEntry;
use warren_service::stop::Stop;

use super::way::Way;
use super::{Context, consume};

/// How long the replay of the catalog may take before it is said.
const CATALOG_PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to remove a queue.
const REMOVAL_PAUSE: Duration = Duration::from_secs(10);

/// Follows the catalog until `stop`.
pub(super) async fn run(context: Context, stop: Stop) {
    loop {
        tokio::select! {
            ready = context.catalog.ready(Instant::now() + CATALOG_PATIENCE) => match ready {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "no source is consumed yet"),
            },
            () = stop.requested() => return,
        }
        if !context.catalog.is_ready() && stop.is_requested() {
            return;
        }
    }
    let mut changes = context.catalog.watch();
    let (mut running, mut removing) = (BTreeMap::new(), HashSet::new());
    let mut tasks = JoinSet::new();
    while !stop.is_requested() {
        let (live, deleted): (Vec<_>, Vec<_>) = {
            let catalog = changes.borrow_and_update();
            (catalog.sources().cloned().collect(), catalog.deleted_sources().cloned().collect())
        };
        for source in live {
            running.entry(source.generation).or_insert_with(|| {
                let own_stop = stop.child();
                tasks.spawn(consume(context.clone(), Way::Source(source), own_stop.clone()));
                own_stop
            });
        }
        for source in deleted {
            if removing.insert(source.generation) {
                let own_stop = running.remove(&source.generation);
                tasks.spawn(remove(context.clone(), source, own_stop, stop.clone()));
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            Some(_) = tasks.join_next() => {}
            () = stop.requested() => break,
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Ends what consumes the source here, and removes its queue. Every producer does: one of them may have made the queue
/// again before it heard of the deletion.
async fn remove(context: Context, source: Arc<SourceEntry>, consuming: Option<Stop>, stop: Stop) {
    if let Some(consuming) = consuming {
        consuming.request();
    }
    while !stop.is_requested() {
        match context.ports.queue.remove_source(&source.queue()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(source = %source.name, %error, "the queue of a deleted source stays behind for now"),
        }
        tokio::select! {
            () = tokio::time::sleep(REMOVAL_PAUSE) => {}
            () = stop.requested() => {}
        }
    }
}
