//! Searches that must have seen something.

use warren_protocol::ports::Position;

use super::*;

#[tokio::test]
async fn a_partition_that_is_behind_is_asked_again_and_named_if_it_stays_so() {
    let behind = |partition, question| match (partition, &question) {
        (1, Question::Search(_)) => Some(Err(Failure::Behind(Position(9)))),
        _ => two_each(partition, question),
    };
    let world = World::with_index(|_| {}, behind).await;
    let generation = world.catalog.get(&IndexName::new("a").unwrap()).unwrap().index.generation;
    let (status, answer) = world.get(&format!("/indexes/a/search?q=x&timeout_ms=300&at_least={generation}.1.9")).await;
    assert_eq!((status, &answer["partitions"]["answered"]), (200, &json!(2)), "{answer}");
    let failed = &answer["partitions"]["failed"][0];
    assert_eq!(failed["partition"], 1);
    assert!(failed["reason"].as_str().unwrap().contains("position 9"), "{failed}");
    for wrong in ["nonsense".to_owned(), format!("{}.1.9", generation.0 + 1), format!("{generation}.3.9")] {
        let (status, problem) = world.get(&format!("/indexes/a/search?q=x&at_least={wrong}")).await;
        assert_eq!((status, &problem["field"]), (400, &json!("at_least")), "{wrong}: {problem}");
    }
}
