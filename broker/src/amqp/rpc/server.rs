//! The answering side: a consumer whose deliveries are acknowledged once they are answered.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::ShortString;
use lapin::{Acker, BasicProperties, Channel};
use tracing::{debug, warn};
use warren_protocol::ports::{Incoming, Responder, RpcCall, RpcError, RpcTarget};

use crate::amqp::connection::{Context, Link};
use crate::amqp::consumer::{Source, Subscription};
use crate::amqp::failure::{Failure, until};
use crate::amqp::names;
use crate::amqp::publisher::send_unconfirmed;

/// Consumes the queue of `target`.
pub(super) async fn serve(
    context: &Arc<Context>,
    link: &Arc<Link>,
    target: &RpcTarget,
    concurrency: NonZeroU16,
) -> Result<Incoming, RpcError> {
    let source = match target {
        RpcTarget::Partition(_) => Source::Queue,
        RpcTarget::Worker(_) => Source::Worker,
    };
    let requests = Subscription::open(context, link, target.to_string(), source, concurrency.get()).await?;
    let server = Server { context: Arc::clone(context), link: Arc::clone(link), requests, replies: None };
    let calls = stream::unfold(server, |mut server| async { Some((server.next().await?, server)) });
    Ok(calls.boxed())
}

struct Server {
    context: Arc<Context>,
    link: Arc<Link>,
    requests: Subscription,
    /// A channel of its own for the replies, so that what was taken can be answered after this server has ended.
    replies: Option<Channel>,
}

impl Server {
    async fn next(&mut self) -> Option<RpcCall> {
        loop {
            let delivery = self.requests.next().await?;
            match self.call(delivery).await {
                Ok(Some(call)) => return Some(call),
                Ok(None) => debug!("a request without an address for its reply"),
                Err(failure) => warn!(error = %failure, "a request was given back: there is no channel for its reply"),
            }
        }
    }

    async fn call(&mut self, delivery: Delivery) -> Result<Option<RpcCall>, Failure> {
        let deadline = self.context.deadline();
        let mut answer = Answer { context: Arc::clone(&self.context), acker: Some(delivery.acker), route: None };
        let Some(reply_to) = delivery.properties.reply_to().clone() else {
            answer.take_off().await?;
            return Ok(None);
        };
        let correlation_id = delivery.properties.correlation_id().clone();
        answer.route =
            Some(Route { channel: self.replies(deadline).await?, link: Arc::clone(&self.link), reply_to, correlation_id });
        if delivery.redelivered {
            // Its last server may have died of it: it must not take a third.
            answer.take_off().await?;
        }
        Ok(Some(RpcCall::new(delivery.data.into(), delivery.redelivered, Box::new(answer))))
    }

    async fn replies(&mut self, deadline: tokio::time::Instant) -> Result<Channel, Failure> {
        if let Some(channel) = &self.replies
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = until(deadline, self.link.connection(deadline).await?.create_channel()).await?;
        self.replies = Some(channel.clone());
        Ok(channel)
    }
}

/// A request in the hands of its server. Dropped unanswered, it goes back to the queue, unless it was taken off.
struct Answer {
    context: Arc<Context>,
    acker: Option<Acker>,
    route: Option<Route>,
}

struct Route {
    channel: Channel,
    link: Arc<Link>,
    reply_to: ShortString,
    correlation_id: Option<ShortString>,
}

#[async_trait]
impl Responder for Answer {
    async fn reply(mut self: Box<Self>, reply: Bytes) -> Result<(), RpcError> {
        if let Some(route) = self.route.take() {
            route.send(&reply, self.context.deadline()).await?;
        }
        Ok(self.take_off().await?)
    }
}

impl Answer {
    /// A channel that is gone answers `false`: the request goes to another server, whose reply nobody awaits.
    async fn take_off(&mut self) -> Result<(), Failure> {
        if let Some(acker) = self.acker.take() {
            until(self.context.deadline(), acker.ack(BasicAckOptions::default())).await?;
        }
        Ok(())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Some(acker) = self.acker.take() else { return };
        let deadline = self.context.deadline();
        let giving_back = async move {
            if let Err(error) = until(deadline, acker.reject(BasicRejectOptions { requeue: true })).await {
                debug!(%error, "an unanswered request comes back with its connection only");
            }
        };
        self.context.tasks.spawn_on(giving_back, &self.context.runtime);
    }
}

impl Route {
    /// Hands the reply to the connection. It is not confirmed: whoever asked has a deadline, and asks again.
    async fn send(self, reply: &[u8], deadline: tokio::time::Instant) -> Result<(), Failure> {
        self.link.unblocked(deadline).await?;
        let mut properties = BasicProperties::default().with_delivery_mode(1);
        if let Some(id) = self.correlation_id {
            properties = properties.with_correlation_id(id);
        }
        let sending = send_unconfirmed(&self.channel, names::DEFAULT_EXCHANGE, self.reply_to, reply, properties);
        until(deadline, sending).await
    }
}
