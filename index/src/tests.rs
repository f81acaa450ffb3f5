//! What a partition's index promises to those who open, write and search it.

mod aggregations;
mod equality;
mod fields;
mod highlights;
mod killing;
mod occurrences;
mod opening;
mod pages;
mod queries;
mod ranking;
mod robustness;
mod saving;
mod snapshots;
mod suggestions;
mod writing;

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warren_protocol::batch::{Header, Kind, WriterId};
use warren_protocol::ports::Position;
use warren_protocol::rpc::{DocumentParts, Fetch, Found, Hits, PartialHit, Search};
use warren_protocol::search::Highlight;
use warren_protocol::writer::WriterTable;
use warren_protocol::{IndexDefinition, Query};

use crate::{Checkpoint, LastMessage, Limits, Options, PartitionIndex, SearchError};

fn definition(json: &str) -> IndexDefinition {
    IndexDefinition::from_json(json.as_bytes()).unwrap()
}

fn open(directory: &Path, definition: &IndexDefinition) -> (PartitionIndex, Option<Checkpoint>) {
    PartitionIndex::open(directory, definition, &Options { writer_memory_bytes: 20_000_000, ..Options::default() }).unwrap()
}

fn checkpoint(position: u64) -> Checkpoint {
    let mut writers = WriterTable::default();
    let header = Header { writer: WriterId::INTAKE, epoch: 3, kind: Kind::Open { continues: false, next: position } };
    writers.judge(&header, Position(position));
    let last = Some(LastMessage { position: Position(position), digest: 7 });
    Checkpoint { last, writers, log_bytes: position * 10, operations: position, lost: None }
}

/// An index of these documents, in one commit.
fn filled(definition: &IndexDefinition, documents: &[(&str, &str)]) -> (TempDir, PartitionIndex) {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), definition);
    let mut writer = index.writer().unwrap();
    for (id, body) in documents {
        writer.put(id, body.as_bytes()).unwrap();
    }
    writer.commit(&checkpoint(1)).unwrap();
    (directory, index)
}

/// A search in short.
#[derive(Clone)]
struct SearchSpec {
    query: Query,
    filter: Option<Query>,
    hits: usize,
    count: bool,
    highlight: bool,
    max_bytes: usize,
}

impl SearchSpec {
    fn search(&self) -> Search {
        let document = DocumentParts { fields: None, highlight: self.highlight.then(Highlight::default) };
        Search {
            query: self.query.clone(),
            filter: self.filter.clone(),
            hits: self.hits as u32,
            count: self.count,
            document,
            ..Search::default()
        }
    }
}

trait Searching {
    fn search(&self, spec: &SearchSpec) -> Result<Hits, SearchError>;

    /// Documents by their ids, with the passages of a query.
    fn fetch(&self, ids: &[String], highlight: Option<&Query>) -> Result<Vec<Option<Found>>, SearchError>;
}

impl Searching for PartitionIndex {
    fn search(&self, spec: &SearchSpec) -> Result<Hits, SearchError> {
        self.view().search(&spec.search(), &limits(spec.max_bytes))
    }

    fn fetch(&self, ids: &[String], highlight: Option<&Query>) -> Result<Vec<Option<Found>>, SearchError> {
        let document = DocumentParts { fields: None, highlight: highlight.map(|_| Highlight::default()) };
        let query = highlight.cloned();
        self.view().fetch(&Fetch { ids: ids.to_vec(), view: None, document, query }, &limits(usize::MAX))
    }
}

/// So many bytes, and more time than any test takes.
fn limits(bytes: usize) -> Limits {
    Limits { bytes, deadline: Instant::now() + Duration::from_secs(600) }
}

fn parsed(query: &str) -> Query {
    Query::parse(query, false).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// A query of the other language.
fn tree(json: &str) -> Query {
    let tree = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    Query::from_json(&tree, "query").unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn spec(query: &str, hits: usize) -> SearchSpec {
    spec_of(parsed(query), hits)
}

fn spec_of(query: Query, hits: usize) -> SearchSpec {
    SearchSpec { query, filter: None, hits, count: true, highlight: false, max_bytes: 0 }
}

fn hits(index: &PartitionIndex, query: &str, hits: usize) -> Vec<PartialHit> {
    index.search(&spec(query, hits)).unwrap_or_else(|error| panic!("{query}: {error}")).hits
}

/// The ids that match, in the order of the ids.
fn matching(index: &PartitionIndex, query: &str) -> Vec<String> {
    matching_of(index, parsed(query))
}

fn matching_of(index: &PartitionIndex, query: Query) -> Vec<String> {
    let result = index.search(&spec_of(query.clone(), 1000)).unwrap_or_else(|error| panic!("{query:?}: {error}"));
    let mut ids: Vec<String> = result.hits.into_iter().map(|hit| hit.id).collect();
    assert_eq!(result.total, Some(ids.len() as u64), "{query:?}");
    ids.sort_unstable();
    ids
}

/// Why a query is refused, wherever that is.
fn refusal(index: &PartitionIndex, query: &str) -> String {
    match Query::parse(query, false) {
        Ok(query) => refusal_of(index, query),
        Err(error) => error.to_string(),
    }
}

fn refusal_of(index: &PartitionIndex, query: Query) -> String {
    match index.search(&spec_of(query.clone(), 10)) {
        Err(SearchError::InvalidQuery(text)) => text,
        other => panic!("{query:?}: {other:?}"),
    }
}

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
