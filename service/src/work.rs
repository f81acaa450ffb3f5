//! Work that takes the processor, on a thread of its own beside the runtime.
//!
//! A thread, not a place in a pool, since the system shares the processor among threads: one whose work takes long can be told to give way to
//! all others, and would stay so for whatever came next (only privileged processes may raise a priority again).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use warren_protocol::Problem;
use warren_protocol::problem::Code;

/// The outcome of work that is under way. Dropped, the work goes on without anybody waiting.
#[derive(Debug)]
pub struct Work<T> {
    outcome: oneshot::Receiver<T>,
    rank: Arc<Rank>,
}

/// Why work has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Its turn did not come in time.
    #[error("too much large work is under way: ask again, or fewer at a time")]
    NoTurn,
    /// The system has no thread for it.
    #[error("there is no thread for it: {0}")]
    NoThread(#[source] io::Error),
    /// It panicked.
    #[error("it panicked: see the log")]
    Panicked,
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        let code = match error {
            WorkError::NoTurn => Code::TooManyRequests,
            WorkError::NoThread(_) | WorkError::Panicked => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// Starts what would hold up a thread of the runtime, such as reading a large body, as soon as there is a turn for it, which has to come before the
/// deadline.
pub async fn in_turn<T: Send + 'static>(
    turns: &'static Semaphore,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Work<T>, WorkError> {
    let Ok(Ok(turn)) = timeout_at(deadline, turns.acquire()).await else { return Err(WorkError::NoTurn) };
    Work::start("large", move || {
        let _turn = turn;
        work()
    })
}

/// Whether a thread gives way.
#[derive(Debug, Default)]
struct Rank(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    gives_way: bool,
    /// While it runs.
    thread: Option<system::Thread>,
}

impl Rank {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) {
        let mut standing = self.lock();
        let thread = system::current();
        standing.thread = Some(thread);
        if standing.gives_way {
            system::give_way(thread);
        }
    }

    /// Once; a second time changes nothing.
    fn give_way(&self) {
        let mut standing = self.lock();
        if !standing.gives_way
            && let Some(thread) = standing.thread
        {
            system::give_way(thread);
        }
        standing.gives_way = true;
    }
}

/// Forgets the thread before it ends: the system gives its number to another one.
struct Leaves(Arc<Rank>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.lock().thread = None;
    }
}

impl<T: Send + 'static> Work<T> {
    /// Starts the work on a thread of this name.
    pub fn start(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<Self, WorkError> {
        let (send, outcome) = oneshot::channel();
        let rank = Arc::new(Rank::default());
        let leaves = Leaves(rank.clone());
        let run = move || {
            leaves.0.enter();
            // Nobody may wait any more.
            let _ = send.send(work());
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(WorkError::NoThread)?;
        Ok(Self { outcome, rank })
    }

    /// From now on, it has a small share of a processor that others want, too.
    pub fn give_way(&self) {
        self.rank.give_way();
    }
}

impl<T> Future for Work<T> {
    type Output = Result<T, WorkError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context).map_err(|_| WorkError::Panicked)
    }
}

#[cfg(target_os = "linux")]
mod system {
    /// On Linux, each thread has a priority of its own.
    pub(super) type Thread = rustix::process::Pid;

    /// How much higher its `nice` becomes: a tenth of the share of an ordinary thread. With less, what it locks while it waits for the processor
    /// made the others wait longer: see ADR 20.
    const STEP: i32 = 10;
    /// The lowest priority that there is.
    const LOWEST: i32 = 19;

    pub(super) fn current() -> Thread {
        rustix::thread::gettid()
    }

    pub(super) fn give_way(thread: Thread) {
        let own = rustix::process::getpriority_process(Some(thread));
        let lowered = own.and_then(|own| rustix::process::setpriority_process(Some(thread), lower(own)));
        if let Err(error) = lowered {
            tracing::debug!(%error, "a thread keeps its priority");
        }
    }

    pub(super) fn lower(nice: i32) -> i32 {
        (nice + STEP).min(LOWEST)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// Elsewhere a priority belongs to the whole process.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Thread;

    pub(super) fn current() -> Thread {
        Thread
    }

    pub(super) fn give_way(_: Thread) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_panic_is_an_error_of_this_work_only() {
        let work = Work::start("panics", || -> u32 { panic!("deadly work") }).unwrap();
        assert!(matches!(work.await, Err(WorkError::Panicked)));
        assert_eq!(Work::start("ends", || 1).unwrap().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn large_work_awaits_its_turn_until_its_deadline() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let deadline = Instant::now() + Duration::from_secs(60);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let first = in_turn(&ONE, deadline, move || ended.recv_timeout(Duration::from_secs(60)).unwrap()).await.unwrap();
        assert!(matches!(in_turn(&ONE, Instant::now(), || 1).await, Err(WorkError::NoTurn)));
        end.send(()).unwrap();
        first.await.unwrap();
        assert_eq!(in_turn(&ONE, deadline, || 2).await.unwrap().await.unwrap(), 2);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn work_gives_way_from_its_beginning_or_later() {
        let priority = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let own = priority();
        let (begun, begins) = oneshot::channel();
        let (go, goes) = mpsc::sync_channel(1);
        let work = Work::start("long", move || {
            begun.send(priority()).unwrap();
            goes.recv_timeout(Duration::from_secs(60)).unwrap();
            priority()
        });
        let work = work.unwrap();
        assert_eq!(begins.await, Ok(own));
        work.give_way();
        work.give_way();
        go.send(()).unwrap();
        assert_eq!(work.await.unwrap(), system::lower(own));
        assert!(system::lower(own) > own || own == 19);

        // Told to give way before its thread runs.
        let told = Rank::default();
        told.give_way();
        let entered = Work::start("told", move || {
            told.enter();
            priority()
        });
        assert_eq!(entered.unwrap().await.unwrap(), system::lower(own));
    }
}
