//! Documents that are found by walking a dictionary of words or values, or the lengths of texts.
//!
//! tantivy has queries for patterns, too; but those neither tell how much they do nor stop. Here all patterns of one query share a budget of
//! steps, and what exceeds it is an error and not a search that holds a thread for ever.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::index::SegmentId;
use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, Score, SegmentReader, TantivyError};
use tantivy_fst::Automaton;

use super::Matcher;
use crate::schema::VALUES;

/// How an error begins that says that a query asks for too much.
pub(crate) const TOO_MUCH: &str = "the patterns of the query match too much: ";

/// The steps that the patterns of one query may take in one partition: letters of dictionaries that are looked at, and documents that are found.
/// So many take half a second or so.
const MAX_STEPS: i64 = 20_000_000;
/// How many documents are found in the time of a step.
const DOCUMENTS_A_STEP: usize = 8;

/// What is left of the steps.
#[derive(Debug)]
pub(super) struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(MAX_STEPS))
    }
}

impl Budget {
    fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 0
    }

    fn spend(&self, steps: usize) {
        self.0.fetch_sub(i64::try_from(steps).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), TantivyError> {
        if self.is_left() {
            return Ok(());
        }
        let reason = "write more letters, fewer patterns, or name a field";
        Err(TantivyError::InvalidArgument(format!("{TOO_MUCH}{reason}")))
    }
}

/// Which values of a column are wanted.
#[derive(Debug)]
pub(super) enum Pick {
    Matching(Arc<Matcher>),
    Among(Vec<String>),
}

#[derive(Debug)]
enum What {
    /// Words of a field, behind `before` in its dictionary.
    Words { field: Field, before: Vec<u8>, matcher: Arc<Matcher> },
    /// Exact strings of a dynamic field.
    Values { column: String, pick: Pick },
    /// Any word at all.
    AnyWord(Field),
}

