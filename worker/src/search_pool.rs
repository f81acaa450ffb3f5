//! A bounded number of threads for searches: a search is work for the processor, not for the runtime.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use warren_protocol::rpc::Failure;

/// The threads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SearchPool {
    turns: Arc<Semaphore>,
}

impl SearchPool {
    /// So many searches at once.
    pub(crate) fn new(threads: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(threads)) }
    }

    /// Runs a search when its turn comes; what has passed its deadline by then is not started. A panic is an error of
    /// this search only.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        search: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = tokio::time::timeout_at(deadline, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Failure::Deadline) };
        let outcome = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if Instant::now() >= deadline { Err(Failure::Deadline) } else { search() }
        });
        outcome.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a search panicked");
            Err(Failure::Internal("the search panicked: see the worker's log".to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_comes_after_its_deadline_is_not_started() {
        let pool = SearchPool::new(1);
        let past = Instant::now();
        assert_eq!(pool.run(past, || Ok(1)).await, Err(Failure::Deadline));
        let deadline = past + Duration::from_secs(60);
        assert_eq!(pool.run(deadline, || Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_panic_harms_only_its_search() {
        let pool = SearchPool::new(1);
        let deadline = Instant::now() + Duration::from_secs(60);
        let panicked = pool.run(deadline, || -> Result<(), Failure> { panic!("deadly query") }).await;
        assert!(matches!(panicked, Err(Failure::Internal(_))));
        assert_eq!(pool.run(deadline, || Ok(1)).await, Ok(1));
    }
}
