//! The port to claims on replicas.

use std::fmt;

use async_trait::async_trait;

use crate::partition::PartitionId;

/// Slots that one holder has at a time. Ownership is for balance, not for safety: for moments, two may hold one slot.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Tries to take a slot; `None` if another holds it, or this process does already.
    async fn try_claim(&self, slot: &Slot) -> Result<Option<Box<dyn HeldSlot>>, ClaimError>;
}

/// A slot in the hands of its holder. Dropping it gives the slot back, a little later than [`HeldSlot::release`].
#[async_trait]
pub trait HeldSlot: Send + Sync {
    /// Resolves when the slot is lost: the connection that held it is gone.
    async fn lost(&mut self);

    /// Gives the slot back; once this returns, another can take it.
    async fn release(self: Box<Self>) -> Result<(), ClaimError>;
}

/// The right to hold replica `replica` of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The partition.
    pub partition: PartitionId,
    /// 0 to the index's replicas − 1.
    pub replica: u32,
}

impl fmt::Display for Slot {
    /// As the queue is named: `warren.slot.{index}.{g}.{p}.{r}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warren.slot.{}.{}", self.partition, self.replica)
    }
}

/// What a claim ends with besides an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The broker cannot be reached, or did not answer in time.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
}
