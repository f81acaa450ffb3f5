//! Appends to streams: many messages on their way at a time, each confirmed, each log in order.
//!
//! Every log has a channel of its own. lapin matches returned messages to confirms by their order, and a broker that
//! confirms several messages at once leaves that order open: on a shared channel, a message that no queue took could
//! pass as stored because another one gets its return. On a channel with one destination there is nothing to mix up.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;
use warren_protocol::dead_letter::now_ms;

use super::connection::{Context, Link};
use super::failure::{Failure, confirmed, until};
use super::names;
use super::topology::table;

/// Messages that wait for their turn on one connection.
const WAITING: usize = 64;
/// Channels on one connection: idle ones beyond it are closed. Brokers allow 2,047 by default.
const MAX_CHANNELS: usize = 1000;
/// What a message counts besides its bytes.
const MESSAGE_OVERHEAD: usize = 512;

/// The appending half of the partition logs.
pub(super) struct Publisher {
    lanes: Vec<Lane>,
    /// Bytes that may still be handed over.
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    timeout: Duration,
}

/// One connection, and the task that owns its channels.
struct Lane {
    link: Arc<Link>,
    jobs: mpsc::Sender<Job>,
    /// Held from the wait for room to the place in `jobs`: keeps the order of the calls.
    turn: Mutex<()>,
}

struct Job {
    log: String,
    message: Bytes,
    deadline: Instant,
    /// Given back when the message is confirmed or its connection is gone, not earlier: until then lapin has it.
    room: OwnedSemaphorePermit,
    done: oneshot::Sender<Result<(), Failure>>,
}

impl Publisher {
    pub(super) fn new(context: &Arc<Context>, connections: u8, max_unconfirmed_bytes: u32) -> Self {
        let lane = |_| {
            let link = Link::new(context, "append", context.heartbeat_s);
            let (sender, jobs) = mpsc::channel(WAITING);
            let task =
                LaneTask { context: Arc::clone(context), link: Arc::clone(&link), connection: None, channels: HashMap::new() };
            context.tasks.spawn(task.run(jobs));
            Lane { link, jobs: sender, turn: Mutex::new(()) }
        };
        Self {
            lanes: (0..connections).map(lane).collect(),
            budget: Arc::new(Semaphore::new(max_unconfirmed_bytes as usize)),
            budget_bytes: max_unconfirmed_bytes,
            timeout: context.timeout,
        }
    }

    /// Takes a message, as soon as there is room for it; the future is its confirm.
    pub(super) async fn append(
        &self,
        log: String,
        message: Bytes,
    ) -> Result<impl Future<Output = Result<(), Failure>> + Send + use<>, Failure> {
        let lane = &self.lanes[lane_of(&log, self.lanes.len())];
        let (done, outcome) = oneshot::channel();
        let bytes = u32::try_from(message.len() + MESSAGE_OVERHEAD).unwrap_or(u32::MAX).min(self.budget_bytes);
        let hand_over = async {
            let _turn = lane.turn.lock().await;
            let room = Arc::clone(&self.budget).acquire_many_owned(bytes).await.map_err(|_| Failure::closed())?;
            let deadline = Instant::now() + self.timeout;
            lane.jobs.send(Job { log, message, deadline, room, done }).await.map_err(|_| Failure::closed())?;
            Ok(deadline)
        };
        let deadline = timeout(self.timeout, hand_over).await.unwrap_or_else(|_| Err(Failure::timeout(self.timeout)))?;
        let limit = self.timeout;
        Ok(async move {
            match timeout_at(deadline, outcome).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Failure::closed()),
                Err(_) => Err(Failure::timeout(limit)),
            }
        })
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.lanes.iter().map(|lane| &lane.link)
    }
}

fn lane_of(log: &str, lanes: usize) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(log);
    usize::try_from(hash % lanes.max(1) as u64).unwrap_or(0)
}

struct LaneTask {
    context: Arc<Context>,
    link: Arc<Link>,
    /// What `channels` belong to.
    connection: Option<Arc<Connection>>,
    channels: HashMap<String, Arc<Channel>>,
}

