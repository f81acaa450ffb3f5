//! Work queues: what becomes of what is refused.

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use warren_protocol::dead_letter::{DeadLetter, Letter, Part};
use warren_protocol::ports::QueueName::{DeadLetters, Intake};
use warren_protocol::ports::{Message, QueueError, Settlement, SourceQueue, Way};
use warren_tests::eventually;

use crate::World;
use crate::queue::{DEADLINE, depth_becomes, message, prefetch, publish};
use crate::world::{next, silent};

crate::promises!(
    what_is_sifted_comes_once_and_what_is_left_is_in_its_place,
    a_look_that_breaks_off_says_so,
    what_is_buried_is_kept_and_its_message_is_still_to_be_settled,
    a_part_of_a_message_is_a_letter_of_its_own,
    a_letter_returns_as_the_message_that_it_was,
    attempts_are_counted,
);

async fn what_is_sifted_comes_once_and_what_is_left_is_in_its_place(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, DeadLetters, 6).await?;
    depth_becomes(&**queues, DeadLetters, 6).await?;
    let mut sifted = queues.sift(DeadLetters).await?;
    let mut number = 0;
    while let Some(delivery) = sifted.next().await.transpose()? {
        assert_eq!(delivery.message.body, message(number).body);
        if number % 2 == 1 {
            delivery.settle(Settlement::Done).await?;
        }
        number += 1;
    }
    assert_eq!(number, 6, "it ends when there are no more");
    drop(sifted);
    let left = eventually("the others are back", DEADLINE, async || {
        let left = queues.peek(DeadLetters, 10).await?;
        ensure!(left.len() == 3, "{} are there", left.len());
        Ok(left)
    })
    .await?;
    let bodies: Vec<_> = left.into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [0, 2, 4].map(|number| message(number).body));
    Ok(())
}

async fn a_look_that_breaks_off_says_so(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, DeadLetters, 6).await?;
    depth_becomes(&**queues, DeadLetters, 6).await?;
    let mut sifted = queues.sift(DeadLetters).await?;
    let held = next(&mut sifted).await??;
    world.disconnect().await?;
    let rest: Vec<_> = sifted.by_ref().collect().await;
    let broke_off = matches!(rest.last(), Some(Err(QueueError::Unavailable(_))));
    assert!(broke_off || rest.len() == 5 && rest.iter().all(Result::is_ok), "{rest:?}");
    drop((held, rest, sifted));
    depth_becomes(&**queues, DeadLetters, 6).await?;
    let mut again = eventually("the queue can be looked at", DEADLINE, async || Ok(queues.sift(DeadLetters).await?)).await?;
    assert_eq!(next(&mut again).await??.message.body, message(0).body);
    Ok(())
}

async fn what_is_buried_is_kept_and_its_message_is_still_to_be_settled(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    queues.publish(Intake, message(1)).await?;
    let mut deliveries = queues.consume(Intake, prefetch(5)).await?;
    let delivery = next(&mut deliveries).await?;
    let mut letter = Letter::new("invalid_field", "no number: Grüße");
    (letter.index, letter.document_id, letter.attempts) = (Some("packages".into()), Some("a".into()), Some(7));
    delivery.bury(letter.clone()).await?;
    depth_becomes(&**queues, DeadLetters, 1).await?;
    drop((delivery, deliveries));
    let mut deliveries = queues.consume(Intake, prefetch(5)).await?;
    next(&mut deliveries).await?.settle(Settlement::Done).await?;

    let found = DeadLetter::from(next(&mut queues.consume(DeadLetters, prefetch(1)).await?).await?.message);
    assert_eq!((found.reason, found.detail), (Some(letter.reason), Some(letter.detail)));
    assert_eq!((found.index, found.document_id), (letter.index, letter.document_id));
    assert_eq!((found.attempts, found.time_ms), (Some(7), Some(letter.time_ms)));
    assert_eq!((found.source.as_deref(), found.message), (Some("warren.intake"), message(1)));
    Ok(())
}

async fn a_part_of_a_message_is_a_letter_of_its_own(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let batch = Message {
        message_id: Some("all of it".into()),
        content_encoding: Some("gzip".into()),
        content_type: Some("application/x-ndjson".into()),
        kind: Some("delete".into()),
        ..message(1)
    };
    queues.publish(Intake, batch).await?;
    let mut deliveries = queues.consume(Intake, prefetch(5)).await?;
    let delivery = next(&mut deliveries).await?;
    for ordinal in [2, 5] {
        let mut letter = Letter::new("invalid_json", "broken");
        letter.part = Some(Part { ordinal, body: Bytes::from(format!("part {ordinal}")) });
        delivery.bury(letter).await?;
    }
    delivery.settle(Settlement::Done).await?;
    let mut letters = queues.consume(DeadLetters, prefetch(2)).await?;
    let mut ids = vec![];
    for ordinal in [2, 5] {
        let delivery = next(&mut letters).await?;
        let found = DeadLetter::from(delivery.message.clone());
        delivery.settle(Settlement::Done).await?;
        let Message { body, message_id, content_encoding, content_type, kind, .. } = found.message;
        assert_eq!((found.ordinal, body), (Some(ordinal), Bytes::from(format!("part {ordinal}"))));
        assert_eq!((message_id, content_encoding), (None, None));
        assert_eq!((content_type.as_deref(), kind.as_deref()), (Some("application/json"), Some("delete")));
        ids.push(found.id);
    }
    assert_ne!(ids[0], ids[1]);
    Ok(())
}

async fn a_letter_returns_as_the_message_that_it_was(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let original = Message {
        message_id: Some("the id".into()),
        correlation_id: Some("7".into()),
        content_type: Some("text/plain".into()),
        headers: [("own".to_owned(), "text".to_owned())].into(),
        ..message(1)
    };
    queues.publish(Intake, Message { reply_to: Some("somebody".into()), ..original.clone() }).await?;
    let mut deliveries = queues.consume(Intake, prefetch(5)).await?;
    let delivery = next(&mut deliveries).await?;
    delivery.bury(Letter::new("invalid_json", "broken")).await?;
    delivery.settle(Settlement::Done).await?;
    depth_becomes(&**queues, DeadLetters, 1).await?;

    let mut letters = queues.sift(DeadLetters).await?;
    next(&mut letters).await??.settle(Settlement::Return(Way::Queue(Intake))).await?;
    drop(letters);
    let back = next(&mut deliveries).await?;
    assert_eq!((&back.message, back.redelivered), (&original, false));
    back.settle(Settlement::Done).await?;
    depth_becomes(&**queues, DeadLetters, 0).await?;
    assert!(silent(&mut deliveries).await, "it came once");
    Ok(())
}

async fn attempts_are_counted(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, Intake, 1).await?;
    for attempts in 1..=3 {
        let mut deliveries = queues.consume(Intake, prefetch(1)).await?;
        let delivery = next(&mut deliveries).await?;
        assert_eq!((delivery.attempts, delivery.redelivered), (attempts, attempts > 1));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_has_no_sources() -> Result<()> {
    let world = World::embedded().await?;
    let source = SourceQueue { label: "warren.source.a".into(), queue: "q".into(), binding: None };
    let queues = &world.ports().queue;
    assert!(matches!(queues.find_source(&source).await, Err(QueueError::Unsupported(_))));
    assert!(matches!(queues.open_source(&source).await, Err(QueueError::Unsupported(_))));
    Ok(())
}
