//! What an index has on the broker: the logs and queues of its partitions, made and removed together.

use futures_util::{StreamExt, TryStreamExt, stream};
use warren_protocol::PartitionId;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{LogLimits, LogName, Ports};

use super::{CatalogError, unavailable};

/// How many partitions are declared, or deleted, at a time.
const CONCURRENT_PARTITIONS: usize = 16;

/// Makes the logs and queues; those that are there stay as they are.
pub(super) async fn create(ports: &Ports, entry: &Entry) -> Result<(), CatalogError> {
    let limits = LogLimits { max_bytes: Some(entry.definition.log_max_bytes) };
    stream::iter(partitions(entry).map(Ok))
        .try_for_each_concurrent(CONCURRENT_PARTITIONS, |partition| async move {
            ports.rpc.create(&partition).await.map_err(unavailable)?;
            ports.log.create(&LogName::Partition(partition), limits).await.map_err(unavailable)
        })
        .await
}

/// Deletes the logs and queues, as many of them as can be deleted; the error is of one that could not.
pub(super) async fn remove(ports: &Ports, entry: &Entry) -> Result<(), CatalogError> {
    stream::iter(partitions(entry))
        .map(|partition| async move {
            let queue = ports.rpc.delete(&partition).await.map_err(unavailable);
            let log = ports.log.delete(&LogName::Partition(partition)).await.map_err(unavailable);
            queue.and(log)
        })
        .buffer_unordered(CONCURRENT_PARTITIONS)
        .fold(Ok(()), |so_far, removed| async { so_far.and(removed) })
        .await
}

fn partitions(entry: &Entry) -> impl Iterator<Item = PartitionId> {
    let index = entry.index.clone();
    (0..entry.definition.partitions.get()).map(move |partition| PartitionId { index: index.clone(), partition })
}
