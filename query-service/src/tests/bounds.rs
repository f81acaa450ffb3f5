//! How much an answer may have, and all of them together; and how many wait for merges.

use std::num::NonZeroU64;

use warren_protocol::merging::MergeState;

use super::*;

const KIB: usize = 1024;

fn bounds(config: &mut Config, answer: usize, all: usize) {
    config.query.max_answer_bytes = NonZeroU64::new(answer as u64).unwrap();
    config.query.max_memory_bytes = NonZeroU64::new(all as u64).unwrap();
}

/// As [`two_each`], with 10 KiB in each document.
fn large(partition: u32, question: Question) -> Option<Result<Answer, Failure>> {
    let grow = |found: &mut Found| found.body = json!({ "text": "x".repeat(10 * KIB) }).to_string().into_bytes();
    let mut answer = two_each(partition, question);
    match &mut answer {
        Some(Ok(Answer::Hits(hits))) => hits.hits.iter_mut().filter_map(|hit| hit.found.as_mut()).for_each(grow),
        Some(Ok(Answer::Documents(documents))) => documents.iter_mut().flatten().for_each(grow),
        _ => {}
    }
    answer
}

/// The same, but the documents have to be fetched.
fn large_and_fetched(partition: u32, question: Question) -> Option<Result<Answer, Failure>> {
    let mut answer = large(partition, question);
    if let Some(Ok(Answer::Hits(hits))) = &mut answer {
        hits.hits.iter_mut().for_each(|hit| hit.found = None);
    }
    answer
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_says_what_to_lower() {
    for behaviour in [large as Behaviour, large_and_fetched] {
        let world = World::with_index(|config| bounds(config, 45 * KIB, KIB * KIB), behaviour).await;
        let (status, problem) = world.get("/indexes/a/search?q=x&limit=6&timeout_ms=20000").await;
        assert_eq!((status, &problem["code"], &problem["field"]), (413, &json!("too_large"), &json!("limit")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("fields"), "{problem}");
        // What the partitions send beyond the page is not in the answer.
        let (status, answer) = world.get("/indexes/a/search?q=x&limit=4&timeout_ms=20000").await;
        assert_eq!((status, ids(&answer)), (200, vec!["d2", "d1", "d0", "e0"]));
    }
}

#[tokio::test]
async fn searches_that_hold_too_much_together_are_refused_for_now() {
    let world = World::with_index(|config| bounds(config, 45 * KIB, 50 * KIB), large).await;
    let (status, problem) = world.get("/indexes/a/search?q=x&timeout_ms=20000").await;
    assert_eq!((status, &problem["code"]), (429, &json!("too_many_requests")), "{problem}");
    assert_eq!(world.get("/indexes/a/documents/d0").await.0, 200, "nothing is held any more");
    assert_eq!(world.get("/indexes/a/search?q=x&limit=1&timeout_ms=20000").await.0, 200);
}

#[tokio::test]
async fn few_wait_for_merges_and_searches_have_their_turns_all_the_same() {
    let one_each = |config: &mut Config| {
        config.query.max_merges = NonZeroU32::MIN;
        config.query.max_concurrent = NonZeroU32::MIN;
    };
    let mut world = World::with_index(one_each, two_each).await;
    let merging = |_, _| Some(Ok(Answer::Merge(MergeState { ticket: 1, done: false, segments: 3, documents: 9, deleted: 1 })));
    world.worker("w", &[0, 1, 2], merging).await;
    let merge = || world.ask("POST", "/indexes/a/merge?timeout_ms=1500", Body::empty());
    let ((first, _), (second, problem), (search, _)) =
        tokio::join!(merge(), merge(), world.get("/indexes/a/search?q=x&timeout_ms=20000"));
    assert_eq!((first, second, search), (202, 429, 200), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("query.max_merges"), "{problem}");
}
