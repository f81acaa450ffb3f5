//! When each host may be asked next: shared by those who start jobs and those who follow redirects, so that a host has its pause
//! between two requests whoever makes them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Hosts that are remembered because they are to be left alone for now.
const MAX_HOSTS: usize = 10_000;

/// The pauses of all hosts.
#[derive(Debug)]
pub(super) struct Pauses {
    pause: Duration,
    not_before: Mutex<HashMap<String, Instant>>,
}

impl Pauses {
    /// `pause` lies between two requests to one host.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, not_before: Mutex::default() }
    }

    /// Between two requests to one host.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// When the host may be asked next: now, or later.
    pub(super) fn not_before(&self, host: &str, now: Instant) -> Instant {
        self.lock().get(host).map_or(now, |not_before| (*not_before).max(now))
    }

    /// Takes the host's next turn, if it comes within `limit`, and says when that is; otherwise how long the host is to be left
    /// alone.
    pub(super) fn take(&self, host: &str, now: Instant, limit: Duration) -> Result<Instant, Duration> {
        let mut hosts = self.lock();
        let turn = hosts.get(host).map_or(now, |not_before| (*not_before).max(now));
        let wait = turn - now;
        if wait > limit {
            return Err(wait);
        }
        Self::set(&mut hosts, host, turn + self.pause, now);
        Ok(turn)
    }

    /// The host wants to be left alone for so long.
    pub(super) fn rest(&self, host: &str, rest: Duration, now: Instant) {
        let mut hosts = self.lock();
        let before = hosts.get(host).copied().unwrap_or(now);
        Self::set(&mut hosts, host, before.max(now + rest), now);
    }

    fn set(hosts: &mut HashMap<String, Instant>, host: &str, not_before: Instant, now: Instant) {
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, not_before| *not_before > now);
        }
        if hosts.len() >= MAX_HOSTS {
            // So many at once rest for long only if somebody wants this to grow.
            hosts.clear();
        }
        hosts.insert(host.to_owned(), not_before);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_a_host_are_a_pause_apart_and_a_rest_puts_them_off() {
        let (pause, now) = (Duration::from_millis(500), Instant::now());
        let pauses = Pauses::new(pause);
        let second = Duration::from_secs(1);
        assert_eq!(pauses.take("a", now, Duration::ZERO), Ok(now));
        assert_eq!(pauses.take("a", now, Duration::ZERO), Err(pause), "not now");
        assert_eq!(pauses.take("a", now, second), Ok(now + pause));
        assert_eq!(pauses.take("b", now, second), Ok(now), "another host");
        pauses.rest("a", second * 60, now);
        assert_eq!(pauses.take("a", now, second), Err(second * 60));
        assert_eq!(pauses.not_before("a", now + second * 61), now + second * 61);
    }
}
