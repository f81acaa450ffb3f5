//! Searching one partition.
//!
//! A [`View`] is one commit of it. [`statistics`] says what scores depend on, [`scoring`] computes them, [`top`] finds the best by score, and
//! [`sorted`] the first in any other order.

mod ids;
mod occurrences;
pub(crate) mod scoring;
mod sorted;
pub(crate) mod statistics;
mod top;

use tantivy::collector::Count;
use tantivy::query::{EnableScoring, TermQuery};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{DocAddress, Searcher, TERMINATED, TantivyDocument, TantivyError, Term};
use warren_protocol::Query;
use warren_protocol::aggregations::Aggregations;
use warren_protocol::rpc::{DocumentParts, Fetch, Found, Hits, PartialHit, Ranking, Search, Statistics, key_bytes};
use warren_protocol::search::{SortKey, SortValue};

use crate::aggregate::aggregate;
use crate::deadline::Limits;
use crate::error::SearchError;
use crate::highlight::Highlighter;
use crate::partition::PartitionIndex;
use crate::parts::Parts;
use crate::query::Plan;
use statistics::Basis;

/// For each byte that may come along with hits, so many bytes of documents are read: parts and passages are small, and the documents that they are
/// taken from may be large.
const READ_FOR_EACH: usize = 16;

/// What one commit made visible, for as long as it is held.
#[derive(Clone)]
pub struct View {
    index: PartitionIndex,
    searcher: Searcher,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("index", &self.index).field("commit", &self.searcher.generation()).finish()
    }
}

/// A hit before its document is read.
#[derive(Debug)]
pub(crate) struct Ranked {
    pub(crate) id: String,
    /// Rounded; `None` where the order does not depend on it.
    pub(crate) score: Option<f32>,
    /// For each key of the sort.
    pub(crate) values: Vec<SortValue>,
    pub(crate) address: DocAddress,
}

impl PartitionIndex {
    /// What the last commit made visible.
    pub fn view(&self) -> View {
        View { index: self.clone(), searcher: self.searcher() }
    }
}

impl View {
    /// The hits of a search, in its order. They have the bytes of the limits at most with the documents and passages that come along: the hits
    /// that come after those are used up have no document.
    pub fn search(&self, search: &Search, limits: &Limits) -> Result<Hits, SearchError> {
        let plan = self.plan(&search.query, search.filter.as_ref())?;
        let basis = match &search.ranking {
            // Counts depend on nothing.
            Ranking::Local | Ranking::Only | Ranking::Occurrences => Basis::local(&self.index, &self.searcher),
            Ranking::Global(statistics) => Basis::global(&self.index, &self.searcher, statistics),
        };
        let statistics = match search.ranking {
            Ranking::Only => Some(basis.of_plan(&plan)?),
            _ => None,
        };
        let query = limits.guard(plan.query());
        // Counting in the same pass would score every match; without scores a second pass is far cheaper than that.
        let total = if search.count { Some(self.searcher.search(&*query, &Count)? as u64) } else { None };
        let ranked = if search.sort.is_empty() && search.ranking == Ranking::Occurrences {
            // Block maxima say nothing of counts: every match is looked at.
            let by_count = Search { sort: vec![SortKey::BEST], ..search.clone() };
            sorted::first(&plan, &*query, &basis, self.index.fields(), &by_count)?
        } else if search.sort.is_empty() {
            top::best(&plan, &*query, &basis, search.hits as usize, search.after.as_ref())?
        } else {
            sorted::first(&plan, &*query, &basis, self.index.fields(), search)?
        };
        limits.check()?;
        let hits = self.with_documents(ranked, &plan, &search.document, limits)?;
        let aggregations = search.aggregations.as_ref().map(|request| self.aggregate(request, &*query)).transpose()?;
        limits.check()?;
        Ok(Hits { total, hits, view: None, aggregations, statistics })
    }

    /// The aggregations over what matches, as they travel.
    fn aggregate(&self, request: &str, query: &dyn tantivy::query::Query) -> Result<Vec<u8>, SearchError> {
        let refuse = |detail: String| SearchError::InvalidRequest { field: "aggregations", detail };
        let request: Aggregations = serde_json::from_str(request).map_err(|error| refuse(error.to_string()))?;
        let reply = aggregate(&self.searcher, query, &request, self.index.aggregation_bytes())?;
        reply.encode().map_err(|error| refuse(error.to_string()))
    }

