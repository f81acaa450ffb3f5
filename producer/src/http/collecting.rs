//! What a request collects in memory before it hands it over: a little as it likes, more within a bound that all requests share.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warren_protocol::Problem;
use warren_service::config::Config;

use super::body::{self, WINDOW_BYTES};
use crate::publisher::WriteError;

/// What each may collect without asking: more than an upload of small documents needs.
const FREE_BYTES: usize = 1 << 20;

/// The memory of one request.
pub(super) struct Collecting {
    room: Arc<Semaphore>,
    /// All that it can ever need, so that none waits for a second part while it holds a first one.
    whole: u32,
    patience: Duration,
    held: Option<OwnedSemaphorePermit>,
}

impl Collecting {
    /// For a request with these headers. One whose body may need a large window waits for its memory now.
    pub(super) async fn begin(room: Arc<Semaphore>, config: &Config, headers: &HeaderMap) -> Result<Self, Problem> {
        let windowed = body::has_window(headers);
        let whole = config.http.max_document_bytes.get().saturating_add(if windowed { WINDOW_BYTES } else { 0 });
        let whole = whole.min(config.producer.buffer_bytes.get());
        let patience = Duration::from_millis(config.producer.confirm_timeout_ms.get());
        let mut collecting = Self { room, whole, patience, held: None };
        if windowed {
            collecting.hold(usize::MAX).await?;
        }
        Ok(collecting)
    }

    /// Waits until so many bytes may be collected. What was once held is held to the end: buffers keep their size.
    pub(super) async fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        if bytes <= FREE_BYTES || self.held.is_some() {
            return Ok(());
        }
        let acquiring = self.room.clone().acquire_many_owned(self.whole);
        match tokio::time::timeout(self.patience, acquiring).await {
            Ok(Ok(held)) => self.held = Some(held),
            Ok(Err(_)) | Err(_) => return Err(WriteError::Busy.into()),
        }
        Ok(())
    }
}
