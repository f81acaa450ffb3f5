//! The ids of documents.

use std::cell::OnceCell;

use tantivy::columnar::StrColumn;
use tantivy::{DocId, Searcher, SegmentReader, TantivyError};

use crate::schema::ID;

/// The ids of all segments, each opened when it is first needed, and once.
pub(super) struct Ids<'a> {
    searcher: &'a Searcher,
    columns: Vec<OnceCell<IdColumn>>,
}

impl<'a> Ids<'a> {
    pub(super) fn new(searcher: &'a Searcher) -> Self {
        Self { searcher, columns: searcher.segment_readers().iter().map(|_| OnceCell::new()).collect() }
    }

    /// Those of the segment with this number.
    pub(super) fn of(&self, segment: u32) -> Result<&IdColumn, TantivyError> {
        let column = &self.columns[segment as usize];
        match column.get() {
            Some(ids) => Ok(ids),
            None => {
                let ids = IdColumn::open(self.searcher.segment_reader(segment))?;
                Ok(column.get_or_init(|| ids))
            }
        }
    }
}

/// The ids of the documents in one segment; their ordinals are in the order of the ids.
pub(super) struct IdColumn(StrColumn);

impl IdColumn {
    pub(super) fn open(segment: &SegmentReader) -> Result<Self, TantivyError> {
        let ids = segment.fast_fields().str(ID)?;
        ids.map(Self).ok_or_else(|| TantivyError::InternalError("a segment has no ids".to_owned()))
    }

    pub(super) fn ordinal(&self, document: DocId) -> u64 {
        self.0.ords().first(document).unwrap_or(u64::MAX)
    }

    pub(super) fn text(&self, ordinal: u64) -> Result<String, TantivyError> {
        let mut id = String::new();
        if !self.0.ord_to_str(ordinal, &mut id)? {
            return Err(TantivyError::InternalError(format!("a segment has no id {ordinal}")));
        }
        Ok(id)
    }

    /// The ordinal of the first id behind this one.
    pub(super) fn first_behind(&self, id: &str) -> Result<u64, TantivyError> {
        first_number(self.0.num_terms() as u64, |ordinal| Ok(self.text(ordinal)?.as_str() > id))
    }
}

/// The first of the numbers below `end` from which on `holds` holds; `end` if there is none.
pub(super) fn first_number(end: u64, holds: impl Fn(u64) -> Result<bool, TantivyError>) -> Result<u64, TantivyError> {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
