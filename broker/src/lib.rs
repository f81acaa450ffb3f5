//! The five ports of `warren-protocol`, over RabbitMQ and inside one process.
//!
//! [`connect`] takes the one decision: an address in the settings means RabbitMQ (`amqp`), none means the embedded
//! broker in a folder of the data directory. Both pass the contract suite in `tests/`.

mod amqp;
pub mod embedded;
mod settings;

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use warren_protocol::ports::Ports;

pub use settings::Settings;

/// A stream that keeps something until it is dropped: beyond its end, too.
fn keeping<T>(kept: impl Send + Sync + 'static, stream: impl Stream<Item = T> + Send + 'static) -> BoxStream<'static, T> {
    stream.inspect(move |_| _ = &kept).boxed()
}

/// A broker in use. Dropping it without [`Broker::close`] leaves what was not confirmed to chance.
pub struct Broker {
    /// The ways to it; clones of them stay usable until it is closed.
    pub ports: Ports,
    close: BoxFuture<'static, ()>,
}

impl Broker {
    /// The ports, and what is to be done when nobody needs them any more.
    pub(crate) fn new(ports: Ports, close: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { ports, close: Box::pin(close) }
    }

    /// Awaits what was handed over, within limits, then closes connections and files.
    pub async fn close(self) {
        self.close.await;
    }
}

/// Opens the broker that `settings` ask for. `role` names the connections (`producer`, `worker`, …); the embedded
/// broker keeps its files in `data_dir/broker`.
///
/// On RabbitMQ this awaits the broker for `connect_timeout_ms`, then declares what all processes share.
pub async fn connect(settings: &Settings, role: &str, data_dir: &Path) -> Result<Broker, BrokerError> {
    match &settings.url {
        Some(url) => amqp::open(url, settings, role).await,
        None => open_embedded(data_dir.join("broker")).await,
    }
}

async fn open_embedded(path: PathBuf) -> Result<Broker, BrokerError> {
    let dir = path.clone();
    let opened = tokio::task::spawn_blocking(move || embedded::Embedded::open(&dir)).await;
    let failed = |reason: String| BrokerError::Storage { path, reason };
    match opened {
        Ok(Ok(embedded)) => Ok(Broker::new(embedded.ports(), embedded.close())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Why there is no broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The address cannot be understood.
    #[error("broker.url is not an AMQP address ({reason}): write amqp://user:password@host:5672/vhost, or amqps:// for TLS")]
    BadUrl {
        /// What is wrong with it; never holds the password.
        reason: String,
    },
    /// RabbitMQ cannot be reached, or refuses the login.
    #[error(
        "RabbitMQ at {url} cannot be used ({reason}): check that it runs, and host, user, password and virtual host in broker.url"
    )]
    Unavailable {
        /// The address without the password.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The files of the embedded broker cannot be used.
    #[error("the embedded broker cannot use {} ({reason}): check that the folder can be written and that no other Warren uses it", path.display())]
    Storage {
        /// The folder.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// RabbitMQ refuses Warren's exchanges and queues.
    #[error(
        "RabbitMQ refuses Warren's exchanges and queues ({reason}): give Warren a virtual host of its own, and its user the \
         permissions configure, write and read on warren.*"
    )]
    Topology {
        /// What the broker said.
        reason: String,
    },
}
