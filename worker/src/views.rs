//! What searches saw, for as long as their callers may ask for documents of it: another commit may have other documents.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use warren_index::View;

/// How often it is looked for views whose time is over.
const SWEEP: Duration = Duration::from_secs(1);

/// Views that are kept until a deadline; at most so many.
pub(crate) struct Views {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    views: HashMap<u64, (View, Instant)>,
}

impl Views {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// Keeps a view, and says its name; `None` if as many are kept as may be.
    pub(crate) fn keep(&self, view: View, until: Instant) -> Option<u64> {
        let mut kept = self.lock();
        if kept.views.len() >= self.most {
            kept.sweep();
            if kept.views.len() >= self.most {
                return None;
            }
        }
        // Whoever asks another worker by it must find nothing there, rather than the view of another partition.
        let name = uuid::Uuid::new_v4().as_u64_pair().0;
        kept.views.insert(name, (view, until));
        Some(name)
    }

    /// The view of that name, if it is still kept.
    pub(crate) fn get(&self, name: u64) -> Option<View> {
        self.lock().views.get(&name).map(|(view, _)| view.clone())
    }

    /// Lets go of views whose time is over, until this future is dropped.
    pub(crate) async fn sweep(&self) {
        let mut look = tokio::time::interval(SWEEP);
        loop {
            look.tick().await;
            self.lock().sweep();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn sweep(&mut self) {
        let now = Instant::now();
        self.views.retain(|_, (_, until)| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_index::{Options, PartitionIndex};
    use warren_protocol::IndexDefinition;

    #[test]
    fn views_are_kept_until_their_time_and_no_more_than_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let (index, _) = PartitionIndex::open(folder.path(), &IndexDefinition::default(), &Options::default()).unwrap();
        let views = Views::new(2);
        let (past, future) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let first = views.keep(index.view(), future).unwrap();
        let second = views.keep(index.view(), past).unwrap();
        assert!(views.get(first).is_some() && views.get(second).is_some());
        let third = views.keep(index.view(), future).unwrap();
        assert!(views.get(second).is_none() && views.get(third).is_some());
        assert_eq!(views.keep(index.view(), future), None);
    }
}
