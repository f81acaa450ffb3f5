//! Reads all files and stdin on a thread of its own, unpacks them, and cuts them into parts of bounded size.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::sync::mpsc;
use warren_producer::split::{Form, Piece, Splitter};
use warren_protocol::IndexDefinition;

use super::files::{Files, Input, is_stdin};
use super::format::Reading;
use super::{page, table};

/// The size of a part: one request to a server.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// What a document counts besides its bytes.
const PIECE_BYTES: usize = 64;
/// How many parts wait.
const READ_AHEAD: usize = 2;
const READ_BYTES: usize = 256 * 1024;
/// How far back a packed file may refer, as a power of two: 128 MiB, the most that `zstd` unpacks without being asked to.
const WINDOW_LOG: u32 = 27;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Some documents of one file, in order.
pub(crate) struct Part {
    /// The file's name, for messages.
    pub file: Arc<str>,
    /// The documents, and what is none.
    pub pieces: Vec<Piece>,
}

/// How the input is read.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The most bytes of a document.
    pub max_document_bytes: usize,
    /// What separates the columns of a table; `None`: what the file looks like.
    pub delimiter: Option<u8>,
    /// What the index says of the fields.
    pub definition: IndexDefinition,
}

/// All the input.
pub(crate) struct Source {
    parts: mpsc::Receiver<anyhow::Result<Part>>,
    bytes_read: Arc<AtomicU64>,
    total_bytes: Option<u64>,
}

impl Source {
    /// Starts to read.
    pub(super) fn start(files: Files, options: Options) -> anyhow::Result<Self> {
        let sizes: Option<Vec<u64>> = files.inputs.iter().map(|input| size(&input.path)).collect();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let (sender, parts) = mpsc::channel(READ_AHEAD);
        let read = bytes_read.clone();
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let mut packer = Packer { part: None, bytes: 0, parts: sender };
            for input in &files.inputs {
                let outcome = read_file(input, &read, &options, &mut packer);
                if let Err(error) = outcome.with_context(|| format!("cannot read {}", input.path.display())) {
                    packer.send();
                    // If nobody listens any more, there is nobody to tell.
                    let _ = packer.parts.blocking_send(Err(error));
                    return;
                }
            }
            packer.send();
        })?;
        Ok(Self { parts, bytes_read, total_bytes: sizes.map(|sizes| sizes.iter().sum()) })
    }

    /// The next part, `None` at the end.
    pub(crate) async fn next_part(&mut self) -> anyhow::Result<Option<Part>> {
        self.parts.recv().await.transpose()
    }

    /// The bytes of all files, as they are on disk; `None` with stdin.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// The bytes that were read of them.
    pub(crate) fn bytes_read(&self) -> Arc<AtomicU64> {
        self.bytes_read.clone()
    }
}

fn size(file: &Path) -> Option<u64> {
    if is_stdin(file) {
        return None;
    }
    std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Collects pieces until they are enough for a part.
struct Packer {
    part: Option<Part>,
    bytes: usize,
    parts: mpsc::Sender<anyhow::Result<Part>>,
}

impl Packer {
    /// Takes a piece; false if nobody listens any more.
    fn add(&mut self, file: &Arc<str>, piece: Piece) -> bool {
        // A part is of one file: what is said of its pieces begins with the name.
        if self.part.as_ref().is_some_and(|part| part.file != *file) {
            self.send();
        }
        self.bytes += PIECE_BYTES + piece.content.as_ref().map_or(0, bytes::Bytes::len);
        self.part.get_or_insert_with(|| Part { file: file.clone(), pieces: Vec::new() }).pieces.push(piece);
        if self.bytes >= PART_BYTES { self.send() } else { !self.parts.is_closed() }
    }

    fn send(&mut self) -> bool {
        self.bytes = 0;
        self.part.take().is_none_or(|part| self.parts.blocking_send(Ok(part)).is_ok())
    }
}

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

fn read_file(input: &Input, count: &Arc<AtomicU64>, options: &Options, packer: &mut Packer) -> anyhow::Result<()> {
    let stdin = is_stdin(&input.path);
    let raw: Box<dyn Read> = if stdin { Box::new(std::io::stdin().lock()) } else { Box::new(File::open(&input.path)?) };
    let file: Arc<str> = if stdin { "stdin".into() } else { input.path.display().to_string().into() };
    let mut text = unpacked(BufReader::with_capacity(READ_BYTES, Counted { inner: raw, count: count.clone() }))?;
    if text.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        text.consume(BYTE_ORDER_MARK.len());
    }
    let limit = options.max_document_bytes;
    match input.reading {
        Reading::Split(form) => split(&mut text, form, limit, |piece| packer.add(&file, piece)),
        Reading::Table(own) => {
            let delimiter = options.delimiter.or(own);
            table::read(&mut text, delimiter, &options.definition, limit, |piece| packer.add(&file, piece))
        }
        Reading::Page(kind) => {
            packer.add(&file, page::read(&mut text, input, kind, &options.definition, limit)?);
            Ok(())
        }
    }
}

fn split(input: &mut dyn BufRead, form: Form, limit: usize, mut emit: impl FnMut(Piece) -> bool) -> anyhow::Result<()> {
    let mut splitter = Splitter::new(form, limit);
    loop {
        let bytes = input.fill_buf()?;
        let length = bytes.len();
        splitter.push(bytes);
        input.consume(length);
        if length == 0 {
            splitter.finish();
        }
        while let Some(piece) = splitter.next_piece() {
            if !emit(piece) {
                return Ok(()); // nobody listens any more
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// The input as text, whatever packed it.
fn unpacked(mut input: BufReader<Counted<Box<dyn Read>>>) -> anyhow::Result<Box<dyn BufRead>> {
    let start = input.fill_buf()?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(READ_BYTES, flate2::bufread::MultiGzDecoder::new(input)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(input)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Box::new(BufReader::with_capacity(READ_BYTES, decoder))
    } else {
        Box::new(input)
    })
}
