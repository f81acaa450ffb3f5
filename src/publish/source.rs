//! Reads files, folders and stdin on a thread of its own, unpacks them, and cuts them into parts.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::sync::mpsc;
use warren_producer::split::{Form, Piece, Splitter};

/// The size of a part: one request to a server.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// How many parts wait.
const READ_AHEAD: usize = 2;
const READ_BYTES: usize = 256 * 1024;
const EXTENSIONS: [&str; 3] = ["json", "jsonl", "ndjson"];

/// Some documents of one file, in order.
pub(crate) struct Part {
    /// The file's name, for messages.
    pub file: Arc<str>,
    /// The documents, and what is none.
    pub pieces: Vec<Piece>,
}

/// All the input.
pub(crate) struct Source {
    parts: mpsc::Receiver<anyhow::Result<Part>>,
    bytes_read: Arc<AtomicU64>,
    total_bytes: Option<u64>,
}

impl Source {
    /// Finds all files, so that a wrong name is told before anything is published, and starts to read.
    pub(crate) fn open(names: &[PathBuf], max_document_bytes: usize) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for name in names {
            find_files(name, &mut files)?;
        }
        anyhow::ensure!(!files.is_empty(), "there are no *.json, *.jsonl or *.ndjson files (also .gz, .zst) in there");
        let sizes: Option<Vec<u64>> = files.iter().map(|file| size(file)).collect();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let (sender, parts) = mpsc::channel(READ_AHEAD);
        let read = bytes_read.clone();
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            for file in files {
                let outcome = read_file(&file, &read, max_document_bytes, &sender);
                if let Err(error) = outcome.with_context(|| format!("cannot read {}", file.display())) {
                    // If nobody listens any more, there is nobody to tell.
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
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

fn is_stdin(name: &Path) -> bool {
    name.as_os_str() == "-"
}

fn size(file: &Path) -> Option<u64> {
    if is_stdin(file) {
        return None;
    }
    std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// The files of a name: itself, or those of the folder, in the order of their names.
fn find_files(name: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if is_stdin(name) {
        files.push(name.to_owned());
        return Ok(());
    }
    let metadata = std::fs::metadata(name).with_context(|| format!("cannot read {}", name.display()))?;
    if !metadata.is_dir() {
        files.push(name.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(name)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot read the folder {}", name.display()))?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || is_documents(&entry) {
            find_files(&entry, files)?;
        }
    }
    Ok(())
}

fn is_documents(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    plain.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
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

fn read_file(
    name: &Path,
    count: &Arc<AtomicU64>,
    max_document_bytes: usize,
    parts: &mpsc::Sender<anyhow::Result<Part>>,
) -> anyhow::Result<()> {
    let raw: Box<dyn Read> = if is_stdin(name) { Box::new(std::io::stdin().lock()) } else { Box::new(File::open(name)?) };
    let mut input = unpacked(BufReader::with_capacity(READ_BYTES, Counted { inner: raw, count: count.clone() }))?;
    let file: Arc<str> = if is_stdin(name) { "stdin".into() } else { name.display().to_string().into() };
    let mut splitter = Splitter::new(Form::Sniff, max_document_bytes);
    let mut part = Part { file: file.clone(), pieces: Vec::new() };
    let mut part_bytes = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bytes = input.read(&mut buffer)?;
        if bytes == 0 {
            splitter.finish();
        }
        splitter.push(&buffer[..bytes]);
        while let Some(piece) = splitter.next_piece() {
            part_bytes += piece.content.as_ref().map_or(0, bytes::Bytes::len);
            part.pieces.push(piece);
            if part_bytes >= PART_BYTES {
                part_bytes = 0;
                let full = std::mem::replace(&mut part, Part { file: file.clone(), pieces: Vec::new() });
                if parts.blocking_send(Ok(full)).is_err() {
                    return Ok(()); // nobody listens any more
                }
            }
        }
        if bytes == 0 {
            break;
        }
    }
    if !part.pieces.is_empty() {
        // As above.
        let _ = parts.blocking_send(Ok(part));
    }
    Ok(())
}

/// The input as text, whatever packed it.
fn unpacked(mut input: BufReader<Counted<Box<dyn Read>>>) -> anyhow::Result<Box<dyn Read>> {
    let start = input.fill_buf()?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(input))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::Decoder::with_buffer(input)?)
    } else {
        Box::new(input)
    })
}
