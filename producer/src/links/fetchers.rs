//! The fetchers of one process: take jobs from the queue, as many at a time as the configuration says, and settle each.
//!
//! A job is settled once its document is confirmed in the log, or the job stands in a pause or in the dead letters. If it dies here with
//! the process, it comes again.

use std::num::NonZeroU16;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use warren_protocol::dead_letter::{self, Letter};
use warren_protocol::document::IdSource;
use warren_protocol::ports::{Delivery, QueueError, QueueName, Settlement, WorkQueue};
use warren_service::config::LinksConfig;
use warren_service::stop::Stop;

use super::failure::{FetchError, Verdict, pause_after};
use super::fetch::Fetcher;
use super::guard::Guard;
use super::hosts::{Hosts, Limits, Turn};
use super::job::{HEADER_POSTPONED, Job, attempts, count};
use super::resolve::{Resolve, SystemResolver};
use crate::admission::Admission;
use crate::publisher::Publisher;

/// Between two sessions, so that an outage does not burn the queue's delivery limit of 20.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at dead letters that are full.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// What the fetchers work with.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) queue: Arc<dyn WorkQueue>,
    pub(crate) admission: Admission,
    pub(crate) publisher: Publisher,
}

/// The fetchers of one process.
#[derive(Clone)]
pub(crate) struct Fetchers {
    tasks: TaskTracker,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the connection to the queue of links is lost")]
    ConsumerLost,
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
    #[error("a fetcher failed: {0}")]
    Fetcher(#[from] tokio::task::JoinError),
}

impl Fetchers {
    /// Starts to fetch, until `stop`.
    pub(crate) fn start(config: LinksConfig, world: World, stop: Stop) -> Self {
        let guard = Guard::new(config.allow_private);
        Self::with(config, world, Arc::new(SystemResolver::new()), guard, stop)
    }

    /// The same with another name service, and another guard.
    pub(super) fn with(config: LinksConfig, world: World, resolver: Arc<dyn Resolve>, guard: Guard, stop: Stop) -> Self {
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            let mut pause = FIRST_PAUSE;
            while !stop.is_requested() {
                let mut settled = 0;
                let session = Session { config: &config, world: &world, resolver: &resolver, guard: &guard, stop: &stop };
                let ran = AssertUnwindSafe(session.run(&mut settled)).catch_unwind().await;
                let reason = match ran {
                    Ok(Ok(())) => return,
                    Ok(Err(reason)) => reason.to_string(),
                    Err(_) => "they panicked".to_owned(),
                };
                pause = if settled > 0 { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                tracing::warn!(%reason, pause_ms = pause.as_millis() as u64, "the fetchers start anew");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.requested() => {}
                }
            }
        });
        tasks.close();
        Self { tasks }
    }

    /// Waits until they have stopped.
    pub(crate) async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

struct Session<'a> {
    config: &'a LinksConfig,
    world: &'a World,
    resolver: &'a Arc<dyn Resolve>,
    guard: &'a Guard,
    stop: &'a Stop,
}

/// A job with its message.
struct Held {
    job: Job,
    delivery: Delivery,
}

/// What a task says at its end.
struct Done {
    /// Of a job that was fetched: its host, and how long that wants to be left alone.
    host: Option<(String, Option<Duration>)>,
    settled: Result<(), QueueError>,
}

