//! The catalog: which indexes exist. A log that every process replays, folded by the same rules into the same table.
//!
//! An index comes to life in two steps. `create` reserves the name; its position is the generation, and the first of
//! several wins. Whoever sees its own record win creates the logs and queues of that generation, and only then
//! writes `ready`: an index that is visible can be written to. If a creator dies in between, the next one that asks
//! for the name finishes the work (the declarations are the same, whoever repeats them).
//!
//! A source is there with its one record: whoever consumes it makes its queue first.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::batch::WriterId;
use crate::definition::IndexDefinition;
use crate::index_name::{Generation, IndexName, IndexRef};
use crate::ports::Position;
use crate::source::{SourceDefinition, SourceEntry, SourceName};

/// The most indexes that a catalog holds.
pub const MAX_INDEXES: usize = 1000;
/// The most sources.
pub const MAX_SOURCES: usize = 100;
/// How many deleted sources are remembered, for those who still have to remove what is left of them.
const REMEMBERED_SOURCES: usize = 100;
/// The newest form of a record that this program reads. Each record has the oldest version in which it can be said, so
/// that programs from before sources read all others.
const VERSION: u32 = 2;

/// One record, as JSON in the log: `{"v":1,"create":{…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the record's form.
    pub v: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Reserves a name. Void if the name is taken.
    Create {
        /// The name.
        name: IndexName,
        /// What the index is made of.
        definition: IndexDefinition,
        /// Tells the author its own record; unique for ever.
        request: Uuid,
        /// Whether the first document created it, not a request for an index.
        #[serde(default)]
        automatic: bool,
        /// The creation of the index, in a catalog that was lost, whose snapshots this one begins with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restored_from: Option<Uuid>,
    },
    /// The logs and queues of that generation exist.
    Ready {
        /// The index.
        index: IndexRef,
    },
    /// The index is gone.
    Delete {
        /// The index.
        index: IndexRef,
    },
    /// The logs and queues of a deleted index are gone too. Workers remove its snapshots.
    Removed {
        /// The index.
        index: IndexRef,
    },
    /// Tells this catalog from every other one: the first such record counts. The marker of an object store carries it.
    Identity {
        /// The identity.
        catalog: Uuid,
    },
    /// Takes a number that is larger than all before it: the record's position, the next epoch of a shared writer.
    Epoch {
        /// The writer.
        writer: WriterId,
        /// Tells the author its own record.
        request: Uuid,
    },
    /// A source. Void if the name is taken.
    CreateSource {
        /// The name.
        name: SourceName,
        /// What it takes.
        definition: SourceDefinition,
        /// Tells the author its own record; unique for ever.
        request: Uuid,
    },
    /// The source is gone.
    DeleteSource {
        /// The name.
        name: SourceName,
        /// The request that created it: a late record does not delete the next life of the name.
        creation: Uuid,
    },
}

/// Why a record cannot be read. The catalog is then of no use: a process must not guess which indexes exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer Warren.
    #[error("the catalog record at {position} has version {version}, this program reads up to {VERSION}: update it")]
    Version {
        /// Where it stands.
        position: Position,
        /// The version in the record.
        version: u32,
    },
    /// Not a record.
    #[error("the catalog record at {position} cannot be read: {detail}")]
    Damaged {
        /// Where it stands.
        position: Position,
        /// What the parser said.
        detail: String,
    },
}

impl Record {
    /// A record in the oldest version that can say this.
    pub fn new(event: Event) -> Self {
        let v = match &event {
            Event::CreateSource { .. } | Event::DeleteSource { .. } => 2,
            _ => 1,
        };
        Self { v, event }
    }

    /// The message of the log.
    pub fn encode(&self) -> Result<bytes::Bytes, serde_json::Error> {
        Ok(serde_json::to_vec(self)?.into())
    }

    /// Reads the message at `position`.
    pub fn decode(message: &[u8], position: Position) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let damaged = |error: serde_json::Error| RecordError::Damaged { position, detail: error.to_string() };
        let version = serde_json::from_slice::<Version>(message).map_err(damaged)?.v;
        if !(1..=VERSION).contains(&version) {
            return Err(RecordError::Version { position, version });
        }
        serde_json::from_slice(message).map_err(damaged)
    }
}

/// One index of the catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name and generation.
    pub index: IndexRef,
    /// What it is made of.
    pub definition: IndexDefinition,
    /// What tells this life of the index from one in another catalog with the same generation: local files and
    /// snapshots carry it.
    pub creation: Uuid,
    /// Whether its logs and queues exist.
    pub ready: bool,
    /// Whether the first document created it.
    pub automatic: bool,
    /// The creation whose snapshots this index begins with, see [`Event::Create`].
    pub restored_from: Option<Uuid>,
}

