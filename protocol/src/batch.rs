//! The batch: one message of a partition log.
//!
//! ```text
//! 'W' 'L' version=1 │ header (postcard) │ payload, the rest of the message
//! 'W' 'L' version=2 │ header (postcard) │ the receipt that is wanted (postcard) │ payload
//! payload = zstd of: ( code │ id length, varint │ id │ body length, varint │ body )*
//! codes: 0 put · 1 delete (no body) · reserved: 2 patch · 3 put with a version · 4 put with an expiry
//! ```
//!
//! The header is outside the compression, so that a follower skips what it has seen without unpacking it. Golden files
//! in `protocol/golden/` pin every byte; a new version gets a new number, and version N reads what N − 1 wrote. A batch
//! that wants no receipt is still written as version 1, which older programs read.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::document::DocumentId;
use crate::receipt::Wanted;

/// The version of a batch that wants no receipt.
const PLAIN: u8 = 1;
/// The version of one that does; the newest that this program reads.
const VERSION: u8 = 2;
const MAGIC: [u8; 2] = *b"WL";
/// Fast, and about 4:1 on JSON; the broker writes every byte to its disk.
const ZSTD_LEVEL: i32 = 1;

/// Who writes: one producer process, or all intakes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriterId(pub Uuid);

impl WriterId {
    /// The one writer that all intakes are, whichever process holds the queue.
    pub const INTAKE: Self = Self(Uuid::from_u128(1));

    /// A writer of its own, for one process.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One connection of a writer; a larger epoch replaces a smaller one.
pub type Epoch = u64;
/// The number of a batch, dense for one writer in one log.
pub type Sequence = u64;

/// What stands before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Who wrote it.
    pub writer: WriterId,
    /// On which connection.
    pub epoch: Epoch,
    /// What it is.
    pub kind: Kind,
}

/// The two kinds of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Opens an epoch: whatever still arrives of the writer's earlier epochs is void.
    Open {
        /// True: the numbering of the earlier epoch goes on, because the same process still knows it.
        /// False: the numbering starts at `next`, because a new process took the writer over.
        continues: bool,
        /// The next sequence; with `continues`, all below it were confirmed by the broker.
        next: Sequence,
    },
    /// Carries operations.
    Write {
        /// The number of this batch.
        sequence: Sequence,
        /// How many operations the payload holds.
        operations: u32,
        /// The payload's bytes once unpacked.
        unpacked_bytes: u32,
    },
}

/// One write to one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The document, in place of the one with the same id.
    Put {
        /// The document's id.
        id: &'a str,
        /// One JSON object.
        body: &'a [u8],
    },
    /// No document of this id any more.
    Delete {
        /// The document's id.
        id: &'a str,
    },
}

impl Operation<'_> {
    /// The id of the document that it writes.
    pub fn id(&self) -> &str {
        match self {
            Self::Put { id, .. } | Self::Delete { id } => id,
        }
    }
}

/// Why the bytes of a message are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not written by Warren.
    #[error("this is not a Warren batch")]
    Foreign,
    /// Written by a newer Warren.
    #[error("the batch has version {found}, this program reads up to {VERSION}: update it")]
    Version {
        /// The version in the message.
        found: u8,
    },
    /// An operation that this version does not know.
    #[error("the batch holds operation {0}, which this program does not know: update it")]
    UnknownOperation(u8),
    /// The bytes end early or contradict themselves.
    #[error("the batch is damaged: {0}")]
    Damaged(String),
    /// The batch unpacks to more than a batch may.
    #[error("the batch unpacks to {bytes} bytes, more than {}", Batch::MAX_UNPACKED_BYTES)]
    TooLarge {
        /// The size that it announces.
        bytes: u64,
    },
}

fn damaged(what: impl fmt::Display) -> BatchError {
    BatchError::Damaged(what.to_string())
}

/// A batch as a follower reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Who wrote it, and what it is.
    pub header: Header,
    /// Who wants to know when a search sees it.
    pub wanted: Option<Wanted>,
    packed: Bytes,
}

impl Batch {
    /// The most bytes that a batch may have once unpacked: one document of the largest size that can be configured.
    pub const MAX_UNPACKED_BYTES: u32 = 64 * 1024 * 1024;

    /// Reads the header of a message; the payload stays packed.
    pub fn decode(message: &Bytes) -> Result<Self, BatchError> {
        let version = match message.as_ref() {
            [m, n, version, ..] if [*m, *n] == MAGIC => *version,
            _ => return Err(BatchError::Foreign),
        };
        if ![PLAIN, VERSION].contains(&version) {
            return Err(BatchError::Version { found: version });
        }
        let (header, mut packed): (Header, _) = postcard::take_from_bytes(&message[3..]).map_err(damaged)?;
        let mut wanted = None;
        if version == VERSION {
            let (read, rest): (Wanted, _) = postcard::take_from_bytes(packed).map_err(damaged)?;
            (wanted, packed) = (Some(read), rest);
        }
        if let Kind::Write { unpacked_bytes, .. } = header.kind
            && unpacked_bytes > Self::MAX_UNPACKED_BYTES
        {
            return Err(BatchError::TooLarge { bytes: unpacked_bytes.into() });
        }
        Ok(Self { header, wanted, packed: message.slice_ref(packed) })
    }

