//! Replays and purges on the embedded broker.

use std::num::NonZeroU16;

use futures_util::StreamExt;
use serde_json::json;
use warren_protocol::batch::{PayloadBuilder, WriterId};
use warren_protocol::dead_letter::Letter;
use warren_protocol::ports::{LogName, Message, QueueName, Settlement};
use warren_protocol::{DocumentId, PartitionId, partition_of};

use crate::tests::World;

/// Puts a letter into the dead letters, as the intake does.
async fn bury(world: &World, number: usize, reason: &str, document_id: Option<&str>) {
    let body = json!({"number": number}).to_string();
    let message = Message { body: body.into(), routing_key: "a".to_owned(), ..Message::default() };
    let mut letter = Letter::new(reason, "no number");
    letter.document_id = document_id.map(str::to_owned);
    let letter = letter.of(message, "warren.intake", 1);
    world.broker.ports.queue.publish(QueueName::DeadLetters, letter).await.unwrap();
}

async fn write(world: &World, id: &str) {
    let entry = world.catalog.list().pop().unwrap();
    let id = DocumentId::new(id).unwrap();
    let partition = PartitionId { index: entry.index.clone(), partition: partition_of(&id, entry.definition.partitions) };
    let mut payload = PayloadBuilder::default();
    payload.push(&id, Some(b"{}"));
    let message = payload.finish().unwrap().encode(WriterId::random(), 1, 0, None);
    world.broker.ports.log.append(&LogName::Partition(partition), message).await.unwrap().await.unwrap();
}

async fn replay(world: &World, request: &str) -> (u64, u64) {
    let (status, answer) = world.ask("POST", "/dead-letters/replay", request.to_owned()).await;
    assert_eq!((status, &answer["complete"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["skipped"].as_array().unwrap().len() as u64, answer["skipped_count"].as_u64().unwrap());
    (answer["replayed"].as_u64().unwrap(), answer["skipped_count"].as_u64().unwrap())
}

#[tokio::test]
async fn a_replay_takes_what_the_filter_takes_and_skips_what_was_written_since() {
    let world = World::with_index(|_| {}, |_, _| None).await;
    bury(&world, 0, "invalid_field", Some("written")).await;
    bury(&world, 1, "invalid_field", Some("not-written")).await;
    bury(&world, 2, "invalid_json", None).await;
    bury(&world, 3, "invalid_field", None).await;
    write(&world, "written").await;
    write(&world, "another").await;
    assert_eq!(replay(&world, r#"{"reason": "invalid_field"}"#).await, (2, 1));
    assert_eq!(world.get("/dead-letters").await.1["count"], 2);
    assert_eq!(replay(&world, r#"{"document_id": "written"}"#).await, (0, 1));
    assert_eq!(replay(&world, r#"{"document_id": "written", "force": true}"#).await, (1, 0));
    let mut taken = world.broker.ports.queue.consume(QueueName::Intake, NonZeroU16::new(9).unwrap()).await.unwrap();
    for number in [1, 3, 0] {
        let delivery = taken.next().await.unwrap();
        let message = &delivery.message;
        assert_eq!((&*message.body, &*message.routing_key), (json!({"number": number}).to_string().as_bytes(), "a"));
        assert!(message.headers.is_empty(), "{:?}", message.headers);
        delivery.settle(Settlement::Done).await.unwrap();
    }
    let (status, purged) = world.ask("DELETE", "/dead-letters?reason=invalid_field", "").await;
    assert_eq!((status, purged), (200, json!({"purged": 0, "complete": true})));
    assert_eq!(world.ask("DELETE", "/dead-letters?index=a", "").await.1["purged"], 1);
}

#[tokio::test]
async fn a_letter_is_shown_whole_and_one_without_a_way_stays() {
    let world = World::new(|_| {}).await;
    let body = "x".repeat(5000);
    let message = Message { body: body.clone().into(), routing_key: "a".to_owned(), ..Message::default() };
    let letter = Letter::new("invalid_json", "none").of(message, "warren.source.gone", 1);
    world.broker.ports.queue.publish(QueueName::DeadLetters, letter).await.unwrap();
    let (_, listed) = world.get("/dead-letters").await;
    let id = listed["letters"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed["letters"][0]["body"].as_str().unwrap().len(), 1024);
    let (status, shown) = world.get(&format!("/dead-letters/{id}")).await;
    assert_eq!((status, &shown["body"], &shown["body_bytes"]), (200, &json!(body), &json!(5000)));
    assert_eq!(world.get("/dead-letters/none").await.1["code"], "unknown_dead_letter");
    let (_, answer) = world.ask("POST", "/dead-letters/replay", "{}").await;
    assert_eq!((&answer["replayed"], &answer["skipped_count"]), (&json!(0), &json!(1)));
    assert!(answer["skipped"][0]["why"].as_str().unwrap().contains("\"gone\" that it came from is no more"), "{answer}");
}