/// All records up to a position, folded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    identity: Option<Uuid>,
    entries: BTreeMap<IndexName, Arc<Entry>>,
    /// Deleted, and not known to be removed.
    leftovers: BTreeMap<IndexRef, Arc<Entry>>,
    /// The creations of all indexes that were ever deleted: what is found of them anywhere is rubbish. What is in
    /// neither table is not known to be.
    deleted: HashSet<Uuid>,
    sources: BTreeMap<SourceName, Arc<SourceEntry>>,
    deleted_sources: VecDeque<Arc<SourceEntry>>,
}

/// What a record changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The name is reserved; the logs and queues are still to be made.
    Reserved(Arc<Entry>),
    /// The index can be used.
    Ready(Arc<Entry>),
    /// The index is gone.
    Deleted(Arc<Entry>),
    /// Nothing: a record that came too late, or one that is no index's.
    None,
}

impl Catalog {
    /// Folds in the record at `position`. Every process does this alike, so all agree on who won a name.
    pub fn apply(&mut self, position: Position, record: &Record) -> Change {
        match &record.event {
            Event::Create { name, definition, request, automatic, restored_from } => {
                if self.entries.contains_key(name) || self.entries.len() >= MAX_INDEXES {
                    return Change::None;
                }
                let index = IndexRef { name: name.clone(), generation: Generation(position.0) };
                let entry = Arc::new(Entry {
                    index,
                    definition: definition.clone(),
                    creation: *request,
                    ready: false,
                    automatic: *automatic,
                    restored_from: *restored_from,
                });
                self.entries.insert(name.clone(), entry.clone());
                Change::Reserved(entry)
            }
            Event::Ready { index } => match self.entries.get_mut(&index.name) {
                Some(entry) if entry.index == *index && !entry.ready => {
                    Arc::make_mut(entry).ready = true;
                    Change::Ready(entry.clone())
                }
                _ => Change::None,
            },
            Event::Delete { index } => match self.entries.get(&index.name) {
                Some(entry) if entry.index == *index => {
                    let Some(entry) = self.entries.remove(&index.name) else { return Change::None };
                    self.leftovers.insert(index.clone(), entry.clone());
                    self.deleted.insert(entry.creation);
                    Change::Deleted(entry)
                }
                _ => Change::None,
            },
            Event::Removed { index } => {
                self.leftovers.remove(index);
                Change::None
            }
            Event::Identity { catalog } => {
                self.identity.get_or_insert(*catalog);
                Change::None
            }
            Event::Epoch { .. } => Change::None,
            Event::CreateSource { name, definition, request } => {
                if !self.sources.contains_key(name) && self.sources.len() < MAX_SOURCES {
                    let (name, definition) = (name.clone(), definition.clone());
                    let source = SourceEntry { name: name.clone(), generation: position.0, creation: *request, definition };
                    self.sources.insert(name, Arc::new(source));
                }
                Change::None
            }
            Event::DeleteSource { name, creation } => {
                if self.sources.get(name).is_some_and(|source| source.creation == *creation) {
                    self.deleted_sources.extend(self.sources.remove(name));
                    self.deleted_sources.drain(..self.deleted_sources.len().saturating_sub(REMEMBERED_SOURCES));
                }
                Change::None
            }
        }
    }

    /// The source of that name.
    pub fn source(&self, name: &SourceName) -> Option<&Arc<SourceEntry>> {
        self.sources.get(name)
    }

