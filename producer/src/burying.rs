//! Putting a letter into the dead letters as soon as they have room, for all who consume a queue.

use std::time::Duration;

use warren_protocol::dead_letter::Letter;
use warren_protocol::ports::{Delivery, QueueError};
use warren_service::stop::Stop;

/// Between two tries when the dead letters are full.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Buries a letter. While the dead letters are full its message stays in hand: it would only come back to the same. `waiting` is
/// called when that begins, and what it gives is dropped when it ends. False: `stop` came first, and the message comes again.
pub(crate) async fn bury<W>(
    delivery: &Delivery,
    letter: Letter,
    stop: &Stop,
    waiting: impl FnOnce() -> W,
) -> Result<bool, QueueError> {
    let (mut begin, mut waits) = (Some(waiting), None);
    while let Err(error) = delivery.bury(letter.clone()).await {
        if !matches!(error, QueueError::Full(_)) {
            return Err(error);
        }
        if let Some(begin) = begin.take() {
            tracing::warn!(%error, "what is refused waits until the dead letters have room again");
            waits = Some(begin());
        }
        tokio::select! {
            () = tokio::time::sleep(FULL_PAUSE) => {}
            () = stop.requested() => return Ok(false),
        }
        delivery.check().await?;
    }
    if waits.is_some() {
        tracing::info!("the dead letters have room again");
    }
    Ok(true)
}
