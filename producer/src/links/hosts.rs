//! Which job may start, so that no host gets more than its share: of requests, so as not to be a burden to it, and of fetchers, so that
//! a slow one holds nobody else up.
//!
//! At most `per_host` requests to a host run at a time, one starts no sooner than its pause after the one before. A job whose turn has not
//! come waits here, as long as few do; the others go back to the queue, so that there is always room to take jobs of other hosts. Each of
//! those gets a place in the host's line, the time at which its turn should come, and keeps it on its way through the queue: so they come
//! back one by one, as fast as the host may be asked, and it never runs dry while there is work for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pauses::Pauses;

/// A host that wants to be left alone for longer has its jobs wait in the queue, and redirects to it fail.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(5);
/// Hosts that are remembered only because their jobs are in the queue.
const MAX_LINES: usize = 10_000;
/// So many jobs wait here for each that runs: more than a host takes in the second that the shortest way through the queue takes.
const WAITING_FOR_ONE: usize = 4;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Jobs that run at a time.
    pub concurrency: usize,
    /// Of one host.
    pub per_host: usize,
}

impl Limits {
    /// Jobs that wait here at a time.
    fn max_waiting(self) -> usize {
        self.concurrency * WAITING_FOR_ONE
    }

    /// Of one host: the others have room, too.
    fn max_waiting_per_host(self) -> usize {
        self.max_waiting() / 2
    }

    /// Jobs that are in hand at a time: what runs and what waits, and as many again as run on their way in or out.
    pub(super) fn in_hand(self) -> usize {
        self.concurrency * (WAITING_FOR_ONE + 2)
    }
}

/// All hosts, and the jobs that wait for their turn.
pub(super) struct Hosts<T> {
    limits: Limits,
    pauses: Arc<Pauses>,
    hosts: HashMap<String, Host<T>>,
    running: usize,
    waiting: usize,
    /// Numbers jobs in the order in which they came.
    next_number: u64,
}

struct Host<T> {
    running: usize,
    waiting: VecDeque<(u64, T)>,
    /// The last place in the line of those that wait in the queue.
    line: Instant,
    /// How long its jobs take, about.
    took: Option<Duration>,
}

/// What is to be done with a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn<T> {
    /// It runs: [`Hosts::ended`] has to follow.
    Start(T),
    /// It waits here: [`Hosts::next`] will give it out.
    Waits,
    /// It waits in the queue; its turn should come then.
    Back(T, Instant),
}

impl<T> Hosts<T> {
    pub(super) fn new(limits: Limits, pauses: Arc<Pauses>) -> Self {
        Self { limits, pauses, hosts: HashMap::new(), running: 0, waiting: 0, next_number: 0 }
    }

    /// A job for `host`; one that has been here before brings its place in the line along.
    pub(super) fn offer(&mut self, host: &str, job: T, place: Option<Instant>, now: Instant) -> Turn<T> {
        let Limits { concurrency, per_host } = self.limits;
        let entry = self.hosts.entry(host.to_owned()).or_insert_with(|| Host::new(now));
        let may_run = entry.waiting.is_empty() && entry.running < per_host && self.running < concurrency;
        if may_run && self.pauses.take(host, now, Duration::ZERO).is_ok() {
            entry.running += 1;
            self.running += 1;
            return Turn::Start(job);
        }
        let room = self.waiting < self.limits.max_waiting() && entry.waiting.len() < self.limits.max_waiting_per_host();
        let not_before = self.pauses.not_before(host, now);
        if room && not_before - now <= MAX_WAIT {
            entry.waiting.push_back((self.next_number, job));
            self.next_number += 1;
            self.waiting += 1;
            return Turn::Waits;
        }
        let interval = entry.interval(self.pauses.pause(), per_host);
        Turn::Back(job, place.filter(|place| *place > now).unwrap_or_else(|| entry.last_place(not_before, interval)))
    }