    /// All sources by name.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<SourceEntry>> {
        self.sources.values()
    }

    /// The sources that were deleted last: their queues may still be there.
    pub fn deleted_sources(&self) -> impl Iterator<Item = &Arc<SourceEntry>> {
        self.deleted_sources.iter()
    }

    /// What tells this catalog from every other one; `None` before its first process has said it.
    pub fn identity(&self) -> Option<Uuid> {
        self.identity
    }

    /// The deleted indexes whose logs, queues and snapshots may still be there.
    pub fn leftovers(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.leftovers.values()
    }

    /// How many indexes were ever deleted.
    pub fn deletions(&self) -> usize {
        self.deleted.len()
    }

    /// Whether this creation of an index was deleted.
    pub fn was_deleted(&self, creation: Uuid) -> bool {
        self.deleted.contains(&creation)
    }

    /// The index of that name, ready or not.
    pub fn get(&self, name: &IndexName) -> Option<&Arc<Entry>> {
        self.entries.get(name)
    }

    /// All indexes by name, ready or not.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(name: &str) -> Record {
        Record::new(Event::Create {
            name: IndexName::new(name).unwrap(),
            definition: IndexDefinition::default(),
            request: Uuid::nil(),
            automatic: false,
            restored_from: None,
        })
    }

    fn index(name: &str, generation: u64) -> IndexRef {
        IndexRef { name: IndexName::new(name).unwrap(), generation: Generation(generation) }
    }

    #[test]
    fn the_first_creation_of_a_name_wins() {
        let mut catalog = Catalog::default();
        assert!(matches!(catalog.apply(Position(3), &create("a")), Change::Reserved(_)));
        assert_eq!(catalog.apply(Position(4), &create("a")), Change::None);
        assert_eq!(catalog.get(&IndexName::new("a").unwrap()).unwrap().index, index("a", 3));
        let ready = |generation| Record::new(Event::Ready { index: index("a", generation) });
        assert_eq!(catalog.apply(Position(5), &ready(4)), Change::None);
        assert!(matches!(catalog.apply(Position(6), &ready(3)), Change::Ready(_)));
        assert_eq!(catalog.apply(Position(7), &ready(3)), Change::None);
    }

    #[test]
    fn a_deleted_name_can_live_again_as_another_generation() {
        let mut catalog = Catalog::default();
        catalog.apply(Position(1), &create("a"));
        let delete = Record::new(Event::Delete { index: index("a", 1) });
        assert!(matches!(catalog.apply(Position(2), &delete), Change::Deleted(_)));
        catalog.apply(Position(3), &create("a"));
        assert_eq!(catalog.apply(Position(4), &delete), Change::None, "a late delete is of the life before");
        assert_eq!(catalog.entries().count(), 1);
        assert_eq!(catalog.leftovers().map(|entry| entry.index.clone()).collect::<Vec<_>>(), [index("a", 1)]);
        catalog.apply(Position(5), &Record::new(Event::Removed { index: index("a", 1) }));
        assert_eq!(catalog.leftovers().count(), 0);
    }

    #[test]
    fn the_first_identity_counts() {
        let mut catalog = Catalog::default();
        for number in [7, 8] {
            catalog.apply(Position(number), &Record::new(Event::Identity { catalog: Uuid::from_u128(number.into()) }));
        }
        assert_eq!(catalog.identity(), Some(Uuid::from_u128(7)));
    }

    fn source(name: &str, request: u128) -> Record {
        let definition = serde_json::from_str(r##"{"exchange":"shop","binding_key":"#","index":"a","id":"/id"}"##).unwrap();
        Record::new(Event::CreateSource { name: name.parse().unwrap(), definition, request: Uuid::from_u128(request) })
    }

    #[test]
    fn a_source_lives_from_its_first_record_to_the_deletion_of_that_life() {
        let mut catalog = Catalog::default();
        let name: SourceName = "shop".parse().unwrap();
        for (position, request) in [(1, 7), (2, 8)] {
            catalog.apply(Position(position), &source("shop", request));
        }
        let entry = catalog.source(&name).unwrap().clone();
        assert_eq!((entry.generation, entry.creation), (1, Uuid::from_u128(7)));
        assert_eq!(entry.queue().queue, "warren.source.shop.1");
        let delete = |creation| Record::new(Event::DeleteSource { name: name.clone(), creation: Uuid::from_u128(creation) });
        catalog.apply(Position(3), &delete(8));
        assert_eq!(catalog.sources().count(), 1);
        catalog.apply(Position(4), &delete(7));
        assert_eq!((catalog.sources().count(), catalog.deleted_sources().count()), (0, 1));
    }

    #[test]
    fn golden_records_are_read_for_ever() {
        let pinned = [
            r##"{"v":2,"create_source":{"name":"shop","definition":{"exchange":"shop","binding_key":"#","index":"a","id":"/id"},"request":"00000000-0000-0000-0000-000000000007"}}"##,
            r#"{"v":2,"delete_source":{"name":"shop","creation":"00000000-0000-0000-0000-000000000007"}}"#,
        ];
        let delete = Event::DeleteSource { name: "shop".parse().unwrap(), creation: Uuid::from_u128(7) };
        for (record, text) in [source("shop", 7), Record::new(delete)].into_iter().zip(pinned) {
            assert_eq!(record.encode().unwrap(), text);
            assert_eq!(Record::decode(text.as_bytes(), Position(0)).unwrap(), record);
        }
        assert_eq!(create("a").v, 1, "programs from before sources read it");
    }

    #[test]
    fn records_are_json_with_a_version() {
        let record = create("a");
        let message = record.encode().unwrap();
        assert!(message.starts_with(br#"{"v":1,"create":{"name":"a""#), "{message:?}");
        assert_eq!(Record::decode(&message, Position(0)).unwrap(), record);
        let newer = Record::decode(br#"{"v":3,"rename":{}}"#, Position(9)).unwrap_err();
        assert_eq!(newer, RecordError::Version { position: Position(9), version: 3 });
        assert!(matches!(Record::decode(b"x", Position(9)), Err(RecordError::Damaged { .. })));
    }
}
