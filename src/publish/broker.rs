//! Publishes straight into the logs: this command is a producer of its own.

use std::time::{Duration, Instant};

use warren_broker::Broker;
use warren_producer::Producer;
use warren_producer::admission::Admission;
use warren_producer::receipts::Found;
use warren_producer::upload::{Summary, Upload};
use warren_protocol::{IndexDefinition, IndexName};
use warren_service::catalog::CatalogHandle;
use warren_service::config::Config;
use warren_service::roster::Roster;
use warren_service::stop::Stop;

use super::{MAX_PRINTED, source::Part};

/// How long it may take to read which indexes there are.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker and one of its indexes.
pub(crate) struct BrokerTarget {
    broker: Broker,
    producer: Producer,
    definition: IndexDefinition,
    upload: Option<Upload>,
    /// How long to wait at the end for what was published to be found.
    wait: Duration,
    /// What was told of the upload's summary so far.
    told: Summary,
    stop: Stop,
}

impl BrokerTarget {
    /// Connects, and reads which indexes there are.
    pub(crate) async fn connect(mut config: Config, index: IndexName, wait: Option<Duration>) -> anyhow::Result<Self> {
        // It writes, and takes nothing from queues.
        config.producer.intake = false;
        config.links.fetch = false;
        let broker = warren_broker::connect(&config.broker, "warren publish", &config.data_dir).await?;
        let stop = Stop::new();
        let catalog = CatalogHandle::start(&broker.ports).await?;
        let roster = Roster::start(&broker.ports, &stop).await?;
        let producer = Producer::start(&config, &broker.ports, catalog.clone(), &roster, &stop);
        catalog.ready(Instant::now() + PATIENCE).await?;
        let mut definition = IndexDefinition::default();
        if let Some(entry) = catalog.get(&index) {
            producer.publisher.known(&entry).await?;
            definition = entry.definition.clone();
        }
        let admission = Admission::new(catalog, config);
        let mut upload = Upload::new(admission, producer.publisher.clone(), index, MAX_PRINTED);
        if wait.is_some() {
            upload = upload.with_receipts();
        }
        let (upload, wait, told) = (Some(upload), wait.unwrap_or_default(), Summary::default());
        Ok(Self { broker, producer, definition, upload, wait, told, stop })
    }

    /// What the index says of its fields.
    pub(crate) fn definition(&self) -> IndexDefinition {
        self.definition.clone()
    }

    /// Hands a part over; the summary says what is new since the last one.
    pub(crate) async fn publish(&mut self, part: Part) -> anyhow::Result<Summary> {
        let Some(upload) = &mut self.upload else { return Ok(Summary::default()) };
        for piece in part.pieces {
            upload.take(piece).await?;
        }
        let now = upload.summary().clone();
        let before = std::mem::replace(&mut self.told, now.clone());
        Ok(Summary {
            accepted: now.accepted - before.accepted,
            rejected_count: now.rejected_count - before.rejected_count,
            rejected: now.rejected[before.rejected.len()..].to_vec(),
        })
    }

    /// Waits for the last confirms and says how many there were; with `--wait`, also for what was published to be found.
    pub(crate) async fn finish(&mut self) -> anyhow::Result<(u64, Option<Found>)> {
        let Some(upload) = self.upload.take() else { return Ok((0, None)) };
        let (summary, found) = upload.finish_within(self.wait).await?;
        Ok((summary.accepted - self.told.accepted, found))
    }

    /// Closes the connections.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.stop.request();
        self.producer.close().await;
        self.broker.close().await;
        Ok(())
    }
}
