//! One place where requests wait, and the servers that take them.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use warren_protocol::ports::{ClientReply, ClientResponder, Responder, RpcError};

use crate::embedded::lock;

/// The requests that wait at one place at most.
const MAX_WAITING: usize = 10_000;

type Reply<A> = oneshot::Sender<Result<A, RpcError>>;

/// A partition, a worker, or the query services: what takes requests `Q` and gives answers `A`.
pub(super) struct Target<Q, A> {
    name: String,
    state: Mutex<State<Q, A>>,
    /// A request waits, or the target is closed.
    changed: Notify,
}

struct State<Q, A> {
    waiting: VecDeque<Call<Q, A>>,
    /// What servers hold that was handed out once: it may go to one more.
    held: HashMap<CallId, (ServerId, Call<Q, A>)>,
    next_id: u64,
    closed: bool,
}

type CallId = u64;
type ServerId = u64;

struct Call<Q, A> {
    request: Q,
    redelivered: bool,
    reply: Arc<Mutex<Option<Reply<A>>>>,
}

impl<Q, A> Call<Q, A> {
    fn is_wanted(&self) -> bool {
        lock(&self.reply).as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

impl<Q, A> Target<Q, A> {
    pub(super) fn new(name: &str) -> Self {
        let state = State { waiting: VecDeque::new(), held: HashMap::new(), next_id: 0, closed: false };
        Self { name: name.into(), state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets a request wait; one whose caller has gone makes room.
    pub(super) fn push(&self, request: Q, reply: Reply<A>) -> Result<(), RpcError> {
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
    fn give_back(&self, calls: impl IntoIterator<Item = Call<Q, A>>) {
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
pub(super) struct Server<Q, A> {
    target: Arc<Target<Q, A>>,
    id: ServerId,
    concurrency: Arc<Semaphore>,
}

/// A call that a server has taken.
pub(super) struct Taken<Q, A> {
    pub(super) request: Q,
    pub(super) redelivered: bool,
    pub(super) responder: LocalResponder<Q, A>,
}

impl<Q: Clone, A> Server<Q, A> {
    pub(super) fn new(target: Arc<Target<Q, A>>, concurrency: NonZeroU16) -> Self {
        let mut state = lock(&target.state);
        let id = state.next_id;
        state.next_id += 1;
        drop(state);
        Self { target, id, concurrency: Arc::new(Semaphore::new(concurrency.get().into())) }
    }

    pub(super) fn target(&self) -> &Target<Q, A> {
        &self.target
    }

    /// The next call, `None` when the target is closed.
    pub(super) async fn next(&mut self) -> Option<Taken<Q, A>> {
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

    fn hand_out(&self, state: &mut State<Q, A>, call: Call<Q, A>, permit: OwnedSemaphorePermit) -> Taken<Q, A> {
        let id = state.next_id;
        state.next_id += 1;
        let (request, redelivered) = (call.request.clone(), call.redelivered);
        let reply = Arc::clone(&call.reply);
        if !redelivered {
            state.held.insert(id, (self.id, call));
        }
        let responder = LocalResponder { target: Arc::clone(&self.target), id, reply, _permit: permit };
        Taken { request, redelivered, responder }
    }
}

impl<Q, A> State<Q, A> {
    /// The first request whose caller still waits.
    fn take(&mut self) -> Option<Call<Q, A>> {
        while let Some(call) = self.waiting.pop_front() {
            if call.is_wanted() {
                return Some(call);
            }
        }
        None
    }
}

impl<Q, A> Drop for Server<Q, A> {
    fn drop(&mut self) {
        let held: Vec<_> = lock(&self.target.state).held.extract_if(|_, (server, _)| *server == self.id).collect();
        self.target.give_back(held.into_iter().map(|(_, (_, call))| call));
        // It may have been told of a request that it does not take any more.
        self.target.changed.notify_one();
    }
}

/// The way to answer it. Dropped unanswered, the call goes back, once.
pub(super) struct LocalResponder<Q, A> {
    target: Arc<Target<Q, A>>,
    id: CallId,
    reply: Arc<Mutex<Option<Reply<A>>>>,
    /// Room for another call, once this one is answered or given back.
    _permit: OwnedSemaphorePermit,
}

impl<Q, A> LocalResponder<Q, A> {
    fn answer(&self, answer: A) {
        self.take_off();
        if let Some(reply) = lock(&self.reply).take() {
            // An error means that the caller has gone: nothing is kept for it.
            let _ = reply.send(Ok(answer));
        }
    }

    fn take_off(&self) {
        lock(&self.target.state).held.remove(&self.id);
    }
}

#[async_trait]
impl Responder for LocalResponder<Bytes, Bytes> {
    async fn reply(self: Box<Self>, answer: Bytes) -> Result<(), RpcError> {
        self.answer(answer);
        Ok(())
    }
}

#[async_trait]
impl<Q: Send + Sync> ClientResponder for LocalResponder<Q, ClientReply> {
    async fn reply(self: Box<Self>, answer: ClientReply) -> Result<(), RpcError> {
        self.answer(answer);
        Ok(())
    }

    async fn discard(self: Box<Self>) -> Result<(), RpcError> {
        self.take_off();
        Ok(())
    }
}

impl<Q, A> Drop for LocalResponder<Q, A> {
    fn drop(&mut self) {
        let held = lock(&self.target.state).held.remove(&self.id);
        self.target.give_back(held.map(|(_, call)| call));
    }
}
