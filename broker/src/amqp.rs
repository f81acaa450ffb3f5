//! The ports over RabbitMQ, by lapin.
//!
//! A process has up to five kinds of connections, each made when it is first needed, because a broker with an alarm
//! blocks a publishing connection as a whole: `append` (partition logs), `consume` (followers, queues, the bulletin),
//! `call` (questions), `serve` (answers, announcements), `slots` (claims); and two small pools for short operations.
//! None of them uses lapin's recovery, see [`connection`].

mod bulletin;
mod claims;
mod connection;
mod consumer;
mod end;
mod failure;
mod log;
mod message;
mod names;
mod pool;
mod publisher;
mod queue;
mod resume;
mod rpc;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;
use warren_protocol::ports::Ports;

use crate::settings::{Settings, redact};
use crate::{Broker, BrokerError};
use bulletin::FanoutBulletin;
use claims::ExclusiveQueues;
use connection::{Context, Link, SHORTEST_PAUSE};
use failure::Failure;
use log::Streams;
use pool::Pool;
use publisher::Publisher;
use queue::QuorumQueues;
use rpc::QueueRpc;
use topology::DeadLetterLimits;

/// What a frozen holder of a slot has left: RabbitMQ passes its slots on after about 13 s.
const SLOT_HEARTBEAT_S: u16 = 5;
const POOLED_PUBLISHERS: usize = 4;
const POOLED_ADMINS: usize = 2;
/// How long closing awaits confirms and settlements.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Connects, and declares what all processes share.
pub(crate) async fn open(url: &str, settings: &Settings, role: &str) -> Result<Broker, BrokerError> {
    let stop = CancellationToken::new();
    let context = Arc::new(Context {
        uri: parse(url)?,
        role: role.to_owned(),
        heartbeat_s: settings.heartbeat_s,
        connect_timeout: Duration::from_millis(settings.connect_timeout_ms.get()),
        timeout: Duration::from_millis(settings.timeout_ms.get()),
        tasks: TaskTracker::new(),
        runtime: tokio::runtime::Handle::current(),
        stop: stop.clone(),
    });
    let unavailable = |failure: Failure| BrokerError::Unavailable { url: redact(url), reason: failure.to_string() };
    let link = |purpose, heartbeat_s| Link::new(&context, purpose, heartbeat_s);
    let (consume, call, serve) =
        (link("consume", settings.heartbeat_s), link("call", settings.heartbeat_s), link("serve", settings.heartbeat_s));
    let slots = link("slots", SLOT_HEARTBEAT_S);
    let publishing = Arc::new(Pool::new(&context, "publish", POOLED_PUBLISHERS).map_err(unavailable)?);
    let admin = Arc::new(Pool::new(&context, "admin", POOLED_ADMINS).map_err(unavailable)?);
    let publisher = Publisher::new(&context, settings.publish_connections.get(), settings.max_unconfirmed_bytes.get());

    let limits =
        DeadLetterLimits { messages: settings.dead_letters_max_messages.get(), bytes: settings.dead_letters_max_bytes.get() };
    declare(&context, &admin, limits).await.map_err(|failure| match failure {
        Failure::Refused(reason) => BrokerError::Topology { reason },
        other => unavailable(other),
    })?;

    let mut links = vec![Arc::clone(&consume), Arc::clone(&call), Arc::clone(&serve), Arc::clone(&slots)];
    links.extend(publisher.links().cloned());
    let ports = Ports {
        log: Arc::new(Streams { context: Arc::clone(&context), publisher, link: Arc::clone(&consume), pool: Arc::clone(&admin) }),
        queue: Arc::new(QuorumQueues {
            context: Arc::clone(&context),
            link: Arc::clone(&consume),
            publishing: Arc::clone(&publishing),
            admin: Arc::clone(&admin),
            looking: Arc::default(),
        }),
        rpc: Arc::new(QueueRpc::new(&context, &call, &serve, &admin)),
        claims: Arc::new(ExclusiveQueues::new(&context, &slots)),
        bulletin: Arc::new(FanoutBulletin::new(&context, &serve, &consume)),
    };
    Ok(Broker::new(ports, close(context, links, [publishing, admin])))
}

/// Declares, again and again while the broker is still starting.
async fn declare(context: &Context, admin: &Pool, limits: DeadLetterLimits) -> Result<(), Failure> {
    let deadline = Instant::now() + context.connect_timeout;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let attempt = async {
            declare_dead_letters(admin, limits).await?;
            let lease = admin.lease().await?;
            let channel = lease.channel();
            lease.run(topology::declare_shared(&channel)).await
        };
        match timeout_at(deadline, attempt).await.unwrap_or_else(|_| Err(Failure::timeout(context.connect_timeout))) {
            Err(Failure::Unavailable(reason)) if Instant::now() + pause < deadline => {
                warn!(reason, "RabbitMQ does not answer yet");
                context.pause(&mut pause).await;
            }
            outcome => return outcome,
        }
    }
}

/// The queue of the dead letters keeps the limits that it has: a broker takes no others for a queue that exists.
async fn declare_dead_letters(admin: &Pool, limits: DeadLetterLimits) -> Result<(), Failure> {
    let lease = admin.lease().await?;
    let channel = lease.channel();
    match lease.run(topology::declare_dead_letters(&channel, limits)).await {
        Err(Failure::Refused(reason)) if reason.contains("inequivalent arg 'x-max-length") => {
            warn!(
                reason,
                "the dead letters keep the limits that their queue was made with; a RabbitMQ policy (max-length, \
                 max-length-bytes) lowers them, and to raise them, empty the queue warren.dead.letters and delete it"
            );
            Ok(())
        }
        outcome => outcome,
    }
}

async fn close(context: Arc<Context>, links: Vec<Arc<Link>>, pools: [Arc<Pool>; 2]) {
    let deadline = Instant::now() + CLOSE_LIMIT;
    context.stop.cancel();
    context.tasks.close();
    if timeout_at(deadline, context.tasks.wait()).await.is_err() {
        warn!(tasks = context.tasks.len(), "closing without the broker's last answers");
    }
    for pool in pools {
        pool.close();
    }
    for link in links {
        link.close(deadline).await;
    }
}

/// The address, checked where lapin would take something else than what was written.
fn parse(url: &str) -> Result<AMQPUri, BrokerError> {
    let bad = |reason: String| BrokerError::BadUrl { reason };
    let uri: AMQPUri = url.parse().map_err(|reason: String| bad(reason.replace(url, &redact(url))))?;
    let authority = url.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
    if authority.rsplit('@').next().is_some_and(|host| host.starts_with('[')) {
        return Err(bad("an IPv6 address cannot stand in it: write a host name".to_owned()));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_without_its_password() {
        for url in
            ["amqp:user:secret@host", "http://user:secret@host", "amqp://user:secret@host:port", "user:secret@host", "secret"]
        {
            let Err(BrokerError::BadUrl { reason }) = parse(url) else { panic!("{url} was taken") };
            assert!(!reason.contains("secret") || url == "secret", "{reason}");
        }
        assert!(matches!(parse("amqp://user:secret@[::1]:5672/%2f"), Err(BrokerError::BadUrl { .. })));
    }

    #[test]
    fn an_address_keeps_what_it_says() {
        let uri = parse("amqps://user:secret@10.0.0.7/search?heartbeat=30").unwrap();
        assert_eq!((uri.authority.host.as_str(), uri.authority.port, uri.vhost.as_str()), ("10.0.0.7", 5671, "search"));
        assert_eq!(uri.query.heartbeat, Some(30));
    }
}
