//! The sample: some thousands of Debian package descriptions that ship with Warren, in the index `packages`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use warren_producer::Producer;
use warren_producer::admission::Admission;
use warren_producer::split::{Form, Splitter};
use warren_producer::upload::Upload;
use warren_protocol::{IndexDefinition, IndexName};
use warren_service::catalog::Creation;
use warren_service::roster::Roster;

use crate::publish::Progress;

const DOCUMENTS: &[u8] = include_bytes!("../sample/packages.ndjson.zst");
const DEFINITION: &[u8] = include_bytes!("../sample/packages.index.json");
/// The name of its index.
pub(crate) const INDEX: &str = "packages";
/// In the data folder: the creation id of the index that holds the whole sample.
const MARKER: &str = "sample";
const STEP_BYTES: usize = 64 * 1024;
/// How long the workers may take to index it.
const SEARCHABLE_WITHIN: Duration = Duration::from_secs(60);

/// Publishes the sample, unless it was published to this very index before, and waits until it can be searched.
pub(crate) async fn load(producer: &Producer, roster: &Roster, data_dir: &Path) -> anyhow::Result<()> {
    let index = IndexName::new(INDEX)?;
    let definition = IndexDefinition::from_json(DEFINITION)?;
    let entry = match producer.catalog.create(&index, definition, false).await? {
        Creation::Created(entry) | Creation::Exists(entry) => entry,
        Creation::Differs { .. } => {
            tracing::warn!(index = INDEX, "there is an index of that name already: the sample is not loaded");
            return Ok(());
        }
    };
    let marker = data_dir.join(MARKER);
    let creation = entry.creation.to_string();
    if std::fs::read_to_string(&marker).is_ok_and(|loaded| loaded == creation) {
        tracing::info!(index = INDEX, "the sample is there already");
        return Ok(());
    }
    let documents = publish(producer, index.clone()).await?;
    std::fs::write(&marker, creation).with_context(|| format!("cannot write {}", marker.display()))?;
    wait_until_searchable(roster, &index, documents).await;
    Ok(())
}

async fn publish(producer: &Producer, index: IndexName) -> anyhow::Result<u64> {
    let text = zstd::decode_all(DOCUMENTS).context("the sample in this program is damaged")?;
    let read = Arc::new(AtomicU64::new(0));
    let progress = Progress::start(Some(text.len() as u64), read.clone());
    let mut splitter = Splitter::new(Form::Lines, producer.config.http.max_document_bytes.get() as usize);
    let admission = Admission::new(producer.catalog.clone(), producer.config.clone());
    let mut upload = Upload::new(admission, producer.publisher.clone(), index, 1);
    for step in text.chunks(STEP_BYTES) {
        splitter.push(step);
        read.fetch_add(step.len() as u64, Ordering::Relaxed);
        while let Some(piece) = splitter.next_piece() {
            upload.take(piece).await?;
        }
        progress.accepted(upload.summary().accepted);
    }
    splitter.finish();
    while let Some(piece) = splitter.next_piece() {
        upload.take(piece).await?;
    }
    let summary = upload.finish().await?;
    progress.finish();
    if let Some(rejection) = summary.rejected.first() {
        anyhow::bail!("the sample does not fit its definition: line {}: {}", rejection.line, rejection.detail);
    }
    let milliseconds = progress.elapsed().as_millis() as u64;
    tracing::info!(documents = summary.accepted, milliseconds, "published the sample");
    Ok(summary.accepted)
}

async fn wait_until_searchable(roster: &Roster, index: &IndexName, documents: u64) {
    let deadline = Instant::now() + SEARCHABLE_WITHIN;
    loop {
        let workers = roster.workers();
        let reports = workers.iter().flat_map(|worker| worker.partitions.iter());
        let found: u64 = reports.filter(|report| report.index.name == *index).map(|report| report.documents).sum();
        if found >= documents {
            return;
        }
        if Instant::now() >= deadline {
            return tracing::warn!(found, documents, "the sample is published, and not all of it can be searched yet");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
