//! One place where requests wait, and the servers that take them.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use warren_protocol::ports::{Responder, RpcCall, RpcError};

use crate::embedded::lock;

/// The requests that wait at one place at most.
const MAX_WAITING: usize = 10_000;

type Reply = oneshot::Sender<Result<Bytes, RpcError>>;

/// A partition, or a worker.
pub(super) struct Target {
    name: String,
    state: Mutex<State>,
    /// A request waits, or the target is closed.
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Call>,
    /// What servers hold that was handed out once: it may go to one more.
    held: HashMap<CallId, (ServerId, Call)>,
    next_id: u64,
    closed: bool,
}

type CallId = u64;
type ServerId = u64;

struct Call {
    request: Bytes,
    redelivered: bool,
    reply: Arc<Mutex<Option<Reply>>>,
}

impl Call {
    fn is_wanted(&self) -> bool {
        lock(&self.reply).as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

impl Target {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), state: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets a request wait; one whose caller has gone makes room.
    pub(super) fn push(&self, request: Bytes, reply: Reply) -> Result<(), RpcError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(RpcError::NotFound(self.name.clone()));
        }
        if state.waiting.len() >= MAX_WAITING {
            state.waiting.retain(Call::is_wanted);
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(RpcError::Full(self.name.clone()));
        }
        let reply = Arc::new(Mutex::new(Some(reply)));
        state.waiting.push_back(Call { request, redelivered: false, reply });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends it: nobody waits any longer.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for call in state.waiting.drain(..) {
            if let Some(reply) = lock(&call.reply).take() {
                // An error means that the caller has gone.
                let _ = reply.send(Err(RpcError::NotFound(self.name.clone())));
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Gives calls back to the front of the queue, marked.
    fn give_back(&self, calls: impl IntoIterator<Item = Call>) {
        let mut state = lock(&self.state);
        for call in calls {
            if call.is_wanted() && !state.closed {
                state.waiting.push_front(Call { redelivered: true, ..call });
                self.changed.notify_one();
            }
        }
    }
}

/// One of the servers of a target. Dropped, it gives back what it has not answered.
pub(super) struct Server {
    target: Arc<Target>,
    id: ServerId,
    concurrency: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(target: Arc<Target>, concurrency: NonZeroU16) -> Self {
        let mut state = lock(&target.state);
        let id = state.next_id;
        state.next_id += 1;
        drop(state);
        Self { target, id, concurrency: Arc::new(Semaphore::new(concurrency.get().into())) }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The next call, `None` when the target is closed.
    pub(super) async fn next(&mut self) -> Option<RpcCall> {
        let permit = Arc::clone(&self.concurrency).acquire_owned().await.ok()?;
        loop {
            // Made before the look, so that no request in between is missed.
            let changed = self.target.changed.notified();
            {
                let mut state = lock(&self.target.state);
                if state.closed {
                    return None;
                }
                if let Some(call) = state.take() {
                    let more = !state.waiting.is_empty();
                    let call = self.hand_out(&mut state, call, permit);
                    drop(state);
                    if more {
                        // This server may be busy now: another one looks.
                        self.target.changed.notify_one();
                    }
                    return Some(call);
                }
            }
            changed.await;
        }
    }

    fn hand_out(&self, state: &mut State, call: Call, permit: OwnedSemaphorePermit) -> RpcCall {
        let id = state.next_id;
        state.next_id += 1;
        let (request, redelivered) = (call.request.clone(), call.redelivered);
        let reply = Arc::clone(&call.reply);
        if !redelivered {
            state.held.insert(id, (self.id, call));
        }
        let responder = LocalResponder { target: Arc::clone(&self.target), id, reply, _permit: permit };
        RpcCall::new(request, redelivered, Box::new(responder))
    }
}

impl State {
    /// The first request whose caller still waits.
    fn take(&mut self) -> Option<Call> {
        while let Some(call) = self.waiting.pop_front() {
            if call.is_wanted() {
                return Some(call);
            }
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let held: Vec<_> = lock(&self.target.state).held.extract_if(|_, (server, _)| *server == self.id).collect();
        self.target.give_back(held.into_iter().map(|(_, (_, call))| call));
        // It may have been told of a request that it does not take any more.
        self.target.changed.notify_one();
    }
}

struct LocalResponder {
    target: Arc<Target>,
    id: CallId,
    reply: Arc<Mutex<Option<Reply>>>,
    /// Room for another call, once this one is answered or given back.
    _permit: OwnedSemaphorePermit,
}

#[async_trait]
impl Responder for LocalResponder {
    async fn reply(self: Box<Self>, answer: Bytes) -> Result<(), RpcError> {
        lock(&self.target.state).held.remove(&self.id);
        if let Some(reply) = lock(&self.reply).take() {
            // An error means that the caller has gone: nothing is kept for it.
            let _ = reply.send(Ok(answer));
        }
        Ok(())
    }
}

impl Drop for LocalResponder {
    fn drop(&mut self) {
        let held = lock(&self.target.state).held.remove(&self.id);
        self.target.give_back(held.map(|(_, call)| call));
    }
}
