//! Publishes straight into the logs: this command is a producer of its own.

use std::time::{Duration, Instant};

use warren_broker::Broker;
use warren_producer::Producer;
use warren_producer::admission::Admission;
use warren_producer::receipts::Found;
use warren_producer::upload::{Summary, Upload};
use warren_protocol::problem::Code;
use warren_protocol::{IndexDefinition, IndexName, Problem};
use warren_service::catalog::CatalogHandle;
use warren_service::config::Config;
use warren_service::roster::Roster;
use warren_service::stop::Stop;

use super::server::PATIENCE;
use super::{MAX_PRINTED, Progress, source::Part};

/// How long it may take to read which indexes there are.
const CATALOG_PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// How many documents were confirmed when it last had to wait, and when more were confirmed than before.
    progressed: Option<(u64, Instant)>,
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
        catalog.ready(Instant::now() + CATALOG_PATIENCE).await?;
        let mut definition = IndexDefinition::default();
        if let Some(entry) = catalog.get(&index) {
            producer.publisher.known(&entry).await?;
            definition = entry.definition.clone();
        }
        let admission = Admission::new(catalog, config);
        let mut upload = Upload::new(admission, producer.publisher.clone(), index, MAX_PRINTED).that_goes_on();
        if wait.is_some() {
            upload = upload.with_receipts();
        }
        let (upload, wait, told) = (Some(upload), wait.unwrap_or_default(), Summary::default());
        Ok(Self { broker, producer, definition, upload, wait, told, progressed: None, stop })
    }

    /// What the index says of its fields.
    pub(crate) fn definition(&self) -> IndexDefinition {
        self.definition.clone()
    }

    /// Hands a part over; the summary says what is new since the last one.
    pub(crate) async fn publish(&mut self, part: Part, progress: &Progress) -> anyhow::Result<Summary> {
        let Some(mut upload) = self.upload.take() else { return Ok(Summary::default()) };
        for piece in part.pieces {
            if let Err(problem) = upload.take(piece).await {
                self.go_on(&mut upload, problem, progress).await?;
            }
        }
        let now = upload.summary().clone();
        self.upload = Some(upload);
        let before = std::mem::replace(&mut self.told, now.clone());
        Ok(Summary {
            accepted: now.accepted - before.accepted,
            rejected_count: now.rejected_count - before.rejected_count,
            rejected: now.rejected[before.rejected.len()..].to_vec(),
        })
    }

    /// Waits until documents are taken again, and writes what was not; gives up when none was confirmed for long.
    async fn go_on(&mut self, upload: &mut Upload, mut problem: Problem, progress: &Progress) -> anyhow::Result<()> {
        loop {
            let (accepted, now) = (upload.summary().accepted, Instant::now());
            let since = match self.progressed {
                Some((before, since)) if before == accepted => since,
                _ => {
                    progress.line(&format!("warren: waits until it can go on: {problem}"));
                    now
                }
            };
            self.progressed = Some((accepted, since));
            if !matches!(problem.code, Code::LogFull | Code::TooManyRequests | Code::Unavailable) {
                return Err(problem.into());
            }
            if now + PAUSE - since > PATIENCE {
                let given_up = format!("given up, nothing was confirmed for {} s", PATIENCE.as_secs());
                return Err(anyhow::Error::from(problem).context(given_up));
            }
            progress.accepted(accepted);
            tokio::time::sleep(PAUSE).await;
            match upload.go_on().await {
                Ok(()) => return Ok(()),
                Err(next) => problem = next,
            }
        }
    }

    /// Waits for the last confirms and says how many there were; with `--wait`, also for what was published to be found.
    pub(crate) async fn finish(&mut self, progress: &Progress) -> anyhow::Result<(u64, Option<Found>)> {
        let Some(mut upload) = self.upload.take() else { return Ok((0, None)) };
        while let Err(problem) = upload.flush().await {
            self.go_on(&mut upload, problem, progress).await?;
        }
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
