//! The one thread that writes. It commits together what arrives while it is busy with the commit before, so that many
//! concurrent appends cost one write to the file; and file IO never blocks the runtime.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::{OwnedWriteBatch, PersistMode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::store::Store;

/// The bytes that wait for the writer at most.
const ROOM: usize = 64 * 1024 * 1024;
/// What a job costs besides its bytes; it also bounds how many wait.
const JOB_COST: usize = 4096;
/// The bytes, and jobs, that one commit takes.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;
const COMMIT_JOBS: usize = 4096;
/// How long a caller waits for room: longer than any pause of the store that is not a fault.
const ROOM_WAIT: Duration = Duration::from_secs(30);
/// What a power failure can lose at most.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);

/// Why nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(pub(super) Arc<str>);

/// A handle of the thread.
#[derive(Clone)]
pub(super) struct Writer {
    messages: SyncSender<ToWriter>,
    room: Arc<Semaphore>,
}

enum ToWriter {
    Job(Job),
    Close,
}

struct Job {
    prepare: Prepare,
    bytes: usize,
    room: OwnedSemaphorePermit,
}

type Prepare = Box<dyn FnOnce(&mut OwnedWriteBatch) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), Failure>) + Send>;

impl Writer {
    /// Starts the thread. `chore` is called when nothing else is to be done, until it answers that nothing is left.
    pub(super) fn start(store: Store, chore: impl FnMut() -> bool + Send + 'static) -> std::io::Result<(Self, JoinHandle<()>)> {
        // Every job holds at least JOB_COST of the room, so the channel is never full; one place more is for Close.
        let (messages, inbox) = mpsc::sync_channel(ROOM / JOB_COST + 1);
        let thread = std::thread::Builder::new().name("warren-store".into()).spawn(move || run(&store, &inbox, chore))?;
        Ok((Self { messages, room: Arc::new(Semaphore::new(ROOM)) }, thread))
    }

    /// Hands a job over; jobs are done in the order of the calls. Awaits room.
    ///
    /// On the writer's thread, `prepare` adds to the batch, and gives back what is to be done once it is committed;
    /// [`Committed`] yields the value of that. If the commit fails, it is dropped uncalled.
    pub(super) async fn submit<T, A>(
        &self,
        bytes: usize,
        prepare: impl FnOnce(&mut OwnedWriteBatch) -> A + Send + 'static,
    ) -> Result<Committed<T>, Failure>
    where
        T: Send + 'static,
        A: FnOnce() -> T + Send + 'static,
    {
        let cost = (bytes + JOB_COST).min(ROOM) as u32;
        let room = tokio::time::timeout(ROOM_WAIT, Arc::clone(&self.room).acquire_many_owned(cost))
            .await
            .map_err(|_| Failure("the disk does not keep up".into()))?
            .map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let prepare: Prepare = Box::new(move |batch| {
            let committed = prepare(batch);
            Box::new(move |outcome| {
                // The caller may have gone; what was written stays written.
                let _ = answer.send(outcome.map(|()| committed()));
            })
        });
        self.messages.try_send(ToWriter::Job(Job { prepare, bytes, room })).map_err(|_| closed())?;
        Ok(Committed(answered))
    }

    /// The same, and awaits the commit.
    pub(super) async fn commit<T, A>(
        &self,
        bytes: usize,
        prepare: impl FnOnce(&mut OwnedWriteBatch) -> A + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        A: FnOnce() -> T + Send + 'static,
    {
        self.submit(bytes, prepare).await?.wait().await
    }

    /// Ends the thread once it has done what was handed over before.
    pub(super) fn close(&self) {
        // An error means that it has ended already.
        let _ = self.messages.send(ToWriter::Close);
    }
}

/// A job that was handed over.
pub(super) struct Committed<T>(oneshot::Receiver<Result<T, Failure>>);

impl<T> Committed<T> {
    /// Awaits its commit.
    pub(super) async fn wait(self) -> Result<T, Failure> {
        self.0.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Failure {
    Failure(super::CLOSED.into())
}

fn run(store: &Store, inbox: &Receiver<ToWriter>, mut chore: impl FnMut() -> bool) {
    // When the oldest commit was made that is not on the disk yet.
    let mut unsynced: Option<Instant> = None;
    while let Next::Message(first) = next(inbox, unsynced, &mut chore) {
        if let Some(ToWriter::Job(first)) = first {
            let close = commit(store, inbox, first);
            unsynced.get_or_insert_with(Instant::now);
            if close {
                break;
            }
        }
        if unsynced.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL) {
            sync(store);
            unsynced = None;
        }
    }
    sync(store);
}

enum Next {
    /// A job, or nothing before it is time to sync.
    Message(Option<ToWriter>),
    End,
}

fn next(inbox: &Receiver<ToWriter>, unsynced: Option<Instant>, chore: &mut impl FnMut() -> bool) -> Next {
    let received = loop {
        match inbox.try_recv() {
            Err(TryRecvError::Empty) if chore() => {}
            Err(TryRecvError::Empty) => break None,
            Err(TryRecvError::Disconnected) => return Next::End,
            Ok(message) => break Some(message),
        }
    };
    let received = match (received, unsynced) {
        (Some(message), _) => Ok(message),
        (None, Some(since)) => inbox.recv_timeout(SYNC_INTERVAL.saturating_sub(since.elapsed())),
        (None, None) => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(ToWriter::Close) | Err(RecvTimeoutError::Disconnected) => Next::End,
        Ok(job) => Next::Message(Some(job)),
        Err(RecvTimeoutError::Timeout) => Next::Message(None),
    }
}

/// Commits `first` and what else waits; answers whether the thread is to end.
fn commit(store: &Store, inbox: &Receiver<ToWriter>, first: Job) -> bool {
    // A batch of this database hands its bytes to the operating system before `commit` returns.
    let mut batch = store.database.batch();
    let mut bytes = first.bytes;
    let mut rooms = vec![first.room];
    let mut answers = vec![(first.prepare)(&mut batch)];
    let mut close = false;
    while bytes < COMMIT_BYTES && answers.len() < COMMIT_JOBS {
        match inbox.try_recv() {
            Ok(ToWriter::Job(job)) => {
                bytes += job.bytes;
                rooms.push(job.room);
                answers.push((job.prepare)(&mut batch));
            }
            Ok(ToWriter::Close) => {
                close = true;
                break;
            }
            Err(_) => break,
        }
    }
    let outcome = batch.commit().and_then(|()| store.bound_buffers()).map_err(|error| {
        tracing::error!(%error, "the store of the embedded broker cannot write: check the disk, then start again");
        Failure(error.to_string().into())
    });
    for answer in answers {
        answer(outcome.clone());
    }
    close
}

fn sync(store: &Store) {
    if let Err(error) = store.database.persist(PersistMode::SyncData) {
        tracing::error!(%error, "the store of the embedded broker cannot sync its journal: check the disk, then start again");
    }
}