/// A query for what a pattern or a list picks. Clones share what was found.
#[derive(Clone)]
pub(super) struct Selection {
    what: Arc<What>,
    budget: Arc<Budget>,
    /// Counting and ranking each ask for a scorer, and more than once.
    found: Arc<Mutex<HashMap<SegmentId, Arc<BitSet>>>>,
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Selection {
    fn new(what: What, budget: Arc<Budget>) -> Self {
        Self { what: Arc::new(what), budget, found: Arc::default() }
    }

    pub(super) fn words(field: Field, before: Vec<u8>, matcher: Arc<Matcher>, budget: Arc<Budget>) -> Self {
        Self::new(What::Words { field, before, matcher }, budget)
    }

    pub(super) fn values(path: &str, pick: Pick, budget: Arc<Budget>) -> Self {
        Self::new(What::Values { column: format!("{VALUES}.{path}"), pick }, budget)
    }

    pub(super) fn any_word(field: Field, budget: Arc<Budget>) -> Self {
        Self::new(What::AnyWord(field), budget)
    }

    fn documents(&self, segment: &SegmentReader) -> Result<BitSet, TantivyError> {
        self.budget.check()?;
        let known = |selection: &Self| {
            let found = selection.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.get(&segment.segment_id()).cloned()
        };
        if let Some(found) = known(self) {
            return Ok((*found).clone());
        }
        let mut documents = BitSet::with_max_value(segment.max_doc());
        match &*self.what {
            What::Words { field, before, matcher } => self.by_words(segment, *field, before, matcher, &mut documents)?,
            What::Values { column, pick } => self.by_values(segment, column, pick, &mut documents)?,
            What::AnyWord(field) => {
                let lengths = segment.get_fieldnorms_reader(*field)?;
                for document in (0..segment.max_doc()).filter(|document| lengths.fieldnorm_id(*document) > 0) {
                    documents.insert(document);
                }
            }
        }
        self.budget.check()?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(segment.segment_id(), Arc::new(documents.clone()));
        Ok(documents)
    }

    fn by_words(
        &self,
        segment: &SegmentReader,
        field: Field,
        before: &[u8],
        matcher: &Matcher,
        documents: &mut BitSet,
    ) -> Result<(), TantivyError> {
        let index = segment.inverted_index(field)?;
        let walk = Walk { matcher, before, budget: &self.budget };
        let mut words = index.terms().search(walk).ge(before).into_stream()?;
        while self.budget.is_left() && words.advance() {
            let mut postings = index.read_block_postings_from_terminfo(words.value(), IndexRecordOption::Basic)?;
            loop {
                let block = postings.docs();
                if block.is_empty() || !self.budget.is_left() {
                    break;
                }
                // Many times cheaper than a letter.
                self.budget.spend(block.len().div_ceil(DOCUMENTS_A_STEP));
                block.iter().for_each(|document| {
                    documents.insert(*document);
                });
                postings.advance();
            }
        }
        Ok(())
    }

    fn by_values(&self, segment: &SegmentReader, column: &str, pick: &Pick, documents: &mut BitSet) -> Result<(), TantivyError> {
        let Some(column) = segment.fast_fields().str(column)? else { return Ok(()) };
        let dictionary = column.dictionary();
        let mut wanted = BitSet::with_max_value(u32::try_from(dictionary.num_terms()).unwrap_or(u32::MAX));
        let mut any = false;
        let mut want = |ordinal: u64| {
            if let Ok(ordinal) = u32::try_from(ordinal) {
                wanted.insert(ordinal);
                any = true;
            }
        };
        match pick {
            Pick::Matching(matcher) => {
                let mut values = dictionary.search(Walk { matcher, before: &[], budget: &self.budget }).into_stream()?;
                while self.budget.is_left() && values.advance() {
                    want(values.term_ord());
                }
            }
            Pick::Among(values) => {
                for value in values {
                    if let Some(ordinal) = dictionary.term_ord(value)? {
                        want(ordinal);
                    }
                }
            }
        }
        if any {
            for document in 0..segment.max_doc() {
                if column.term_ords(document).any(|ordinal| u32::try_from(ordinal).is_ok_and(|ordinal| wanted.contains(ordinal)))
                {
                    documents.insert(document);
                }
            }
        }
        Ok(())
    }
}

impl Query for Selection {
    fn weight(&self, _: EnableScoring<'_>) -> Result<Box<dyn Weight>, TantivyError> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Selection {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> Result<Box<dyn Scorer>, TantivyError> {
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(self.documents(segment)?), boost)))
    }

    fn explain(&self, segment: &SegmentReader, document: DocId) -> Result<Explanation, TantivyError> {
        if self.documents(segment)?.contains(document) {
            return Ok(Explanation::new("Selection", 1.0));
        }
        Err(TantivyError::InvalidArgument(format!("document {document} does not match")))
    }
}

/// A pattern on its way through a dictionary, which counts the steps.
struct Walk<'a> {
    matcher: &'a Matcher,
    before: &'a [u8],
    budget: &'a Budget,
}

/// How much of `before` was right, then the state of the pattern.
#[derive(Clone, Copy)]
enum At {
    Before(usize),
    Word(u32),
    Lost,
}

impl Walk<'_> {
    fn behind(&self, right: usize) -> At {
        if right == self.before.len() { At::Word(self.matcher.start()) } else { At::Before(right) }
    }
}

impl Automaton for Walk<'_> {
    type State = At;

    fn start(&self) -> At {
        self.behind(0)
    }

    fn is_match(&self, at: &At) -> bool {
        matches!(at, At::Word(state) if self.matcher.is_match(state))
    }

    fn can_match(&self, at: &At) -> bool {
        self.budget.is_left()
            && match at {
                At::Before(_) => true,
                At::Word(state) => self.matcher.can_match(state),
                At::Lost => false,
            }
    }

    fn accept(&self, at: &At, byte: u8) -> At {
        match at {
            At::Before(right) if self.before[*right] == byte => self.behind(right + 1),
            At::Word(state) => {
                self.budget.spend(1);
                At::Word(self.matcher.accept(state, byte))
            }
            At::Before(_) | At::Lost => At::Lost,
        }
    }
}
