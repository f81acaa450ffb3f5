//! Which partition a document belongs to.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::document::DocumentId;
use crate::index_name::IndexRef;

/// One partition of one life of an index; displayed as `name.generation.partition`, as in queue names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionId {
    /// The index.
    pub index: IndexRef,
    /// 0 to the number of partitions − 1.
    pub partition: u32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.partition)
    }
}

/// The partition of a document: `crc32(id) mod partitions`.
///
/// CRC-32/ISO-HDLC (zlib's) over the id's UTF-8 bytes: every language has it, so that any client can compute where its
/// documents go. Doubling the number of partitions splits partition p into p and p + N.
pub fn partition_of(id: &DocumentId, partitions: NonZeroU32) -> u32 {
    crc32fast::hash(id.as_str().as_bytes()) % partitions.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(id: &str, partitions: u32) -> u32 {
        partition_of(&DocumentId::new(id).unwrap(), NonZeroU32::new(partitions).unwrap())
    }

    #[test]
    fn is_the_crc32_of_zlib() {
        // The check value of CRC-32/ISO-HDLC: crc32("123456789") = 0xCBF43926.
        assert_eq!(partition("123456789", u32::MAX), 0xCBF4_3926);
        assert_eq!(partition("123456789", 4), 2);
    }

    #[test]
    fn doubling_splits_each_partition_in_two() {
        for number in 0..1000 {
            let id = format!("doc-{number}");
            let before = partition(&id, 4);
            assert!([before, before + 4].contains(&partition(&id, 8)));
        }
    }
}
