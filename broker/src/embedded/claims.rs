//! Claims within one process: a set of the slots that are held.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use warren_protocol::ports::{ClaimError, Claims, HeldSlot, Slot};

use super::lock;

/// The slots of this process.
pub(super) struct LocalClaims {
    held: Arc<Mutex<HashSet<Slot>>>,
    closing: CancellationToken,
}

impl LocalClaims {
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { held: Arc::default(), closing }
    }
}

#[async_trait]
impl Claims for LocalClaims {
    async fn try_claim(&self, slot: &Slot) -> Result<Option<Box<dyn HeldSlot>>, ClaimError> {
        if self.closing.is_cancelled() {
            return Err(ClaimError::Unavailable(super::CLOSED.into()));
        }
        if !lock(&self.held).insert(slot.clone()) {
            return Ok(None);
        }
        Ok(Some(Box::new(LocalSlot { slot: slot.clone(), held: Arc::clone(&self.held), closing: self.closing.clone() })))
    }
}

struct LocalSlot {
    slot: Slot,
    held: Arc<Mutex<HashSet<Slot>>>,
    closing: CancellationToken,
}

#[async_trait]
impl HeldSlot for LocalSlot {
    async fn lost(&mut self) {
        // There is no connection to lose: only the end of the broker ends a claim.
        self.closing.cancelled().await;
    }

    async fn release(self: Box<Self>) -> Result<(), ClaimError> {
        Ok(())
    }
}

impl Drop for LocalSlot {
    fn drop(&mut self) {
        lock(&self.held).remove(&self.slot);
    }
}
