//! Waiting for what has to come, never for a fixed time.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};

const PAUSE: Duration = Duration::from_millis(20);

/// Tries until `attempt` yields a value, at most for `deadline`; then fails with `what` and the last error.
pub async fn eventually<T>(what: &str, deadline: Duration, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let error = match timeout(left.max(PAUSE), attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("an attempt did not end in time"),
        };
        if start.elapsed() >= deadline {
            return Err(error.context(format!("not within {deadline:?}: {what}")));
        }
        sleep(PAUSE).await;
    }
}

/// Awaits one thing, at most for ten seconds.
pub async fn within<T: Debug>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(Duration::from_secs(10), future).await.with_context(|| format!("not within 10 s: {what}"))
}
