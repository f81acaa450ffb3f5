//! Partition logs.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use warren_protocol::dead_letter::now_ms;
use warren_protocol::ports::{FollowFrom, Follower, LogEntry, LogError, LogLimits, PartitionLog, Position};
use warren_tests::{eventually, within};

use crate::World;
use crate::world::{log, next, silent};

crate::promises!(
    pipelined_appends_stand_in_their_order,
    a_follower_goes_on_behind_what_was_read,
    a_follower_waits_for_what_is_appended,
    a_follower_survives_a_lost_connection,
    another_message_in_the_place_of_the_last_read_one_is_told,
    a_bounded_log_truncates_its_beginning_and_says_so,
    a_slow_follower_learns_what_was_truncated_before_it,
    an_unknown_log_is_not_found,
    deletion_ends_followers_and_a_new_log_is_empty,
    a_log_that_was_created_anew_and_is_shorter_is_another_one,
    creating_and_deleting_can_be_repeated,
    the_last_position_is_that_of_the_last_message,
    large_messages_come_back_whole,
    following_from_a_time_misses_nothing_that_was_appended_since,
);

const UNBOUNDED: LogLimits = LogLimits { max_bytes: None };

/// Appends one message and awaits its confirm.
async fn append(logs: &dyn PartitionLog, number: u32, message: impl Into<Bytes>) -> Result<(), LogError> {
    logs.append(&log(number), message.into()).await?.await
}

async fn read(follower: &mut Follower, count: usize) -> Result<Vec<LogEntry>> {
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.push(next(follower).await??);
    }
    Ok(entries)
}

fn after(entry: &LogEntry) -> FollowFrom {
    FollowFrom::After { position: entry.position, digest: entry.digest() }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range.map(|number| number.to_string().into()).collect()
}

fn messages(entries: &[LogEntry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.message.clone()).collect()
}

async fn pipelined_appends_stand_in_their_order(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    let mut confirms = Vec::new();
    for message in numbers(0..2000) {
        confirms.push(logs.append(&log(0), message).await?);
    }
    for confirm in confirms {
        within("a confirm", confirm).await??;
    }
    let entries = read(&mut logs.follow(&log(0), FollowFrom::Start).await?, 2000).await?;
    assert_eq!(messages(&entries), numbers(0..2000));
    assert!(entries.windows(2).all(|pair| pair[0].position < pair[1].position), "positions grow");
    Ok(())
}

async fn a_follower_goes_on_behind_what_was_read(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    for message in numbers(0..10) {
        append(&**logs, 0, message).await?;
    }
    let entries = read(&mut logs.follow(&log(0), FollowFrom::Start).await?, 10).await?;
    for (last_read, entry) in entries.iter().enumerate().take(9) {
        let rest = read(&mut logs.follow(&log(0), after(entry)).await?, 9 - last_read).await?;
        assert_eq!(rest, entries[last_read + 1..]);
    }
    let mut at_the_end = logs.follow(&log(0), after(&entries[9])).await?;
    assert!(silent(&mut at_the_end).await, "nothing is behind the last message");
    append(&**logs, 0, "10").await?;
    assert_eq!(next(&mut at_the_end).await??.message, "10");
    Ok(())
}

async fn a_follower_waits_for_what_is_appended(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    let mut followers = vec![];
    for _ in 0..3 {
        followers.push(logs.follow(&log(0), FollowFrom::Start).await?);
    }
    assert!(silent(&mut followers[0]).await, "the log is empty");
    let other = world.another().await?;
    for message in numbers(0..5) {
        append(&*other.ports.log, 0, message.clone()).await?;
        for follower in &mut followers {
            assert_eq!(next(follower).await??.message, message);
        }
    }
    other.close().await;
    Ok(())
}

async fn a_follower_survives_a_lost_connection(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    append(&**logs, 0, "0").await?;
    let mut follower = logs.follow(&log(0), FollowFrom::Start).await?;
    assert_eq!(next(&mut follower).await??.message, "0");
    world.disconnect().await?;
    eventually("an append after the loss", Duration::from_secs(10), async || Ok(append(&**logs, 0, "1").await?)).await?;
    // An append that failed may be in the log all the same: unknown is no promise.
    assert_eq!(next(&mut follower).await??.message, "1");
    Ok(())
}

