//! What searches hold in memory: the answers of partitions from when they come until the client has them. Bounded for each answer, and for all
//! that is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warren_protocol::Problem;
use warren_protocol::problem::Code;
use warren_service::config::QueryConfig;

use crate::ask::Refused;

/// What all searches may hold. All clones are one.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Shared>);

struct Shared {
    max_answer: u64,
    max_held: u64,
    held: AtomicU64,
}

/// What one search holds; nothing any more when it is dropped.
pub(crate) struct Held {
    shared: Arc<Shared>,
    bytes: AtomicU64,
}

/// A response, and what it holds until the client has it.
pub(crate) struct Kept<T> {
    pub(crate) response: T,
    pub(crate) held: Held,
}

impl Memory {
    pub(crate) fn new(config: &QueryConfig) -> Self {
        let (max_answer, max_held) = (config.max_answer_bytes.get(), config.max_memory_bytes.get());
        Self(Arc::new(Shared { max_answer, max_held, held: AtomicU64::new(0) }))
    }

    /// Nothing yet, for a new search.
    pub(crate) fn hold(&self) -> Held {
        Held { shared: self.0.clone(), bytes: AtomicU64::new(0) }
    }
}

impl Held {
    /// Adds what has come.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), Refused> {
        let (bytes, most) = (bytes as u64, self.shared.max_held);
        let fitting = |held: u64| held.checked_add(bytes).filter(|held| *held <= most);
        if self.shared.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fitting).is_err() {
            let detail = format!(
                "the searches under way would hold more than {most} bytes (query.max_memory_bytes): try again, or ask for fewer \
                 hits (limit) or only some of their fields (fields)"
            );
            return Err(Refused(Problem::new(Code::TooManyRequests, detail)));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a part of the answer.
    pub(crate) fn add_to_answer(&self, bytes: usize) -> Result<(), Refused> {
        self.add(bytes)?;
        self.check_answer()
    }

    /// Lets go of all but the answer so far.
    pub(crate) fn keep_answer(&self, bytes: usize) -> Result<(), Refused> {
        let had = self.bytes.fetch_min(bytes as u64, Ordering::Relaxed);
        self.shared.held.fetch_sub(had.saturating_sub(bytes as u64), Ordering::Relaxed);
        self.check_answer()
    }

    fn check_answer(&self) -> Result<(), Refused> {
        let most = self.shared.max_answer;
        if self.bytes.load(Ordering::Relaxed) <= most {
            return Ok(());
        }
        let detail = format!(
            "the hits of this answer have more than {most} bytes (query.max_answer_bytes): ask for fewer at a time (limit), for only \
             some of their fields (fields), or for no passages (highlight)"
        );
        Err(Refused(Problem::new(Code::TooLarge, detail).with_field("limit")))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn an_answer_and_all_of_them_are_bounded_and_what_is_let_go_is_free() {
        let [max_answer_bytes, max_memory_bytes] = [100, 250].map(|bytes| NonZeroU64::new(bytes).unwrap());
        let memory = Memory::new(&QueryConfig { max_answer_bytes, max_memory_bytes, ..QueryConfig::default() });
        let (one, other) = (memory.hold(), memory.hold());
        // Of what came, only a part is in the answer.
        one.add(200).unwrap();
        let code = |refused: Result<(), Refused>| refused.map_err(|Refused(problem)| problem.code);
        assert_eq!(code(other.add(60)), Err(Code::TooManyRequests));
        one.keep_answer(80).unwrap();
        other.add(60).unwrap();
        one.add_to_answer(20).unwrap();
        assert_eq!(code(one.add_to_answer(1)), Err(Code::TooLarge));
        drop(one);
        other.add(190).unwrap();
        assert_eq!(code(other.add(1)), Err(Code::TooManyRequests));
        drop(other);
        assert_eq!(memory.0.held.load(Ordering::Relaxed), 0);
    }
}
