//! One way to stop: whoever waits for work also waits for this.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ends at once.
const INTERRUPTED: i32 = 130;

/// The request to stop: take in nothing more, finish or give back what is held, close. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    _signals: Option<Arc<JoinSet<()>>>,
}

impl Stop {
    /// A stop that only [`Stop::request`] asks for.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that SIGINT and SIGTERM ask for too; a second of them ends the process at once.
    ///
    /// Fails if the operating system does not let signals be caught. Needs a Tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let token = CancellationToken::new();
        let first = token.clone();
        let mut signals = JoinSet::new();
        signals.spawn(async move {
            for round in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if round == 0 {
                    tracing::info!("stopping; a second signal stops at once");
                    first.cancel();
                }
            }
            exit_now();
        });
        Ok(Self { token, _signals: Some(Arc::new(signals)) })
    }

    /// A stop of a part: this one asks for it, too, and it does not ask for this one.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), _signals: self._signals.clone() }
    }

    /// Asks everything to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }
}

#[expect(clippy::exit, reason = "the second signal says that nothing is to be waited for any more")]
fn exit_now() -> ! {
    std::process::exit(INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_clones_are_one() {
        let stop = Stop::new();
        let other = stop.clone();
        assert!(!other.is_requested());
        stop.request();
        other.requested().await;
        assert!(other.is_requested());
    }
}
