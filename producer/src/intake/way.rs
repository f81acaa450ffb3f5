//! The ways in by queue: the intake queue, whose messages are made for Warren, and sources, whose are not.

use std::num::NonZeroU16;
use std::sync::Arc;

use warren_protocol::SourceEntry;
use warren_protocol::batch::WriterId;
use warren_protocol::ports::{Deliveries, Ports, QueueError, QueueName};

/// Where messages come from.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// The intake queue.
    Intake,
    /// A source.
    Source(Arc<SourceEntry>),
}

impl Way {
    /// Its name in dead letters and in the status.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Intake => QueueName::Intake.to_string(),
            Self::Source(source) => source.label(),
        }
    }

    /// The one writer that all are who ever consume it.
    pub(super) fn writer(&self) -> WriterId {
        match self {
            Self::Intake => WriterId::INTAKE,
            Self::Source(source) => source.writer(),
        }
    }

    /// Consumes it, as soon as no other process does, or fails with `Taken`.
    pub(super) async fn consume(&self, ports: &Ports, prefetch: NonZeroU16) -> Result<Deliveries, QueueError> {
        match self {
            Self::Intake => ports.queue.consume(QueueName::Intake, prefetch).await,
            Self::Source(source) => {
                let queue = source.queue();
                ports.queue.open_source(&queue).await?;
                ports.queue.consume_source(&queue, prefetch).await
            }
        }
    }
}
