//! The replay: folds the catalog's log into the table, and tells those who wait for a record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;
use warren_protocol::catalog::{Catalog, Event, Record};
use warren_protocol::ports::{FollowFrom, LogEntry, LogError, LogLimits, LogName, PartitionLog, Ports, Position};

use super::CatalogError;

/// The pause before the log is followed again after the broker gave up.
const PAUSE: Duration = Duration::from_secs(1);

/// What has been replayed.
pub(super) struct Replay {
    catalog: watch::Sender<Arc<Catalog>>,
    state: watch::Sender<State>,
    awaited: Mutex<HashMap<Uuid, oneshot::Sender<Position>>>,
}

#[derive(Debug, Clone)]
enum State {
    Behind,
    Ready,
    Broken(String),
}

/// Makes sure that the log exists; returns how far the replay has to come before it is ready.
pub(super) async fn prepare(ports: &Ports) -> Result<Option<Position>, CatalogError> {
    let unavailable = |error: LogError| CatalogError::Unavailable(error.to_string());
    ports.log.create(&LogName::Catalog, LogLimits { max_bytes: None }).await.map_err(unavailable)?;
    ports.log.last(&LogName::Catalog).await.map_err(unavailable)
}

/// Follows the log for ever, or until it cannot be read.
pub(super) async fn follow(log: Arc<dyn PartitionLog>, replay: Arc<Replay>, target: Option<Position>) {
    if target.is_none() {
        replay.state.send_replace(State::Ready);
    }
    let mut from = FollowFrom::Start;
    loop {
        match read(log.as_ref(), &replay, target, &mut from).await {
            Interruption::Broker(detail) => {
                tracing::warn!(detail, "the catalog is not being followed; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Interruption::Broken(detail) => {
                tracing::error!(detail, "the catalog cannot be followed any more: indexes are as they were last known");
                replay.state.send_replace(State::Broken(detail));
                return;
            }
        }
    }
}

enum Interruption {
    Broker(String),
    Broken(String),
}

impl From<LogError> for Interruption {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(detail) => Self::Broker(detail),
            error => Self::Broken(error.to_string()),
        }
    }
}

async fn read(log: &dyn PartitionLog, replay: &Replay, target: Option<Position>, from: &mut FollowFrom) -> Interruption {
    let mut follower = match log.follow(&LogName::Catalog, *from).await {
        Ok(follower) => follower,
        Err(error) => return error.into(),
    };
    while let Some(next) = follower.next().await {
        let entry = match next {
            Ok(entry) => entry,
            Err(error) => return error.into(),
        };
        *from = FollowFrom::After { position: entry.position, digest: entry.digest() };
        if let Err(error) = replay.apply(&entry) {
            return Interruption::Broken(error.to_string());
        }
        if target.is_some_and(|target| entry.position >= target) {
            replay.state.send_if_modified(|state| {
                let behind = matches!(state, State::Behind);
                *state = State::Ready;
                behind
            });
        }
    }
    Interruption::Broker("the follower ended".to_owned())
}

impl Replay {
    pub(super) fn new() -> Self {
        Self { catalog: watch::Sender::new(Arc::default()), state: watch::Sender::new(State::Behind), awaited: Mutex::default() }
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// Whether the replay has come far enough.
    pub(super) fn state(&self) -> Result<bool, CatalogError> {
        match &*self.state.borrow() {
            State::Behind => Ok(false),
            State::Ready => Ok(true),
            State::Broken(detail) => Err(CatalogError::Broken(detail.clone())),
        }
    }

    pub(super) async fn ready(&self, deadline: Instant) -> Result<(), CatalogError> {
        let late = |_| CatalogError::Unavailable("the catalog is still being read".to_owned());
        tokio::time::timeout_at(deadline.into(), self.settled()).await.map_err(late)?
    }

    /// Waits until the replay has come far enough, or cannot.
    pub(super) async fn settled(&self) -> Result<(), CatalogError> {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.state.subscribe().wait_for(|state| !matches!(state, State::Behind)).await;
        self.state().map(|_| ())
    }

    /// Waits until the catalog fulfils `condition`.
    pub(super) async fn until(&self, condition: impl FnMut(&Arc<Catalog>) -> bool) {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.watch().wait_for(condition).await;
    }

    /// Prepares to wait for the record of `request`; to be called before it is appended.
    pub(super) fn expect(&self, request: Uuid) -> Expected<'_> {
        let (found, position) = oneshot::channel();
        self.awaited().insert(request, found);
        Expected { replay: self, request, position }
    }

    fn apply(&self, entry: &LogEntry) -> Result<(), warren_protocol::catalog::RecordError> {
        let record = Record::decode(&entry.message, entry.position)?;
        self.catalog.send_modify(|catalog| {
            Arc::make_mut(catalog).apply(entry.position, &record);
        });
        if let Event::Create { request, .. } | Event::CreateSource { request, .. } | Event::Epoch { request, .. } = record.event
            && let Some(found) = self.awaited().remove(&request)
        {
            // Whoever asked may have given up.
            let _ = found.send(entry.position);
        }
        Ok(())
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Position>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record on its way; dropping it ends the wait.
pub(super) struct Expected<'a> {
    replay: &'a Replay,
    request: Uuid,
    position: oneshot::Receiver<Position>,
}

impl Expected<'_> {
    /// Where the record stands, once it is replayed.
    pub(super) async fn position(mut self) -> Result<Position, CatalogError> {
        (&mut self.position).await.map_err(|_| CatalogError::Unavailable("the catalog is not being followed".to_owned()))
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.replay.awaited().remove(&self.request);
    }
}
