//! How fast partitions answer: after which time another worker is asked, too.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many answers the pace is taken from.
const RECENT: usize = 128;
/// It is taken anew after so many.
const EACH: usize = 16;
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// One answer earns this part of a question that is asked twice: where all are slow, asking twice makes all slower.
const EARNED: f32 = 0.125;
/// What may be asked twice at once: what a few frozen workers hold of the questions to their partitions.
const MOST_EARNED: f32 = 256.0;

/// The pace of the last answers.
pub(crate) struct Pace {
    state: Mutex<State>,
}

struct State {
    recent: VecDeque<Duration>,
    answers: usize,
    delay: Duration,
    earned: f32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let state = State { recent: VecDeque::with_capacity(RECENT), answers: 0, delay: LONGEST, earned: MOST_EARNED };
        Self { state: Mutex::new(state) }
    }

    /// Twice the time within which 95 of 100 answers came lately; within bounds, and the longest before there were any.
    pub(crate) fn delay(&self) -> Duration {
        self.lock().delay
    }

    /// Notes an answer that took so long.
    pub(crate) fn answered(&self, took: Duration) {
        let mut state = self.lock();
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(took);
        state.earned = (state.earned + EARNED).min(MOST_EARNED);
        state.answers += 1;
        if state.answers.is_multiple_of(EACH) {
            let mut sorted: Vec<_> = state.recent.iter().copied().collect();
            sorted.sort_unstable();
            let slow = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or(LONGEST);
            state.delay = (slow * 2).clamp(SHORTEST, LONGEST);
        }
    }

    /// Takes what one question costs that is asked twice; false if not enough was earned.
    pub(crate) fn spend(&self) -> bool {
        let mut state = self.lock();
        let enough = state.earned >= 1.0;
        if enough {
            state.earned -= 1.0;
        }
        enough
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(pace.delay(), Duration::from_millis(180));
        answers(&pace, RECENT, 30);
        assert_eq!(pace.delay(), Duration::from_millis(60), "what is long ago is forgotten");
        answers(&pace, EACH, 9000);
        assert_eq!(pace.delay(), LONGEST);
    }

    #[test]
    fn asking_twice_has_to_be_earned() {
        let pace = Pace::new();
        assert_eq!((0..1000).filter(|_| pace.spend()).count(), MOST_EARNED as usize);
        answers(&pace, 80, 1);
        assert_eq!((0..1000).filter(|_| pace.spend()).count(), 10);
    }
}
