//! From the name of a host to the addresses that may be asked.
//!
//! The HTTP client connects to exactly the addresses that it gets here, each of them checked: there is no second look-up that could
//! answer something else.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve as ClientResolve, Resolving};
use tokio::sync::Semaphore;

use super::guard::{Forbidden, Guard};

/// A name service that takes longer is down.
const LIMIT: Duration = Duration::from_secs(10);
/// Threads that wait for the name service of the operating system, which has time limits of its own.
const LOOKUPS: usize = 32;

/// Who knows addresses.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// The addresses of a host. Whoever asks has a deadline of its own.
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system: its hosts file, its name servers.
pub(crate) struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolve for SystemResolver {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            let looking = tokio::task::spawn_blocking(move || {
                // Held until the thread is free again, whether or not anybody waits any more.
                let _permit = permit;
                Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            });
            looking.await.map_err(io::Error::other)?
        })
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// None of its addresses may be asked.
    #[error("{host} leads to an address that is not asked: {why}")]
    Forbidden { host: String, why: Forbidden },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("the name service did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the name service fails: {0}")]
    Failed(#[from] io::Error),
}

/// What the HTTP client asks.
pub(super) struct GuardedResolver {
    resolver: Arc<dyn Resolve>,
    guard: Guard,
    limit: Duration,
}

impl GuardedResolver {
    pub(super) fn new(resolver: Arc<dyn Resolve>, guard: Guard, timeout: Duration) -> Self {
        Self { resolver, guard, limit: timeout.min(LIMIT) }
    }
}

impl ClientResolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, guard, limit) = (Arc::clone(&self.resolver), self.guard.clone(), self.limit);
        Box::pin(async move {
            let allowed = allowed(&*resolver, &guard, name.as_str(), limit).await?;
            // The client puts the port of the link in place of 0.
            let addresses: Addrs = Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

async fn allowed(resolver: &dyn Resolve, guard: &Guard, host: &str, limit: Duration) -> Result<Vec<IpAddr>, LookupError> {
    let looked_up = tokio::time::timeout(limit, resolver.lookup(host)).await;
    let mut addresses = looked_up.map_err(|_| LookupError::Timeout(limit))??;
    let mut forbidden = None;
    addresses.retain(|address| match guard.check(*address) {
        Ok(()) => true,
        Err(why) => {
            forbidden.get_or_insert(why);
            false
        }
    });
    match forbidden {
        Some(why) if addresses.is_empty() => Err(LookupError::Forbidden { host: host.to_owned(), why }),
        None if addresses.is_empty() => Err(LookupError::NoAddress(host.to_owned())),
        _ => Ok(addresses),
    }
}
