//! Finds out where a log ends: from a replica that has read up to it, or else by reading the log.

use std::time::Duration;

use futures_util::StreamExt;
use warren_protocol::PartitionId;
use warren_protocol::announcement::PartitionReport;
use warren_protocol::batch::{Batch, Kind};
use warren_protocol::ports::{FollowFrom, LogEntry, LogError, LogName, Ports, Position};
use warren_service::roster::Roster;

use super::fill::{Found, Origin, Volume, Wanted};

/// Each worker has said within it what it holds.
const HEARD_WITHIN: Duration = Duration::from_millis(2500);
/// A log that is read delivers its next message within it.
const NEXT_WITHIN: Duration = Duration::from_secs(30);
/// The first message of a log stands at 0 or 1.
const FIRST: Position = Position(1);

/// The log's end, or a little beyond what it was when it was asked for. `None` if only replicas are asked and none is there.
pub(super) async fn find(
    ports: &Ports,
    roster: &Roster,
    partition: &PartitionId,
    wanted: Wanted,
) -> Result<Option<Found>, LogError> {
    let name = LogName::Partition(partition.clone());
    let Some(last) = ports.log.last(&name).await? else {
        return Ok(Some(Found { volume: Volume::default(), origin: Origin::Creation }));
    };
    if wanted == Wanted::ReadEnd {
        return Ok(at_the_end(roster, partition, last));
    }
    tokio::select! {
        found = reached(roster, partition, last) => Ok(Some(found)),
        found = async {
            tokio::time::sleep(HEARD_WITHIN).await;
            read(ports, &name, furthest(roster, partition), last).await
        } => found.map(Some),
    }
}

fn furthest(roster: &Roster, partition: &PartitionId) -> Option<PartitionReport> {
    let reports = roster.partition(partition).replicas.into_iter().map(|replica| replica.report);
    reports.filter(|report| report.position.is_some()).max_by_key(|report| report.log_bytes)
}

fn volume_of(report: &PartitionReport) -> Volume {
    Volume { bytes: report.log_bytes, operations: report.operations }
}

/// The end as a replica knows it that has read up to `last`.
fn at_the_end(roster: &Roster, partition: &PartitionId, last: Position) -> Option<Found> {
    let report = furthest(roster, partition).filter(|report| report.position >= Some(last))?;
    Some(Found { volume: volume_of(&report), origin: Origin::Creation })
}

/// Waits for a replica to reach `last`.
async fn reached(roster: &Roster, partition: &PartitionId, last: Position) -> Found {
    let mut changes = roster.changes();
    loop {
        if let Some(found) = at_the_end(roster, partition, last) {
            return found;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Reads the log up to `last`, and counts what stands behind the place that a replica has reached. Without one, all of it.
async fn read(ports: &Ports, name: &LogName, replica: Option<PartitionReport>, last: Position) -> Result<Found, LogError> {
    tracing::info!(log = %name, "no worker says how full the log is, reading it");
    let reached = replica.as_ref().and_then(|report| report.position);
    let mut volume = replica.as_ref().map(volume_of).unwrap_or_default();
    let mut entries = ports.log.follow(name, FollowFrom::Start).await?;
    let mut first = None;
    loop {
        let silent = |_| LogError::Unavailable("the log does not deliver its messages".to_owned());
        let next = tokio::time::timeout(NEXT_WITHIN, entries.next()).await.map_err(silent)?;
        let LogEntry { position, message, .. } =
            next.ok_or_else(|| LogError::Unavailable("the follower has ended".to_owned()))??;
        first.get_or_insert(position);
        if reached.is_none_or(|reached| position > reached) {
            volume.bytes += message.len() as u64;
            // What is no batch stops the partition; here it is so many bytes.
            if let Ok(Kind::Write { operations, .. }) = Batch::decode(&message).map(|batch| batch.header.kind) {
                volume.operations += u64::from(operations);
            }
        }
        if position >= last {
            break;
        }
    }
    let is_whole = first.is_some_and(|first| first <= FIRST);
    let origin = if reached.is_some() || is_whole { Origin::Creation } else { Origin::Retained };
    Ok(Found { volume, origin })
}
