//! The intake: documents that any AMQP client published, on their way into the logs.
//!
//! Of all producer processes one at a time consumes the intake queue, in *sessions*: from the start of a consumer to the
//! loss of its connection. A session has an epoch of its own, taken from the catalog after its first message came, and
//! checks that it still holds that message before it uses the epoch. So a session that was cut off without knowing can
//! never open a later epoch than its successor, and whatever it still has on its way is void behind the successor's.
//!
//! A message is settled once the broker has confirmed its batch, or once it stands in the dead letters with its reason.

mod message;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio_util::task::TaskTracker;
use warren_protocol::batch::WriterId;
use warren_protocol::ports::{Delivery, Ports, QueueError, QueueName, Settlement};
use warren_protocol::{IndexName, Problem};
use warren_service::catalog::{CatalogError, CatalogHandle};
use warren_service::config::Config;
use warren_service::stop::Stop;

use crate::admission::{Admission, Refused};
use crate::log_space::LogSpace;
use crate::publisher::{Publisher, WriteError, Writer};
use crate::receipts::{Receipts, Reply, Ticket};

/// Between two sessions, so that an outage does not burn the queue's delivery limit of 20.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at a log that is full.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// The intake of one process.
#[derive(Clone)]
pub(crate) struct Intake {
    tasks: TaskTracker,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the connection to the intake queue is lost")]
    ConsumerLost,
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("an index cannot be used: {0}")]
    Index(Problem),
}

type Settled = BoxFuture<'static, Result<(), SessionEnd>>;

impl Intake {
    /// Starts to consume, until `stop`.
    pub(crate) fn start(
        config: Config,
        ports: Ports,
        catalog: CatalogHandle,
        space: LogSpace,
        receipts: Receipts,
        stop: Stop,
    ) -> Self {
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            let mut pause = FIRST_PAUSE;
            while !stop.is_requested() {
                let mut session = Session {
                    admission: Admission::new(catalog.clone(), config.clone()),
                    config: &config,
                    ports: &ports,
                    catalog: &catalog,
                    space: &space,
                    receipts: &receipts,
                    stop: &stop,
                    publisher: None,
                    settling: FuturesUnordered::new(),
                    settled: 0,
                };
                let Err(reason) = session.run().await else { return };
                pause = if session.settled > 0 { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                tracing::warn!(%reason, pause_ms = pause.as_millis() as u64, "the intake starts anew");
                drop(session);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.requested() => {}
                }
            }
        });
        tasks.close();
        Self { tasks }
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

struct Session<'a> {
    admission: Admission,
    config: &'a Config,
    ports: &'a Ports,
    catalog: &'a CatalogHandle,
    space: &'a LogSpace,
    receipts: &'a Receipts,
    stop: &'a Stop,
    /// There once the first message has come: then this session is the active one.
    publisher: Option<Publisher>,
    settling: FuturesUnordered<Settled>,
    settled: u64,
}

