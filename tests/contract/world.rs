//! A broker with nothing in it, for one test.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt};
use tempfile::TempDir;
use warren_broker::{Broker, Settings, connect};
use warren_protocol::partition::PartitionId;
use warren_protocol::ports::{LogName, Ports};
use warren_protocol::{Generation, IndexName, IndexRef};
use warren_tests::{Node, within};

/// A broker, and the ways to disturb it.
pub struct World {
    broker: Broker,
    kind: Kind,
    /// For the processes that connect; the embedded broker's data are in it.
    folder: TempDir,
}

enum Kind {
    Embedded,
    Amqp { node: Node, vhost: String },
}

impl World {
    pub async fn embedded() -> Result<Self> {
        Self::open(Kind::Embedded).await
    }

    /// On the node that all tests share.
    pub async fn amqp() -> Result<Self> {
        Self::on(Node::shared().await?).await
    }

    /// On a virtual host of its own.
    pub async fn on(node: Node) -> Result<Self> {
        let vhost = node.vhost().await?;
        Self::open(Kind::Amqp { node, vhost }).await
    }

    async fn open(kind: Kind) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = kind.connect(&folder).await?;
        Ok(Self { broker, kind, folder })
    }

    pub fn ports(&self) -> &Ports {
        &self.broker.ports
    }

    /// The ports of another process, where there can be one.
    pub async fn another(&self) -> Result<Another> {
        match &self.kind {
            Kind::Embedded => Ok(Another { broker: None, ports: self.ports().clone() }),
            Kind::Amqp { .. } => {
                let broker = self.kind.connect(&self.folder).await?;
                Ok(Another { ports: broker.ports.clone(), broker: Some(broker) })
            }
        }
    }

    /// Cuts all connections; the embedded broker has none.
    pub async fn disconnect(&self) -> Result<()> {
        match &self.kind {
            Kind::Embedded => Ok(()),
            Kind::Amqp { node, vhost } => node.disconnect(vhost).await,
        }
    }

    /// Stops this process as far as the broker can tell, and starts it again. On RabbitMQ the broker crashes meanwhile.
    pub async fn restart(self) -> Result<Self> {
        let Self { broker, kind, folder } = self;
        broker.close().await;
        if let Kind::Amqp { node, .. } = &kind {
            node.kill9().await?;
            node.start_again().await?;
        }
        let broker = kind.connect(&folder).await?;
        Ok(Self { broker, kind, folder })
    }
}

impl Kind {
    async fn connect(&self, folder: &TempDir) -> Result<Broker> {
        let url = match self {
            Self::Embedded => None,
            Self::Amqp { node, vhost } => Some(node.url(vhost)),
        };
        Ok(connect(&Settings { url, ..Settings::default() }, "contract", folder.path()).await?)
    }
}

/// Another process.
pub struct Another {
    pub ports: Ports,
    broker: Option<Broker>,
}

impl Another {
    pub async fn close(self) {
        drop(self.ports);
        if let Some(broker) = self.broker {
            broker.close().await;
        }
    }
}

pub fn partition(number: u32) -> PartitionId {
    let name = IndexName::new("contract").expect("a good name");
    PartitionId { index: IndexRef { name, generation: Generation(7) }, partition: number }
}

pub fn log(number: u32) -> LogName {
    LogName::Partition(partition(number))
}

/// The next item of a stream, which has to come.
pub async fn next<T: std::fmt::Debug>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Result<T> {
    within("the next item", stream.next()).await?.context("the stream has ended")
}

/// Whether a stream stays silent for a moment: long enough for what is on its way.
pub async fn silent<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(300), stream.next()).await.is_err()
}