    /// Unpacks the operations.
    pub fn operations(&self) -> Result<Operations, BatchError> {
        let Kind::Write { operations, unpacked_bytes, .. } = self.header.kind else {
            return Ok(Operations { buffer: Vec::new(), expected: 0 });
        };
        let buffer = zstd::bulk::decompress(&self.packed, unpacked_bytes as usize).map_err(damaged)?;
        if buffer.len() != unpacked_bytes as usize {
            return Err(damaged(format_args!("{} bytes unpacked, {unpacked_bytes} announced", buffer.len())));
        }
        Ok(Operations { buffer, expected: operations })
    }
}

/// The operations of one batch, unpacked.
#[derive(Debug)]
pub struct Operations {
    buffer: Vec<u8>,
    expected: u32,
}

impl Operations {
    /// The operations in their order; ends after the first error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Operation<'_>, BatchError>> {
        let mut rest = self.buffer.as_slice();
        let mut left = self.expected;
        std::iter::from_fn(move || {
            if left == 0 {
                return (!std::mem::take(&mut rest).is_empty()).then(|| Err(damaged("bytes after the last operation")));
            }
            let operation = take_operation(&mut rest);
            left = if operation.is_ok() { left - 1 } else { 0 };
            if operation.is_err() {
                rest = &[];
            }
            Some(operation)
        })
    }

    /// The bytes that they take in memory.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }
}

fn take_operation<'a>(rest: &mut &'a [u8]) -> Result<Operation<'a>, BatchError> {
    let (&code, after) = rest.split_first().ok_or_else(|| damaged("an operation is missing"))?;
    *rest = after;
    if code > 1 {
        return Err(BatchError::UnknownOperation(code));
    }
    let id = std::str::from_utf8(take_bytes(rest)?).map_err(damaged)?;
    if code == 1 {
        return Ok(Operation::Delete { id });
    }
    Ok(Operation::Put { id, body: take_bytes(rest)? })
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BatchError> {
    let (length, after): (u32, _) = postcard::take_from_bytes(rest).map_err(damaged)?;
    let (bytes, after) = after.split_at_checked(length as usize).ok_or_else(|| damaged("a value is cut off"))?;
    *rest = after;
    Ok(bytes)
}

/// Collects operations into a payload.
#[derive(Debug, Default)]
pub struct PayloadBuilder {
    buffer: Vec<u8>,
    operations: u32,
}

