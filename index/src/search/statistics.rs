//! What BM25 scores depend on besides the document itself: the partition's own statistics, or those of the whole index.

use std::collections::btree_map::Entry;

use tantivy::query::Bm25StatisticsProvider;
use tantivy::schema::{Field, Term};
use tantivy::{Searcher, TantivyError};
use warren_protocol::rpc::Statistics;

use crate::partition::PartitionIndex;
use crate::query::Plan;

/// By what a search scores.
pub(crate) struct Basis<'a> {
    index: &'a PartitionIndex,
    pub(crate) searcher: &'a Searcher,
    global: Option<Global<'a>>,
}

struct Global<'a> {
    statistics: &'a Statistics,
    /// No term is in more documents than there are.
    documents: u64,
}

impl<'a> Basis<'a> {
    /// The partition's own statistics.
    pub(crate) fn local(index: &'a PartitionIndex, searcher: &'a Searcher) -> Self {
        Self { index, searcher, global: None }
    }

    /// Those of all partitions.
    pub(crate) fn global(index: &'a PartitionIndex, searcher: &'a Searcher, statistics: &'a Statistics) -> Self {
        let most = statistics.terms.values().copied().max().unwrap_or(0);
        let global = Global { statistics, documents: statistics.documents.max(most).max(1) };
        Self { index, searcher, global: Some(global) }
    }

    /// What the scores of a plan depend on.
    pub(crate) fn of_plan(&self, plan: &Plan) -> Result<Statistics, TantivyError> {
        let mut statistics = Statistics { documents: self.total_num_docs()?, ..Statistics::default() };
        for term in plan.scored_terms() {
            if let Entry::Vacant(words) = statistics.words.entry(term.field().field_id()) {
                words.insert(self.total_num_tokens(term.field())?);
            }
            statistics.terms.insert(written(term), self.doc_freq(term)?);
        }
        Ok(statistics)
    }
}

/// A term in a form that is the same in every partition.
fn written(term: &Term) -> Vec<u8> {
    let mut bytes = term.field().field_id().to_be_bytes().to_vec();
    bytes.extend_from_slice(term.serialized_value_bytes());
    bytes
}

impl Bm25StatisticsProvider for Basis<'_> {
    fn total_num_tokens(&self, field: Field) -> Result<u64, TantivyError> {
        match self.global.as_ref().and_then(|global| global.statistics.words.get(&field.field_id())) {
            // An average of 0 words would make scores infinite.
            Some(words) => Ok((*words).max(1)),
            None => self.index.word_counts().of(self.searcher, field),
        }
    }

    fn total_num_docs(&self) -> Result<u64, TantivyError> {
        match &self.global {
            Some(global) => Ok(global.documents),
            None => self.searcher.total_num_docs(),
        }
    }

    fn doc_freq(&self, term: &Term) -> Result<u64, TantivyError> {
        let Some(global) = &self.global else {
            return self.searcher.doc_freq(term);
        };
        match global.statistics.terms.get(&written(term)) {
            Some(documents) => Ok(*documents),
            // Asked about another query than this one; whatever it is, a panic is not the answer.
            None => Ok(self.searcher.doc_freq(term)?.min(global.documents)),
        }
    }
}
