//! One slot in the hands of this worker: until it is given back, or lost with its connection.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_protocol::PartitionId;
use warren_protocol::ports::{HeldSlot, Slot};

/// The slots that this worker holds.
#[derive(Default)]
pub(crate) struct Slots {
    keepers: JoinSet<Freed>,
}

/// A slot that this worker holds. Dropping it gives the slot back, too.
pub(crate) struct Grip {
    give_back: CancellationToken,
}

/// A slot that this worker does not hold any more.
pub(crate) struct Freed {
    pub partition: PartitionId,
    /// Whether it was given back, not lost.
    pub given_back: bool,
}

impl Slots {
    /// Keeps a slot that was claimed.
    pub(crate) fn keep(&mut self, slot: Slot, mut held: Box<dyn HeldSlot>) -> Grip {
        let give_back = CancellationToken::new();
        let asked = give_back.clone();
        self.keepers.spawn(async move {
            let given_back = tokio::select! {
                () = asked.cancelled() => true,
                () = held.lost() => false,
            };
            if !given_back {
                tracing::warn!(%slot, "the slot is lost with its connection");
            } else if let Err(error) = held.release().await {
                tracing::warn!(%slot, %error, "the slot could not be given back, it ends with the connection");
            }
            Freed { partition: slot.partition, given_back }
        });
        Grip { give_back }
    }

    /// The next slot that is freed; waits for ever while none is held.
    pub(crate) async fn freed(&mut self) -> Freed {
        loop {
            match self.keepers.join_next().await {
                Some(Ok(freed)) => return freed,
                Some(Err(error)) => tracing::error!(%error, "what keeps a slot panicked: the slot is free"),
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all are given back.
    pub(crate) async fn all_freed(&mut self) {
        while self.keepers.join_next().await.is_some() {}
    }
}

impl Grip {
    /// Gives the slot back; [`Slots::freed`] says when that is done.
    pub(crate) fn give_back(&self) {
        self.give_back.cancel();
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.give_back();
    }
}
