//! What a process does for the catalog without being asked: it gives it an identity, and finishes deletions that were
//! interrupted. Several processes may do so at once: the first identity counts, and what is gone can be deleted again.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use warren_protocol::catalog::{Entry, Event};
use warren_protocol::ports::Ports;

use super::replay::Replay;
use super::{CatalogError, append, parts};

/// The pause before something is tried again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// What a process that deletes an index has to finish it by itself, before others lend a hand.
const GRACE: Duration = Duration::from_secs(60);

/// Runs for ever, or until the catalog cannot be followed.
pub(super) async fn run(ports: Ports, replay: Arc<Replay>) {
    if replay.settled().await.is_err() {
        return;
    }
    give_identity(&ports, &replay).await;
    let mut pause = GRACE;
    loop {
        match finish_deletions(&ports, &replay).await {
            Ok(()) => pause = GRACE,
            Err(CatalogError::Broken(_)) => return,
            Err(_) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        replay.until(|catalog| catalog.leftovers().next().is_some()).await;
        tokio::time::sleep(pause).await;
    }
}

async fn give_identity(ports: &Ports, replay: &Replay) {
    let mut pause = PAUSE;
    while replay.catalog().identity().is_none() {
        match append(ports, replay, Event::Identity { catalog: Uuid::new_v4() }).await {
            Ok(()) => return,
            Err(CatalogError::Broken(_)) => return,
            Err(error) => tracing::warn!(%error, "the catalog has no identity yet; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Removes what deleted indexes have left; all that can be removed now, or the last error.
async fn finish_deletions(ports: &Ports, replay: &Replay) -> Result<(), CatalogError> {
    let leftovers: Vec<Arc<Entry>> = replay.catalog().leftovers().cloned().collect();
    let mut finished = Ok(());
    for entry in leftovers {
        match remove_parts(ports, replay, &entry).await {
            Ok(()) => tracing::info!(index = %entry.index, "an interrupted deletion is finished"),
            Err(error) => finished = Err(error),
        }
    }
    finished
}

/// Deletes the logs and queues of an index that is gone, and says so in the catalog. What could not be deleted is of no
/// use to anybody, and harms nobody: its generation never comes back.
pub(super) async fn remove_parts(ports: &Ports, replay: &Replay, entry: &Entry) -> Result<(), CatalogError> {
    if let Err(error) = parts::remove(ports, entry).await {
        tracing::warn!(index = %entry.index, %error, "a log or a queue of a deleted index stays behind; trying again later");
        return Err(error);
    }
    append(ports, replay, Event::Removed { index: entry.index.clone() }).await
}
