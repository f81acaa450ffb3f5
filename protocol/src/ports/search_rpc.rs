//! The port to questions and answers.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::partition::PartitionId;
use crate::ports::{ClientCalls, ClientReply, ClientRequest, WorkerId};

/// Calls with a deadline, over queues.
///
/// - A call to a partition is answered by one of the servers of that partition; a server that dies before it replies
///   costs a redelivery to another, not an error, as long as the deadline has not passed.
/// - A call ends at its deadline at the latest.
/// - Nothing is kept: a request whose caller has gone, or whose deadline has passed, may vanish unanswered.
#[async_trait]
pub trait SearchRpc: Send + Sync {
    /// Makes the place where a partition's requests wait; nothing changes if it exists.
    async fn create(&self, partition: &PartitionId) -> Result<(), RpcError>;

    /// Deletes that place; nothing changes if there is none.
    async fn delete(&self, partition: &PartitionId) -> Result<(), RpcError>;

    /// Asks, and awaits the reply until `deadline`.
    async fn call(&self, target: &RpcTarget, request: Bytes, deadline: Instant) -> Result<Bytes, RpcError>;

    /// Serves: at most `concurrency` calls are unanswered at a time. Dropping the stream ends it and gives back
    /// what is unanswered. Lost connections are made again, silently.
    async fn serve(&self, target: &RpcTarget, concurrency: NonZeroU16) -> Result<Incoming, RpcError>;

    /// Asks any query service, as a client does that knows nothing of Warren, and awaits the reply until `deadline`.
    async fn ask(&self, request: ClientRequest, deadline: Instant) -> Result<ClientReply, RpcError>;

    /// Serves what such clients ask, from Warren or not: all that serve compete for it. As [`SearchRpc::serve`] otherwise.
    async fn serve_clients(&self, concurrency: NonZeroU16) -> Result<ClientCalls, RpcError>;
}

/// The calls that a server gets.
pub type Incoming = BoxStream<'static, RpcCall>;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RpcTarget {
    /// Any replica of a partition.
    Partition(PartitionId),
    /// This very worker.
    Worker(WorkerId),
}

impl fmt::Display for RpcTarget {
    /// As the queue is named: `warren.search.{index}.{g}.{p}`, `warren.worker.{id}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(partition) => write!(f, "warren.search.{partition}"),
            Self::Worker(worker) => write!(f, "warren.worker.{worker}"),
        }
    }
}

/// One call in the hands of its server. Dropped without a reply, it may go to another server.
pub struct RpcCall {
    /// The request.
    pub request: Bytes,
    /// Whether another server had it before: it may have died of it. Such a call was taken off the queue before it
    /// was handed out, so that a deadly request takes two servers at most.
    pub redelivered: bool,
    responder: Box<dyn Responder>,
}

impl RpcCall {
    /// For implementations: a request and the way to answer it.
    pub fn new(request: Bytes, redelivered: bool, responder: Box<dyn Responder>) -> Self {
        Self { request, redelivered, responder }
    }

    /// Sends the reply, then takes the request off the queue.
    pub async fn reply(self, reply: Bytes) -> Result<(), RpcError> {
        self.responder.reply(reply).await
    }
}

impl fmt::Debug for RpcCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcCall").field("redelivered", &self.redelivered).finish_non_exhaustive()
    }
}

/// How an implementation answers.
#[async_trait]
pub trait Responder: Send + Sync {
    /// Sends the reply.
    async fn reply(self: Box<Self>, reply: Bytes) -> Result<(), RpcError>;
}

/// What a call ends with besides a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// There is no such queue: the index was deleted, or the worker is gone.
    #[error("nobody listens at {0}")]
    NotFound(String),
    /// Too many requests wait already.
    #[error("too many requests wait at {0}")]
    Full(String),
    /// No reply came in time.
    #[error("no answer within the deadline")]
    Deadline,
    /// The broker cannot be reached.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
}
