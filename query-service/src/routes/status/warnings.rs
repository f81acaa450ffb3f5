//! What a person should look at, in words.

use std::time::Duration;

use warren_protocol::announcement::ReplicaState;
use warren_service::human;

use super::intakes::IntakeStatus;
use super::{IndexStatus, PartitionStatus, ReplicaStatus, Status};

/// The most warnings, and the most partitions that one of them lists.
const MAX_LISTED: usize = 12;
/// Snapshots are taken at the latest when an eighth of a log is in none: so much, in percent, tells that they are not.
const LITTLE_ROOM_PERCENT: u32 = 50;
/// A replica that lags so long has trouble.
const LONG_LAG_MS: u64 = 30_000;
const SHORT_ID: usize = 8;

/// All warnings, the worst first.
pub(super) fn of(status: &Status, stores_differ: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if status.workers.is_empty() && !status.indexes.is_empty() {
        warnings.push("no worker runs: nothing can be found".to_owned());
    }
    let indexes = || status.indexes.iter();
    warnings.extend(indexes().flat_map(lost));
    if !status.workers.is_empty() {
        warnings.extend(indexes().filter_map(unserved));
    }
    warnings.extend(indexes().filter_map(full));
    warnings.extend(std::iter::once(&status.intake).chain(&status.sources).filter_map(paused));
    if stores_differ {
        warnings.push(
            "the workers use different object stores, so no snapshot counts: set WARREN__STORE__URL alike for all of them"
                .to_owned(),
        );
    }
    warnings.extend(indexes().flat_map(errors));
    warnings.extend(indexes().filter_map(filling));
    warnings.extend(indexes().flat_map(lagging));
    warnings.extend(indexes().filter_map(|index| too_few_replicas(index, status.workers.len())));
    warnings.extend(unbalanced(status));
    let more = warnings.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        warnings.truncate(MAX_LISTED);
        warnings.push(format!("and {more} more"));
    }
    warnings
}

/// `index "a", partitions 0, 1 and 3`, of those that the condition holds for.
fn which(index: &IndexStatus, condition: impl Fn(&PartitionStatus) -> bool) -> Option<String> {
    let mut numbers: Vec<_> = index
        .partitions
        .iter()
        .filter(|partition| condition(partition))
        .map(|partition| partition.partition.to_string())
        .collect();
    let name = &index.name;
    if numbers.len() == index.partitions.len() && numbers.len() > 1 {
        return Some(format!("index \"{name}\", all partitions"));
    }
    let more = numbers.len().saturating_sub(MAX_LISTED);
    numbers.truncate(MAX_LISTED);
    if more > 0 {
        numbers.push(format!("{more} more"));
    }
    let last = numbers.pop()?;
    Some(match numbers.is_empty() {
        true => format!("index \"{name}\", partition {last}"),
        false => format!("index \"{name}\", partitions {} and {last}", numbers.join(", ")),
    })
}

/// What each replica says of itself.
fn each<'a>(
    index: &'a IndexStatus,
    says: impl Fn(&'a ReplicaStatus) -> Option<String> + Copy + 'a,
) -> impl Iterator<Item = String> + 'a {
    index.partitions.iter().flat_map(move |partition| {
        partition.replicas.iter().filter_map(move |replica| {
            let worker = replica.worker.get(..SHORT_ID).unwrap_or(&replica.worker);
            Some(format!("index \"{}\", partition {}, worker {worker}: {}", index.name, partition.partition, says(replica)?))
        })
    })
}

fn lost(index: &IndexStatus) -> impl Iterator<Item = String> {
    index.partitions.iter().filter_map(|partition| {
        let lost = partition.replicas.iter().find_map(|replica| replica.lost.as_ref())?;
        Some(format!("index \"{}\", partition {}: writes are lost: {lost}", index.name, partition.partition))
    })
}

fn errors(index: &IndexStatus) -> impl Iterator<Item = String> {
    each(index, |replica| replica.error.clone())
}

fn lagging(index: &IndexStatus) -> impl Iterator<Item = String> {
    each(index, |replica| {
        let late = replica.state == ReplicaState::Serving && replica.lag_ms >= LONG_LAG_MS;
        let since = human::age(Duration::from_millis(replica.lag_ms));
        late.then(|| format!("{} documents wait to be indexed, for {since}", replica.lag_documents))
    })
}

fn unserved(index: &IndexStatus) -> Option<String> {
    let longest = index.partitions.iter().filter_map(|partition| partition.unserved_s).max()?;
    let since = human::age(Duration::from_secs(longest));
    let restored = index.partitions.iter().any(|partition| partition.unserved_s.is_some() && !partition.replicas.is_empty());
    let hope = if restored { "; workers catch up" } else { "" };
    which(index, |partition| partition.unserved_s.is_some()).map(|which| format!("{which}: no worker answers for {since}{hope}"))
}

fn room_percent(partition: &PartitionStatus) -> u32 {
    partition.log.as_ref().map_or(100, |log| log.room_percent)
}

fn full(index: &IndexStatus) -> Option<String> {
    let is_full = |partition: &PartitionStatus| partition.log.as_ref().is_some_and(|log| log.room_bytes == 0);
    which(index, is_full).map(|which| format!("{which}: writes are refused, half of the log is in no snapshot"))
}

fn paused(way: &IntakeStatus) -> Option<String> {
    way.paused.as_ref().map(|why| format!("{} waits: {why}", way.name))
}

fn filling(index: &IndexStatus) -> Option<String> {
    let fills = |partition: &PartitionStatus| (1..LITTLE_ROOM_PERCENT).contains(&room_percent(partition));
    let fullest = index.partitions.iter().filter(|partition| fills(partition)).min_by_key(|partition| room_percent(partition))?;
    let room = human::bytes(fullest.log.as_ref()?.room_bytes);
    let newest = match &fullest.snapshot {
        Some(snapshot) => format!("the newest snapshot is {} old", human::age(Duration::from_secs(snapshot.age_s))),
        None => "there is no snapshot".to_owned(),
    };
    which(index, fills).map(|which| format!("{which}: the log fills up, {room} until writes are refused; {newest}"))
}

fn too_few_replicas(index: &IndexStatus, workers: usize) -> Option<String> {
    let too_few = |partition: &PartitionStatus| {
        let held = partition.replicas.iter().filter(|replica| replica.held).count();
        !partition.replicas.is_empty() && held < index.replicas as usize
    };
    let asked = index.replicas;
    which(index, too_few).map(|which| format!("{which}: fewer replicas than {asked}, with {workers} workers"))
}

fn unbalanced(status: &Status) -> Option<String> {
    let held = || status.workers.iter().filter(|worker| !worker.stopping).map(|worker| worker.replicas);
    let (most, fewest) = (held().max()?, held().min()?);
    (most > fewest * 2 + 1).then(|| format!("the workers are not balanced: one holds {most} replicas, another {fewest}"))
}
