//! Which ids are surely new, so that their documents need no deletion of an earlier one.
//!
//! A deletion costs tantivy about 1.5 KB until the commit, and then a look-up in every segment. A Bloom filter never says that an id is
//! new when it is not; where it is wrong in the other direction, about once in 1,000 times, a deletion finds nothing.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The ids that the first filter takes; each further one takes twice as many.
const FIRST_CAPACITY: usize = 1 << 16;
const BITS_PER_ID: usize = 16;
const BITS_SET: u32 = 6;
/// One cache line.
const WORDS: usize = 8;

/// The ids that were ever put, at 2 to 4 bytes each.
#[derive(Debug, Default)]
pub(crate) struct KnownIds {
    filters: Vec<Filter>,
}

#[derive(Debug)]
struct Filter {
    blocks: Vec<[u64; WORDS]>,
    room: usize,
}

impl KnownIds {
    /// Notes the id; false if it is surely new.
    pub(crate) fn insert(&mut self, id: &[u8]) -> bool {
        let hash = hash(id);
        if self.filters.iter().any(|filter| filter.has(hash)) {
            return true;
        }
        let full = self.filters.last().is_none_or(|filter| filter.room == 0);
        if full {
            self.filters.push(Filter::new(FIRST_CAPACITY << self.filters.len()));
        }
        if let Some(filter) = self.filters.last_mut() {
            filter.add(hash);
        }
        false
    }

    /// False if the id was surely never put.
    pub(crate) fn may_have(&self, id: &[u8]) -> bool {
        let hash = hash(id);
        self.filters.iter().any(|filter| filter.has(hash))
    }
}

impl Filter {
    fn new(capacity: usize) -> Self {
        Self { blocks: vec![[0; WORDS]; capacity * BITS_PER_ID / (WORDS * 64)], room: capacity }
    }

    fn has(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block(hash)];
        bits(hash).all(|(word, bit)| block[word] & bit != 0)
    }

    fn add(&mut self, hash: u64) {
        let block = self.block(hash);
        for (word, bit) in bits(hash) {
            self.blocks[block][word] |= bit;
        }
        self.room -= 1;
    }

    fn block(&self, hash: u64) -> usize {
        // The number of blocks is a power of two.
        (hash >> 40) as usize & (self.blocks.len() - 1)
    }
}

/// The bits of one id inside its block: nine bits of the hash for each, mixed so that they do not repeat what chose the block.
fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..BITS_SET).map(move |number| {
        let position = mixed >> (10 + 9 * number) & 511;
        ((position >> 6) as usize, 1 << (position & 63))
    })
}

fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_forgotten_and_few_are_mistaken() {
        let mut known = KnownIds::default();
        let mistaken = (0..300_000).filter(|number| known.insert(format!("id-{number}").as_bytes())).count();
        assert!(mistaken < 1500, "{mistaken} of 300,000 new ids were taken for old ones");
        for number in 0..300_000 {
            assert!(known.may_have(format!("id-{number}").as_bytes()), "id-{number}");
        }
        let mistaken = (0..100_000).filter(|number| known.may_have(format!("other-{number}").as_bytes())).count();
        assert!(mistaken < 500, "{mistaken} of 100,000");
        assert_eq!(known.filters.len(), 3);
    }
}
