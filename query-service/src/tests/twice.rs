//! Questions that are asked of another worker, because the first one keeps silent.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn a_worker_that_serves_alone_is_not_asked_twice() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let count = |_, question| {
        if matches!(question, Question::Search(_)) {
            ASKED.fetch_add(1, Ordering::Relaxed);
        }
        None
    };
    // The partition's queue has the questions, and somebody works on them.
    let mut world = World::with_index(|_| {}, |_, _| None).await;
    world.worker("alone", &[0, 1, 2], count).await;
    let (status, _) = world.get("/indexes/a/search?q=x&scoring=local&timeout_ms=1500").await;
    assert_eq!((status, ASKED.load(Ordering::Relaxed)), (503, 0));
    world.worker("other", &[1], two_each).await;
    let (status, answer) = world.get("/indexes/a/search?q=x&scoring=local&timeout_ms=1500").await;
    assert_eq!((status, ids(&answer)), (200, vec!["d1", "e1"]), "{answer}");
}
