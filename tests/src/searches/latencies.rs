//! Many durations in little memory: counted in classes, each three percent wide.

use std::time::Duration;

/// Classes for each doubling, as a power of two.
const BITS: u32 = 5;
/// Up to more than an hour.
const CLASSES: usize = 32 << BITS;

/// How many durations of which length.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u32>,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; CLASSES], longest: Duration::ZERO }
    }
}

impl Latencies {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[class(micros).min(CLASSES - 1)] += 1;
        self.longest = self.longest.max(duration);
    }

    /// The duration that so many percent do not exceed, three percent exact; `None` without any.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let all: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = ((all as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(Duration::from_micros(upper(class)).min(self.longest))
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

fn class(micros: u64) -> usize {
    let doublings = micros.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    ((u64::from(doublings) << BITS) + (micros >> doublings)) as usize
}

fn upper(class: usize) -> u64 {
    let doublings = ((class >> BITS) as u32).saturating_sub(1);
    let mantissa = class as u64 - (u64::from(doublings) << BITS);
    ((mantissa + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_three_percent_exact() {
        for micros in (0..2000).chain((2000..400_000_000).step_by(999_983)) {
            let (class, upper) = (class(micros), upper(class(micros)));
            assert!(class < CLASSES && upper >= micros && upper as f64 <= micros as f64 * 1.032 + 1.0, "{micros}: {upper}");
        }
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50.0), None);
        (1..=100).for_each(|millis| latencies.add(Duration::from_millis(millis)));
        let near = |percent, millis: f64| {
            let got = latencies.percentile(percent).unwrap().as_secs_f64() * 1000.0;
            assert!((got / millis - 1.0).abs() < 0.032, "{percent} %: {got}");
        };
        near(50.0, 50.0);
        near(99.0, 99.0);
        assert_eq!(latencies.percentile(100.0), Some(Duration::from_millis(100)));
    }
}
