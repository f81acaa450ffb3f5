//! Claims.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;
use warren_protocol::ports::{Claims, HeldSlot, Slot};
use warren_tests::{eventually, within};

use crate::World;
use crate::world::partition;

crate::promises!(
    a_slot_has_one_holder,
    a_released_slot_can_be_taken_at_once,
    a_dropped_slot_can_be_taken_soon,
    slots_are_independent,
);

fn slot(replica: u32) -> Slot {
    Slot { partition: partition(0), replica }
}

async fn claim(claims: &dyn Claims, replica: u32) -> Result<Box<dyn HeldSlot>> {
    claims.try_claim(&slot(replica)).await?.context("another one holds the slot")
}

async fn a_slot_has_one_holder(world: &World) -> Result<()> {
    let claims = &world.ports().claims;
    let other = world.another().await?;
    let held = claim(&**claims, 0).await?;
    assert!(claims.try_claim(&slot(0)).await?.is_none(), "this process holds it already");
    assert!(other.ports.claims.try_claim(&slot(0)).await?.is_none(), "another process cannot have it");
    held.release().await?;
    other.close().await;
    Ok(())
}

async fn a_released_slot_can_be_taken_at_once(world: &World) -> Result<()> {
    let claims = &world.ports().claims;
    let other = world.another().await?;
    for _ in 0..3 {
        claim(&**claims, 0).await?.release().await?;
        claim(&*other.ports.claims, 0).await?.release().await?;
    }
    other.close().await;
    Ok(())
}

async fn a_dropped_slot_can_be_taken_soon(world: &World) -> Result<()> {
    let claims = &world.ports().claims;
    let other = world.another().await?;
    drop(claim(&**claims, 0).await?);
    let taken = eventually("the slot is free", Duration::from_secs(5), async || claim(&*other.ports.claims, 0).await).await?;
    drop(taken);
    eventually("the slot is free", Duration::from_secs(5), async || claim(&**claims, 0).await).await?;
    other.close().await;
    Ok(())
}

async fn slots_are_independent(world: &World) -> Result<()> {
    let claims = &world.ports().claims;
    let other = world.another().await?;
    let _here = claim(&**claims, 0).await?;
    let _there = claim(&*other.ports.claims, 1).await?;
    assert!(claims.try_claim(&slot(1)).await?.is_none());
    assert!(other.ports.claims.try_claim(&slot(0)).await?.is_none());
    other.close().await;
    Ok(())
}

/// Whoever gives back what went with a connection has nothing to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_slot_is_given_back_at_once() -> Result<()> {
    let world = World::amqp().await?;
    let claims = &world.ports().claims;
    let mut held = claim(&**claims, 0).await?;
    world.disconnect().await?;
    within("the holder learns of it", held.lost()).await?;
    timeout(Duration::from_secs(1), held.release()).await??;
    eventually("the slot can be taken again", Duration::from_secs(10), async || claim(&**claims, 0).await).await?;
    Ok(())
}

/// Only RabbitMQ has connections that can be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_learns_that_its_connection_is_gone() -> Result<()> {
    let world = World::amqp().await?;
    let claims = &world.ports().claims;
    let mut held = claim(&**claims, 0).await?;
    world.disconnect().await?;
    within("the holder learns of it", held.lost()).await?;
    drop(held);
    // A new connection serves the next claim.
    eventually("the slot can be taken again", Duration::from_secs(10), async || claim(&**claims, 0).await).await?;
    Ok(())
}
