//! The statistics of queries over all partitions, so that scores are those of one index.
//!
//! They are kept for a moment, by clause: a word that is searched often is not asked about for each query that it stands in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use warren_protocol::catalog::Entry;
use warren_protocol::rpc::{MAX_STATISTICS, Statistics};
use warren_protocol::{IndexRef, Query};

use crate::ask::Refused;
use crate::fan_out::FanOut;

/// The most memory that kept statistics take, in bytes.
const MOST_BYTES: usize = 8 << 20;

/// An index and a clause, as bytes.
type Key = (IndexRef, Vec<u8>);

/// The statistics of the last clauses.
pub(crate) struct StatisticsCache {
    lifetime: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    clauses: HashMap<Key, (Instant, Arc<Statistics>)>,
    bytes: usize,
}

impl StatisticsCache {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, kept: Mutex::default() }
    }

    /// What the scores of a query depend on, over the partitions of an index that answer before `deadline`; `None` if on nothing.
    pub(crate) async fn get(
        &self,
        fan_out: &FanOut,
        index: &Entry,
        query: &Query,
        deadline: Instant,
    ) -> Result<Option<Statistics>, Refused> {
        let mut clauses = query.scored_by_statistics();
        if clauses.is_empty() {
            return Ok(None);
        }
        if clauses.len() > MAX_STATISTICS {
            // Asked about at once, and as such seldom again.
            clauses = vec![query.clone()];
        }
        let mut joined = Statistics::default();
        let mut unknown = Vec::new();
        for clause in clauses {
            let key = (index.index.clone(), postcard::to_stdvec(&clause).unwrap_or_default());
            match self.known(&key) {
                Some(known) => joined.join(&known),
                None => unknown.push((key, clause)),
            }
        }
        if unknown.is_empty() {
            return Ok(Some(joined));
        }
        let (keys, queries): (Vec<_>, Vec<_>) = unknown.into_iter().unzip();
        let (found, complete) = fan_out.statistics(index, queries, deadline).await?;
        for (key, statistics) in keys.into_iter().zip(found) {
            joined.join(&statistics);
            if complete {
                self.keep(key, statistics);
            }
        }
        Ok(Some(joined))
    }

    fn known(&self, key: &Key) -> Option<Arc<Statistics>> {
        let kept = self.lock();
        kept.clauses.get(key).filter(|(since, _)| since.elapsed() < self.lifetime).map(|(_, statistics)| statistics.clone())
    }

    fn keep(&self, key: Key, statistics: Statistics) {
        if self.lifetime.is_zero() {
            return;
        }
        let size = |key: &Key, statistics: &Statistics| size_of::<Key>() + key.1.len() + statistics.size();
        let mut kept = self.lock();
        let Kept { clauses, bytes } = &mut *kept;
        let new = size(&key, &statistics);
        if *bytes + new > MOST_BYTES {
            clauses.retain(|_, (since, _)| since.elapsed() < self.lifetime);
            *bytes = clauses.iter().map(|(key, (_, statistics))| size(key, statistics)).sum();
        }
        if *bytes + new <= MOST_BYTES {
            *bytes += new;
            if let Some((_, old)) = clauses.insert(key.clone(), (Instant::now(), Arc::new(statistics))) {
                *bytes = bytes.saturating_sub(size(&key, &old));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn statistics_are_kept_for_their_time_and_so_many_bytes() {
        let cache = StatisticsCache::new(Duration::from_secs(60));
        let large = "x".repeat(MOST_BYTES / 10);
        for number in 0..20 {
            cache.keep(key(&format!("{number}{large}")), Statistics::default());
        }
        assert!(cache.known(&key(&format!("0{large}"))).is_some());
        assert!(cache.known(&key(&format!("15{large}"))).is_none());
        assert!(cache.lock().bytes <= MOST_BYTES);
        for lifetime in [Duration::ZERO, Duration::from_nanos(1)] {
            let cache = StatisticsCache::new(lifetime);
            cache.keep(key("a"), Statistics::default());
            assert!(cache.known(&key("a")).is_none());
        }
    }

    #[test]
    fn what_is_kept_again_counts_once() {
        let cache = StatisticsCache::new(Duration::from_secs(60));
        cache.keep(key("a"), Statistics::default());
        let once = cache.lock().bytes;
        (0..10).for_each(|_| cache.keep(key("a"), Statistics::default()));
        assert_eq!(cache.lock().bytes, once);
    }
}
