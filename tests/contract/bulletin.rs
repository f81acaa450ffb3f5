//! Announcements.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use warren_protocol::announcement::{Announcement, PartitionReport, ReplicaState, WorkerAnnouncement};
use warren_protocol::ports::{Position, WorkerId};
use warren_tests::eventually;

use crate::World;
use crate::world::{next, partition, silent};

crate::promises!(
    every_watcher_hears_every_process,
    a_watcher_hears_nothing_from_before_it_came,
    a_watcher_survives_a_lost_connection
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
