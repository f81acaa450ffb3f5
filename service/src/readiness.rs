//! Whether a process can do its work now: the catalog is read, and the broker answers.
//!
//! Lost connections are made again silently, so somebody has to ask. The question is a small one that changes nothing, and
//! one that the broker answers during a memory or disk alarm, too: searches and writes have their own refusals then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use warren_protocol::ports::{Ports, QueueName};

use crate::catalog::CatalogHandle;

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// A broker that is silent for longer does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What is needed to be ready. All clones are one; the last one ends the asking.
#[derive(Clone)]
pub struct Readiness {
    catalog: CatalogHandle,
    broker: watch::Receiver<Option<Away>>,
    _tasks: Arc<JoinSet<()>>,
}

/// A broker that does not answer.
#[derive(Clone, Debug)]
struct Away {
    since: Instant,
    reason: String,
}

impl Readiness {
    /// Starts to ask the broker.
    pub fn start(ports: &Ports, catalog: CatalogHandle) -> Self {
        let (sender, broker) = watch::channel(None);
        let (mut tasks, ports) = (JoinSet::new(), ports.clone());
        tasks.spawn(async move {
            loop {
                let answered = tokio::time::timeout(ANSWER_WITHIN, ports.queue.depth(QueueName::Intake)).await;
                let trouble = match answered {
                    Ok(Ok(_)) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
                };
                sender.send_if_modified(|away: &mut Option<Away>| note(away, trouble, Instant::now()));
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { catalog, broker, _tasks: Arc::new(tasks) }
    }

    /// `Ok`, or why not.
    pub fn check(&self) -> Result<(), String> {
        if !self.catalog.is_ready() {
            return Err("the catalog of indexes is not read yet".to_owned());
        }
        match &*self.broker.borrow() {
            None => Ok(()),
            Some(Away { since, reason }) => Err(format!("the broker is away since {} s: {reason}", since.elapsed().as_secs())),
        }
    }
}

/// Takes the outcome of one question; true if the broker went or came.
fn note(away: &mut Option<Away>, trouble: Option<String>, now: Instant) -> bool {
    let was_away = away.take();
    let changed = was_away.is_some() != trouble.is_some();
    match (&was_away, &trouble) {
        (None, Some(reason)) => tracing::warn!(reason, "the broker is away"),
        (Some(was), None) => tracing::info!(away_ms = was.since.elapsed().as_millis() as u64, "the broker is back"),
        _ => {}
    }
    *away = trouble.map(|reason| Away { since: was_away.map_or(now, |was| was.since), reason });
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_away_is_counted_from_its_beginning() {
        let (mut away, start) = (None, Instant::now());
        assert!(!note(&mut away, None, start));
        assert!(note(&mut away, Some("refused".to_owned()), start));
        assert!(!note(&mut away, Some("no answer".to_owned()), start + Duration::from_secs(3)));
        let now = away.as_ref().unwrap();
        assert_eq!((now.since, now.reason.as_str()), (start, "no answer"));
        assert!(note(&mut away, None, start + Duration::from_secs(4)) && away.is_none());
    }
}
