//! Work queues.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use warren_protocol::dead_letter::Letter;
use warren_protocol::ports::QueueName::{DeadLetters, Intake, Links};
use warren_protocol::ports::{Message, QueueError, QueueName, Settlement, WorkQueue};
use warren_tests::eventually;

use crate::World;
use crate::world::{next, silent};

crate::promises!(
    messages_come_in_order_with_all_they_had,
    done_messages_leave_the_queue,
    what_a_dropped_consumer_held_comes_again,
    a_consumer_holds_no_more_than_its_prefetch,
    a_retried_message_comes_again_after_the_pause,
    a_retried_link_waits_at_the_broker_and_comes_as_it_was_left,
    links_have_competing_consumers,
    a_dead_letter_says_why_and_leaves_its_queue,
    the_intake_has_one_active_consumer,
    dead_letters_have_competing_consumers,
    looking_leaves_messages_where_they_are,
    purging_says_how_many,
);

pub const DEADLINE: Duration = Duration::from_secs(15);

pub fn prefetch(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("more than 0")
}

pub fn message(number: usize) -> Message {
    Message { body: number.to_string().into(), routing_key: "packages".into(), ..Message::default() }
}

pub async fn publish(queues: &dyn WorkQueue, queue: QueueName, count: usize) -> Result<(), QueueError> {
    for number in 0..count {
        queues.publish(queue, message(number)).await?;
    }
    Ok(())
}

pub async fn depth_becomes(queues: &dyn WorkQueue, queue: QueueName, expected: u64) -> Result<()> {
    eventually("the queue has its depth", DEADLINE, async || {
        let depth = queues.depth(queue).await?;
        ensure!(depth == expected, "{depth} messages wait, not {expected}");
        Ok(())
    })
    .await
}

async fn messages_come_in_order_with_all_they_had(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let whole = Message {
        body: vec![0, 159, 146, 150].into(),
        routing_key: "packages".into(),
        message_id: Some("the id".into()),
        kind: Some("delete".into()),
        content_type: Some("application/json".into()),
        content_encoding: Some("gzip".into()),
        correlation_id: Some("7".into()),
        reply_to: Some("somebody".into()),
        headers: [("a".to_owned(), "text".to_owned())].into(),
    };
    queues.publish(Intake, whole.clone()).await?;
    publish(&**queues, Intake, 20).await?;
    let mut deliveries = queues.consume(Intake, prefetch(50)).await?;
    let first = next(&mut deliveries).await?;
    assert_eq!((&first.message, first.redelivered), (&whole, false));
    for number in 0..20 {
        let delivery = next(&mut deliveries).await?;
        assert_eq!((delivery.message.body.clone(), delivery.redelivered), (message(number).body, false));
        delivery.check().await?;
        delivery.settle(Settlement::Done).await?;
    }
    Ok(())
}

async fn done_messages_leave_the_queue(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, Intake, 3).await?;
    depth_becomes(&**queues, Intake, 3).await?;
    let mut deliveries = queues.consume(Intake, prefetch(1)).await?;
    for _ in 0..3 {
        next(&mut deliveries).await?.settle(Settlement::Done).await?;
    }
    assert!(silent(&mut deliveries).await, "nothing is left");
    drop(deliveries);
    depth_becomes(&**queues, Intake, 0).await?;
    let mut deliveries = queues.consume(Intake, prefetch(1)).await?;
    assert!(silent(&mut deliveries).await, "nothing comes again");
    Ok(())
}

async fn what_a_dropped_consumer_held_comes_again(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, Intake, 6).await?;
    let mut deliveries = queues.consume(Intake, prefetch(3)).await?;
    let held = next(&mut deliveries).await?;
    next(&mut deliveries).await?.settle(Settlement::Done).await?;
    drop((held, deliveries));
    let mut deliveries = queues.consume(Intake, prefetch(10)).await?;
    for number in [0, 2, 3, 4, 5] {
        let delivery = next(&mut deliveries).await?;
        assert_eq!(delivery.message.body, message(number).body);
        // What the broker had sent to the first consumer, read or not, counts as handed out.
        assert!(delivery.redelivered || number > 0, "message {number}");
        delivery.settle(Settlement::Done).await?;
    }
    Ok(())
}

