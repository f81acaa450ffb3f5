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
use warren_protocol::dead_letter::{self, Letter, now_ms};
use warren_protocol::document::IdSource;
use warren_protocol::ports::{Delivery, Message, QueueError, QueueName, Settlement, WorkQueue};
use warren_service::config::LinksConfig;
use warren_service::stop::Stop;

use super::failure::{FetchError, Verdict, pause_after, pause_until};
use super::fetch::Fetcher;
use super::guard::Guard;
use super::hosts::{Hosts, Limits, Turn};
use super::job::{HEADER_POSTPONED, HEADER_TURN, Job, attempts, number};
use super::pauses::Pauses;
use super::resolve::{Resolve, SystemResolver};
use crate::admission::Admission;
use crate::burying::bury;
use crate::publisher::Publisher;

/// Between two sessions, so that an outage does not burn the queue's delivery limit of 20.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest line of one host in the queue that is believed.
const LONGEST_LINE: Duration = Duration::from_secs(24 * 3600);
/// How long a job that goes back to the queue is waited for when the fetchers stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

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
    /// Of a job that was fetched: its host, and how long it took.
    host: Option<(String, Duration)>,
    settled: Result<(), QueueError>,
}

impl Session<'_> {
    /// Consumes until `stop` (`Ok`), or until the session cannot go on: what it holds then comes again.
    async fn run(&self, settled: &mut u64) -> Result<(), SessionEnd> {
        let pauses = Arc::new(Pauses::new(Duration::from_millis(self.config.host_pause_ms)));
        let fetch = Fetch {
            fetcher: Fetcher::new(self.config, Arc::clone(self.resolver), self.guard.clone(), Arc::clone(&pauses))?,
            world: self.world.clone(),
            attempts: self.config.attempts.get().into(),
            stop: self.stop.clone(),
        };
        let limits = Limits { concurrency: self.config.concurrency.get().into(), per_host: self.config.per_host.get().into() };
        let prefetch = u16::try_from(limits.in_hand()).unwrap_or(u16::MAX);
        let prefetch = NonZeroU16::new(prefetch).unwrap_or(NonZeroU16::MIN);
        let mut deliveries = tokio::select! {
            deliveries = self.world.queue.consume(QueueName::Links, prefetch) => deliveries?,
            () = self.stop.requested() => return Ok(()),
        };
        let mut hosts = Hosts::<Held>::new(limits, pauses);
        // Before the consumer goes, tasks that still run with their messages go.
        let mut tasks = JoinSet::<Done>::new();
        loop {
            let due = hosts.next_due(Instant::now());
            tokio::select! {
                () = self.stop.requested() => break,
                Some(done) = tasks.join_next() => {
                    let Done { host, settled: outcome } = done?;
                    outcome?;
                    *settled += 1;
                    if let Some((host, took)) = host {
                        hosts.ended(&host, took, Instant::now());
                    }
                }
                delivery = deliveries.next() => {
                    let delivery = delivery.ok_or(SessionEnd::ConsumerLost)?;
                    match Job::of(&delivery.message) {
                        Ok(job) => {
                            let (host, now) = (job.link.host_name().to_owned(), Instant::now());
                            let place = place(&delivery.message, now);
                            match hosts.offer(&host, Held { job, delivery }, place, now) {
                                Turn::Start(held) => drop(tasks.spawn(fetch.clone().run(held))),
                                Turn::Waits => {}
                                Turn::Back(held, place) => drop(tasks.spawn(fetch.clone().send_back(held.delivery, place))),
                            }
                        }
                        Err(error) => drop(tasks.spawn(fetch.clone().give_up_at_once(delivery, error))),
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let now = Instant::now();
            for (held, place) in hosts.overdue(now) {
                tasks.spawn(fetch.clone().send_back(held.delivery, place));
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

/// The place that a job had in the line of its host when it went back to the queue.
fn place(message: &Message, now: Instant) -> Option<Instant> {
    let wait = number::<u64>(message, HEADER_TURN)?.saturating_sub(now_ms());
    Some(now + Duration::from_millis(wait).min(LONGEST_LINE))
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
        let (host, started) = (job.link.host_name().to_owned(), Instant::now());
        // A panic harms only its own job.
        let indexing = AssertUnwindSafe(self.index(&job)).catch_unwind();
        let outcome = indexing.await.unwrap_or_else(|_| Outcome::Failed(FetchError::Defect("fetching it panicked".to_owned())));
        let took = started.elapsed();
        let settled = match outcome {
            Outcome::Stopped => Ok(()),
            Outcome::Indexed => {
                tracing::debug!(link = %job.link, index = %job.index, "a link is indexed");
                delivery.settle(Settlement::Done).await
            }
            Outcome::Failed(error) => {
                let verdict = error.verdict();
                tracing::debug!(link = %job.link, index = %job.index, %error, ?verdict, "a link is not indexed");
                self.settle_failed(delivery, &error, verdict).await
            }
        };
        Done { host: Some((host, took)), settled }
    }

    /// Puts a job back until its turn at its host should come; that is no attempt.
    async fn send_back(self, mut delivery: Delivery, place: Instant) -> Done {
        let wait = place.saturating_duration_since(Instant::now());
        let turn = now_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        delivery.message.headers.insert(HEADER_TURN.to_owned(), turn.to_string());
        Done { host: None, settled: self.pause(delivery, pause_until(wait)).await }
    }

    /// Puts a job into a pause. While the broker takes no messages the job stays in hand; if the fetchers stop meanwhile, it comes
    /// again.
    async fn pause(&self, delivery: Delivery, after: Duration) -> Result<(), QueueError> {
        let mut settling = std::pin::pin!(delivery.settle(Settlement::Retry { after }));
        tokio::select! {
            settled = &mut settling => return settled,
            () = self.stop.requested() => {}
        }
        tokio::time::timeout(STOP_PATIENCE, settling).await.unwrap_or(Ok(()))
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
                return self.pause(delivery, pause_after(attempt).max(not_before)).await;
            }
            Verdict::Later => {
                let times = number(&delivery.message, HEADER_POSTPONED).unwrap_or(0_u32).saturating_add(1);
                delivery.message.headers.insert(HEADER_POSTPONED.to_owned(), times.to_string());
                return self.pause(delivery, pause_after(times.min(3))).await;
            }
        };
        let job = Job::of(&delivery.message).ok();
        let letter = Letter {
            index: job.as_ref().map(|job| job.index.to_string()),
            document_id: job.as_ref().map(|job| job.link.document_id(&job.index).into()),
            attempts: Some(attempt),
            ..Letter::new(reason, detail)
        };
        match bury(&delivery, letter, &self.stop, || ()).await? {
            true => delivery.settle(Settlement::Done).await,
            false => Ok(()),
        }
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
