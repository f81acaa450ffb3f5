//! Work that takes the processor, on a thread of its own beside the runtime.
//!
//! A thread, not a place in a pool, since the system shares the processor among threads: one whose work takes long can be told to give way to
//! all others, and would stay so for whatever came next (only privileged processes may raise a priority again).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Semaphore, oneshot};

/// The outcome of work that is under way. Dropped, the work goes on without anybody waiting.
#[derive(Debug)]
pub struct Work<T> {
    outcome: oneshot::Receiver<T>,
    rank: Arc<Rank>,
}

/// Why work has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The system has no thread for it.
    #[error("there is no thread for it: {0}")]
    NoThread(#[source] io::Error),
    /// It panicked.
    #[error("it panicked: see the log")]
    Panicked,
}

/// How many large pieces of work there may be at once in a process.
static LARGE: Semaphore = Semaphore::const_new(8);

/// Does what would hold up a thread of the runtime, such as reading a large body, and gives way from the beginning. If there is too much of it,
/// it awaits its turn: each piece is bounded by the size of what it works on.
pub async fn large<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkError> {
    // Nobody closes it.
    let turn = LARGE.acquire().await;
    let work = Work::start("large", move || {
        let _turn = turn;
        work()
    })?;
    work.give_way();
    work.await
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
        if standing.gives_way {
            system::give_way(thread);
        }
        standing.thread = Some(thread);
    }

    fn give_way(&self) {
        let mut standing = self.lock();
        standing.gives_way = true;
        if let Some(thread) = standing.thread {
            system::give_way(thread);
        }
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

    /// From now on, it has the processor while nobody else wants it, and a little of it otherwise.
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

    /// The lowest priority: about one part in seventy of a processor that ordinary threads want, too.
    pub(super) const LOWEST: i32 = 19;

    pub(super) fn current() -> Thread {
        rustix::thread::gettid()
    }

    pub(super) fn give_way(thread: Thread) {
        if let Err(error) = rustix::process::setpriority_process(Some(thread), LOWEST) {
            tracing::debug!(%error, "a thread keeps its priority");
        }
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
        assert_eq!(large(|| 2).await.unwrap(), 2);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn work_gives_way_from_its_beginning_or_later() {
        let priority = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        for at_once in [true, false] {
            let (begun, begins) = oneshot::channel();
            let (go, goes) = mpsc::sync_channel(1);
            let work = Work::start("long", move || {
                begun.send(priority()).unwrap();
                goes.recv_timeout(Duration::from_secs(60)).unwrap();
                priority()
            });
            let work = work.unwrap();
            if !at_once {
                assert_eq!(begins.await, Ok(priority()));
            }
            work.give_way();
            go.send(()).unwrap();
            assert_eq!(work.await.unwrap(), system::LOWEST);
        }
    }
}