    /// The next job that may start by now, if there is one; the one that came first.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        if self.running >= self.limits.concurrency {
            return None;
        }
        let Self { hosts, limits, pauses, .. } = self;
        let may_start = |name: &str, host: &Host<T>| {
            !host.waiting.is_empty() && host.running < limits.per_host && pauses.not_before(name, now) <= now
        };
        let first = |host: &Host<T>| host.waiting.front().map_or(u64::MAX, |(number, _)| *number);
        let ready = hosts.iter_mut().filter(|(name, host)| may_start(name, host));
        let (name, host) = ready.min_by_key(|(_, host)| first(host))?;
        // Fails if a redirect took that turn just now: the next one comes.
        pauses.take(name, now, Duration::ZERO).ok()?;
        let (_, job) = host.waiting.pop_front()?;
        host.running += 1;
        self.waiting -= 1;
        self.running += 1;
        Some(job)
    }

    /// When [`Hosts::next`] has to be asked again at the latest, if no job ends before.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.running >= self.limits.concurrency {
            return None;
        }
        let waits = self.hosts.iter().filter(|(_, host)| !host.waiting.is_empty() && host.running < self.limits.per_host);
        waits.map(|(name, _)| self.pauses.not_before(name, now)).min()
    }

    /// A job of `host` has ended, and took so long.
    pub(super) fn ended(&mut self, host: &str, took: Duration, now: Instant) {
        self.running = self.running.saturating_sub(1);
        if let Some(host) = self.hosts.get_mut(host) {
            host.running = host.running.saturating_sub(1);
            host.took = Some(host.took.map_or(took, |before| (before * 7 + took) / 8));
        }
        self.hosts.retain(|_, host| host.running > 0 || !host.waiting.is_empty() || host.line > now);
        if self.hosts.len() > MAX_LINES {
            self.hosts.retain(|_, host| host.running > 0 || !host.waiting.is_empty());
        }
    }

    /// Jobs that a host that rests has waiting here for longer than they should: they are to go back to the queue, each with its
    /// place.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(T, Instant)> {
        let mut back = Vec::new();
        for (name, host) in &mut self.hosts {
            let not_before = self.pauses.not_before(name, now);
            if not_before - now > MAX_WAIT {
                let interval = host.interval(self.pauses.pause(), self.limits.per_host);
                for (_, job) in std::mem::take(&mut host.waiting) {
                    back.push((job, host.last_place(not_before, interval)));
                }
            }
        }
        self.waiting -= back.len();
        back
    }
}

impl<T> Host<T> {
    fn new(now: Instant) -> Self {
        Self { running: 0, waiting: VecDeque::new(), line: now, took: None }
    }

    /// Between the turns of two of its jobs.
    fn interval(&self, pause: Duration, per_host: usize) -> Duration {
        let share = u32::try_from(per_host.max(1)).unwrap_or(u32::MAX);
        self.took.map_or(pause, |took| pause.max(took / share))
    }

