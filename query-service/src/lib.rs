//! Searches over HTTP and AMQP: each is fanned out to the partitions of its index over queues, and the answers are merged.
//!
//! [`routes`] and [`client_searches`] are the edges. Behind them, [`search`] takes a search from its arrival to its answer:
//! [`statistics`] says what scores depend on, [`fan_out`] asks all partitions, [`ask`] gets the answer of one at its [`pace`],
//! [`merge`] puts the answers together, and [`memory`] bounds what they take; [`aggregating`] does all of this for aggregations.
//! [`at_least`] is what a search must have seen. [`suggesting`] answers who is typing, [`merging`] who has stopped
//! writing, and [`dead_letters`] looks through what could not be processed.

mod aggregating;
mod ask;
mod at_least;
mod client_searches;
mod dead_letters;
mod fan_out;
mod memory;
mod merge;
mod merging;
mod pace;
mod routes;
mod search;
mod statistics;
mod suggesting;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa_axum::router::OpenApiRouter;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::Ports;
use warren_protocol::problem::Code;
use warren_protocol::{IndexName, Problem};
use warren_service::config::Config;
use warren_service::{CatalogHandle, Readiness, Roster, Stop, http};

pub use client_searches::ClientSearches;
use fan_out::FanOut;
use memory::Memory;
use statistics::StatisticsCache;

/// Where the query service listens unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// What the routes work with. All clones are one.
#[derive(Clone)]
pub struct QueryService {
    shared: Arc<Shared>,
}

struct Shared {
    ports: Ports,
    catalog: CatalogHandle,
    roster: Roster,
    fan_out: FanOut,
    statistics: StatisticsCache,
    searches: Semaphore,
    max_searches: u32,
    merges: Semaphore,
    max_merges: u32,
    memory: Memory,
    client_counts: client_searches::Counts,
    max_replay_bytes: u64,
    max_buckets: u32,
}

impl QueryService {
    /// A query service on these ports.
    pub fn new(config: &Config, ports: &Ports, catalog: CatalogHandle, roster: Roster) -> Self {
        let (max_searches, max_merges) = (config.query.max_concurrent.get(), config.query.max_merges.get());
        let searches = Semaphore::new(max_searches as usize);
        let fan_out = FanOut::new(ports.rpc.clone(), roster.clone());
        let statistics = StatisticsCache::new(Duration::from_millis(config.query.statistics_cache_ms));
        let memory = Memory::new(&config.query);
        let (ports, max_buckets) = (ports.clone(), config.query.max_buckets.get());
        let (client_counts, max_replay_bytes) = (client_searches::Counts::default(), config.query.max_replay_bytes.get());
        Self {
            shared: Arc::new(Shared {
                ports,
                catalog,
                roster,
                fan_out,
                statistics,
                searches,
                max_searches,
                merges: Semaphore::new(max_merges as usize),
                max_merges,
                memory,
                client_counts,
                max_replay_bytes,
                max_buckets,
            }),
        }
    }

    /// The right to search, for one of as many as there may be at a time.
    fn admit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let Shared { searches, max_searches, .. } = &*self.shared;
        searches.try_acquire().map_err(|_| too_many(*max_searches, "searches are under way", "query.max_concurrent"))
    }

    /// The same for merges, which take far longer.
    fn admit_merge(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let Shared { merges, max_merges, .. } = &*self.shared;
        merges.try_acquire().map_err(|_| too_many(*max_merges, "merges are waited for", "query.max_merges"))
    }

    /// The index of that name, or the problem that says why there is none.
    fn index(&self, name: &str) -> Result<Arc<Entry>, Problem> {
        let name = IndexName::new(name)?;
        let catalog = &self.shared.catalog;
        catalog.get(&name).ok_or_else(|| match catalog.is_ready() {
            true => unknown_index(&name),
            false => Problem::new(Code::Unavailable, "the catalog of indexes is not read yet: try again"),
        })
    }
}

fn too_many(most: u32, what: &str, setting: &str) -> Problem {
    Problem::new(Code::TooManyRequests, format!("{most} {what} already ({setting}): try again"))
}

fn unknown_index(name: &IndexName) -> Problem {
    let detail = format!("there is no index \"{name}\": create it with PUT /indexes/{name}, or publish a document to it");
    Problem::new(Code::UnknownIndex, detail)
}

/// The routes and their description, to be finished by [`http::finish`], alone or with those of another role.
pub fn api(service: QueryService) -> OpenApiRouter {
    routes::api().with_state(service)
}

/// The routes of a query service that stands alone.
pub fn router(service: QueryService) -> Router {
    let readiness = Readiness::start(&service.shared.ports, service.shared.catalog.clone());
    http::finish(api(service), move || readiness.check())
}

/// Runs a query service until `stop`.
pub async fn run(config: Config, ports: Ports, stop: Stop) -> anyhow::Result<()> {
    let listener = http::bind(&config.http, DEFAULT_LISTEN, &config.auth).await?;
    let catalog = CatalogHandle::start(&ports).await?;
    let roster = Roster::start(&ports, &stop).await?;
    let service = QueryService::new(&config, &ports, catalog, roster);
    let clients = ClientSearches::start(service.clone(), &config, &stop);
    http::serve(listener, router(service), &config, &stop).await?;
    clients.stopped().await;
    Ok(())
}