impl Session<'_> {
    /// Consumes until `stop` (`Ok`), or until the session cannot go on: what it holds then comes again.
    async fn run(&mut self) -> Result<(), SessionEnd> {
        let consuming = self.ports.queue.consume(QueueName::Intake, self.config.producer.intake_prefetch);
        let mut deliveries = tokio::select! {
            deliveries = consuming => deliveries?,
            () = self.stop.requested() => return Ok(()),
        };
        loop {
            tokio::select! {
                () = self.stop.requested() => break,
                Some(settled) = self.settling.next() => self.note(settled)?,
                delivery = deliveries.next() => self.take(delivery.ok_or(SessionEnd::ConsumerLost)?).await?,
            }
        }
        // What was appended is settled before the consumer goes; the rest goes back to the queue.
        self.settle_all().await
    }

    async fn take(&mut self, delivery: Delivery) -> Result<(), SessionEnd> {
        let publisher = self.publisher(&delivery).await?;
        let alone = delivery.redelivered;
        if alone {
            // A message that came before may have killed its consumer: it must not take its neighbours along.
            self.settle_all().await?;
        }
        let mut reply = Reply::wanted(self.receipts, &delivery.message, delivery.redelivered);
        let mut waits = false;
        loop {
            let (entry, write) = match message::write_of(&self.admission, &delivery.message).await {
                Ok(admitted) => admitted,
                // What a client has to mend is a dead letter; what the broker has to, holds the queue up.
                Err(Refused::Index(problem)) if problem.status >= 500 => return Err(SessionEnd::Index(problem)),
                Err(Refused::Document(problem) | Refused::Index(problem)) => {
                    self.refuse(delivery, problem, reply);
                    break;
                }
            };
            let handed = tokio::select! {
                handed = publisher.write_for(&entry, vec![write], reply.is_some()) => handed,
                () = self.stop.requested() => return Ok(()),
            };
            match handed {
                Ok(mut handed) => {
                    let promise = reply.take().map(|reply| (reply, entry.index.name.clone(), handed.take_tickets()));
                    self.settling.push(Box::pin(async move { settle_write(delivery, handed.confirmed().await, promise).await }));
                    break;
                }
                // The queue fills up meanwhile, and refuses what is published to it.
                Err(WriteError::LogFull(detail)) => {
                    if !std::mem::replace(&mut waits, true) {
                        tracing::warn!(detail, "the intake waits until a log has room again");
                    }
                    if !self.wait(&delivery).await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if waits {
            tracing::info!("the log has room again, the intake goes on");
        }
        if alone { self.settle_all().await } else { Ok(()) }
    }

    /// The publisher of this session; the first message shows that this consumer is the active one.
    async fn publisher(&mut self, first: &Delivery) -> Result<Publisher, SessionEnd> {
        if let Some(publisher) = &self.publisher {
            return Ok(publisher.clone());
        }
        let epoch = self.catalog.next_epoch(WriterId::INTAKE).await?;
        first.check().await?;
        tracing::info!(epoch, "this process takes documents from the intake queue");
        let writer = Writer::Intake { epoch };
        let (log, config, receipts) = (self.ports.log.clone(), self.config.producer.clone(), self.receipts.clone());
        let publisher = Publisher::new(log, writer, config, self.space.clone(), receipts);
        Ok(self.publisher.insert(publisher).clone())
    }

    /// Sends a message to the dead letters, and says so to whoever wants to know.
    fn refuse(&self, delivery: Delivery, problem: Problem, reply: Option<Reply>) {
        let id = reply.as_ref().and_then(|_| message::id_of_refused(&self.admission, &delivery.message));
        self.settling.push(Box::pin(async move {
            delivery.settle(dead_letter(problem.clone())).await?;
            if let Some(reply) = reply {
                reply.reject(id, problem).await;
            }
            Ok(())
        }));
    }

    /// Waits a little with a message in hand, and settles what was appended before; false if the intake is to stop. What is
    /// in hand then comes again.
    async fn wait(&mut self, in_hand: &Delivery) -> Result<bool, SessionEnd> {
        let pause = tokio::time::sleep(FULL_PAUSE);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = self.stop.requested() => return Ok(false),
                Some(settled) = self.settling.next() => self.note(settled)?,
            }
        }
        in_hand.check().await?;
        Ok(true)
    }

    async fn settle_all(&mut self) -> Result<(), SessionEnd> {
        while let Some(settled) = self.settling.next().await {
            self.note(settled)?;
        }
        Ok(())
    }

    fn note(&mut self, settled: Result<(), SessionEnd>) -> Result<(), SessionEnd> {
        settled?;
        self.settled += 1;
        Ok(())
    }
}

fn dead_letter(problem: Problem) -> Settlement {
    Settlement::DeadLetter { reason: problem.code.to_string(), detail: problem.detail }
}

/// Whoever wants receipts for the writes of a message, and what they are waited for with.
type Promise = (Reply, IndexName, Vec<Ticket>);

async fn settle_write(delivery: Delivery, outcome: Result<(), WriteError>, promise: Option<Promise>) -> Result<(), SessionEnd> {
    match outcome {
        Ok(()) => {
            delivery.settle(Settlement::Done).await?;
            if let Some((reply, index, tickets)) = promise {
                reply.promise(&index, tickets);
            }
        }
        Err(error @ WriteError::TooLarge(_)) => {
            let problem = Problem::from(error);
            delivery.settle(dead_letter(problem.clone())).await?;
            if let Some((reply, _, mut tickets)) = promise {
                let id = tickets.pop().and_then(|mut ticket| ticket.ids.pop());
                reply.reject(id.map(String::from), problem).await;
            }
        }
        // All of them come again in the order of the queue; of a deleted index, the catalog may know a new one then.
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
