//! The ways in: documents from HTTP and from any AMQP client are checked, given an id and a partition, and appended to
//! that partition's log.
//!
//! From the edge inwards: [`http`] and [`intake`] take documents, [`links`] fetches pages and [`extract`] reads their text, [`split`] cuts a
//! body into documents, [`admission`] checks them, [`upload`] counts what becomes of them, [`publisher`] hands each to the lane of its
//! partition, and a lane packs, appends and confirms, exactly once. [`log_space`] refuses what would fill a log with what no snapshot has,
//! and [`receipts`] tells those who want to know when their writes can be found. [`delete_by_query`] asks workers for what is to be deleted.

pub mod admission;
mod burying;
pub mod delete_by_query;
pub mod extract;
pub mod http;
pub mod intake;
mod lane;
pub mod links;
mod log_space;
pub mod publisher;
pub mod receipts;
pub mod split;
pub mod upload;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Semaphore;
use warren_protocol::ports::{Ports, SearchRpc, WorkQueue};
use warren_service::catalog::CatalogHandle;
use warren_service::config::Config;
use warren_service::readiness::Readiness;
use warren_service::roster::Roster;
use warren_service::stop::Stop;

pub use publisher::{Publisher, WriteError};

/// Where the producer listens unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The producer of one process: what its HTTP routes work with, and its intake.
#[derive(Clone)]
pub struct Producer {
    /// Appends documents.
    pub publisher: Publisher,
    /// Which indexes exist.
    pub catalog: CatalogHandle,
    /// The limits in force.
    pub config: Config,
    rpc: Arc<dyn SearchRpc>,
    roster: Roster,
    uploads: Arc<Semaphore>,
    /// The memory of what requests collect.
    collecting: Arc<Semaphore>,
    /// Where links to be fetched go.
    pub queue: Arc<dyn WorkQueue>,
    intakes: Option<intake::Intakes>,
    fetchers: Option<links::Fetchers>,
    space: log_space::LogSpace,
    receipts: receipts::Receipts,
}

impl Producer {
    /// Starts the tasks of a producer; [`Producer::close`] ends them.
    pub fn start(config: &Config, ports: &Ports, catalog: CatalogHandle, roster: &Roster, stop: &Stop) -> Self {
        let space = log_space::LogSpace::start(ports, catalog.clone(), roster.clone());
        let receipts = receipts::Receipts::new(ports.bulletin.clone(), &config.producer);
        let writer = publisher::Writer::process();
        let buffer = || Arc::new(Semaphore::new(config.producer.buffer_bytes.get() as usize));
        let (room, collecting) = (buffer(), buffer());
        let log = ports.log.clone();
        let publisher = Publisher::new(log, writer, config.producer.clone(), space.clone(), receipts.clone(), room.clone());
        let intakes = config.producer.intake.then(|| {
            let (config, ports, catalog) = (config.clone(), ports.clone(), catalog.clone());
            intake::Intakes::start(config, ports, catalog, space.clone(), receipts.clone(), room, stop.clone())
        });
        let uploads = Arc::new(Semaphore::new(config.producer.max_uploads.get() as usize));
        let (rpc, roster) = (ports.rpc.clone(), roster.clone());
        let fetchers = config.links.fetch.then(|| {
            let admission = admission::Admission::new(catalog.clone(), config.clone());
            let world = links::World { queue: ports.queue.clone(), admission, publisher: publisher.clone() };
            links::Fetchers::start(config.links.clone(), world, stop.clone())
        });
        let (config, queue) = (config.clone(), ports.queue.clone());
        Self { publisher, catalog, config, queue, rpc, roster, uploads, collecting, intakes, fetchers, space, receipts }
    }

    /// Waits until everything that was taken is confirmed or refused. Call it once nothing new comes in.
    pub async fn close(self) {
        if let Some(intakes) = self.intakes {
            intakes.stopped().await;
        }
        if let Some(fetchers) = self.fetchers {
            fetchers.stopped().await;
        }
        self.publisher.close().await;
        self.receipts.close().await;
        self.space.close().await;
    }
}

/// Runs a producer until `stop`: the routes of [`http`], and the intake unless the configuration says no.
pub async fn run(config: Config, ports: Ports, stop: Stop) -> anyhow::Result<()> {
    let listener = warren_service::http::bind(&config.http, DEFAULT_LISTEN, &config.auth).await?;
    let catalog = CatalogHandle::start(&ports).await?;
    let roster = Roster::start(&ports, &stop).await?;
    let producer = Producer::start(&config, &ports, catalog.clone(), &roster, &stop);
    let readiness = Readiness::start(&ports, catalog);
    let router = warren_service::http::finish(http::api(producer.clone()), move || readiness.check());
    warren_service::http::serve(listener, router, &config, &stop).await?;
    producer.close().await;
    Ok(())
}
