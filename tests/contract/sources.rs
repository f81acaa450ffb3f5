//! The queues of sources, on RabbitMQ: the embedded broker has none.

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use warren_protocol::dead_letter::{DeadLetter, Letter};
use warren_protocol::ports::QueueName::{DeadLetters, Intake};
use warren_protocol::ports::{Binding, QueueError, Settlement, SourceQueue, Way};
use warren_tests::{eventually, within};

use crate::World;
use crate::queue::{DEADLINE, depth_becomes, message, prefetch};
use crate::world::{next, silent};

/// The exchange of the intake stands in for a foreign one: to a binding they are alike.
fn bound(key: &str) -> SourceQueue {
    let binding = Some(Binding { exchange: "warren.documents".into(), key: key.into() });
    SourceQueue { label: "warren.source.a".into(), queue: "warren.source.a.7".into(), binding }
}

/// The dead letters stand in for a foreign queue.
fn foreign(queue: &str) -> SourceQueue {
    SourceQueue { label: "warren.source.b".into(), queue: queue.into(), binding: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_queue_gets_a_copy_of_what_its_key_selects() -> Result<()> {
    let world = World::amqp().await?;
    let queues = &world.ports().queue;
    let source = bound("*");
    queues.find_source(&source).await?;
    queues.open_source(&source).await?;
    queues.open_source(&bound("packages")).await?;
    for number in 0..3 {
        queues.publish(Intake, message(number)).await?;
    }
    let other = world.another().await?;
    let mut taken = queues.consume_source(&source, prefetch(5)).await?;
    let first = next(&mut taken).await?;
    assert_eq!((&first.message.body, &*first.message.routing_key), (&message(0).body, "packages"));
    let mut waiting = other.ports.queue.consume_source(&source, prefetch(5)).await?;
    assert!(silent(&mut waiting).await, "one is active");

    // A letter goes back to its queue alone, and keeps its routing key.
    first.bury(Letter::new("invalid_id", "none")).await?;
    first.settle(Settlement::Done).await?;
    depth_becomes(&**queues, DeadLetters, 1).await?;
    let mut letters = queues.sift(DeadLetters).await?;
    let letter = next(&mut letters).await??;
    assert_eq!(DeadLetter::from(letter.message.clone()).source.as_deref(), Some("warren.source.a"));
    letter.settle(Settlement::Return(Way::Source(source.clone()))).await?;
    drop(letters);
    for number in [1, 2, 0] {
        let delivery = next(&mut taken).await?;
        assert_eq!(DeadLetter::from(delivery.message.clone()).message.body, message(number).body);
        let key = delivery.message.headers.get("warren-routing-key").map(String::as_str);
        assert_eq!(key, (number == 0).then_some("packages"));
        delivery.settle(Settlement::Done).await?;
    }
    depth_becomes(&**queues, Intake, 3).await?;

    queues.remove_source(&source).await?;
    queues.remove_source(&source).await?;
    assert!(within("the end", taken.next()).await?.is_none(), "its queue is gone");
    drop(waiting);
    other.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_queue_has_one_consumer_of_warrens() -> Result<()> {
    let world = World::amqp().await?;
    let (queues, source) = (&world.ports().queue, foreign("warren.dead.letters"));
    queues.open_source(&source).await?;
    let other = world.another().await?;
    let mut taken = queues.consume_source(&source, prefetch(5)).await?;
    queues.publish(DeadLetters, message(0)).await?;
    let held = next(&mut taken).await?;
    let refused = other.ports.queue.consume_source(&source, prefetch(5)).await;
    assert!(matches!(refused, Err(QueueError::Taken(_))), "{:?}", refused.err());
    world.disconnect().await?;
    drop(held);
    let mut next_one =
        eventually("the other takes over", DEADLINE, async || Ok(other.ports.queue.consume_source(&source, prefetch(5)).await?))
            .await?;
    let again = next(&mut next_one).await?;
    assert_eq!((again.message.body.clone(), again.redelivered), (message(0).body, true));
    again.settle(Settlement::Done).await?;
    drop(next_one);
    other.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named() -> Result<()> {
    let world = World::amqp().await?;
    let queues = &world.ports().queue;
    let binding = Some(Binding { exchange: "nowhere".into(), key: "#".into() });
    for (source, word) in
        [(SourceQueue { binding, ..bound("#") }, "exchange \"nowhere\""), (foreign("nothing"), "queue \"nothing\"")]
    {
        for outcome in [queues.find_source(&source).await, queues.open_source(&source).await] {
            let Err(QueueError::NotFound(said)) = outcome else { panic!("{outcome:?}") };
            ensure!(said.contains(word), "{said}");
        }
    }
    Ok(())
}