impl PayloadBuilder {
    /// Appends one operation.
    pub fn push(&mut self, id: &DocumentId, body: Option<&[u8]>) {
        self.buffer.push(u8::from(body.is_none()));
        self.push_bytes(id.as_str().as_bytes());
        if let Some(body) = body {
            self.push_bytes(body);
        }
        self.operations += 1;
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let mut length = [0; 5];
        // A varint of postcard takes at most 5 bytes, and no value exceeds MAX_UNPACKED_BYTES.
        if let Ok(length) = postcard::to_slice(&(bytes.len() as u32), &mut length) {
            self.buffer.extend_from_slice(length);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many operations were collected so far.
    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// The bytes collected so far, unpacked.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Packs what was collected.
    pub fn finish(self) -> std::io::Result<Payload> {
        let packed = zstd::bulk::compress(&self.buffer, ZSTD_LEVEL)?;
        Ok(Payload { packed: packed.into(), operations: self.operations, unpacked_bytes: self.buffer.len() as u32 })
    }
}

/// Packed operations without an identity: what is sent again, under another epoch, after a connection was lost.
#[derive(Clone, Debug)]
pub struct Payload {
    packed: Bytes,
    operations: u32,
    unpacked_bytes: u32,
}

impl Payload {
    /// How many operations it holds.
    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// The message of a log, with its identity in front, and with the receipt that it wants.
    pub fn encode(&self, writer: WriterId, epoch: Epoch, sequence: Sequence, wanted: Option<Wanted>) -> Bytes {
        let kind = Kind::Write { sequence, operations: self.operations, unpacked_bytes: self.unpacked_bytes };
        encode(&Header { writer, epoch, kind }, wanted.as_ref(), &self.packed)
    }
}

/// The control batch that opens an epoch.
pub fn encode_open(writer: WriterId, epoch: Epoch, continues: bool, next: Sequence) -> Bytes {
    encode(&Header { writer, epoch, kind: Kind::Open { continues, next } }, None, &[])
}

fn encode(header: &Header, wanted: Option<&Wanted>, packed: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(packed.len() + 80);
    message.extend_from_slice(&MAGIC);
    message.push(if wanted.is_some() { VERSION } else { PLAIN });
    // Appending to a Vec cannot fail, and both have only fixed fields.
    let mut message = postcard::to_extend(header, message).unwrap_or_default();
    if let Some(wanted) = wanted {
        message = postcard::to_extend(wanted, message).unwrap_or_default();
    }
    message.extend_from_slice(packed);
    message.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(operations: &[(&str, Option<&str>)]) -> Payload {
        let mut builder = PayloadBuilder::default();
        for (id, body) in operations {
            builder.push(&DocumentId::new(*id).unwrap(), body.map(str::as_bytes));
        }
        builder.finish().unwrap()
    }

    const OPERATIONS: [(&str, Option<&str>); 3] =
        [("a", Some(r#"{"id":"a","title":"Grüße"}"#)), ("b", None), ("a", Some(r#"{"id":"a"}"#))];

    const WANTED: Wanted = Wanted { producer: Uuid::from_u128(0xab << 64), batch: 9, until_ms: 1_764_000_000_000 };

    #[test]
    fn a_batch_says_who_waits_for_its_receipt_and_what_it_writes_all_the_same() {
        let plain = payload(&OPERATIONS).encode(WriterId::INTAKE, 7, 300, None);
        let message = payload(&OPERATIONS).encode(WriterId::INTAKE, 7, 300, Some(WANTED));
        // What reads version 1 alone refuses it by its version, and reads the other one.
        assert_eq!((plain[2], message[2]), (1, 2));
        let (plain, batch) = (Batch::decode(&plain).unwrap(), Batch::decode(&message).unwrap());
        assert_eq!((plain.wanted, batch.wanted), (None, Some(WANTED)));
        assert_eq!((plain.header, plain.packed), (batch.header, batch.packed));
    }

    #[test]
    fn what_goes_in_comes_out() {
        let message = payload(&OPERATIONS).encode(WriterId::INTAKE, 7, 300, None);
        let batch = Batch::decode(&message).unwrap();
        assert_eq!((batch.header.writer, batch.header.epoch), (WriterId::INTAKE, 7));
        assert!(matches!(batch.header.kind, Kind::Write { sequence: 300, operations: 3, .. }));
        let unpacked = batch.operations().unwrap();
        let operations: Vec<_> = unpacked.iter().map(Result::unwrap).collect();
        let expected: Vec<_> = OPERATIONS
            .iter()
            .map(|(id, body)| match body {
                Some(body) => Operation::Put { id, body: body.as_bytes() },
                None => Operation::Delete { id },
            })
            .collect();
        assert_eq!(operations, expected);
    }

    #[test]
    fn every_cut_and_every_flipped_version_is_an_error_not_a_panic() {
        for wanted in [None, Some(WANTED)] {
            let message = payload(&OPERATIONS).encode(WriterId::INTAKE, 1, 0, wanted);
            for length in 0..message.len() {
                let read = Batch::decode(&message.slice(..length)).and_then(|batch| batch.operations());
                assert!(read.is_err(), "cut at {length}");
            }
            let mut newer = message.to_vec();
            newer[2] = 3;
            assert_eq!(Batch::decode(&newer.into()), Err(BatchError::Version { found: 3 }));
        }
        assert_eq!(Batch::decode(&Bytes::from_static(b"{}")), Err(BatchError::Foreign));
    }

    #[test]
    fn an_unknown_operation_is_named_not_skipped() {
        let operations = Operations { buffer: vec![2, 1, b'a'], expected: 1 };
        assert_eq!(operations.iter().collect::<Result<Vec<_>, _>>(), Err(BatchError::UnknownOperation(2)));
        let trailing = Operations { buffer: vec![1, 1, b'a', 9], expected: 1 };
        assert!(trailing.iter().collect::<Result<Vec<_>, _>>().is_err());
    }

    #[test]
    fn golden_files_pin_every_byte() {
        let golden: [(&str, Bytes); 3] = [
            ("batch-v1-write.bin", payload(&OPERATIONS).encode(WriterId::INTAKE, 7, 300, None)),
            ("batch-v2-write.bin", payload(&OPERATIONS).encode(WriterId::INTAKE, 7, 300, Some(WANTED))),
            ("batch-v1-open.bin", encode_open(WriterId::INTAKE, 7, true, 300)),
        ];
        for (name, now) in golden {
            crate::rpc::golden::check(name, &now);
        }
        for (name, wanted) in [("batch-v1-write.bin", None), ("batch-v2-write.bin", Some(WANTED))] {
            let batch = Batch::decode(&Bytes::from(crate::rpc::golden::read(name))).unwrap();
            assert_eq!(batch.wanted, wanted);
            let operations = batch.operations().unwrap();
            let ids: Vec<_> = operations.iter().map(|operation| operation.unwrap().id().to_owned()).collect();
            assert_eq!(ids, ["a", "b", "a"]);
        }
    }
}