impl Session<'_> {
    /// Consumes until `stop` (`Ok`), or until the session cannot go on: what it holds then comes again.
    async fn run(&self, settled: &mut u64) -> Result<(), SessionEnd> {
        let fetch = Fetch {
            fetcher: Fetcher::new(self.config, Arc::clone(self.resolver), self.guard.clone())?,
            world: self.world.clone(),
            attempts: self.config.attempts.get().into(),
            stop: self.stop.clone(),
        };
        let concurrency = self.config.concurrency;
        let limits = Limits {
            concurrency: concurrency.get().into(),
            per_host: self.config.per_host.get().into(),
            pause: Duration::from_millis(self.config.host_pause_ms),
        };
        // A third runs, a third waits for its host at most, a third is on its way in or out.
        let prefetch = concurrency.saturating_mul(NonZeroU16::MIN.saturating_add(2));
        let mut deliveries = tokio::select! {
            deliveries = self.world.queue.consume(QueueName::Links, prefetch) => deliveries?,
            () = self.stop.requested() => return Ok(()),
        };
        let mut hosts = Hosts::<Held>::new(limits);
        // Before the consumer goes, tasks that still run with their messages go.
        let mut tasks = JoinSet::<Done>::new();
        loop {
            let due = hosts.next_due();
            tokio::select! {
                () = self.stop.requested() => break,
                Some(done) = tasks.join_next() => {
                    let Done { host, settled: outcome } = done?;
                    outcome?;
                    *settled += 1;
                    if let Some((host, rest)) = host {
                        hosts.ended(&host, rest, Instant::now());
                    }
                }
                delivery = deliveries.next() => {
                    let delivery = delivery.ok_or(SessionEnd::ConsumerLost)?;
                    match Job::of(&delivery.message) {
                        Ok(job) => {
                            let host = job.link.authority();
                            match hosts.offer(&host, Held { job, delivery }, Instant::now()) {
                                Turn::Start(held) => drop(tasks.spawn(fetch.clone().run(held))),
                                Turn::Waits => {}
                                Turn::Back(held, wait) => drop(tasks.spawn(postpone(held.delivery, wait))),
                            }
                        }
                        Err(error) => drop(tasks.spawn(fetch.clone().give_up_at_once(delivery, error))),
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let now = Instant::now();
            for (held, wait) in hosts.overdue(now) {
                tasks.spawn(postpone(held.delivery, wait));
            }
            while let Some(held) = hosts.next(now) {
                tasks.spawn(fetch.clone().run(held));
            }
        }
        // Downloads end with the stop; what is being written and settled is waited for. The rest goes back with the consumer.
        while let Some(done) = tasks.join_next().await {
            done?.settled?;
        }
        Ok(())
    }
}

/// Puts a job back for a while, longer each time, without counting it as an attempt: its host is busy.
async fn postpone(mut delivery: Delivery, wait: Duration) -> Done {
    let before = count(&delivery.message, HEADER_POSTPONED);
    delivery.message.headers.insert(HEADER_POSTPONED.to_owned(), (before + 1).to_string());
    // A minute is long enough for a queue to go round.
    let after = pause_after((before + 1).min(3)).max(wait);
    Done { host: None, settled: delivery.settle(Settlement::Retry { after }).await }
}

/// What it takes to do one job.
#[derive(Clone)]
struct Fetch {
    fetcher: Fetcher,
    world: World,
    attempts: u32,
    stop: Stop,
}

impl Fetch {
    async fn run(self, held: Held) -> Done {
        let Held { job, delivery } = held;
        let host = job.link.authority();
        // A panic harms only its own job.
        let indexing = AssertUnwindSafe(self.index(&job)).catch_unwind();
        let outcome = indexing.await.unwrap_or_else(|_| Outcome::Failed(FetchError::Defect("fetching it panicked".to_owned())));
        let (rest, settled) = match outcome {
            Outcome::Stopped => (None, Ok(())),
            Outcome::Indexed => {
                tracing::debug!(link = %job.link, index = %job.index, "a link is indexed");
                (None, delivery.settle(Settlement::Done).await)
            }
            Outcome::Failed(error) => {
                let verdict = error.verdict();
                let rest = match &verdict {
                    Verdict::Again { not_before, host_too: true, .. } => Some(*not_before),
                    _ => None,
                };
                tracing::debug!(link = %job.link, index = %job.index, %error, ?verdict, "a link is not indexed");
                (rest, self.settle_failed(delivery, &error, verdict).await)
            }
        };
        Done { host: Some((host, rest)), settled }
    }

    async fn give_up_at_once(self, delivery: Delivery, error: FetchError) -> Done {
        let verdict = error.verdict();
        Done { host: None, settled: self.settle_failed(delivery, &error, verdict).await }
    }

    async fn settle_failed(&self, mut delivery: Delivery, error: &FetchError, verdict: Verdict) -> Result<(), QueueError> {
        let detail = error.to_string();
        let attempt = attempts(&delivery.message).saturating_add(1);
        let (reason, detail) = match verdict {
            Verdict::Never(reason) => (reason, detail),
            Verdict::Again { reason, .. } if attempt >= self.attempts => {
                (reason, format!("{detail}; {attempt} attempts were made"))
            }
            Verdict::Again { not_before, .. } => {
                delivery.message.headers.insert(dead_letter::ATTEMPTS.to_owned(), attempt.to_string());
                delivery.message.headers.remove(HEADER_POSTPONED);
                return delivery.settle(Settlement::Retry { after: pause_after(attempt).max(not_before) }).await;
            }
            Verdict::Later => return postpone(delivery, Duration::ZERO).await.settled,
        };
        let job = Job::of(&delivery.message).ok();
        let letter = Letter {
            index: job.as_ref().map(|job| job.index.to_string()),
            document_id: job.as_ref().map(|job| job.link.document_id(&job.index).into()),
            attempts: Some(attempt),
            ..Letter::new(reason, detail)
        };
        // While the dead letters are full, the job stays in hand: it would only come back to the same.
        let mut told = false;
        while let Err(error) = delivery.bury(letter.clone()).await {
            if !matches!(error, QueueError::Full(_)) {
                return Err(error);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "a link that is given up waits until the dead letters have room again");
            }
            tokio::select! {
                () = tokio::time::sleep(FULL_PAUSE) => {}
                () = self.stop.requested() => return Ok(()),
            }
            delivery.check().await?;
        }
        delivery.settle(Settlement::Done).await
    }

    /// Downloads the link and writes its document.
    async fn index(&self, job: &Job) -> Outcome {
        let page = tokio::select! {
            page = self.fetcher.page(&job.link) => page,
            () = self.stop.requested() => return Outcome::Stopped,
        };
        match self.write(job, page).await {
            Ok(()) => Outcome::Indexed,
            Err(error) => Outcome::Failed(error),
        }
    }

    async fn write(&self, job: &Job, page: Result<crate::extract::Page, FetchError>) -> Result<(), FetchError> {
        let page = page?;
        let link = job.link.to_string();
        let title = job.title.as_deref().or(page.title.as_deref()).unwrap_or(&link);
        let document = json!({"title": title, "link": link, "body": page.text}).to_string();
        let id = job.link.document_id(&job.index);
        let (entry, write) = self.world.admission.put(&job.index, document.into(), IdSource::Required(&id)).await?;
        self.world.publisher.write(&entry, vec![write]).await?.confirmed().await?;
        Ok(())
    }
}

/// What became of a job.
enum Outcome {
    Indexed,
    Failed(FetchError),
    /// It comes again, here or elsewhere.
    Stopped,
}