    fn with_documents(
        &self,
        ranked: Vec<Ranked>,
        plan: &Plan,
        wanted: &DocumentParts,
        limits: &Limits,
    ) -> Result<Vec<PartialHit>, SearchError> {
        let mut reader = self.documents(plan, wanted, limits.bytes)?;
        let keys: usize = ranked.iter().map(|hit| key_bytes(&hit.id, &hit.values)).sum();
        let mut left = limits.bytes.checked_sub(keys);
        let mut hits = Vec::with_capacity(ranked.len());
        for Ranked { id, score, values, address } in ranked {
            let mut found = None;
            if let Some(bytes) = left.filter(|_| !reader.is_exhausted()) {
                limits.check()?;
                let document = reader.read(address)?;
                left = bytes.checked_sub(document.bytes());
                found = left.map(|_| document);
            }
            hits.push(PartialHit { id, score, sort: values, found });
        }
        Ok(hits)
    }

    /// Documents by their ids, in the order of the ids, `None` for those that are not there: the first ones, as many as the bytes of the
    /// limits hold, and at least one.
    pub fn fetch(&self, fetch: &Fetch, limits: &Limits) -> Result<Vec<Option<Found>>, SearchError> {
        let plan = match &fetch.query {
            Some(query) => self.plan(query, None)?,
            None => self.plan(&Query::all(), None)?,
        };
        let mut reader = self.documents(&plan, &fetch.document, limits.bytes)?;
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for id in &fetch.ids {
            limits.check()?;
            let found = self.find(id)?.map(|address| reader.read(address)).transpose()?;
            bytes += found.as_ref().map_or(0, Found::bytes);
            if bytes > limits.bytes && !documents.is_empty() {
                break;
            }
            documents.push(found);
            if reader.is_exhausted() {
                break;
            }
        }
        Ok(documents)
    }

    /// What the scores of a query depend on, in this partition.
    pub fn statistics(&self, query: &Query) -> Result<Statistics, SearchError> {
        Ok(Basis::local(&self.index, &self.searcher).of_plan(&self.plan(query, None)?)?)
    }

    fn plan(&self, query: &Query, filter: Option<&Query>) -> Result<Plan, SearchError> {
        Plan::new(query, filter, self.index.fields(), self.index.tantivy().tokenizers())
    }

    fn documents<'a>(&'a self, plan: &Plan, wanted: &'a DocumentParts, max_bytes: usize) -> Result<Documents<'a>, SearchError> {
        let (fields, analyzers) = (self.index.fields(), self.index.tantivy().tokenizers());
        let highlighter = wanted.highlight.as_ref().map(|options| Highlighter::new(&plan.sought, options, analyzers, fields));
        let (parts, unread) = (wanted.fields.as_deref().map(Parts::new), max_bytes.saturating_mul(READ_FOR_EACH));
        Ok(Documents { view: self, parts, highlighter: highlighter.transpose()?, unread })
    }

    fn find(&self, id: &str) -> Result<Option<DocAddress>, SearchError> {
        let term = Term::from_field_text(self.index.fields().id, id);
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let weight = query.specialized_weight(EnableScoring::disabled_from_searcher(&self.searcher))?;
        for (number, segment) in (0..).zip(self.searcher.segment_readers()) {
            let mut documents = tantivy::query::Weight::scorer(&weight, segment, 1.0)?;
            let mut document = documents.doc();
            while document != TERMINATED {
                if !segment.is_deleted(document) {
                    return Ok(Some(DocAddress::new(number, document)));
                }
                document = documents.advance();
            }
        }
        Ok(None)
    }
}

/// Reads what is wanted of documents.
struct Documents<'a> {
    view: &'a View,
    parts: Option<Parts<'a>>,
    highlighter: Option<Highlighter<'a>>,
    /// How many bytes of documents may still be read.
    unread: usize,
}

impl Documents<'_> {
    /// Whether as much was read as may be at once.
    fn is_exhausted(&self) -> bool {
        self.unread == 0
    }

    fn read(&mut self, address: DocAddress) -> Result<Found, SearchError> {
        let seeks = self.highlighter.as_ref().is_some_and(|highlighter| !highlighter.is_idle());
        if !seeks && self.parts.as_ref().is_some_and(Parts::is_none) {
            return Ok(Found { body: b"{}".to_vec(), highlights: Default::default() });
        }
        let document: TantivyDocument = self.view.searcher.doc(address)?;
        let source = document.get_first(self.view.index.fields().source).and_then(|value| value.as_bytes()).map(<[u8]>::to_vec);
        let source = source.ok_or_else(|| TantivyError::InternalError(format!("{address:?} has no source")))?;
        self.unread = self.unread.saturating_sub(source.len());
        let highlights = self.highlighter.as_ref().map(|highlighter| highlighter.passages(&source)).unwrap_or_default();
        let body = match &self.parts {
            Some(parts) => parts.of(&source),
            None => source,
        };
        Ok(Found { body, highlights })
    }
}
