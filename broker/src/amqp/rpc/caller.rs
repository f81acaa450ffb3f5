//! The asking side: all calls of a process on one channel, whose replies come back on that same channel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Consumer};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use warren_protocol::ports::{ClientReply, ClientRequest, RpcError};

use crate::amqp::connection::{Context, Link};
use crate::amqp::failure::{Failure, until};
use crate::amqp::message::short;
use crate::amqp::names;
use crate::amqp::publisher::{Publishing, hand_to_channel};

pub(super) struct Caller {
    context: Arc<Context>,
    link: Arc<Link>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

/// One channel and the calls that await replies on it.
struct Session {
    channel: Channel,
    calls: Arc<Calls>,
    /// Held while a message is handed over: lapin numbers messages and queues them in two steps.
    order: Mutex<()>,
    _reader: AbortOnDropHandle<()>,
}

/// The calls that await a reply, by correlation id.
#[derive(Default)]
struct Calls {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
}

type Outcome = Result<ClientReply, RpcError>;

impl Caller {
    pub(super) fn new(context: &Arc<Context>, link: &Arc<Link>) -> Self {
        Self { context: Arc::clone(context), link: Arc::clone(link), session: tokio::sync::Mutex::default() }
    }

    /// Asks whoever consumes this queue.
    pub(super) async fn call(&self, queue: String, request: Bytes, deadline: Instant) -> Result<Bytes, RpcError> {
        let reply = self.exchange(names::DEFAULT_EXCHANGE, queue, request, BasicProperties::default(), deadline).await?;
        Ok(reply.body)
    }

    /// Asks the query services.
    pub(super) async fn ask(&self, request: ClientRequest, deadline: Instant) -> Result<ClientReply, RpcError> {
        let ClientRequest { index, content_encoding, body } = request;
        let mut properties = BasicProperties::default().with_content_type("application/json".into());
        if let Some(encoding) = content_encoding {
            properties = properties.with_content_encoding(short("content_encoding", &encoding)?);
        }
        short("the name of an index", &index)?;
        self.exchange(names::SEARCH_EXCHANGE, index, body, properties, deadline).await
    }

    /// Publishes a request, and awaits the reply.
    async fn exchange(
        &self,
        exchange: &'static str,
        routing_key: String,
        request: Bytes,
        properties: BasicProperties,
        deadline: Instant,
    ) -> Outcome {
        let limit = tokio::time::Instant::from_std(deadline).min(self.context.deadline());
        let session = match timeout_at(limit, self.session(limit)).await {
            Ok(session) => session?,
            Err(_) => return Err(RpcError::Unavailable("no connection to the broker within the deadline".to_owned())),
        };
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(RpcError::Deadline);
        }
        let (id, reply) = session.calls.begin();
        let _entry = Entry { calls: &session.calls, id };
        let properties = properties
            .with_reply_to(names::DIRECT_REPLY_TO.into())
            .with_correlation_id(id.to_string().into())
            .with_expiration(remaining.as_millis().max(1).to_string().into())
            .with_delivery_mode(1);
        let publishing = session.hand_over(exchange, &routing_key, request, properties);
        self.context.tasks.spawn(await_confirm(Arc::clone(&session.calls), id, routing_key, publishing));
        match timeout_at(deadline.into(), reply).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(RpcError::Unavailable("the connection for calls was lost".to_owned())),
            Err(_) => Err(RpcError::Deadline),
        }
    }

    /// The channel for calls, or a new one.
    async fn session(&self, deadline: tokio::time::Instant) -> Result<Arc<Session>, Failure> {
        let mut current = self.session.lock().await;
        let connection = self.link.unblocked(deadline).await?;
        if let Some(session) = &*current
            && session.channel.status().connected()
        {
            return Ok(Arc::clone(session));
        }
        let channel = until(deadline, connection.create_channel()).await?;
        until(deadline, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming = channel.basic_consume(names::DIRECT_REPLY_TO.into(), "".into(), options, FieldTable::default());
        let replies = until(deadline, consuming).await?;
        let calls = Arc::new(Calls::default());
        let reader = AbortOnDropHandle::new(self.context.tasks.spawn(read_replies(
            Arc::clone(&self.context),
            replies,
            Arc::clone(&calls),
        )));
        let session = Arc::new(Session { channel, calls, order: Mutex::default(), _reader: reader });
        *current = Some(Arc::clone(&session));
        Ok(session)
    }
}

impl Session {
    fn hand_over(&self, exchange: &'static str, key: &str, request: Bytes, properties: BasicProperties) -> Publishing {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        hand_to_channel(self.channel.clone(), exchange, key, request, properties)
    }
}

impl Calls {
    fn begin(&self) -> (u64, oneshot::Receiver<Outcome>) {
        let (sender, outcome) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(id, sender);
        (id, outcome)
    }

    fn end(&self, id: u64, outcome: Outcome) {
        if let Some(call) = self.waiting().remove(&id) {
            // Whoever called may have gone.
            let _ = call.send(outcome);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a call that nobody awaits any more off the list.
struct Entry<'a> {
    calls: &'a Calls,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.calls.waiting().remove(&self.id);
    }
}

/// Ends with the channel, or when the broker is closed: all that still wait for a reply learn that.
async fn read_replies(context: Arc<Context>, mut replies: Consumer, calls: Arc<Calls>) {
    while let Some(Some(Ok(reply))) = context.stop.run_until_cancelled(replies.next()).await {
        if let Some(id) = correlation_id(&reply.properties) {
            let content_type = reply.properties.content_type().as_ref().map(ToString::to_string).unwrap_or_default();
            calls.end(id, Ok(ClientReply { content_type, body: reply.data.into() }));
        }
    }
    calls.waiting().clear();
}

/// What the broker says at once: nobody listens there, or too many wait.
async fn await_confirm(calls: Arc<Calls>, id: u64, queue: String, publishing: Publishing) {
    match publishing.await {
        Ok(Confirmation::Ack(None)) => {}
        // lapin may hand a returned message to the confirm of another one: the message says whose it is.
        Ok(Confirmation::Ack(Some(returned))) => {
            let id = correlation_id(&returned.properties).unwrap_or(id);
            calls.end(id, Err(RpcError::NotFound(returned.routing_key.to_string())));
        }
        Ok(Confirmation::Nack(_)) => calls.end(id, Err(RpcError::Full(queue))),
        Ok(Confirmation::NotRequested) => calls.end(id, Err(RpcError::Unavailable("the channel does not confirm".to_owned()))),
        Err(error) => calls.end(id, Err(Failure::from(error).into())),
    }
}

fn correlation_id(properties: &BasicProperties) -> Option<u64> {
    properties.correlation_id().as_ref()?.as_str().parse().ok()
}
