//! The answering side: a consumer whose deliveries are acknowledged once they are answered.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::ShortString;
use lapin::{Acker, BasicProperties, Channel};
use tracing::{debug, warn};
use warren_protocol::ports::{
    ClientCall, ClientCalls, ClientReply, ClientRequest, ClientResponder, Incoming, NoAddress, Responder, RpcCall, RpcError,
    RpcTarget,
};

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
    let server = Server::open(context, link, target.to_string(), source, concurrency).await?;
    let calls = stream::unfold(server, |mut server| async { Some((server.next_call().await?, server)) });
    Ok(calls.boxed())
}

/// Consumes the queue of what clients ask.
pub(super) async fn serve_clients(
    context: &Arc<Context>,
    link: &Arc<Link>,
    concurrency: NonZeroU16,
) -> Result<ClientCalls, RpcError> {
    let server = Server::open(context, link, names::SEARCH_QUEUE.to_owned(), Source::Queue, concurrency).await?;
    let calls = stream::unfold(server, |mut server| async { Some((server.next_client().await?, server)) });
    Ok(calls.boxed())
}

struct Server {
    context: Arc<Context>,
    link: Arc<Link>,
    requests: Subscription,
    /// A channel of its own for the replies, so that what was taken can be answered after this server has ended.
    replies: Option<Channel>,
}

/// A request, and the way to answer it.
struct Taken {
    delivery: Delivery,
    answer: Answer,
}

impl Server {
    async fn open(
        context: &Arc<Context>,
        link: &Arc<Link>,
        queue: String,
        source: Source,
        concurrency: NonZeroU16,
    ) -> Result<Self, RpcError> {
        let requests = Subscription::open(context, link, queue, source, concurrency.get()).await?;
        Ok(Self { context: Arc::clone(context), link: Arc::clone(link), requests, replies: None })
    }

    async fn next_call(&mut self) -> Option<RpcCall> {
        loop {
            let Taken { delivery, mut answer } = self.next().await?;
            if answer.route.is_some() {
                return Some(RpcCall::new(delivery.data.into(), delivery.redelivered, Box::new(answer)));
            }
            let taken_off = answer.take_off().await;
            debug!(?taken_off, "a request without an address for its reply");
        }
    }

    async fn next_client(&mut self) -> Option<ClientCall> {
        let Taken { delivery, answer } = self.next().await?;
        let properties = &delivery.properties;
        let no_address = NoAddress::check(properties.reply_to().as_ref().map(ShortString::as_str)).err();
        let expiration = properties.expiration().as_ref().and_then(|text| text.as_str().parse().ok());
        let request = ClientRequest {
            index: delivery.routing_key.to_string(),
            content_encoding: properties.content_encoding().as_ref().map(ToString::to_string),
            body: delivery.data.into(),
        };
        let mut call = ClientCall::new(request, delivery.redelivered, Box::new(answer));
        // The broker drops what has waited so long. How long this one has is not known: no longer than that.
        call.deadline = expiration.map(|milliseconds| call.arrival + Duration::from_millis(milliseconds));
        call.no_address = no_address;
        Some(call)
    }

    async fn next(&mut self) -> Option<Taken> {
        loop {
            let delivery = self.requests.next().await?;
            match self.take(delivery).await {
                Ok(taken) => return Some(taken),
                Err(failure) => warn!(error = %failure, "a request was given back: there is no channel for its reply"),
            }
        }
    }

    async fn take(&mut self, delivery: Delivery) -> Result<Taken, Failure> {
        let deadline = self.context.deadline();
        let mut answer = Answer { context: Arc::clone(&self.context), acker: Some(delivery.acker.clone()), route: None };
        if let Some(reply_to) = delivery.properties.reply_to().clone() {
            let correlation_id = delivery.properties.correlation_id().clone();
            let channel = self.replies(deadline).await?;
            answer.route = Some(Route { channel, link: Arc::clone(&self.link), reply_to, correlation_id });
        }
        if delivery.redelivered {
            // Its last server may have died of it: it must not take a third.
            answer.take_off().await?;
        }
        Ok(Taken { delivery, answer })
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
            route.send(&reply, BasicProperties::default(), self.context.deadline()).await?;
        }
        Ok(self.take_off().await?)
    }
}

#[async_trait]
impl ClientResponder for Answer {
    async fn reply(mut self: Box<Self>, reply: ClientReply) -> Result<(), RpcError> {
        if let Some(route) = self.route.take() {
            let properties = BasicProperties::default().with_content_type(reply.content_type.as_str().into());
            route.send(&reply.body, properties, self.context.deadline()).await?;
        }
        Ok(self.take_off().await?)
    }

    async fn discard(mut self: Box<Self>) -> Result<(), RpcError> {
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
    async fn send(self, reply: &[u8], properties: BasicProperties, deadline: tokio::time::Instant) -> Result<(), Failure> {
        self.link.unblocked(deadline).await?;
        let mut properties = properties.with_delivery_mode(1);
        if let Some(id) = self.correlation_id {
            properties = properties.with_correlation_id(id);
        }
        let sending = send_unconfirmed(&self.channel, names::DEFAULT_EXCHANGE, self.reply_to, reply, properties);
        until(deadline, sending).await
    }
}
