//! Which job may start, so that no host gets more than its share: of requests, so as not to be a burden to it, and of fetchers, so that
//! a slow one holds nobody else up.
//!
//! At most `per_host` requests to a host run at a time, one starts no sooner than `pause` after the one before. A job whose turn has not
//! come waits here, as long as few do; the others go back to the queue for a while, so that there is always room to take jobs of other hosts.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// A host that wants to be left alone for longer has its jobs wait in the queue.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Hosts that are remembered only because they want to be left alone.
const MAX_RESTING: usize = 10_000;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Jobs that run at a time.
    pub concurrency: usize,
    /// Of one host.
    pub per_host: usize,
    /// Between two starts of one host.
    pub pause: Duration,
}

impl Limits {
    /// Jobs that wait here at a time.
    fn max_waiting(self) -> usize {
        self.concurrency
    }

    /// Of one host: so many that it does not run dry while others come back from the queue.
    fn max_waiting_per_host(self) -> usize {
        (self.per_host * 4).min(self.max_waiting().div_ceil(2))
    }
}

/// All hosts, and the jobs that wait for their turn.
pub(super) struct Hosts<T> {
    limits: Limits,
    hosts: HashMap<String, Host<T>>,
    running: usize,
    waiting: usize,
    /// Numbers jobs in the order in which they came.
    next_number: u64,
}

struct Host<T> {
    running: usize,
    /// No sooner may the next one start.
    not_before: Instant,
    waiting: VecDeque<(u64, T)>,
}

/// What is to be done with a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn<T> {
    /// It runs: [`Hosts::ended`] has to follow.
    Start(T),
    /// It waits here: [`Hosts::next`] will give it out.
    Waits,
    /// It waits in the queue, at least so long.
    Back(T, Duration),
}

impl<T> Hosts<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, hosts: HashMap::new(), running: 0, waiting: 0, next_number: 0 }
    }

    /// A job for `host`.
    pub(super) fn offer(&mut self, host: &str, job: T, now: Instant) -> Turn<T> {
        let Limits { concurrency, per_host, pause } = self.limits;
        let (waiting, running) = (self.waiting, self.running);
        let entry = self.hosts.entry(host.to_owned()).or_insert_with(|| Host::new(now));
        let wait = entry.not_before.saturating_duration_since(now);
        if entry.waiting.is_empty() && wait.is_zero() && entry.running < per_host && running < concurrency {
            entry.start(now + pause);
            self.running += 1;
            return Turn::Start(job);
        }
        let room = waiting < self.limits.max_waiting() && entry.waiting.len() < self.limits.max_waiting_per_host();
        if room && wait <= MAX_WAIT {
            entry.waiting.push_back((self.next_number, job));
            self.next_number += 1;
            self.waiting += 1;
            return Turn::Waits;
        }
        Turn::Back(job, wait)
    }

    /// The next job that may start by now, if there is one; the one that came first.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        if self.running >= self.limits.concurrency {
            return None;
        }
        let per_host = self.limits.per_host;
        let may_start = |host: &&mut Host<T>| host.running < per_host && host.not_before <= now;
        let first = |host: &&mut Host<T>| host.waiting.front().map_or(u64::MAX, |(number, _)| *number);
        let host = self.hosts.values_mut().filter(|host| !host.waiting.is_empty()).filter(may_start).min_by_key(first)?;
        let (_, job) = host.waiting.pop_front()?;
        host.start(now + self.limits.pause);
        self.waiting -= 1;
        self.running += 1;
        Some(job)
    }

    /// When [`Hosts::next`] has to be asked again at the latest, if no job ends before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.running >= self.limits.concurrency {
            return None;
        }
        let waits = self.hosts.values().filter(|host| !host.waiting.is_empty() && host.running < self.limits.per_host);
        waits.map(|host| host.not_before).min()
    }

    /// A job of `host` has ended; the host may want to be left alone for a while.
    pub(super) fn ended(&mut self, host: &str, rest: Option<Duration>, now: Instant) {
        self.running = self.running.saturating_sub(1);
        if let Some(host) = self.hosts.get_mut(host) {
            host.running = host.running.saturating_sub(1);
            if let Some(rest) = rest {
                host.not_before = host.not_before.max(now + rest);
            }
        }
        self.hosts.retain(|_, host| host.running > 0 || !host.waiting.is_empty() || host.not_before > now);
        if self.hosts.len() > MAX_RESTING {
            self.hosts.retain(|_, host| host.running > 0 || !host.waiting.is_empty());
        }
    }

    /// Jobs that a host that rests has waiting here for longer than they should: they are to go back to the queue.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(T, Duration)> {
        let mut back = Vec::new();
        for host in self.hosts.values_mut() {
            let wait = host.not_before.saturating_duration_since(now);
            if wait > MAX_WAIT {
                back.extend(host.waiting.drain(..).map(|(_, job)| (job, wait)));
            }
        }
        self.waiting -= back.len();
        back
    }
}