async fn a_consumer_holds_no_more_than_its_prefetch(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, Intake, 4).await?;
    let mut deliveries = queues.consume(Intake, prefetch(2)).await?;
    let first = next(&mut deliveries).await?;
    let _second = next(&mut deliveries).await?;
    assert!(silent(&mut deliveries).await, "two are held");
    first.settle(Settlement::Done).await?;
    assert_eq!(next(&mut deliveries).await?.message.body, message(2).body);
    Ok(())
}

async fn a_retried_message_comes_again_after_the_pause(world: &World) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(400);
    let queues = &world.ports().queue;
    publish(&**queues, Intake, 2).await?;
    let mut deliveries = queues.consume(Intake, prefetch(1)).await?;
    let (delivery, start) = (next(&mut deliveries).await?, Instant::now());
    let other = tokio::join!(delivery.settle(Settlement::Retry { after: PAUSE }), async {
        // The others do not wait for it, where the broker can tell them apart.
        next(&mut deliveries).await
    });
    other.0?;
    let mut bodies = vec![];
    let mut delivery = other.1?;
    loop {
        let (body, redelivered) = (delivery.message.body.clone(), delivery.redelivered);
        delivery.settle(Settlement::Done).await?;
        bodies.push(body.clone());
        if body == message(0).body {
            assert!(redelivered, "it was handed out before");
            assert!(start.elapsed() >= PAUSE, "it came after {:?}", start.elapsed());
        }
        if bodies.len() == 2 {
            break;
        }
        delivery = next(&mut deliveries).await?;
    }
    bodies.sort();
    assert_eq!(bodies, [message(0).body, message(1).body]);
    Ok(())
}

async fn a_retried_link_waits_at_the_broker_and_comes_as_it_was_left(world: &World) -> Result<()> {
    const PAUSE: Duration = Duration::from_secs(1);
    let queues = &world.ports().queue;
    let whole = Message {
        kind: Some("a kind".into()),
        message_id: Some("the id".into()),
        headers: [("own".to_owned(), "kept".to_owned())].into(),
        ..message(0)
    };
    queues.publish(Links, whole.clone()).await?;
    queues.publish(Links, message(1)).await?;
    let mut deliveries = queues.consume(Links, prefetch(1)).await?;
    let mut delivery = next(&mut deliveries).await?;
    assert_eq!(delivery.message, whole);
    delivery.message.headers.insert("warren-attempts".to_owned(), "1".to_owned());
    let left = delivery.message.clone();
    let start = Instant::now();
    delivery.settle(Settlement::Retry { after: PAUSE }).await?;
    // It takes no place of the prefetch while it waits.
    let other = next(&mut deliveries).await?;
    assert_eq!(other.message.body, message(1).body);
    other.settle(Settlement::Done).await?;
    let again = next(&mut deliveries).await?;
    assert!(start.elapsed() >= PAUSE, "it came after {:?}", start.elapsed());
    let mut comes = again.message.clone();
    // What a broker adds to speak of its own work.
    comes.headers.retain(|name, _| !name.starts_with("x-"));
    assert_eq!((comes, again.redelivered), (left, false));
    again.bury(Letter { attempts: Some(2), ..Letter::new("page_not_found", "404") }).await?;
    again.settle(Settlement::Done).await?;
    let letter = next(&mut queues.consume(DeadLetters, prefetch(1)).await?).await?.message;
    let header = |name: &str| letter.headers.get(name).map(String::as_str);
    assert_eq!((header("warren-source"), header("warren-attempts")), (Some("warren.links"), Some("2")));
    assert_eq!((header("own"), letter.routing_key.as_str()), (Some("kept"), "packages"));
    Ok(())
}

