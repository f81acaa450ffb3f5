//! The statistics of queries over all partitions, so that scores are those of one index; each kept for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use warren_protocol::catalog::Entry;
use warren_protocol::rpc::Statistics;
use warren_protocol::{IndexRef, Query};

use crate::ask::Refused;
use crate::fan_out::FanOut;

/// The most queries whose statistics are kept.
const MOST: usize = 4096;

/// An index and a query, as bytes.
type Key = (IndexRef, Vec<u8>);

/// The statistics of the last queries.
pub(crate) struct StatisticsCache {
    lifetime: Duration,
    kept: Mutex<HashMap<Key, (Instant, Arc<Statistics>)>>,
}

impl StatisticsCache {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, kept: Mutex::default() }
    }

    /// The statistics of a query over the partitions of an index that answer before `deadline`.
    pub(crate) async fn get(
        &self,
        fan_out: &FanOut,
        index: &Entry,
        query: &Query,
        deadline: Instant,
    ) -> Result<Arc<Statistics>, Refused> {
        let key = (index.index.clone(), postcard::to_stdvec(query).unwrap_or_default());
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let (statistics, complete) = fan_out.statistics(index, query, deadline).await?;
        let statistics = Arc::new(statistics);
        if complete {
            self.keep(key, statistics.clone());
        }
        Ok(statistics)
    }

    fn known(&self, key: &Key) -> Option<Arc<Statistics>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(since, _)| since.elapsed() < self.lifetime).map(|(_, statistics)| statistics.clone())
    }

    fn keep(&self, key: Key, statistics: Arc<Statistics>) {
        if self.lifetime.is_zero() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, (since, _)| since.elapsed() < self.lifetime);
        }
        if kept.len() < MOST {
            kept.insert(key, (Instant::now(), statistics));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::{Generation, IndexName};

    fn key(query: &str) -> Key {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        (index, query.as_bytes().to_vec())
    }

    #[test]
    fn statistics_are_kept_for_their_time_and_so_many() {
        let cache = StatisticsCache::new(Duration::from_secs(60));
        for number in 0..MOST + 5 {
            cache.keep(key(&number.to_string()), Arc::default());
        }
        assert!(cache.known(&key("0")).is_some());
        assert!(cache.known(&key(&MOST.to_string())).is_none());
        for lifetime in [Duration::ZERO, Duration::from_nanos(1)] {
            let cache = StatisticsCache::new(lifetime);
            cache.keep(key("a"), Arc::default());
            assert!(cache.known(&key("a")).is_none());
        }
    }
}
