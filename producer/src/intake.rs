//! The intakes: documents that any AMQP client published, and messages of sources, on their way into the logs.
//!
//! Of all producer processes one at a time consumes a queue, in *sessions*: from the start of a consumer to the loss of
//! its connection. [`session`] says how a session stays the only one whose writes count. A message is settled once the
//! broker has confirmed its batches, and once all that was refused of it stands in the dead letters.
//!
//! [`way`] is where messages come from, [`pump`] bounds what is in hand of them, [`message`] is what they ask for, [`batch`] how several documents stand in one,
//! [`settling`] what becomes of them, [`sources`] which sources there are, [`report`] what is told of all this.

mod batch;
mod message;
mod pump;
mod report;
mod session;
mod settling;
mod sources;
mod way;

use std::any::Any;
use std::num::NonZeroU16;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use warren_protocol::Problem;
use warren_protocol::ports::{Ports, QueueError};
use warren_service::catalog::{CatalogError, CatalogHandle};
use warren_service::config::Config;
use warren_service::stop::Stop;

use crate::log_space::LogSpace;
use crate::publisher::WriteError;
use crate::receipts::Receipts;

pub(crate) use report::Reports;
use session::{Ended, Session};
use way::Way;

/// Between two sessions, so that an outage does not burn the queue's delivery limit of 20.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The intakes of one process.
#[derive(Clone)]
pub(crate) struct Intakes {
    tasks: TaskTracker,
}

/// What all intakes of a process work with.
#[derive(Clone)]
struct Context {
    config: Config,
    ports: Ports,
    catalog: CatalogHandle,
    space: LogSpace,
    receipts: Receipts,
    /// The memory of all that is on its way to the logs.
    room: Arc<Semaphore>,
    /// How many queues this process consumes, or wants to.
    ways: Arc<AtomicUsize>,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the connection to the queue is lost")]
    ConsumerLost,
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("an index cannot be used: {0}")]
    Index(Problem),
    #[error("the intake itself failed: {0}")]
    Panicked(String),
}

impl Intakes {
    /// Starts to consume, until `stop`.
    pub(crate) fn start(
        config: Config,
        ports: Ports,
        catalog: CatalogHandle,
        space: LogSpace,
        receipts: Receipts,
        room: Arc<Semaphore>,
        stop: Stop,
    ) -> Self {
        let context = Context { config, ports, catalog, space, receipts, room, ways: Arc::default() };
        let tasks = TaskTracker::new();
        tasks.spawn(consume(context.clone(), Way::Intake, stop.clone()));
        tasks.spawn(sources::run(context, stop));
        tasks.close();
        Self { tasks }
    }

    /// Waits until all have stopped.
    pub(crate) async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// One session after the other, until `stop`.
async fn consume(context: Context, way: Way, stop: Stop) {
    let label = way.label();
    let report = context.space.reports().begin(&label);
    context.ways.fetch_add(1, Ordering::Relaxed);
    // Nothing is known yet of the messages' sizes.
    let prefetch = context.fitting(context.share(), context.config.producer.max_message_bytes.get() as usize);
    let (mut pause, mut pace) = (FIRST_PAUSE, Pace { cautious: false, prefetch });
    while !stop.is_requested() {
        let mut session = Session::new(&context, &way, &report, &stop, pace);
        let ended = AssertUnwindSafe(session.run()).catch_unwind().await;
        let settled = session.settled();
        drop(session);
        report.active(false);
        let reason = match ended {
            Ok(Ok(Ended::Stopped)) => break,
            // The next one begins where this one ends.
            Ok(Ok(Ended::Suspicious)) => {
                pace.cautious = true;
                continue;
            }
            Ok(Ok(Ended::Unsuspicious)) => {
                pace.cautious = false;
                continue;
            }
            Ok(Ok(Ended::Weighed(prefetch))) => {
                tracing::info!(way = label, prefetch, "the intake takes as many messages at a time as their size allows");
                pace.prefetch = prefetch;
                continue;
            }
            Ok(Err(reason)) => reason,
            Err(panic) => SessionEnd::Panicked(words_of(panic.as_ref())),
        };
        if let SessionEnd::Queue(QueueError::Taken(_)) = reason {
            pause = FIRST_PAUSE;
        } else {
            pause = if settled > 0 { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tracing::warn!(way = label, %reason, pause_ms = pause.as_millis() as u64, "the intake starts anew");
            report.failed(reason.to_string());
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.requested() => {}
        }
    }
    context.ways.fetch_sub(1, Ordering::Relaxed);
    context.space.reports().end(&label, &report);
}

/// How a session goes about it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// One message at a time: one of them may kill.
    cautious: bool,
    /// As many messages at a time as their size allows.
    prefetch: NonZeroU16,
}

impl Context {
    /// The bytes of messages that one way may have in hand: all of them share `producer.buffer_bytes`.
    fn share(&self) -> usize {
        self.config.producer.buffer_bytes.get() as usize / self.ways.load(Ordering::Relaxed).max(1)
    }

    /// So many messages of this size fit into a share.
    fn fitting(&self, share: usize, size: usize) -> NonZeroU16 {
        let fitting = NonZeroU16::new(u16::try_from(share / size.max(1)).unwrap_or(u16::MAX));
        fitting.unwrap_or(NonZeroU16::MIN).min(self.config.producer.intake_prefetch)
    }
}

/// What a panic says.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}
