//! The index of one partition: opening it, and what readers share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tantivy::{Index, IndexReader, IndexSettings, ReloadPolicy, Searcher, TantivyError};
use tracing::info;
use warren_protocol::IndexDefinition;

use crate::analysis;
use crate::directory::CacheDirectory;
use crate::error::IndexError;
use crate::files;
use crate::home::Origin;
use crate::schema::Fields;
use crate::word_counts::WordCounts;
use crate::writer::{Checkpoint, PartitionWriter};

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some())
}

/// How much an index may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The bytes of memory that one writer may hold between two commits; below 20 MB it takes 20 MB.
    pub writer_memory_bytes: usize,
    /// The bytes that the aggregations of one search may take while a segment is collected.
    pub aggregation_bytes: u64,
    /// How long a commit may be in memory only while others follow it.
    pub save_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { writer_memory_bytes: 32_000_000, aggregation_bytes: 32 << 20, save_interval: Duration::from_secs(10) }
    }
}

/// Unpacked blocks of documents that each segment keeps; one has 16 KB.
const CACHED_BLOCKS: usize = 10;

/// The index of one partition. Clones are handles to the same; searches block, and run beside each other and beside the writer.
#[derive(Clone)]
pub struct PartitionIndex {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    options: Options,
    fields: Fields,
    files: CacheDirectory,
    index: Index,
    reader: IndexReader,
    word_counts: WordCounts,
    /// Of which searcher, by its generation.
    size: Mutex<Option<(u64, Size)>>,
}

/// What an index takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The segments, each of which every search visits.
    pub segments: u32,
    /// The bytes of their files.
    pub bytes: u64,
}

impl std::fmt::Debug for PartitionIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionIndex").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}

impl PartitionIndex {
    /// Opens the index in `directory`, at its last commit, whose checkpoint comes with it. It reads all its files, to verify their
    /// checksums.
    ///
    /// The directory belongs to the index alone: what another machine start, another definition or another format left in it, or what is
    /// damaged, is deleted (and logged), and an empty index takes its place. No writer may be open on it.
    pub fn open(
        directory: &Path,
        definition: &IndexDefinition,
        options: &Options,
    ) -> Result<(Self, Option<Checkpoint>), IndexError> {
        let origin = Origin::now(definition)?;
        if has_files(directory) {
            let doubt = match origin.doubt(directory) {
                Some(doubt) => doubt,
                None => match Self::open_trusted(directory, definition, options) {
                    Ok(opened) => return Ok(opened),
                    Err(error) if error.is_damage() => error.to_string(),
                    Err(error) => return Err(error),
                },
            };
            info!(directory = %directory.display(), reason = doubt, "discarding a local index, it will be built again");
        }
        origin.settle(directory)?;
        Self::open_trusted(directory, definition, options)
    }

    fn open_trusted(
        directory: &Path,
        definition: &IndexDefinition,
        options: &Options,
    ) -> Result<(Self, Option<Checkpoint>), IndexError> {
        let fields = Fields::new(definition);
        // One thread is meant to index, and a commit 10 times a second not to start another for each segment.
        let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let files = CacheDirectory::open(directory, options.save_interval).map_err(IndexError::open)?;
        let index = Index::builder()
            .schema(fields.schema.clone())
            .settings(settings)
            .tokenizers(analysis::manager(definition.fields.values().filter_map(|field| field.analyzer)))
            .open_or_create(files.clone())?;
        let metas = index.load_metas()?;
        files::verify(&index, &metas)?;
        let checkpoint = metas.payload.map(|payload| serde_json::from_str(&payload)).transpose()?;
        let reader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).doc_store_cache_num_blocks(CACHED_BLOCKS).try_into()?;
        let (directory, options) = (directory.to_owned(), options.clone());
        // What was deleted before this start, nobody knows any more.
        let word_counts = WordCounts::new(reader.searcher().num_docs() > 0);
        let shared = Shared { directory, options, fields, files, index, reader, word_counts, size: Mutex::new(None) };
        Ok((Self { shared: Arc::new(shared) }, checkpoint))
    }

    /// The writer; `IndexError::Busy` while there is another.
    pub fn writer(&self) -> Result<PartitionWriter, IndexError> {
        PartitionWriter::new(self, self.shared.options.writer_memory_bytes)
    }

    /// How many documents searches see.
    pub fn documents(&self) -> u64 {
        self.searcher().num_docs()
    }

    pub(crate) fn aggregation_bytes(&self) -> u64 {
        self.shared.options.aggregation_bytes
    }

    /// The documents that are deleted and take room until a merge.
    pub fn deleted(&self) -> u64 {
        self.searcher().segment_readers().iter().map(|segment| u64::from(segment.num_deleted_docs())).sum()
    }

    /// What the last commit takes; the one before, if the files cannot be read now. Looks at the files once after each commit.
    pub fn size(&self) -> Size {
        let commit = self.searcher().generation().generation_id();
        let mut cached = self.shared.size.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.is_none_or(|(of, _)| of != commit)
            && let Ok(metas) = self.tantivy().load_metas()
        {
            let segments = u32::try_from(metas.segments.len()).unwrap_or(u32::MAX);
            *cached = Some((commit, Size { segments, bytes: files::bytes(self.files(), &metas) }));
        }
        cached.map(|(_, size)| size).unwrap_or_default()
    }

    /// The files, in memory and in the folder.
    pub(crate) fn files(&self) -> &CacheDirectory {
        &self.shared.files
    }

    /// Brings the last commit into the folder.
    pub(crate) fn save(&self) -> Result<(), IndexError> {
        self.shared.files.save().map_err(IndexError::directory(self.directory()))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.shared.directory
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.shared.fields
    }

    pub(crate) fn tantivy(&self) -> &Index {
        &self.shared.index
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.shared.reader.searcher()
    }

    /// How many words fields have.
    pub(crate) fn word_counts(&self) -> &WordCounts {
        &self.shared.word_counts
    }

    pub(crate) fn reload(&self) -> Result<(), TantivyError> {
        self.shared.reader.reload()
    }
}
