//! Announcements.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use warren_protocol::announcement::{Announcement, PartitionReport, ReplicaState, WorkerAnnouncement};
use warren_protocol::ports::{Address, Message, Position, WorkerId};
use warren_tests::eventually;

use crate::World;
use crate::world::{next, partition, silent};

crate::promises!(
    every_watcher_hears_every_process,
    a_watcher_hears_nothing_from_before_it_came,
    a_watcher_survives_a_lost_connection,
    one_listener_hears_what_others_do_not,
    what_is_said_to_nobody_is_lost_and_harms_nothing,
    an_address_has_one_listener_and_is_free_after_it,
    a_listener_survives_a_lost_connection
);

fn announcement(worker: &str) -> Announcement {
    let partition = partition(3);
    let report = PartitionReport {
        index: partition.index,
        partition: partition.partition,
        replica: 1,
        held: true,
        state: ReplicaState::Serving,
        position: Some(Position(41)),
        documents: 7,
        log_bytes: 1234,
        operations: 8,
        segments: 2,
        bytes: 4321,
        snapshot: None,
        lost: None,
        error: None,
    };
    let (worker, store) = (WorkerId(worker.into()), None);
    let partitions = vec![report];
    Announcement::Worker(WorkerAnnouncement { worker, leaving: false, stopping: false, cpu_percent: 3, store, partitions })
}

async fn every_watcher_hears_every_process(world: &World) -> Result<()> {
    let here = &world.ports().bulletin;
    let other = world.another().await?;
    let there = &other.ports.bulletin;
    let mut watchers = [here.watch().await?, there.watch().await?];
    here.announce(&announcement("here")).await?;
    for watcher in &mut watchers {
        assert_eq!(next(watcher).await?, announcement("here"));
    }
    there.announce(&announcement("there")).await?;
    for watcher in &mut watchers {
        assert_eq!(next(watcher).await?, announcement("there"));
    }
    other.close().await;
    Ok(())
}

async fn a_watcher_hears_nothing_from_before_it_came(world: &World) -> Result<()> {
    let bulletin = &world.ports().bulletin;
    bulletin.announce(&announcement("nobody hears it")).await?;
    let mut watcher = bulletin.watch().await?;
    assert!(silent(&mut watcher).await, "nothing is kept");
    bulletin.announce(&announcement("heard")).await?;
    assert_eq!(next(&mut watcher).await?, announcement("heard"));
    Ok(())
}

async fn a_watcher_survives_a_lost_connection(world: &World) -> Result<()> {
    let bulletin = &world.ports().bulletin;
    let mut watcher = bulletin.watch().await?;
    world.disconnect().await?;
    eventually("an announcement arrives again", Duration::from_secs(10), async || {
        bulletin.announce(&announcement("again")).await?;
        let heard = tokio::time::timeout(Duration::from_millis(200), watcher.next()).await?;
        ensure!(heard == Some(announcement("again")), "{heard:?}");
        Ok(())
    })
    .await
}

fn address(name: &str) -> Address {
    Address::of_client(name).expect("a good address")
}

fn word(text: &str) -> Message {
    Message {
        body: text.to_owned().into(),
        content_type: Some("text/plain".to_owned()),
        correlation_id: Some(format!("about {text}")),
        ..Message::default()
    }
}

/// What is heard of a word: on RabbitMQ, the routing key is the address.
fn heard(mut message: Message) -> Message {
    message.routing_key.clear();
    message
}

async fn one_listener_hears_what_others_do_not(world: &World) -> Result<()> {
    let here = &world.ports().bulletin;
    let other = world.another().await?;
    let there = &other.ports.bulletin;
    let mut one = here.listen(&address("one")).await?;
    let mut two = there.listen(&address("two")).await?;
    for text in ["a", "b"] {
        there.tell(&address("one"), word(text)).await?;
    }
    here.tell(&address("two"), word("c")).await?;
    assert_eq!(heard(next(&mut one).await?), word("a"));
    assert_eq!(heard(next(&mut one).await?), word("b"));
    assert_eq!(heard(next(&mut two).await?), word("c"));
    assert!(silent(&mut one).await && silent(&mut two).await, "each hears its own");
    drop((one, two));
    other.close().await;
    Ok(())
}

async fn what_is_said_to_nobody_is_lost_and_harms_nothing(world: &World) -> Result<()> {
    let bulletin = &world.ports().bulletin;
    let mut listener = bulletin.listen(&address("somebody")).await?;
    // Of RabbitMQ's own names, some look like addresses and are none.
    for nobody in ["nobody", "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.nonsense", "amq.rabbitmq.trace", "a b/ü"] {
        bulletin.tell(&address(nobody), word(nobody)).await?;
    }
    bulletin.tell(&address("somebody"), word("heard")).await?;
    assert_eq!(heard(next(&mut listener).await?), word("heard"));
    Ok(())
}

async fn an_address_has_one_listener_and_is_free_after_it(world: &World) -> Result<()> {
    let bulletin = &world.ports().bulletin;
    let other = world.another().await?;
    let first = bulletin.listen(&address("desk")).await?;
    assert!(other.ports.bulletin.listen(&address("desk")).await.is_err(), "the address is taken");
    bulletin.tell(&address("desk"), word("for the first")).await?;
    drop(first);
    let bulletin = &world.ports().bulletin;
    let mut second = eventually("the address is free", Duration::from_secs(10), async || {
        bulletin.listen(&address("desk")).await.map_err(Into::into)
    })
    .await?;
    bulletin.tell(&address("desk"), word("for the second")).await?;
    let mut words = vec![heard(next(&mut second).await?)];
    if words == [word("for the first")] {
        // On RabbitMQ the queue lives as long as the connection.
        words = vec![heard(next(&mut second).await?)];
    }
    assert_eq!(words, [word("for the second")]);
    drop(second);
    other.close().await;
    Ok(())
}

async fn a_listener_survives_a_lost_connection(world: &World) -> Result<()> {
    let bulletin = &world.ports().bulletin;
    let mut listener = bulletin.listen(&address("survivor")).await?;
    world.disconnect().await?;
    eventually("a word arrives again", Duration::from_secs(10), async || {
        bulletin.tell(&address("survivor"), word("again")).await?;
        let said = tokio::time::timeout(Duration::from_millis(200), listener.next()).await?;
        ensure!(said.clone().map(heard) == Some(word("again")), "{said:?}");
        Ok(())
    })
    .await
}
