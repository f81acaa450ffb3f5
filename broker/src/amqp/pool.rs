//! Short operations, each on a channel of its own, on a few pooled connections.
//!
//! A refused operation costs its channel and nothing else; a connection that hangs is thrown away, not used again.

use std::sync::Arc;

use bytes::Bytes;
use deadpool_lapin::{Config, Object, PoolConfig, PoolError, Runtime, Timeouts};
use lapin::options::ConfirmSelectOptions;
use lapin::{BasicProperties, Channel, ConnectionProperties};
use tokio::time::{Instant, timeout_at};

use super::connection::Context;
use super::failure::{Failure, confirmed, until};
use super::publisher::hand_to_channel;

pub(super) struct Pool {
    context: Arc<Context>,
    connections: deadpool_lapin::Pool,
}

/// One channel, for one operation.
pub(super) struct Lease {
    connection: Object,
    channel: Channel,
    deadline: Instant,
}

impl Pool {
    pub(super) fn new(context: &Arc<Context>, purpose: &str, connections: usize) -> Result<Self, Failure> {
        let limit = Some(context.timeout);
        let timeouts = Timeouts { wait: limit, create: Some(context.connect_timeout), recycle: limit };
        let config = Config {
            url: Some(context.uri(context.heartbeat_s).to_string()),
            pool: Some(PoolConfig { max_size: connections, timeouts, ..PoolConfig::default() }),
        };
        let name = context.name(purpose);
        let properties = move || ConnectionProperties::default().with_connection_name(name.as_str().into());
        let connections =
            config.create_pool(properties, Runtime::Tokio1).map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(Self { context: Arc::clone(context), connections })
    }

    /// A channel for one operation, which has to end within the time limit.
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let deadline = self.context.deadline();
        let connection = match timeout_at(deadline, self.connections.get()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(PoolError::Backend(error))) => return Err(Failure::of_login(error)),
            Ok(Err(PoolError::Timeout(_))) => return Err(Failure::late()),
            Ok(Err(error)) => return Err(Failure::Unavailable(error.to_string())),
            Err(_) => return Err(Failure::timeout(self.context.timeout)),
        };
        if connection.status().blocked() {
            // What lapin takes during an alarm of the broker it would keep in memory.
            return Err(Failure::Alarm);
        }
        match until(deadline, connection.create_channel()).await {
            Ok(channel) => Ok(Lease { connection, channel, deadline }),
            Err(failure) => {
                discard(connection);
                Err(failure)
            }
        }
    }

    /// Publishes one message and awaits its confirm.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: BasicProperties,
        body: Bytes,
    ) -> Result<(), Failure> {
        let lease = self.lease().await?;
        let channel = lease.channel();
        let publishing = async {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            hand_to_channel(channel.clone(), exchange, routing_key, body, properties).await
        };
        confirmed(lease.run(publishing).await?)
    }

    /// Closes the connections; those in use close when they are given back.
    pub(super) fn close(&self) {
        self.connections.close();
    }
}

impl Lease {
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Awaits an operation on the channel, and gives the connection back.
    pub(super) async fn run<T>(self, operation: impl Future<Output = lapin::Result<T>>) -> Result<T, Failure> {
        match timeout_at(self.deadline, operation).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => {
                discard(self.connection);
                Err(Failure::late())
            }
        }
    }
}

/// Takes a connection that does not answer out of the pool. One that is blocked by an alarm stays: it is known to be,
/// and a new one would only find out again.
fn discard(connection: Object) {
    if !connection.status().blocked() {
        drop(Object::take(connection));
    }
}