async fn another_message_in_the_place_of_the_last_read_one_is_told(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    for message in numbers(0..3) {
        append(&**logs, 0, message).await?;
    }
    let entries = read(&mut logs.follow(&log(0), FollowFrom::Start).await?, 2).await?;
    let position = entries[1].position;
    let digest = entries[1].digest() ^ 1;
    let mut follower = logs.follow(&log(0), FollowFrom::After { position, digest }).await?;
    assert_eq!(next(&mut follower).await?, Err(LogError::Replaced { position }));
    assert_eq!(within("the end", futures_util::StreamExt::next(&mut follower)).await?, None, "it ends after the first error");
    Ok(())
}

const BOUND: u64 = 2_000_000;

/// More than the bound, so that the beginning goes. One by one: RabbitMQ truncates no less than it once took together.
async fn overfill(logs: &dyn PartitionLog) -> Result<()> {
    for number in 0..100_u8 {
        append(logs, 0, vec![number; 60_000]).await?;
    }
    Ok(())
}

async fn a_bounded_log_truncates_its_beginning_and_says_so(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), LogLimits { max_bytes: Some(BOUND) }).await?;
    append(&**logs, 0, "the first").await?;
    let first = read(&mut logs.follow(&log(0), FollowFrom::Start).await?, 1).await?.remove(0);
    overfill(&**logs).await?;

    let kept = eventually("the first message is truncated", Duration::from_secs(10), async || {
        let start = next(&mut logs.follow(&log(0), FollowFrom::Start).await?).await??;
        ensure!(start.position > first.position, "it is still there");
        Ok(start)
    })
    .await?;
    match next(&mut logs.follow(&log(0), after(&first)).await?).await? {
        Err(LogError::Truncated { expected, found }) => {
            assert_eq!(expected, first.position);
            assert!(found >= kept.position, "{found:?} is before {kept:?}");
        }
        other => panic!("{other:?}"),
    }
    // What is left is whole, ends with the last message, and is not much more than allowed.
    let mut follower = logs.follow(&log(0), FollowFrom::Start).await?;
    let mut left = vec![next(&mut follower).await??];
    while left.last().is_some_and(|last| last.message[0] < 99) {
        left.push(next(&mut follower).await??);
    }
    let contents: Vec<u8> = left.iter().map(|entry| entry.message[0]).collect();
    assert_eq!(contents, (contents[0]..=99).collect::<Vec<_>>());
    let bytes: usize = left.iter().map(|entry| entry.message.len()).sum();
    assert!((BOUND / 2..BOUND * 5 / 4).contains(&(bytes as u64)), "{bytes} bytes are left of {BOUND}");
    Ok(())
}

