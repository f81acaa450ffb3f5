//! What survives the death of the process, and of the broker.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use warren_broker::{BrokerError, Settings, connect};
use warren_protocol::ports::{FollowFrom, LogLimits, LogName, Message, QueueName, RpcTarget, Settlement};
use warren_tests::{Node, Program, eventually};

use crate::World;
use crate::world::{log, next, partition};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_broker_keeps_all_over_a_restart() -> Result<()> {
    all_is_kept_over_a_restart(World::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_keeps_all_over_a_crash() -> Result<()> {
    all_is_kept_over_a_restart(World::on(Node::start().await?).await?).await
}

async fn all_is_kept_over_a_restart(world: World) -> Result<()> {
    let ports = world.ports();
    ports.log.create(&log(0), LogLimits { max_bytes: None }).await?;
    ports.log.create(&log(1), LogLimits { max_bytes: None }).await?;
    ports.log.delete(&log(1)).await?;
    ports.rpc.create(&partition(0)).await?;
    for number in 0..500 {
        let size = if number == 250 { 3_000_000 } else { number * 10 };
        ports.log.append(&log(0), format!("{number} {}", "x".repeat(size)).into()).await?.await?;
    }
    for number in 0..4 {
        let message = Message { body: number.to_string().into(), ..Message::default() };
        ports.queue.publish(QueueName::Intake, message).await?;
    }
    let prefetch = NonZeroU16::new(2).expect("2");
    let mut deliveries = ports.queue.consume(QueueName::Intake, prefetch).await?;
    next(&mut deliveries).await?.settle(Settlement::Done).await?;
    let why = Settlement::DeadLetter { reason: "bad".into(), detail: String::new() };
    next(&mut deliveries).await?.settle(why).await?;
    let held = next(&mut deliveries).await?;
    let before = next(&mut ports.log.follow(&log(0), FollowFrom::Start).await?).await??;
    drop((held, deliveries));

    let world = world.restart().await?;
    let ports = world.ports();
    let mut follower = ports.log.follow(&log(0), FollowFrom::Start).await?;
    let mut entries = vec![];
    for number in 0..500 {
        let entry = next(&mut follower).await??;
        ensure!(entry.message.starts_with(format!("{number} ").as_bytes()), "message {number}");
        entries.push(entry);
    }
    assert_eq!(entries[0], before);
    ports.log.append(&log(0), "after".into()).await?.await?;
    let after = next(&mut follower).await??;
    assert_eq!(after.message, "after");
    assert!(after.position > entries[499].position, "positions go on");
    assert!(ports.log.last(&log(1)).await.is_err(), "deleted is deleted");

    let mut deliveries = ports.queue.consume(QueueName::Intake, prefetch).await?;
    for number in [2, 3] {
        let delivery = next(&mut deliveries).await?;
        assert_eq!(delivery.message.body, number.to_string());
        // The one that was held; a broker that crashed may have forgotten whom it sent the other.
        assert!(delivery.redelivered || number == 3, "message {number}");
        delivery.settle(Settlement::Done).await?;
    }
    let letter = next(&mut ports.queue.consume(QueueName::DeadLetters, prefetch).await?).await?.message;
    assert_eq!(letter.body, "1");

    let target = RpcTarget::Partition(partition(0));
    let mut calls = ports.rpc.serve(&target, prefetch).await?;
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    let serve = async { Ok::<_, anyhow::Error>(next(&mut calls).await?.reply("here".into()).await?) };
    let (served, answer) = tokio::join!(serve, ports.rpc.call(&target, "x".into(), deadline));
    served?;
    assert_eq!(answer?, "here");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_embedded_broker_confirmed_survives_kill_9() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut expected = 0;
    // Each life finds what the ones before left, and is killed in the middle of its appends.
    let mut confirmed_by_life = BTreeMap::new();
    for life in 0..3 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-writer"));
        command.arg(folder.path());
        let mut writer = Program::spawn("log-writer", command)?;
        let enough = 2000 * (life + 1);
        eventually("some thousand appends are confirmed", Duration::from_secs(30), async || {
            let said = writer.said();
            ensure!(said.lines().count() >= enough, "{} so far", said.lines().count());
            Ok(())
        })
        .await?;
        writer.kill9()?;
        let said = writer.all();
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let confirmed = whole.lines().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        assert_eq!(confirmed, (0..confirmed.len() as u64).collect::<Vec<_>>());
        confirmed_by_life.insert(life, confirmed.len() as u64);

        let broker = connect(&Settings::default(), "contract", folder.path()).await?;
        let last = broker.ports.log.last(&LogName::Catalog).await?;
        let mut follower = broker.ports.log.follow(&LogName::Catalog, FollowFrom::Start).await?;
        let (mut lives, mut number) = (0, 0);
        loop {
            let entry = next(&mut follower).await??;
            let found: u64 = std::str::from_utf8(&entry.message)?.split(' ').next().unwrap_or_default().parse()?;
            if found == 0 && number > 0 {
                ensure!(number >= confirmed_by_life[&lives], "life {lives}: {number} of {} left", confirmed_by_life[&lives]);
                (lives, number) = (lives + 1, 0);
            }
            ensure!(found == number, "message {found} stands where {number} should");
            ensure!(entry.message.len() as u64 == found.to_string().len() as u64 + 1 + found % 3000, "message {found} is cut");
            number += 1;
            if Some(entry.position) == last {
                break;
            }
        }
        ensure!(lives == life, "{lives} lives before this one");
        ensure!(number >= confirmed_by_life[&life], "{number} messages left of {} confirmed", confirmed_by_life[&life]);
        expected += number;
        ensure!(last.is_some_and(|last| last.0 == expected), "{last:?} is not {expected}");
        drop(follower);
        broker.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_one_broker_at_a_time() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = connect(&Settings::default(), "contract", folder.path()).await?;
    match connect(&Settings::default(), "contract", folder.path()).await {
        Err(error @ BrokerError::Storage { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&folder.path().display().to_string()), "{text}");
            assert!(text.contains("is another warren running?"), "{text}");
        }
        Err(error) => bail!("{error}"),
        Ok(_) => bail!("two brokers hold {}", folder.path().display()),
    }
    broker.close().await;
    connect(&Settings::default(), "contract", folder.path()).await?.close().await;
    Ok(())
}
