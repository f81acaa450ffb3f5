//! Why a log takes no writes, and what to do about it, in words.

use std::time::{Duration, SystemTime};

use warren_protocol::PartitionId;
use warren_protocol::announcement::SnapshotReport;
use warren_service::human;
use warren_service::roster::Roster;

/// A snapshot that is older is not just about to be followed by another.
const OLD: Duration = Duration::from_secs(900);

/// A log is full.
pub(super) fn full(
    partition: &PartitionId,
    unsaved: u64,
    max_bytes: u64,
    snapshot: Option<SnapshotReport>,
    cause: &str,
) -> String {
    let newest = match snapshot.map(age) {
        Some(age) => format!("the newest one is {} old", human::age(age)),
        None => "there is none".to_owned(),
    };
    format!(
        "partition {} of index \"{}\" takes no writes for now: {} of its log are in no snapshot, and half of log_max_bytes \
         ({}) may be ({newest}). {cause}. It goes on with the next snapshot",
        partition.partition,
        partition.index.name,
        human::bytes(unsaved),
        human::bytes(max_bytes),
    )
}

/// It is not known yet how full a log is.
pub(super) fn unknown(partition: &PartitionId) -> String {
    format!(
        "partition {} of index \"{}\" takes no more writes until it is known how full its log is: no worker says it, so the \
         log is being read",
        partition.partition, partition.index.name
    )
}

/// Why no snapshot makes room, as far as announcements tell.
pub(super) fn cause(roster: &Roster, partition: &PartitionId, has_snapshot: bool) -> String {
    if roster.workers().is_empty() {
        return "No worker runs: start one".to_owned();
    }
    if roster.stores_differ() {
        return "The workers use different object stores: set WARREN__STORE__URL alike for all of them".to_owned();
    }
    let view = roster.partition(partition);
    if let Some(error) = view.replicas.iter().find_map(|replica| replica.report.error.as_ref()) {
        return format!("Its worker says: {error}");
    }
    if view.replicas.is_empty() {
        return "No worker holds the partition: see /status".to_owned();
    }
    match view.snapshot.map(age) {
        Some(age) if age < OLD => "Its worker takes one from time to time, and when an eighth of the limit is in none".to_owned(),
        _ if has_snapshot => "No new one is being taken: see /status and the worker's log".to_owned(),
        _ => "None is being taken: see /status and the worker's log".to_owned(),
    }
}

fn age(snapshot: SnapshotReport) -> Duration {
    let taken = SystemTime::UNIX_EPOCH + Duration::from_millis(snapshot.taken_ms);
    SystemTime::now().duration_since(taken).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::ports::Position;
    use warren_protocol::{Generation, IndexName, IndexRef};

    #[test]
    fn a_refusal_says_the_figures_the_cause_and_what_helps() {
        let index = IndexRef { name: IndexName::new("packages").unwrap(), generation: Generation(1) };
        let partition = PartitionId { index, partition: 3 };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let snapshot = SnapshotReport { position: Position(1), log_bytes: 1, taken_ms: now - 7_300_000 };
        let text = full(&partition, 10_200_000_000, 20_000_000_000, Some(snapshot), "No worker runs: start one");
        for part in ["partition 3", "\"packages\"", "10.2 GB", "20.0 GB", "2h old", "start one", "next snapshot"] {
            assert!(text.contains(part), "{text} does not say {part:?}");
        }
        assert!(full(&partition, 1, 1, None, "").contains("there is none"));
    }
}