async fn a_slow_follower_learns_what_was_truncated_before_it(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), LogLimits { max_bytes: Some(BOUND) }).await?;
    append(&**logs, 0, "the first").await?;
    let mut follower = logs.follow(&log(0), FollowFrom::Start).await?;
    let mut last = next(&mut follower).await??;
    // Far more than any follower reads ahead.
    for _ in 0..4 {
        overfill(&**logs).await?;
    }
    let error = loop {
        match next(&mut follower).await? {
            Ok(entry) => last = entry,
            Err(error) => break error,
        }
    };
    match error {
        LogError::Truncated { expected, found } => {
            assert_eq!(expected, last.position);
            assert!(found > Position(expected.0 + 1));
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

async fn an_unknown_log_is_not_found(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    let not_found = LogError::NotFound(log(9).to_string());
    assert_eq!(append(&**logs, 9, "x").await, Err(not_found.clone()));
    assert_eq!(logs.follow(&log(9), FollowFrom::Start).await.err(), Some(not_found.clone()));
    assert_eq!(logs.last(&log(9)).await, Err(not_found));
    Ok(())
}

async fn deletion_ends_followers_and_a_new_log_is_empty(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    for message in numbers(0..3) {
        append(&**logs, 0, message).await?;
    }
    let mut follower = logs.follow(&log(0), FollowFrom::Start).await?;
    read(&mut follower, 3).await?;
    logs.delete(&log(0)).await?;
    let not_found = LogError::NotFound(log(0).to_string());
    assert_eq!(next(&mut follower).await?, Err(not_found.clone()));
    assert_eq!(append(&**logs, 0, "x").await, Err(not_found));

    logs.create(&log(0), UNBOUNDED).await?;
    assert_eq!(logs.last(&log(0)).await?, None);
    append(&**logs, 0, "anew").await?;
    assert_eq!(next(&mut logs.follow(&log(0), FollowFrom::Start).await?).await??.message, "anew");
    Ok(())
}

async fn a_log_that_was_created_anew_and_is_shorter_is_another_one(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    for message in numbers(0..3) {
        append(&**logs, 0, message).await?;
    }
    let last = read(&mut logs.follow(&log(0), FollowFrom::Start).await?, 3).await?.remove(2);
    logs.delete(&log(0)).await?;
    logs.create(&log(0), UNBOUNDED).await?;
    let mut follower = logs.follow(&log(0), after(&last)).await?;
    // RabbitMQ is silent about it, and might only be slow: the follower asks a few times.
    let told = tokio::time::timeout(Duration::from_secs(60), futures_util::StreamExt::next(&mut follower)).await?;
    assert_eq!(told, Some(Err(LogError::Replaced { position: last.position })));
    Ok(())
}

async fn creating_and_deleting_can_be_repeated(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.delete(&log(0)).await?;
    logs.create(&log(0), LogLimits { max_bytes: Some(BOUND) }).await?;
    append(&**logs, 0, "kept").await?;
    logs.create(&log(0), LogLimits { max_bytes: Some(BOUND) }).await?;
    assert_eq!(next(&mut logs.follow(&log(0), FollowFrom::Start).await?).await??.message, "kept");
    logs.delete(&log(0)).await?;
    logs.delete(&log(0)).await?;
    Ok(())
}

async fn the_last_position_is_that_of_the_last_message(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    assert_eq!(logs.last(&log(0)).await?, None);
    let mut follower = logs.follow(&log(0), FollowFrom::Start).await?;
    for message in numbers(0..10) {
        append(&**logs, 0, message).await?;
        let read = next(&mut follower).await??;
        assert_eq!(logs.last(&log(0)).await?, Some(read.position));
    }
    Ok(())
}

async fn large_messages_come_back_whole(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    let large: Bytes = (0..5 * 1024 * 1024_u32).map(|number| (number / 251) as u8).collect::<Vec<_>>().into();
    for message in ["before".into(), large.clone(), large.clone(), "behind".into()] {
        append(&**logs, 0, message).await?;
    }
    let entries = read(&mut logs.follow(&log(0), FollowFrom::Start).await?, 4).await?;
    assert!(entries[1].message == large && entries[2].message == large, "the bytes differ");
    assert_eq!(entries[3].message, "behind");
    let too_large = 130 * 1024 * 1024;
    match append(&**logs, 0, vec![0; too_large]).await {
        Err(LogError::TooLarge { bytes, limit }) => assert!(bytes == too_large as u64 && limit < bytes, "{bytes}, {limit}"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

async fn following_from_a_time_misses_nothing_that_was_appended_since(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), UNBOUNDED).await?;
    let before = now_ms();
    for number in 0..5_u32 {
        append(&**logs, 0, number.to_string()).await?;
    }
    let later = now_ms() + 1000 + FollowFrom::CLOCKS_DIFFER_MS;
    // Also of a time at which nothing was appended any more: there is a message that says so.
    for unix_ms in [0, before, later] {
        let mut follower = logs.follow(&log(0), FollowFrom::Time { unix_ms }).await?;
        let mut last = next(&mut follower).await??;
        assert!(unix_ms == later || last.message == "0");
        while last.message != "4" {
            last = next(&mut follower).await??;
        }
        assert!(last.appended_ms.is_none_or(|time| (before..=now_ms()).contains(&time)), "{last:?}");
        assert!(silent(&mut follower).await, "nothing comes behind the end");
    }
    Ok(())
}
