//! What clients ask that know nothing of Warren but the name of an exchange, and what they get.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::ports::{Address, InvalidAddress, RpcError};

/// What a client asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRequest {
    /// The routing key: the name of an index, if the client did it right.
    pub index: String,
    /// AMQP `content_encoding`.
    pub content_encoding: Option<String>,
    /// The bytes: a search request in JSON, if the client did it right.
    pub body: Bytes,
}

/// What it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientReply {
    /// AMQP `content_type`.
    pub content_type: String,
    /// The bytes.
    pub body: Bytes,
}

/// The calls of clients, as they come.
pub type ClientCalls = BoxStream<'static, ClientCall>;

/// One call of a client in the hands of its server. Dropped without an answer, it may go to another server.
pub struct ClientCall {
    /// What it asks.
    pub request: ClientRequest,
    /// As of [`RpcCall`](crate::ports::RpcCall): such a call was taken off the queue before it was handed out.
    pub redelivered: bool,
    /// When the broker handed it out.
    pub arrival: Instant,
    /// When nobody awaits the reply any more, if the client said so.
    pub deadline: Option<Instant>,
    /// Why there is nobody to answer, if so.
    pub no_address: Option<NoAddress>,
    responder: Box<dyn ClientResponder>,
}

/// Why a call has no address to which a reply may go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// The client named none.
    #[error("it has no reply_to")]
    Missing,
    /// What the client named is none.
    #[error("its reply_to is no address for replies: {0}")]
    Invalid(#[from] InvalidAddress),
}

impl NoAddress {
    /// What the property `reply_to` says; `Ok` is an address.
    pub fn check(reply_to: Option<&str>) -> Result<Address, Self> {
        Ok(Address::of_client(reply_to.ok_or(Self::Missing)?)?)
    }
}

impl ClientCall {
    /// For implementations: a request that arrived now, and the way to answer it.
    pub fn new(request: ClientRequest, redelivered: bool, responder: Box<dyn ClientResponder>) -> Self {
        Self { request, redelivered, arrival: Instant::now(), deadline: None, no_address: None, responder }
    }

    /// Sends the reply, then takes the call off the queue. A client that has gone is no error.
    pub async fn reply(self, reply: ClientReply) -> Result<(), RpcError> {
        self.responder.reply(reply).await
    }

    /// Takes the call off the queue unanswered.
    pub async fn discard(self) -> Result<(), RpcError> {
        self.responder.discard().await
    }
}

impl fmt::Debug for ClientCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCall")
            .field("request", &self.request)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

/// How an implementation answers.
#[async_trait]
pub trait ClientResponder: Send + Sync {
    /// Sends the reply.
    async fn reply(self: Box<Self>, reply: ClientReply) -> Result<(), RpcError>;

    /// Does without.
    async fn discard(self: Box<Self>) -> Result<(), RpcError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_never_goes_to_a_queue_of_warrens_own() {
        assert!(NoAddress::check(Some("amq.rabbitmq.reply-to.g1h2")).is_ok());
        assert_eq!(NoAddress::check(None), Err(NoAddress::Missing));
        assert!(matches!(NoAddress::check(Some("warren.log.packages.7.0")), Err(NoAddress::Invalid(_))));
    }
}