async fn links_have_competing_consumers(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let mut one = queues.consume(Links, prefetch(1)).await?;
    let mut two = queues.consume(Links, prefetch(1)).await?;
    publish(&**queues, Links, 2).await?;
    let (first, second) = (next(&mut one).await?, next(&mut two).await?);
    assert_ne!(first.message.body, second.message.body);
    Ok(())
}

async fn a_dead_letter_says_why_and_leaves_its_queue(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let bad = Message {
        message_id: Some("the id".into()),
        kind: Some("delete".into()),
        content_type: Some("text/plain".into()),
        headers: [("a".to_owned(), "text".to_owned())].into(),
        ..message(1)
    };
    queues.publish(Intake, bad.clone()).await?;
    let mut deliveries = queues.consume(Intake, prefetch(1)).await?;
    let why = Settlement::DeadLetter { reason: "invalid-document".into(), detail: "no object: Grüße".into() };
    next(&mut deliveries).await?.settle(why).await?;
    assert!(silent(&mut deliveries).await, "it has left the queue");

    let letter = next(&mut queues.consume(DeadLetters, prefetch(1)).await?).await?.message;
    let header = |name: &str| letter.headers.get(name).map(String::as_str);
    assert_eq!(header("warren-reason"), Some("invalid-document"));
    assert_eq!(header("warren-detail"), Some("no object: Grüße"));
    assert_eq!(header("warren-source"), Some("warren.intake"));
    assert_eq!(header("warren-attempts"), Some("1"));
    let mut original = letter.clone();
    original.headers.retain(|name, _| !name.starts_with("warren-"));
    assert_eq!(original, bad);
    Ok(())
}

async fn the_intake_has_one_active_consumer(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let other = world.another().await?;
    let mut active = queues.consume(Intake, prefetch(1)).await?;
    publish(&**queues, Intake, 3).await?;
    let held = next(&mut active).await?;
    let mut waiting = other.ports.queue.consume(Intake, prefetch(10)).await?;
    assert!(silent(&mut waiting).await, "one is active");
    held.settle(Settlement::Done).await?;
    assert_eq!(next(&mut active).await?.message.body, message(1).body);
    drop(active);
    for number in [1, 2] {
        let delivery = next(&mut waiting).await?;
        assert_eq!(delivery.message.body, message(number).body);
        delivery.check().await?;
        delivery.settle(Settlement::Done).await?;
    }
    drop(waiting);
    other.close().await;
    Ok(())
}

async fn dead_letters_have_competing_consumers(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    let mut one = queues.consume(DeadLetters, prefetch(1)).await?;
    let mut two = queues.consume(DeadLetters, prefetch(1)).await?;
    publish(&**queues, DeadLetters, 2).await?;
    let (first, second) = (next(&mut one).await?, next(&mut two).await?);
    assert_ne!(first.message.body, second.message.body);
    Ok(())
}

async fn looking_leaves_messages_where_they_are(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    publish(&**queues, DeadLetters, 5).await?;
    depth_becomes(&**queues, DeadLetters, 5).await?;
    for (limit, expected) in [(3, 3), (10, 5), (0, 0)] {
        let seen = queues.peek(DeadLetters, limit).await?;
        let bodies: Vec<_> = seen.into_iter().map(|message| message.body).collect();
        assert_eq!(bodies, (0..expected).map(|number| message(number).body).collect::<Vec<_>>());
    }
    let mut deliveries = queues.consume(DeadLetters, prefetch(5)).await?;
    for number in 0..5 {
        let delivery = next(&mut deliveries).await?;
        assert_eq!(delivery.message.body, message(number).body);
        delivery.settle(Settlement::Done).await?;
    }
    Ok(())
}

async fn purging_says_how_many(world: &World) -> Result<()> {
    let queues = &world.ports().queue;
    assert_eq!(queues.purge(DeadLetters).await?, 0);
    publish(&**queues, DeadLetters, 4).await?;
    depth_becomes(&**queues, DeadLetters, 4).await?;
    assert_eq!(queues.purge(DeadLetters).await?, 4);
    depth_becomes(&**queues, DeadLetters, 0).await?;
    assert_eq!(queues.peek(DeadLetters, 10).await?, []);
    Ok(())
}