impl<T> Host<T> {
    fn new(now: Instant) -> Self {
        Self { running: 0, not_before: now, waiting: VecDeque::new() }
    }

    fn start(&mut self, next: Instant) {
        self.running += 1;
        self.not_before = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(500);

    fn hosts(concurrency: usize, per_host: usize) -> (Hosts<u32>, Instant) {
        (Hosts::new(Limits { concurrency, per_host, pause: PAUSE }), Instant::now())
    }

    #[test]
    fn a_host_gets_its_share_and_a_pause_between() {
        let (mut hosts, now) = hosts(8, 2);
        assert_eq!(hosts.offer("a", 1, now), Turn::Start(1));
        assert_eq!(hosts.offer("a", 2, now), Turn::Waits, "not within the pause");
        assert_eq!(hosts.offer("b", 3, now), Turn::Start(3), "another host is not held up");
        assert_eq!((hosts.next(now), hosts.next_due()), (None, Some(now + PAUSE)));
        let later = now + PAUSE;
        assert_eq!(hosts.offer("a", 4, later), Turn::Waits, "behind the one that waits");
        assert_eq!((hosts.next(later), hosts.next(later + PAUSE)), (Some(2), None), "two run");
        assert_eq!(hosts.next_due(), None, "only an end helps");
        hosts.ended("a", None, later + PAUSE);
        assert_eq!(hosts.next(later + PAUSE), Some(4));
    }

    #[test]
    fn what_finds_no_room_goes_back_and_leaves_room_for_others() {
        let (mut hosts, now) = hosts(4, 1);
        assert_eq!(hosts.offer("a", 0, now), Turn::Start(0));
        let turns: Vec<_> = (1..6).map(|job| hosts.offer("a", job, now)).collect();
        assert_eq!(turns[..2], [Turn::Waits, Turn::Waits]);
        assert!(turns[2..].iter().all(|turn| matches!(turn, Turn::Back(_, PAUSE))), "{turns:?}");
        for (number, host) in ["b", "c", "d"].into_iter().enumerate() {
            assert_eq!(hosts.offer(host, number as u32, now), Turn::Start(number as u32));
        }
        assert_eq!(hosts.offer("e", 9, now), Turn::Waits, "all fetchers are busy");
        hosts.ended("d", None, now);
        assert_eq!(hosts.next(now), Some(9));
    }

    #[test]
    fn a_host_that_asks_for_it_is_left_alone() {
        let (mut hosts, now) = hosts(8, 1);
        assert_eq!(hosts.offer("a", 1, now), Turn::Start(1));
        assert_eq!(hosts.offer("a", 2, now), Turn::Waits);
        hosts.ended("a", Some(Duration::from_secs(60)), now);
        assert_eq!(hosts.overdue(now), [(2, Duration::from_secs(60))]);
        assert_eq!(hosts.offer("a", 3, now), Turn::Back(3, Duration::from_secs(60)));
        assert_eq!(hosts.offer("b", 4, now), Turn::Start(4));
        let later = now + Duration::from_secs(60);
        assert_eq!(hosts.offer("a", 5, later), Turn::Start(5));
    }

    #[test]
    fn nothing_is_remembered_of_hosts_that_are_done() {
        let (mut hosts, now) = hosts(8, 1);
        for number in 0..100 {
            let host = format!("host-{number}");
            assert!(matches!(hosts.offer(&host, number, now), Turn::Start(_)));
            hosts.ended(&host, None, now + PAUSE);
        }
        assert_eq!(hosts.hosts.len(), 0);
    }
}
