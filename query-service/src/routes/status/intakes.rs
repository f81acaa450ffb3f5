//! What producers take from queues: the intake queue, and each source.

use serde::Serialize;
use utoipa::ToSchema;
use warren_protocol::announcement::IntakeReport;
use warren_protocol::ports::QueueName;
use warren_service::roster::ProducerView;

/// How a way in by queue is. The counts are those of the producers that are alive, since they started.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct IntakeStatus {
    /// `warren.intake`, or the name of the source.
    pub name: String,
    /// Whether a producer consumes it.
    pub active: bool,
    /// Documents that were written.
    pub indexed: u64,
    /// Documents that were deleted.
    pub deleted: u64,
    /// What went to the dead letters.
    pub refused: u64,
    /// Why it does not go on for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The last thing that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The intake queue.
pub(super) fn intake(producers: &[ProducerView]) -> IntakeStatus {
    let name = QueueName::Intake.to_string();
    sum(producers, &name, name.clone())
}

/// The source of that name, which dead letters and producers call `label`.
pub(super) fn source(producers: &[ProducerView], label: &str, name: String) -> IntakeStatus {
    sum(producers, label, name)
}

fn sum(producers: &[ProducerView], label: &str, name: String) -> IntakeStatus {
    let reports = producers.iter().flat_map(|producer| producer.intakes.iter()).filter(|report| report.name == label);
    let mut reports: Vec<&IntakeReport> = reports.collect();
    // What the one says that consumes it comes before what others once met.
    reports.sort_by_key(|report| !report.active);
    IntakeStatus {
        name,
        active: reports.iter().any(|report| report.active),
        indexed: reports.iter().map(|report| report.indexed).sum(),
        deleted: reports.iter().map(|report| report.deleted).sum(),
        refused: reports.iter().map(|report| report.refused).sum(),
        paused: reports.iter().find_map(|report| report.paused.clone()),
        last_error: reports.iter().find_map(|report| report.last_error.clone()),
    }
}
