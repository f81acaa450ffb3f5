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

/// The partitions' queues swallow every question; all of it within a moment, since the deadline is far.
#[tokio::test]
async fn a_frozen_worker_costs_a_moment() {
    let mut world = World::with_index(|_| {}, |_, _| None).await;
    world.worker("frozen", &[0, 1, 2], |_, _| None).await;
    let start = Instant::now();
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=1000").await;
    assert_eq!(status, 503, "{answer}");
    world.worker("live", &[0, 1, 2], two_each).await;
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=20000").await;
    assert_eq!((status, ids(&answer)), (200, vec!["d2", "d1", "d0", "e0", "e1", "e2"]));
    let (status, document) = world.get("/indexes/a/documents/d0").await;
    assert!(status == 200 || status == 404, "{document}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_worker_that_has_given_a_partition_back_is_not_the_last_word() {
    let mut world = World::with_index(
        |_| {},
        |partition, question| match partition {
            1 => Some(Err(Failure::NotHere)),
            _ => two_each(partition, question),
        },
    )
    .await;
    world.worker("live", &[1], two_each).await;
    let start = Instant::now();
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=20000").await;
    assert_eq!((status, &answer["partitions"]["answered"]), (200, &json!(3)), "{answer}");
    assert!(start.elapsed() < Duration::from_millis(400), "nobody waits for a path that has ended: {:?}", start.elapsed());
}
