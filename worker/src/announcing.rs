//! Tells everyone, each second and when something important has changed, what this worker holds and how far it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warren_protocol::announcement::{Announcement, INTERVAL_MS, WorkerAnnouncement};

use crate::Shared;

/// How long a stop waits for the last announcement.
const LAST_WORD: Duration = Duration::from_secs(1);
/// News that come together are told together.
const TOGETHER: Duration = Duration::from_millis(10);

/// Announces until the worker has given everything back; [`leave`] is the last word then.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut processor = Processor::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.news.notified() => tokio::time::sleep(TOGETHER).await,
        }
        let announcement = Announcement::Worker(WorkerAnnouncement {
            worker: shared.id.clone(),
            leaving: false,
            stopping: shared.stop.is_requested(),
            cpu_percent: processor.percent(),
            store: shared.snapshots.id(),
            partitions: shared.holdings.reports(),
        });
        if let Err(error) = shared.ports.bulletin.announce(&announcement).await {
            tracing::warn!(%error, "cannot announce what this worker holds");
        }
    }
}

/// Announces that the worker leaves.
pub(crate) async fn leave(shared: &Shared) {
    let announcement = Announcement::Worker(WorkerAnnouncement {
        worker: shared.id.clone(),
        leaving: true,
        stopping: true,
        cpu_percent: 0,
        store: None,
        partitions: Vec::new(),
    });
    match tokio::time::timeout(LAST_WORD, shared.ports.bulletin.announce(&announcement)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "nobody hears that this worker leaves"),
        Err(_) => tracing::debug!("nobody hears in time that this worker leaves"),
    }
}

/// The processor time of this process.
struct Processor {
    last: Option<(Instant, f64)>,
    percent: u32,
}

impl Processor {
    fn new() -> Self {
        Self { last: used_seconds().map(|used| (Instant::now(), used)), percent: 0 }
    }

    /// In percent of one core, over the time since the last look, but at least half a second; 0 where the system does not say.
    fn percent(&mut self) -> u32 {
        if let (Some((then, before)), Some(used)) = (self.last, used_seconds()) {
            let elapsed = then.elapsed().as_secs_f64();
            if elapsed >= 0.5 {
                self.percent = ((used - before) / elapsed * 100.0).round().max(0.0) as u32;
                self.last = Some((Instant::now(), used));
            }
        }
        self.percent
    }
}

/// What this process has used, in user and system mode: fields 14 and 15 of /proc/self/stat (proc(5)), in ticks of 10 ms
/// on every Linux of today. `None` on another system.
fn used_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let before = used_seconds().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while used_seconds().unwrap() <= before {
            assert!(Instant::now() < deadline, "a busy process uses no processor time");
        }
    }
}
