//! How sources come and go.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;
use warren_protocol::catalog::{Event, MAX_SOURCES};
use warren_protocol::ports::QueueError;
use warren_protocol::problem::Code;
use warren_protocol::{Problem, SourceDefinition, SourceEntry, SourceName};

use super::lifecycle::{LIMIT, within};
use super::{CatalogError, CatalogHandle};

/// What became of the wish for a source.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceCreation {
    /// It did not exist; now it does.
    Created(Arc<SourceEntry>),
    /// It exists as wished.
    Exists(Arc<SourceEntry>),
    /// It exists, and is another.
    Differs {
        /// The source that exists.
        entry: Arc<SourceEntry>,
        /// What differs, a line each.
        differences: Vec<String>,
    },
}

impl CatalogHandle {
    /// Creates the source, or finds the one of that name. What it takes its messages from has to be there.
    pub async fn create_source(&self, name: &SourceName, definition: SourceDefinition) -> Result<SourceCreation, CatalogError> {
        definition.validate().map_err(CatalogError::Definition)?;
        let creation = async {
            self.ready(Instant::now() + LIMIT).await?;
            if let Some(found) = self.found_source(name, &definition) {
                return Ok(found);
            }
            if self.shared.replay.catalog().sources().count() >= MAX_SOURCES {
                return Err(CatalogError::TooManySources { limit: MAX_SOURCES });
            }
            let wish = SourceEntry { name: name.clone(), generation: 0, creation: Uuid::nil(), definition: definition.clone() };
            self.shared.ports.queue.find_source(&wish.queue()).await.map_err(source_error)?;
            let (own, taken) = (name.clone(), definition.clone());
            let create = |request| Event::CreateSource { name: own, definition: taken, request };
            let position = self.append_own(create).await?;
            match self.source(name) {
                Some(entry) if entry.generation == position.0 => {
                    // Whoever consumes it makes its queue too; but what flows from now on is not to be missed.
                    if let Err(error) = self.shared.ports.queue.open_source(&entry.queue()).await {
                        self.drop_source(&entry).await?;
                        return Err(source_error(error));
                    }
                    Ok(SourceCreation::Created(entry))
                }
                _ => self.found_source(name, &definition).ok_or_else(|| {
                    CatalogError::Unavailable(format!("source \"{name}\" was deleted while it was being created"))
                }),
            }
        };
        within("the source was not created", creation).await
    }

    /// Deletes the source; what it has indexed stays. `None` if there is none.
    pub async fn delete_source(&self, name: &SourceName) -> Result<Option<Arc<SourceEntry>>, CatalogError> {
        let deletion = async {
            self.ready(Instant::now() + LIMIT).await?;
            let Some(entry) = self.source(name) else { return Ok(None) };
            self.drop_source(&entry).await?;
            Ok(Some(entry))
        };
        within("the source was not deleted", deletion).await
    }

    /// The source of that name.
    pub fn source(&self, name: &SourceName) -> Option<Arc<SourceEntry>> {
        self.shared.replay.catalog().source(name).cloned()
    }

    /// All sources, by name.
    pub fn sources(&self) -> Vec<Arc<SourceEntry>> {
        self.shared.replay.catalog().sources().cloned().collect()
    }

    async fn drop_source(&self, entry: &Arc<SourceEntry>) -> Result<(), CatalogError> {
        self.append(Event::DeleteSource { name: entry.name.clone(), creation: entry.creation }).await?;
        let gone = |found: Option<&Arc<SourceEntry>>| found.is_none_or(|found| found.creation != entry.creation);
        self.shared.replay.until(|catalog| gone(catalog.source(&entry.name))).await;
        if let Err(error) = self.shared.ports.queue.remove_source(&entry.queue()).await {
            // The producers remove it, too, when they see that the source is gone.
            tracing::warn!(source = %entry.name, %error, "the queue of a deleted source stays behind for now");
        }
        Ok(())
    }

    fn found_source(&self, name: &SourceName, wish: &SourceDefinition) -> Option<SourceCreation> {
        let entry = self.source(name)?;
        let differences = entry.definition.differences(wish);
        Some(match differences.is_empty() {
            true => SourceCreation::Exists(entry),
            false => SourceCreation::Differs { entry, differences },
        })
    }
}

fn source_error(error: QueueError) -> CatalogError {
    let detail = error.to_string();
    match error {
        QueueError::NotFound(_) | QueueError::Taken(_) => {
            CatalogError::Definition(Problem::new(Code::InvalidSource, format!("{detail}: create it first, then the source")))
        }
        QueueError::Unsupported(_) => CatalogError::Definition(Problem::new(Code::NeedsRabbitMq, detail)),
        _ => CatalogError::Unavailable(detail),
    }
}
