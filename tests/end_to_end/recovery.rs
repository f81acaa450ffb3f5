//! Where a worker begins again: with its folder, with a snapshot, with the log; whatever of them is missing or damaged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use warren_tests::deployment::PATIENCE;
use warren_tests::member::Role;
use warren_tests::stack::Stack;
use warren_tests::{Program, eventually, status};

use crate::stacks::{all_is_there, stack, written};

/// Logs of many small segments: a policy can cut them after a few megabytes.
const SMALL_LOG: u64 = 64 << 20;
/// More than two segments of such a log.
const ROLLED: usize = 9 << 20;

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Flips a bit in the middle of a file.
fn damage(file: &Path) -> Result<()> {
    let mut content = std::fs::read(file).with_context(|| file.display().to_string())?;
    let middle = content.len() / 2;
    *content.get_mut(middle).with_context(|| format!("{} is empty", file.display()))? ^= 0x10;
    // The file may have other names, in snapshots that are being taken: those are not to be damaged.
    std::fs::remove_file(file)?;
    Ok(std::fs::write(file, content)?)
}

/// A worker restored a snapshot of each of so many partitions.
fn restored(stack: &Stack, worker: usize, partitions: usize) -> Result<()> {
    let said = stack.workers[worker].said();
    ensure!(said.matches("restored a snapshot").count() >= partitions, "not from snapshots");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_is_gone_begins_with_snapshots_and_goes_on_with_the_log() -> Result<()> {
    let mut stack = stack(1, 1, 1, &json!({"partitions": 2})).await?;
    stack.fill(500).await?;
    stack.saved(PATIENCE).await?;
    stack.workers[0].kill9()?;
    std::fs::remove_dir_all(stack.workers[0].data_dir())?;
    // What is written while nobody reads is in the log.
    let ledgers = written(&stack, 500).await?;
    stack.workers[0].start()?;
    stack.whole(PATIENCE).await?;
    restored(&stack, 0, 2)?;
    all_is_there(&stack, &ledgers, 500).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_local_file_is_noticed_and_the_copy_replaced() -> Result<()> {
    let mut stack = stack(1, 1, 1, &json!({"partitions": 1})).await?;
    let ledgers = written(&stack, 1000).await?;
    all_is_there(&stack, &ledgers, 0).await?;
    // A snapshot brings the files into the folder.
    stack.saved(PATIENCE).await?;
    for kind in ["store", "idx", "fast"] {
        stack.workers[0].kill9()?;
        let of_kind = |file: &PathBuf| file.extension().is_some_and(|extension| extension == kind);
        let local: Vec<_> = files(stack.workers[0].data_dir())?.into_iter().filter(of_kind).collect();
        ensure!(!local.is_empty(), "no .{kind} in {}", stack.workers[0].data_dir().display());
        local.iter().try_for_each(|file| damage(file))?;
        stack.workers[0].start()?;
        stack.whole(PATIENCE).await?;
        all_is_there(&stack, &ledgers, 0).await.with_context(|| format!("a damaged .{kind}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_passed_over() -> Result<()> {
    let mut stack = stack(1, 1, 1, &json!({"partitions": 1})).await?;
    stack.fill(300).await?;
    stack.saved(PATIENCE).await?;
    let older = stack.store.partitions()?[&0].files.clone();
    let ledgers = written(&stack, 300).await?;
    stack.saved(PATIENCE).await?;
    stack.workers[0].kill9()?;
    let newer: Vec<_> = stack.store.partitions()?[&0].files.iter().filter(|file| !older.contains(file)).cloned().collect();
    damage(newer.first().context("the second snapshot has files of its own")?)?;
    stack.workers.clear();
    stack.add_worker()?;
    stack.whole(PATIENCE).await?;
    all_is_there(&stack, &ledgers, 300).await?;

    // Now the newest one names a file that is not there, and then every file of all of them is damaged.
    stack.saved(PATIENCE).await?;
    for missing in [true, false] {
        stack.workers[0].kill9()?;
        let stored = stack.store.partitions()?[&0].clone();
        if missing {
            let newest = std::fs::read_to_string(stored.manifests.last().context("there is a snapshot")?)?;
            let named = |file: &&PathBuf| newest.contains(file.file_name().and_then(|name| name.to_str()).unwrap_or("?"));
            std::fs::remove_file(stored.files.iter().find(named).context("the manifest names files")?)?;
        } else {
            stored.files.iter().try_for_each(|file| damage(file))?;
        }
        stack.workers.clear();
        stack.add_worker()?;
        stack.whole(PATIENCE).await?;
        all_is_there(&stack, &ledgers, 300).await.with_context(|| format!("missing: {missing}"))?;
    }
    Ok(())
}

/// Documents of so many bytes, which no compression makes small, under these ids.
async fn bulk(stack: &Stack, prefix: &str, bytes: usize) -> Result<usize> {
    const SIZE: usize = 100_000;
    let producer = stack.producers[0].api()?;
    let documents: Vec<_> = (0..bytes.div_ceil(SIZE))
        .map(|number| {
            let padding: String = (0..SIZE).map(|_| fastrand::alphanumeric()).collect();
            json!({"id": format!("{prefix}{number}"), "padding": padding})
        })
        .collect();
    for chunk in documents.chunks(20) {
        producer.publish(&stack.index, chunk).await?;
    }
    Ok(documents.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_foreign_policy_cuts_off_the_log_is_in_snapshots_or_is_told() -> Result<()> {
    let mut stack = stack(1, 1, 1, &json!({"partitions": 1, "dynamic": false, "log_max_bytes": SMALL_LOG})).await?;
    let ledgers = written(&stack, 500).await?;
    let mut others = bulk(&stack, "a", ROLLED).await?;
    all_is_there(&stack, &ledgers, others as u64).await?;
    stack.saved(PATIENCE).await?;
    let node = stack.deployment.node().clone();
    // Two full segments stay beside the one that is written: what is cut off is in the snapshot.
    node.set_policy(stack.deployment.vhost(), "^warren.log", r#"{"max-length-bytes":8000000}"#).await?;
    others += bulk(&stack, "b", ROLLED * 2 / 3).await?;
    all_is_there(&stack, &ledgers, others as u64).await?;
    stack.saved(PATIENCE).await?;
    // The log has lost its beginning. Another worker, with an empty disk, loses nothing.
    stack.workers.clear();
    stack.add_worker()?;
    stack.whole(PATIENCE).await?;
    restored(&stack, 0, 1)?;
    all_is_there(&stack, &ledgers, others as u64).await?;

    // What is cut off while nobody reads, and is in no snapshot, is lost: that is told, and what is left is found.
    stack.workers[0].kill9()?;
    bulk(&stack, "c", 2 * ROLLED).await?;
    stack.workers[0].start()?;
    let producer = stack.producers[0].api()?;
    let told = |status: &status::Status| {
        let copy = status.partitions()[0].first().context("nobody has the partition")?;
        ensure!(copy.serving && copy.trouble.as_ref().is_some_and(|lost| lost.contains("position")), "{copy:?}");
        Ok(())
    };
    status::until(stack.query()?, &stack.index, "the loss is told", PATIENCE, told).await?;
    producer.publish(&stack.index, &[json!({"id": "after the loss"})]).await?;
    eventually("what is written after the loss is found", PATIENCE, async || {
        let (status, answer) = stack.query()?.get(&format!("/indexes/{}/documents/after%20the%20loss", stack.index)).await?;
        ensure!(status == 200, "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_broker_gets_its_indexes_back_from_the_object_store() -> Result<()> {
    let mut stack =
        stack(1, 1, 1, &json!({"partitions": 2, "fields": {"text": {"type": "text", "analyzer": "english"}}})).await?;
    let ledgers = written(&stack, 1000).await?;
    stack.saved(PATIENCE).await?;
    let definition = stack.query()?.get(&format!("/indexes/{}", stack.index)).await?.1["definition"].clone();
    for member in stack.producers.iter_mut().chain(&mut stack.workers).chain(&mut stack.queries) {
        member.stop().await?;
    }
    stack.deployment.lose_broker().await?;
    let store = format!("file://{}", stack.store.0.display());
    let mut restore = Program::start("warren", &["restore", "--broker", stack.deployment.url(), "--store", &store], &[])?;
    let ended = restore.wait(PATIENCE).await?;
    ensure!(ended.success(), "{ended}: {}", restore.all());

    stack.producers = vec![stack.deployment.member(Role::Producer)?];
    stack.queries = vec![stack.deployment.member(Role::QueryService)?];
    for server in stack.producers.iter_mut().chain(&mut stack.queries) {
        server.start_ready().await?;
    }
    stack.workers.clear();
    stack.add_worker()?;
    stack.whole(PATIENCE).await?;
    all_is_there(&stack, &ledgers, 0).await?;
    let restored = stack.query()?.get(&format!("/indexes/{}", stack.index)).await?.1["definition"].clone();
    assert_eq!(restored, definition);
    // And it takes writes.
    stack.producers[0].api()?.publish(&stack.index, &[json!({"id": "new"})]).await?;
    all_is_there(&stack, &ledgers, 1).await
}
