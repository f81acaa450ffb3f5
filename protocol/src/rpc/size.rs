//! How much answers take, about, for the bounds of messages and of memory.

use super::{Found, PartialHit};
use crate::search::SortValue;

/// What a number takes in a message at most.
const NUMBER_BYTES: usize = 10;

impl Found {
    /// The bytes of the document and its passages.
    pub fn bytes(&self) -> usize {
        let passages = self.highlights.iter().map(|(name, texts)| name.len() + texts.iter().map(String::len).sum::<usize>());
        self.body.len() + passages.sum::<usize>()
    }
}

impl PartialHit {
    /// What it takes in memory, with its document if that came along.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + key_bytes(&self.id, &self.sort) + self.found.as_ref().map_or(0, Found::bytes)
    }
}

/// What a hit takes in a message without its document.
pub fn key_bytes(id: &str, sort: &[SortValue]) -> usize {
    let value = |value: &SortValue| match value {
        SortValue::Str(text) => text.len() + NUMBER_BYTES,
        _ => NUMBER_BYTES,
    };
    id.len() + 2 * NUMBER_BYTES + sort.iter().map(value).sum::<usize>()
}
