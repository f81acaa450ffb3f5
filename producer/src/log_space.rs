//! How full each partition's log is: writes are refused before the broker would truncate what is still needed.
//!
//! A broker's retention knows no consumers. So workers announce how many bytes of a log they have read, producers count
//! what they append, and a log takes writes until half of its limit. The other half is for what other producers have
//! appended and no worker has announced yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use warren_protocol::PartitionId;
use warren_protocol::announcement::INTERVAL_MS;
use warren_protocol::ports::LogName;
use warren_service::roster::Roster;
use warren_service::stop::Stop;

use crate::publisher::WriteError;

/// The fill of all logs that this process knows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSpace {
    fills: Arc<Mutex<HashMap<LogName, Fill>>>,
    listener: TaskTracker,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    /// The bytes up to the furthest position that a worker has announced.
    announced: u64,
    /// What had been announced when this process first appended.
    at_start: u64,
    /// What this process has appended.
    appended: u64,
}

impl Fill {
    fn bytes(self) -> u64 {
        self.announced.max(self.at_start + self.appended)
    }
}

impl LogSpace {
    /// Starts to listen to the workers' announcements.
    pub(crate) fn start(roster: Roster, stop: Stop) -> Self {
        let space = Self::default();
        let listener = space.clone();
        space.listener.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = stop.requested() => return,
                }
                for worker in roster.workers() {
                    for report in worker.partitions.iter() {
                        let partition = PartitionId { index: report.index.clone(), partition: report.partition };
                        listener.announced(LogName::Partition(partition), report.log_bytes);
                    }
                }
            }
        });
        space
    }

    fn announced(&self, log: LogName, bytes: u64) {
        let mut fills = self.fills.lock().unwrap_or_else(PoisonError::into_inner);
        let fill = fills.entry(log).or_default();
        fill.announced = fill.announced.max(bytes);
        if fill.appended == 0 {
            fill.at_start = fill.announced;
        }
    }

    /// Notes that this process appended a message.
    pub(crate) fn appended(&self, log: &LogName, bytes: u64) {
        let mut fills = self.fills.lock().unwrap_or_else(PoisonError::into_inner);
        fills.entry(log.clone()).or_default().appended += bytes;
    }

    /// Refuses once the log is half full.
    pub(crate) fn check(&self, partition: &PartitionId, log_max_bytes: u64) -> Result<(), WriteError> {
        let fills = self.fills.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = fills.get(&LogName::Partition(partition.clone())).map_or(0, |fill| fill.bytes());
        if bytes < log_max_bytes / 2 {
            return Ok(());
        }
        let number = partition.partition;
        Err(WriteError::LogFull(format!(
            "the log of partition {number} holds {bytes} bytes, half of log_max_bytes ({log_max_bytes}): create the index \
             anew with a larger log_max_bytes or more partitions"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::{IndexName, IndexRef, index_name::Generation};

    #[test]
    fn a_log_takes_writes_until_half_of_its_limit() {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        let partition = PartitionId { index, partition: 0 };
        let (space, log) = (LogSpace::default(), LogName::Partition(partition.clone()));
        space.announced(log.clone(), 300);
        assert!(space.check(&partition, 1000).is_ok());
        space.appended(&log, 150);
        assert!(space.check(&partition, 1000).is_ok());
        space.announced(log.clone(), 400); // has seen a part of what was appended here
        assert!(space.check(&partition, 1000).is_ok());
        space.appended(&log, 60);
        assert!(matches!(space.check(&partition, 1000), Err(WriteError::LogFull(_))));
        assert!(space.check(&partition, 2000).is_ok());
    }
}