impl LaneTask {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                () = self.context.stop.cancelled(), if !jobs.is_closed() => {
                    jobs.close();
                    continue;
                }
            };
            let Some(job) = job else { break };
            self.hand_over(job).await;
        }
    }

    async fn hand_over(&mut self, job: Job) {
        let channel = match self.channel(&job.log, job.deadline).await {
            Ok(channel) => channel,
            Err(failure) => {
                // Whoever asked may have gone.
                let _ = job.done.send(Err(failure));
                return;
            }
        };
        let publishing =
            hand_to_channel(Channel::clone(&channel), names::DEFAULT_EXCHANGE, &job.log, job.message.clone(), stamped());
        self.context.tasks.spawn(await_confirm(job, channel, publishing, self.context.timeout));
    }

    /// The channel of a log; makes it, and the connection, as needed.
    async fn channel(&mut self, log: &str, deadline: Instant) -> Result<Arc<Channel>, Failure> {
        let connection = self.link.unblocked(deadline).await?;
        if !self.connection.as_ref().is_some_and(|known| Arc::ptr_eq(known, &connection)) {
            self.channels.clear();
            self.connection = Some(Arc::clone(&connection));
        }
        if let Some(channel) = self.channels.get(log)
            && channel.status().connected()
        {
            return Ok(Arc::clone(channel));
        }
        self.make_room();
        let channel = Arc::new(until(deadline, connection.create_channel()).await?);
        until(deadline, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        self.channels.insert(log.to_owned(), Arc::clone(&channel));
        Ok(channel)
    }

    /// Closes the channels on which nothing is on its way, once there are many.
    fn make_room(&mut self) {
        if self.channels.len() >= MAX_CHANNELS {
            self.channels.retain(|_, channel| Arc::strong_count(channel) > 1);
        }
    }
}

/// Persistent, with the time.
fn stamped() -> BasicProperties {
    let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
    let headers = table([(names::HEADER_TIME, AMQPValue::LongLongInt(now))]);
    BasicProperties::default().with_delivery_mode(2).with_headers(headers)
}

/// The confirm of a message that was handed to its connection.
pub(super) type Publishing = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// Hands a message to the channel's connection before it returns, so that messages go in the order of these calls;
/// the future is the confirm. It must be awaited to its end: lapin keeps confirms that are dropped before.
pub(super) fn hand_to_channel(
    channel: Channel,
    exchange: &str,
    routing_key: &str,
    message: Bytes,
    properties: BasicProperties,
) -> Publishing {
    let (exchange, routing_key) = (exchange.into(), routing_key.into());
    let mut publishing: Publishing = Box::pin(async move {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        #[expect(clippy::disallowed_methods, reason = "this is the one place that hands over what is confirmed")]
        let handed_over = channel.basic_publish(exchange, routing_key, options, &message, properties).await?;
        handed_over.await
    });
    // lapin queues the frames in the first poll; the rest awaits the socket and the broker.
    match (&mut publishing).now_or_never() {
        Some(outcome) => Box::pin(std::future::ready(outcome)),
        None => publishing,
    }
}

/// Hands over a message that nobody misses if it is lost: a reply, an announcement.
pub(super) async fn send_unconfirmed(
    channel: &Channel,
    exchange: &'static str,
    routing_key: ShortString,
    message: &[u8],
    properties: BasicProperties,
) -> lapin::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that hands over what is not confirmed")]
    channel.basic_publish(exchange.into(), routing_key, BasicPublishOptions::default(), message, properties).await?;
    Ok(())
}

async fn await_confirm(job: Job, channel: Arc<Channel>, mut publishing: Publishing, limit: Duration) {
    let outcome = match timeout(limit, &mut publishing).await {
        Ok(Ok(confirmation)) => confirmed(confirmation),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let _ = job.done.send(Err(Failure::timeout(limit)));
            warn!(log = job.log, "the broker did not confirm a message in time; its channel is given up");
            let _ = channel.close(200, "no confirm in time".into()).await;
            let _ = publishing.await;
            drop(job.room);
            return;
        }
    };
    let _ = job.done.send(outcome);
}
