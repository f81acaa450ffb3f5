//! How fast partitions answer: after which time another worker is asked, too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use warren_protocol::PartitionId;

/// How many answers the pace is taken from.
const RECENT: usize = 128;
/// It is taken anew after so many.
const EACH: usize = 16;
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// How many partitions have a pace; beyond, all begin anew, which costs each a few slow hedges.
const MOST_PARTITIONS: usize = 16 * 1024;
/// One answer earns this part of a question that is asked twice: where all are slow, asking twice makes all slower.
const EARNED: f32 = 0.125;
/// What may be asked twice at once: what a few frozen workers hold of the questions to their partitions.
const MOST_EARNED: f32 = 256.0;

/// The pace of each partition: they differ in size, and in how busy their workers are.
#[derive(Default)]
pub(crate) struct Paces {
    partitions: Mutex<HashMap<PartitionId, Arc<Pace>>>,
}

impl Paces {
    /// The pace of a partition.
    pub(crate) fn of(&self, partition: &PartitionId) -> Arc<Pace> {
        let mut partitions = lock(&self.partitions);
        if let Some(pace) = partitions.get(partition) {
            return pace.clone();
        }
        if partitions.len() >= MOST_PARTITIONS {
            partitions.clear();
        }
        partitions.entry(partition.clone()).or_insert_with(|| Arc::new(Pace::new())).clone()
    }
}

/// The pace of the last answers of one partition.
pub(crate) struct Pace {
    state: Mutex<State>,
}

struct State {
    recent: VecDeque<Duration>,
    answers: usize,
    delay: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { state: Mutex::new(State { recent: VecDeque::new(), answers: 0, delay: LONGEST }) }
    }

    /// The time within which 95 of 100 answers came lately; within bounds, and the longest before there were any.
    pub(crate) fn delay(&self) -> Duration {
        lock(&self.state).delay
    }

    /// Notes an answer that took so long.
    pub(crate) fn answered(&self, took: Duration) {
        let mut state = lock(&self.state);
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(took);
        state.answers += 1;
        if state.answers.is_multiple_of(EACH) {
            let mut sorted: Vec<_> = state.recent.iter().copied().collect();
            sorted.sort_unstable();
            let slow = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or(LONGEST);
            state.delay = slow.clamp(SHORTEST, LONGEST);
        }
    }
}

/// How often questions may be asked twice, over all partitions.
pub(crate) struct Budget {
    earned: Mutex<f32>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { earned: Mutex::new(MOST_EARNED) }
    }

    /// Notes an answer.
    pub(crate) fn earn(&self) {
        let mut earned = lock(&self.earned);
        *earned = (*earned + EARNED).min(MOST_EARNED);
    }

    /// Takes what one question costs that is asked twice; false if not enough was earned.
    pub(crate) fn spend(&self) -> bool {
        let mut earned = lock(&self.earned);
        let enough = *earned >= 1.0;
        if enough {
            *earned -= 1.0;
        }
        enough
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::{Generation, IndexName, IndexRef};

    fn answers(pace: &Pace, count: usize, milliseconds: u64) {
        (0..count).for_each(|_| pace.answered(Duration::from_millis(milliseconds)));
    }

    #[test]
    fn the_delay_follows_the_slow_ones_of_the_last_answers() {
        let pace = Pace::new();
        assert_eq!(pace.delay(), LONGEST);
        answers(&pace, EACH, 1);
        assert_eq!(pace.delay(), SHORTEST);
        answers(&pace, RECENT - 16, 30);
        answers(&pace, 16, 90);
        assert_eq!(pace.delay(), Duration::from_millis(90));
        answers(&pace, RECENT, 30);
        assert_eq!(pace.delay(), Duration::from_millis(30), "what is long ago is forgotten");
        answers(&pace, EACH, 9000);
        assert_eq!(pace.delay(), LONGEST);
    }

    #[test]
    fn each_partition_has_its_own() {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        let [slow, fast] = [0, 1].map(|partition| PartitionId { index: index.clone(), partition });
        let paces = Paces::default();
        answers(&paces.of(&slow), EACH, 300);
        answers(&paces.of(&fast), EACH, 40);
        assert_eq!([&slow, &fast].map(|of| paces.of(of).delay()), [300, 40].map(Duration::from_millis));
    }

    #[test]
    fn asking_twice_has_to_be_earned() {
        let budget = Budget::new();
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), MOST_EARNED as usize);
        (0..80).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 10);
    }
}
