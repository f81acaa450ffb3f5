//! The files of a commit: which they are, how large, and whether they are what was written.
//!
//! Every file of a segment ends with the CRC-32 of its content, which covers any byte that a search may read; of the lines behind it only
//! the version of tantivy could change unnoticed, which is nothing but a note. `meta.json` has no checksum: a torn one does not parse, and
//! one that names other files than there are, or another schema, is refused. What lets a disk or a person change a number in it is not covered.

use std::collections::HashSet;
use std::path::PathBuf;

use tantivy::error::DataCorruption;
use tantivy::index::SegmentComponent;
use tantivy::{Index, IndexMeta, TantivyError};

use crate::directory::CacheDirectory;

/// The files that these segments consist of. tantivy's list names some besides that are there at times, or never.
pub(crate) fn of(metas: &IndexMeta) -> HashSet<PathBuf> {
    let mut files = metas.list_segment_files();
    for segment in &metas.segments {
        files.remove(&segment.relative_path(SegmentComponent::TempStore));
        if !segment.has_deletes() {
            files.remove(&segment.relative_path(SegmentComponent::Delete));
        }
    }
    files
}

/// Their bytes; what a merge has replaced meanwhile has none.
pub(crate) fn bytes(directory: &CacheDirectory, metas: &IndexMeta) -> u64 {
    of(metas).iter().map(|file| directory.size(file)).sum()
}

/// Fails if one of them is missing, or is not what was written.
pub(crate) fn verify(index: &Index, metas: &IndexMeta) -> Result<(), TantivyError> {
    for file in of(metas) {
        if !index.directory().validate_checksum(&file)? {
            let corruption = DataCorruption::new(file, "its checksum is wrong".to_owned());
            return Err(TantivyError::DataCorruption(corruption));
        }
    }
    Ok(())
}
