//! Looks at `/status` several times a second: is every partition served all the time?

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::Api;
use crate::status::Status;

const LOOK: Duration = Duration::from_millis(200);

/// Looks until it is told to end.
pub struct Watcher {
    looking: JoinSet<Watched>,
    stop: CancellationToken,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// How often it was looked.
    pub looks: u64,
    /// How often the query service did not answer.
    pub unanswered: u64,
    /// How often a partition was without a server.
    pub unserved: u64,
    /// The longest time between two looks that both saw every partition served.
    pub longest: Duration,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looks, unanswered, unserved, longest } = self;
        let longest = longest.as_secs_f64();
        write!(
            f,
            "{looks} looks at the status: {unserved} saw a partition without a server, {unanswered} had no answer; the longest time \
             between two that saw all served: {longest:.2} s"
        )
    }
}

impl Watcher {
    /// Starts to look at an index.
    pub fn start(api: &Api, index: &str) -> Self {
        let (mut looking, stop) = (JoinSet::new(), CancellationToken::new());
        looking.spawn(look(api.clone(), index.to_owned(), stop.clone()));
        Self { looking, stop }
    }

    /// Ends, and says what was seen.
    pub async fn finish(mut self) -> Result<Watched> {
        self.stop.cancel();
        Ok(self.looking.join_next().await.context("it was started")??)
    }
}

async fn look(api: Api, index: String, stop: CancellationToken) -> Watched {
    let (mut watched, mut served) = (Watched::default(), Instant::now());
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return watched,
        }
        watched.looks += 1;
        match Status::of(&api, &index).await {
            Ok(status) if status.unserved() == 0 => {
                watched.longest = watched.longest.max(served.elapsed());
                served = Instant::now();
            }
            Ok(_) => watched.unserved += 1,
            Err(_) => watched.unanswered += 1,
        }
    }
}