    /// A new place, the last one: behind those that wait here, and those that wait in the queue.
    fn last_place(&mut self, not_before: Instant, interval: Duration) -> Instant {
        let here = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.line = self.line.max(not_before + interval * here) + interval;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::super::failure::pause_until;
    use super::*;

    const PAUSE: Duration = Duration::from_millis(500);

    fn hosts(concurrency: usize, per_host: usize) -> (Hosts<u32>, Arc<Pauses>, Instant) {
        let pauses = Arc::new(Pauses::new(PAUSE));
        (Hosts::new(Limits { concurrency, per_host }, pauses.clone()), pauses, Instant::now())
    }

    #[test]
    fn a_host_gets_its_share_and_a_pause_between() {
        let (mut hosts, _, now) = hosts(8, 2);
        assert_eq!(hosts.offer("a", 1, None, now), Turn::Start(1));
        assert_eq!(hosts.offer("a", 2, None, now), Turn::Waits, "not within the pause");
        assert_eq!(hosts.offer("b", 3, None, now), Turn::Start(3), "another host is not held up");
        assert_eq!((hosts.next(now), hosts.next_due(now)), (None, Some(now + PAUSE)));
        let later = now + PAUSE;
        assert_eq!(hosts.offer("a", 4, None, later), Turn::Waits, "behind the one that waits");
        assert_eq!((hosts.next(later), hosts.next(later + PAUSE)), (Some(2), None), "two run");
        assert_eq!(hosts.next_due(later), None, "only an end helps");
        hosts.ended("a", PAUSE, later + PAUSE);
        assert_eq!(hosts.next(later + PAUSE), Some(4));
    }

    #[test]
    fn a_redirect_to_a_host_takes_one_of_its_turns() {
        let (mut hosts, pauses, now) = hosts(8, 2);
        assert_eq!(pauses.take("a", now, MAX_WAIT), Ok(now));
        assert_eq!(hosts.offer("a", 1, None, now), Turn::Waits);
        assert_eq!((hosts.next(now), hosts.next_due(now)), (None, Some(now + PAUSE)));
        assert_eq!(hosts.next(now + PAUSE), Some(1));
    }

    #[test]
    fn what_finds_no_room_goes_back_and_leaves_room_for_others() {
        let (mut hosts, _, now) = hosts(2, 1);
        assert_eq!(hosts.offer("a", 0, None, now), Turn::Start(0));
        let turns: Vec<_> = (1..7).map(|job| hosts.offer("a", job, None, now)).collect();
        assert_eq!(turns[..4], [Turn::Waits, Turn::Waits, Turn::Waits, Turn::Waits]);
        // Behind the four, and a pause apart.
        assert_eq!(turns[4..], [Turn::Back(5, now + PAUSE * 6), Turn::Back(6, now + PAUSE * 7)]);
        assert_eq!(hosts.offer("a", 6, Some(now + PAUSE * 7), now + PAUSE), Turn::Back(6, now + PAUSE * 7), "its place is kept");
        assert_eq!(hosts.offer("b", 7, None, now), Turn::Start(7));
        assert_eq!(hosts.offer("e", 9, None, now), Turn::Waits, "all fetchers are busy");
        hosts.ended("b", PAUSE, now);
        assert_eq!(hosts.next(now), Some(9));
    }

    #[test]
    fn a_host_that_asks_for_it_is_left_alone() {
        let (mut hosts, pauses, now) = hosts(8, 1);
        let rest = Duration::from_secs(60);
        assert_eq!(hosts.offer("a", 1, None, now), Turn::Start(1));
        assert_eq!(hosts.offer("a", 2, None, now), Turn::Waits);
        pauses.rest("a", rest, now);
        hosts.ended("a", PAUSE, now);
        assert_eq!(hosts.overdue(now), [(2, now + rest + PAUSE)]);
        assert_eq!(hosts.offer("a", 3, None, now), Turn::Back(3, now + rest + PAUSE * 2));
        assert_eq!(hosts.offer("b", 4, None, now), Turn::Start(4));
        let later = now + rest;
        assert_eq!(hosts.offer("a", 5, None, later), Turn::Start(5));
    }

    #[test]
    fn nothing_is_remembered_of_hosts_that_are_done() {
        let (mut hosts, _, now) = hosts(8, 1);
        for number in 0..100 {
            let host = format!("host-{number}");
            assert!(matches!(hosts.offer(&host, number, None, now), Turn::Start(_)));
            hosts.ended(&host, PAUSE, now + PAUSE);
        }
        assert_eq!(hosts.hosts.len(), 0);
    }

    /// Works through jobs of one host that all come at once, each of which takes so long; gives how long it took, and how often
    /// jobs went through the queue.
    fn work_through(jobs: u32, pause: Duration, takes: Duration) -> (Duration, u32) {
        let (start, pauses) = (Instant::now(), Arc::new(Pauses::new(pause)));
        let mut hosts = Hosts::new(Limits { concurrency: 16, per_host: 2 }, pauses);
        // What happens when: a job comes out of the queue, with its place, or one ends.
        let mut events: BinaryHeap<_> = (0..jobs).map(|job| Reverse((start, Some(job), None))).collect();
        let (mut now, mut ended, mut rounds) = (start, 0, 0);
        while ended < jobs {
            let event = events.peek().map(|Reverse((at, ..))| *at);
            now = event.into_iter().chain(hosts.next_due(now)).min().unwrap();
            let mut started = Vec::new();
            while events.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
                let Some(Reverse((_, job, place))) = events.pop() else { break };
                let Some(job) = job else {
                    hosts.ended("a", takes, now);
                    ended += 1;
                    continue;
                };
                match hosts.offer("a", job, place, now) {
                    Turn::Start(job) => started.push(job),
                    Turn::Waits => {}
                    Turn::Back(job, place) => {
                        rounds += 1;
                        events.push(Reverse((now + pause_until(place - now), Some(job), Some(place))));
                    }
                }
            }
            started.extend(std::iter::from_fn(|| hosts.next(now)));
            events.extend(started.into_iter().map(|_| Reverse((now + takes, None, None))));
        }
        (now - start, rounds)
    }

    #[test]
    fn a_host_with_hundreds_of_links_does_not_run_dry() {
        let ms = Duration::from_millis;
        for (jobs, pause, takes, interval) in
            [(300, ms(250), ms(40), ms(250)), (2000, ms(250), ms(40), ms(250)), (300, ms(250), ms(1000), ms(500))]
        {
            let (took, rounds) = work_through(jobs, pause, takes);
            let least = interval * (jobs - 1);
            assert!(took >= least && took <= least + least / 20 + ms(2000), "{jobs} jobs took {took:?}, not {least:?}");
            assert!(rounds <= jobs * 30, "{rounds} ways through the queue for {jobs} jobs");
        }
    }
}
