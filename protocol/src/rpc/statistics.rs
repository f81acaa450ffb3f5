//! What BM25 scores depend on besides the document: sums over all documents, and so over partitions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The statistics of one query, of one partition or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many documents there are.
    pub documents: u64,
    /// How many words each field has in all of them together, by the number of the field in the index's schema.
    pub words: BTreeMap<u32, u64>,
    /// In how many documents each term of the query is, by the term as the index writes it.
    pub terms: BTreeMap<Vec<u8>, u64>,
}

impl Statistics {
    /// Adds those of another partition.
    pub fn add(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.documents, other.documents);
        for (field, words) in other.words {
            add(self.words.entry(field).or_default(), words);
        }
        for (term, documents) in other.terms {
            add(self.terms.entry(term).or_default(), documents);
        }
    }

    /// Joins those of another query over the same documents.
    pub fn join(&mut self, other: &Self) {
        self.documents = self.documents.max(other.documents);
        self.words.extend(&other.words);
        self.terms.extend(other.terms.iter().map(|(term, documents)| (term.clone(), *documents)));
    }

    /// About how much memory they take, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.words.len() * 16 + self.terms.keys().map(|term| term.len() + 32).sum::<usize>()
    }
}
