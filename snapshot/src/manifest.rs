//! The manifest: what a snapshot is made of, and how far in the log it is.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use warren_protocol::ports::Position;
use warren_protocol::{IndexDefinition, IndexName};

use crate::error::StoreError;
use crate::marker::Version;

/// The largest that is read; a description of thousands of files has less.
pub(crate) const MAX_BYTES: u64 = 64 << 20;
/// As file systems have it.
const MAX_NAME_BYTES: usize = 255;

/// One snapshot of one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The index.
    pub index: IndexName,
    /// Which life of the index.
    pub creation: Uuid,
    /// The partition.
    pub partition: u32,
    /// What the index was made of.
    pub definition: IndexDefinition,
    /// The last message of the log that is in it; `None` if it begins with what another log said.
    pub position: Option<Position>,
    /// What tells that message from one of another log.
    pub digest: Option<u32>,
    /// The bytes of all messages up to there, since the index was created.
    pub log_bytes: u64,
    /// The operations of all batches up to there, since the index was created.
    pub operations: u64,
    /// How many documents searches find in it.
    pub documents: u64,
    /// When it was taken, in Unix milliseconds.
    pub taken_ms: u64,
    /// What the index says about the files, for the index to read.
    pub meta: String,
    /// All files.
    pub files: Vec<StoredFile>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name in the folder of the index.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum, which is its name in the store.
    pub sha256: Checksum,
}

/// A SHA-256, as 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Checksum(String);

impl Checksum {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(content))
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        Self(format!("{:x}", hasher.finalize()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Checksum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not a SHA-256"))
        }
    }
}

/// Which of a partition's snapshots, as its object is named: `{log_bytes}-{position}.json`. A greater one holds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestName {
    /// As [`Manifest::log_bytes`].
    pub log_bytes: u64,
    /// As [`Manifest::position`].
    pub position: Option<Position>,
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{:020}-{:020}.json", self.log_bytes, position.0),
            None => write!(f, "{:020}-none.json", self.log_bytes),
        }
    }
}

impl ManifestName {
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let (log_bytes, position) = file.strip_suffix(".json")?.split_once('-')?;
        let position = if position == "none" { None } else { Some(Position(position.parse().ok()?)) };
        let name = Self { log_bytes: log_bytes.parse().ok()?, position };
        (name.to_string() == file).then_some(name)
    }
}

/// The object: the checksum is over the bytes of the manifest as they stand in it.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    version: u64,
    sha256: Checksum,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

impl Manifest {
    /// Which snapshot of its partition it is.
    pub fn name(&self) -> ManifestName {
        ManifestName { log_bytes: self.log_bytes, position: self.position }
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let manifest = serde_json::value::to_raw_value(self)?;
        let sha256 = Checksum::of(manifest.get().as_bytes());
        serde_json::to_vec(&Envelope { version: 1, sha256, manifest: &manifest })
    }

    pub(crate) fn decode(object: &str, content: &[u8]) -> Result<Self, StoreError> {
        let damaged = |detail: String| StoreError::damaged(object, detail);
        Version::check(object, content)?;
        let envelope: Envelope = serde_json::from_slice(content).map_err(|error| damaged(error.to_string()))?;
        let manifest = envelope.manifest.get();
        let sha256 = Checksum::of(manifest.as_bytes());
        if sha256 != envelope.sha256 {
            return Err(damaged(format!("its checksum is {sha256}, and {} was written", envelope.sha256)));
        }
        let manifest: Self = serde_json::from_str(manifest).map_err(|error| damaged(error.to_string()))?;
        let mut names = HashSet::new();
        for StoredFile { name, .. } in &manifest.files {
            if !is_plain(name) || !names.insert(name.as_str()) {
                return Err(damaged(format!("{name:?} is not the name of a file, or stands there twice")));
            }
        }
        Ok(manifest)
    }
}

/// Whether a file of that name lies in its folder, wherever the name comes from.
pub(crate) fn is_plain(name: &str) -> bool {
    let body = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.starts_with('.') && name.bytes().all(body)
}
