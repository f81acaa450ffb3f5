//! Which documents are let in: the index is there (or may be created for them), the size and the fields are right.

use std::sync::Arc;

use bytes::Bytes;
use warren_protocol::catalog::Entry;
use warren_protocol::document::{self, IdSource};
use warren_protocol::problem::Code;
use warren_protocol::{DocumentId, IndexDefinition, IndexName, Problem};
use warren_service::catalog::CatalogHandle;
use warren_service::config::Config;

use crate::publisher::Write;

/// The checks at the door, for every way in. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    catalog: CatalogHandle,
    config: Arc<Config>,
}

/// Who is refused.
#[derive(Debug)]
pub enum Refused {
    /// This document; the next one may pass.
    Document(Problem),
    /// Every document for this index, now.
    Index(Problem),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Document(problem) | Refused::Index(problem) => problem,
        }
    }
}

impl Admission {
    /// Checks against this catalog and within these limits.
    pub fn new(catalog: CatalogHandle, config: Config) -> Self {
        Self { catalog, config: Arc::new(config) }
    }

    /// The index of that name, if there is one.
    pub fn known(&self, index: &IndexName) -> Option<Arc<Entry>> {
        self.catalog.get(index)
    }

    /// Lets a document in. An index that is missing is created with the defaults, once its first document has passed.
    pub async fn put(&self, index: &IndexName, body: Bytes, source: IdSource<'_>) -> Result<(Arc<Entry>, Write), Refused> {
        if let Some(entry) = self.known(index) {
            let write = self.check(index, &entry.definition, body, source).map_err(Refused::Document)?;
            return Ok((entry, write));
        }
        self.check(index, &IndexDefinition::default(), body.clone(), source).map_err(Refused::Document)?;
        let created = self.catalog.get_or_create(index, &self.config.indexes).await;
        let entry = created.map_err(|error| Refused::Index(error.into()))?;
        let write = self.check(index, &entry.definition, body, source).map_err(Refused::Document)?;
        Ok((entry, write))
    }

    /// Checks a document of a known index.
    pub fn check(
        &self,
        index: &IndexName,
        definition: &IndexDefinition,
        body: Bytes,
        source: IdSource<'_>,
    ) -> Result<Write, Problem> {
        let limit = self.config.http.max_document_bytes.get() as usize;
        if body.len() > limit {
            let detail = format!("the document has {} bytes, the limit is {limit} (http.max_document_bytes)", body.len());
            return Err(Problem::new(Code::TooLarge, detail));
        }
        let id = document::check(index, definition, &body, source)?;
        Ok(Write { id, body: Some(body) })
    }

    /// Lets a deletion in; there is nothing to delete in an index that is missing.
    pub fn delete(&self, index: &IndexName, id: DocumentId) -> Result<(Arc<Entry>, Write), Problem> {
        let Some(entry) = self.known(index) else {
            return Err(match self.catalog.is_ready() {
                true => Problem::new(Code::UnknownIndex, format!("there is no index {index}")),
                false => Problem::new(Code::Unavailable, "the catalog of indexes is not read yet: try again"),
            });
        };
        Ok((entry, Write { id, body: None }))
    }
}
