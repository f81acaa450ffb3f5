//! A bounded number of searches at once: a search is work for the processor, not for the runtime.
//!
//! Most searches take some milliseconds, and a few may take until their deadline. What takes long moves aside: it frees its turn
//! and gives way, so that the others do not wait for it. What is known to be dear begins so. As there is room for a few of each
//! only, work stays bounded.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use warren_protocol::rpc::Failure;
use warren_service::Work;

/// A search that takes longer moves aside.
const LONG: Duration = Duration::from_millis(20);
/// How many searches that have moved aside there may be, for each turn.
const ASIDE: usize = 4;

/// Who may run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SearchPool {
    turns: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    dear: Arc<Semaphore>,
}

/// What a search holds as long as it runs, whether or not somebody still waits for it.
type Place = Mutex<OwnedSemaphorePermit>;

impl SearchPool {
    /// So many short searches at once, as many dear ones, and [`ASIDE`] times as many that turned out to be long.
    pub(crate) fn new(threads: usize) -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        Self { turns: room(threads), aside: room(threads * ASIDE), dear: room(threads) }
    }

    /// Runs a search when its turn comes, at the side from its beginning if it `is_dear`; what has passed its deadline by then
    /// is not started. A panic is an error of this search only.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        is_dear: bool,
        search: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let room = if is_dear { &self.dear } else { &self.turns };
        let Ok(Ok(place)) = timeout_at(deadline, room.clone().acquire_owned()).await else { return Err(Failure::Deadline) };
        let place = Arc::new(Mutex::new(place));
        let held = Arc::downgrade(&place);
        let search = move || {
            let _place = place;
            if Instant::now() >= deadline { Err(Failure::Deadline) } else { search() }
        };
        let searched = async {
            let mut work = Work::start("search", search)?;
            if !is_dear {
                tokio::select! {
                    biased;
                    outcome = &mut work => return outcome,
                    () = self.move_aside(held) => {}
                }
            }
            work.give_way();
            work.await
        };
        searched.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a search has no outcome");
            Err(Failure::Internal(format!("the search has no outcome: {error}")))
        })
    }

    /// Gives the turn back once the search takes long and there is room at the side.
    async fn move_aside(&self, place: Weak<Place>) {
        sleep(LONG).await;
        if let Ok(aside) = self.aside.clone().acquire_owned().await
            && let Some(place) = place.upgrade()
        {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = aside;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::task::JoinSet;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_comes_after_its_deadline_is_not_started() {
        let pool = SearchPool::new(1);
        let past = Instant::now();
        assert_eq!(pool.run(past, false, || Ok(1)).await, Err(Failure::Deadline));
        assert_eq!(pool.run(past + PATIENCE, false, || Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_panic_harms_only_its_search() {
        let pool = SearchPool::new(1);
        let deadline = Instant::now() + PATIENCE;
        let panicked = pool.run(deadline, false, || -> Result<(), Failure> { panic!("deadly query") }).await;
        assert!(matches!(panicked, Err(Failure::Internal(_))));
        assert_eq!(pool.run(deadline, false, || Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn long_searches_move_aside_as_far_as_there_is_room() {
        let pool = SearchPool::new(1);
        let deadline = Instant::now() + PATIENCE;
        // Each of these runs until it is told to end.
        let (mut ends, mut long) = (Vec::new(), JoinSet::new());
        for _ in 0..=ASIDE {
            let (end, ended) = mpsc::sync_channel::<()>(1);
            ends.push(end);
            let pool = pool.clone();
            let search = move || ended.recv_timeout(PATIENCE).map_err(|_| Failure::Deadline);
            long.spawn(async move { pool.run(deadline, false, search).await });
        }
        // There is room for all but one of them, which keeps the only turn.
        let full = async {
            while pool.aside.available_permits() > 0 || pool.turns.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout_at(deadline, full).await.unwrap();
        assert_eq!(pool.run(Instant::now() + 4 * LONG, false, || Ok(1)).await, Err(Failure::Deadline));
        // One ends, and that one moves aside.
        ends[0].send(()).unwrap();
        assert_eq!(pool.run(deadline, false, || Ok(1)).await, Ok(1));
        for end in &ends[1..] {
            end.send(()).unwrap();
        }
        while let Some(search) = long.join_next().await {
            assert_eq!(search.unwrap(), Ok(()));
        }
        assert_eq!((pool.turns.available_permits(), pool.aside.available_permits()), (1, ASIDE));
    }

    #[tokio::test]
    async fn dear_searches_wait_for_each_other_only() {
        let pool = SearchPool::new(1);
        let deadline = Instant::now() + PATIENCE;
        let mut ends = Vec::new();
        let mut running = JoinSet::new();
        for is_dear in [false, true] {
            let (end, ended) = mpsc::sync_channel::<()>(1);
            let (begun, begins) = tokio::sync::oneshot::channel();
            ends.push(end);
            let pool = pool.clone();
            let search = move || {
                begun.send(()).unwrap();
                ended.recv_timeout(PATIENCE).map_err(|_| Failure::Deadline)
            };
            running.spawn(async move { pool.run(deadline, is_dear, search).await });
            begins.await.unwrap();
        }
        assert_eq!(pool.dear.available_permits(), 0);
        assert_eq!(pool.run(Instant::now() + 2 * LONG, true, || Ok(1)).await, Err(Failure::Deadline));
        // The first one moves aside, and leaves its turn to this.
        assert_eq!(pool.run(deadline, false, || Ok(1)).await, Ok(1));
        ends.iter().for_each(|end| end.send(()).unwrap());
        while let Some(search) = running.join_next().await {
            assert_eq!(search.unwrap(), Ok(()));
        }
        assert_eq!(pool.run(deadline, true, || Ok(1)).await, Ok(1));
    }
}
