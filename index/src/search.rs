//! Searching one partition.

mod ids;
pub(crate) mod scoring;
mod top;

use tantivy::collector::Count;
use tantivy::query::{EnableScoring, TermQuery};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{DocAddress, Searcher, TERMINATED, TantivyDocument, TantivyError, Term};
use warren_protocol::Query;
use warren_protocol::rpc::{Found, PartialHit};

use crate::error::SearchError;
use crate::highlight::Highlighter;
use crate::partition::PartitionIndex;
use crate::query::Plan;

/// A search of one partition; see `Question::Search` of [`warren_protocol::rpc`].
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpec {
    /// What is sought.
    pub query: Query,
    /// What all hits have to match; it does not count.
    pub filter: Option<Query>,
    /// How many hits: offset + limit of the whole search. 0 only counts.
    pub hits: usize,
    /// Whether to count all.
    pub count: bool,
    /// Whether hits carry passages.
    pub highlight: bool,
    /// The most bytes of documents and passages: the hits that come after it is reached have no document.
    pub max_bytes: usize,
}

/// What a search finds in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchResult {
    /// How many documents match; `None` if it was not asked.
    pub total: Option<u64>,
    /// The best hits: by rounded score, equal scores by id.
    pub hits: Vec<PartialHit>,
}

impl PartitionIndex {
    /// Searches what the last commit made visible.
    pub fn search(&self, spec: &SearchSpec) -> Result<SearchResult, SearchError> {
        let searcher = self.searcher();
        let plan = self.plan(&spec.query, spec.filter.as_ref())?;
        let query = plan.query();
        // Counting in the same pass would score every match; without scores a second pass is far cheaper than that.
        let total = if spec.count { Some(searcher.search(&*query, &Count)? as u64) } else { None };
        let best = top::best(&plan, &*query, &searcher, self.fields(), spec.hits)?;
        let highlighter = self.highlighter(&plan, &searcher, spec.highlight)?;
        let mut left = Some(spec.max_bytes);
        let mut hits = Vec::with_capacity(best.len());
        for hit in best {
            let mut found = None;
            if let Some(bytes) = left {
                let document = self.found(&searcher, hit.address, highlighter.as_ref())?;
                left = bytes.checked_sub(size(&document));
                found = left.map(|_| document);
            }
            hits.push(PartialHit { id: hit.id, score: hit.score, found });
        }
        Ok(SearchResult { total, hits })
    }

    /// Documents by their ids, in the order of the ids, `None` for those that are not there; with the passages that a query has in
    /// them.
    pub fn fetch(&self, ids: &[String], highlight: Option<&Query>) -> Result<Vec<Option<Found>>, SearchError> {
        let searcher = self.searcher();
        let highlighter = match highlight {
            Some(query) => self.highlighter(&self.plan(query, None)?, &searcher, true)?,
            None => None,
        };
        ids.iter()
            .map(|id| {
                let address = self.find(&searcher, id)?;
                address.map(|address| self.found(&searcher, address, highlighter.as_ref())).transpose()
            })
            .collect()
    }

    fn plan(&self, query: &Query, filter: Option<&Query>) -> Result<Plan, SearchError> {
        Plan::new(query, filter, self.fields(), self.tantivy().tokenizers())
    }

    fn highlighter(&self, plan: &Plan, searcher: &Searcher, wanted: bool) -> Result<Option<Highlighter<'_>>, SearchError> {
        let highlighter = wanted.then(|| Highlighter::new(&plan.sought, searcher, self.tantivy().tokenizers(), self.fields()));
        Ok(highlighter.transpose()?)
    }

    fn find(&self, searcher: &Searcher, id: &str) -> Result<Option<DocAddress>, SearchError> {
        let term = Term::from_field_text(self.fields().id, id);
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let weight = query.specialized_weight(EnableScoring::disabled_from_searcher(searcher))?;
        for (number, segment) in (0..).zip(searcher.segment_readers()) {
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

    fn found(
        &self,
        searcher: &Searcher,
        address: DocAddress,
        highlighter: Option<&Highlighter<'_>>,
    ) -> Result<Found, SearchError> {
        let document: TantivyDocument = searcher.doc(address)?;
        let body = document.get_first(self.fields().source).and_then(|value| value.as_bytes()).map(<[u8]>::to_vec);
        let body = body.ok_or_else(|| TantivyError::InternalError(format!("{address:?} has no source")))?;
        let highlights = highlighter.map(|highlighter| highlighter.passages(&body)).unwrap_or_default();
        Ok(Found { body, highlights })
    }
}

fn size(document: &Found) -> usize {
    let passages = document.highlights.iter().map(|(name, texts)| name.len() + texts.iter().map(String::len).sum::<usize>());
    document.body.len() + passages.sum::<usize>()
}
