//! Merges on demand: who asks gets a ticket and asks again, so that no request hangs as long as a merge takes; the replica, which alone has the
//! writer, carries out what was asked for. Tickets that come while a merge runs share the next one.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};
use warren_index::IndexError;

use crate::indexing::Indexer;
use crate::replica::{ReplicaError, blocking};

/// The pause before a merge is tried again that another one has overtaken.
const PAUSE: Duration = Duration::from_millis(200);

/// The merges that were asked of one replica.
#[derive(Default)]
pub(crate) struct Merges(watch::Sender<Tickets>);

#[derive(Clone, Copy, Default)]
struct Tickets {
    given: u64,
    done: u64,
}

impl Merges {
    /// A ticket for a merge of all that is written by now; the same one, if it was given here. And whether that merge has ended.
    pub(crate) fn ask(&self, ticket: Option<u64>) -> (u64, bool) {
        let mut answer = (0, false);
        self.0.send_if_modified(|tickets| {
            // One that was not given here was given by a replica that has ended, and with it its merge.
            let known = ticket.filter(|ticket| (1..=tickets.given).contains(ticket));
            let ticket = known.unwrap_or(tickets.given + 1);
            tickets.given = tickets.given.max(ticket);
            answer = (ticket, ticket <= tickets.done);
            known.is_none()
        });
        answer
    }

    /// Waits until a merge is wanted, and gives the newest ticket that it serves.
    async fn wanted(&self) -> u64 {
        let mut tickets = self.0.subscribe();
        let given = tickets.wait_for(|tickets| tickets.given > tickets.done).await.map(|tickets| tickets.given);
        match given {
            Ok(given) => given,
            // The sender is in our hands.
            Err(_) => std::future::pending().await,
        }
    }

    fn done(&self, ticket: u64) {
        self.0.send_modify(|tickets| tickets.done = tickets.done.max(ticket));
    }
}

/// How far a replica is with a merge.
#[derive(Default)]
pub(crate) struct Progress {
    running: Option<(u64, JoinHandle<Result<(), IndexError>>)>,
    /// Whether tantivy's own merges wait, because one of them overtook ours.
    alone: bool,
    not_before: Option<Instant>,
}

/// What a replica has to do for a merge.
pub(crate) enum Next {
    /// Commit, and begin it.
    Begin(u64),
    /// It succeeded.
    Merged(u64),
    /// It has to begin again, after a pause.
    Again,
}

impl Progress {
    /// Waits until something is to be done. Nothing is lost if it is dropped.
    pub(crate) async fn next(&mut self, merges: &Merges) -> Next {
        let Some((ticket, running)) = &mut self.running else {
            if let Some(time) = self.not_before {
                tokio::time::sleep_until(time).await;
            }
            return Next::Begin(merges.wanted().await);
        };
        let (ticket, ended) = (*ticket, running.await);
        self.running = None;
        match ended {
            Ok(Ok(())) => return Next::Merged(ticket),
            Ok(Err(error)) => tracing::info!(%error, ticket, "a merge on demand begins again"),
            Err(error) => tracing::error!(%error, "a merge on demand panicked"),
        }
        self.not_before = Some(Instant::now() + PAUSE);
        Next::Again
    }

    /// Begins to merge what is committed; if it is merged already, the ticket is done.
    pub(crate) async fn begin(&mut self, mut indexer: Indexer, ticket: u64, merges: &Merges) -> Result<Indexer, ReplicaError> {
        // The first try leaves tantivy's own merges alone; if one of them comes before it, they wait until it is done.
        self.alone = self.not_before.is_some();
        let alone = self.alone;
        let begun = blocking(move || {
            indexer.writer_mut().merge_by_policy(!alone);
            indexer.writer_mut().merge().map(|merging| (indexer, merging))
        });
        let (mut indexer, merging) = begun.await??;
        match merging {
            Some(merging) => self.running = Some((ticket, tokio::task::spawn_blocking(move || merging.wait()))),
            None => self.done(&mut indexer, ticket, merges),
        }
        Ok(indexer)
    }

    /// The ticket is done: what was written since it began is not its business.
    pub(crate) fn done(&mut self, indexer: &mut Indexer, ticket: u64, merges: &Merges) {
        if std::mem::take(&mut self.alone) {
            indexer.writer_mut().merge_by_policy(true);
        }
        self.not_before = None;
        merges.done(ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_is_done_with_the_merge_that_begins_after_it() {
        let merges = Merges::default();
        let (first, done) = merges.ask(None);
        assert!(!done);
        assert_eq!(merges.ask(Some(first)), (first, false));
        let serves = merges.wanted().await;
        let (second, _) = merges.ask(None);
        merges.done(serves);
        assert_eq!(merges.ask(Some(first)), (first, true));
        assert_eq!(merges.ask(Some(second)), (second, false));
        assert_eq!(merges.wanted().await, second);
    }

    #[test]
    fn a_ticket_of_a_replica_that_has_ended_becomes_a_new_one() {
        let merges = Merges::default();
        assert_eq!(merges.ask(Some(9)), (1, false));
        assert_eq!(merges.ask(Some(0)), (2, false));
    }
}
