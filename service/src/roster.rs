//! The roster: which workers are alive, what they hold, and how far they are; from what they announce.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warren_protocol::announcement::{Announcement, LIFETIME_MS, PartitionReport};
use warren_protocol::ports::{Bulletin, BulletinError, Ports, WorkerId};

use crate::stop::Stop;

/// How long a worker's last word counts.
const LIFETIME: Duration = Duration::from_millis(LIFETIME_MS);
/// The pause before watching again after the broker gave up.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is alive. All clones are one; the last one ends the watching.
#[derive(Clone)]
pub struct Roster {
    workers: Arc<Workers>,
    _task: Arc<JoinSet<()>>,
}

#[derive(Default)]
struct Workers {
    heard: Mutex<HashMap<WorkerId, (Instant, Vec<PartitionReport>)>>,
    changes: watch::Sender<()>,
}

impl Roster {
    /// Watches the bulletin until `stop` is requested. A worker appears with its next announcement.
    pub async fn start(ports: &Ports, stop: &Stop) -> Result<Self, BulletinError> {
        let mut announcements = ports.bulletin.watch().await?;
        let workers = Arc::new(Workers::default());
        let (bulletin, heard, stop) = (ports.bulletin.clone(), workers.clone(), stop.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let watching = async {
                loop {
                    while let Some(announcement) = announcements.next().await {
                        heard.hear(announcement, Instant::now());
                    }
                    announcements = again(bulletin.as_ref()).await;
                }
            };
            tokio::select! {
                () = watching => {}
                () = stop.requested() => {}
            }
        });
        Ok(Self { workers, _task: Arc::new(task) })
    }

    /// What the workers said that were heard within their lifetime, by worker.
    pub fn reports(&self) -> Vec<(WorkerId, PartitionReport)> {
        self.workers.reports(Instant::now())
    }

    /// Is notified of each announcement.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.workers.changes.subscribe()
    }
}

async fn again(bulletin: &dyn Bulletin) -> futures_util::stream::BoxStream<'static, Announcement> {
    loop {
        tokio::time::sleep(PAUSE).await;
        match bulletin.watch().await {
            Ok(announcements) => return announcements,
            Err(error) => tracing::warn!(%error, "workers are not being watched; trying again"),
        }
    }
}

impl Workers {
    fn hear(&self, announcement: Announcement, now: Instant) {
        let mut heard = self.lock();
        // Who has gone is forgotten: the table is as large as the number of workers in a lifetime.
        heard.retain(|_, (last, _)| now.duration_since(*last) < LIFETIME);
        if announcement.leaving {
            heard.remove(&announcement.worker);
        } else {
            heard.insert(announcement.worker, (now, announcement.partitions));
        }
        drop(heard);
        self.changes.send_replace(());
    }

    fn reports(&self, now: Instant) -> Vec<(WorkerId, PartitionReport)> {
        let heard = self.lock();
        let alive = heard.iter().filter(|(_, (last, _))| now.duration_since(*last) < LIFETIME);
        let mut reports: Vec<_> = alive
            .flat_map(|(worker, (_, partitions))| partitions.iter().map(|report| (worker.clone(), report.clone())))
            .collect();
        reports.sort_by(|(a, x), (b, y)| (a, &x.index, x.partition).cmp(&(b, &y.index, y.partition)));
        reports
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, (Instant, Vec<PartitionReport>)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::announcement::ReplicaState;
    use warren_protocol::{Generation, IndexName, IndexRef};

    fn announcement(worker: &str, partitions: u32) -> Announcement {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        let report = |partition| PartitionReport {
            index: index.clone(),
            partition,
            state: ReplicaState::Serving,
            position: None,
            documents: 0,
            log_bytes: 0,
            error: None,
        };
        Announcement { worker: WorkerId(worker.to_owned()), leaving: false, partitions: (0..partitions).map(report).collect() }
    }

    #[test]
    fn the_silent_and_the_leaving_are_gone() {
        let (workers, start) = (Workers::default(), Instant::now());
        workers.hear(announcement("b", 1), start);
        workers.hear(announcement("a", 2), start + LIFETIME / 2);
        let names =
            |now| workers.reports(now).into_iter().map(|(worker, report)| (worker.0, report.partition)).collect::<Vec<_>>();
        assert_eq!(names(start + LIFETIME / 2), [("a".into(), 0), ("a".into(), 1), ("b".into(), 0)]);
        assert_eq!(names(start + LIFETIME), [("a".into(), 0), ("a".into(), 1)]);
        workers.hear(Announcement { leaving: true, ..announcement("a", 2) }, start + LIFETIME);
        assert!(workers.reports(start + LIFETIME).is_empty());
        assert!(workers.lock().is_empty(), "who has gone is forgotten");
    }
}
