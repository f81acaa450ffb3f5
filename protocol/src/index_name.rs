//! The name of an index, and one life of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};

/// A name of an index: `[a-z0-9][a-z0-9_-]{0,99}`.
///
/// The pattern keeps names safe in AMQP routing keys, queue names and file names alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IndexName(String);

/// Why a text is not the name of an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("index name {0:?} does not match [a-z0-9][a-z0-9_-]{{0,99}}: use lower case letters, digits, '-' and '_', at most 100")]
pub struct InvalidIndexName(String);

impl From<InvalidIndexName> for Problem {
    fn from(error: InvalidIndexName) -> Self {
        Self::new(Code::InvalidIndexName, error.to_string()).with_field("index")
    }
}

impl IndexName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 100;

    /// Takes `name` if it fits the pattern.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidIndexName> {
        let name = name.into();
        let body = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let starts_well = name.as_bytes().first().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if name.len() <= Self::MAX_LEN && starts_well && name.as_bytes().iter().all(body) {
            Ok(Self(name))
        } else {
            Err(InvalidIndexName(name.chars().take(Self::MAX_LEN + 1).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IndexName {
    type Err = InvalidIndexName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for IndexName {
    type Error = InvalidIndexName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<IndexName> for String {
    fn from(name: IndexName) -> Self {
        name.0
    }
}

/// One life of an index: the position of its creation in the catalog.
///
/// An index that was deleted and created again has the same name and another generation, so that nothing written to
/// the first life can reach the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of one index; displayed as `name.generation`, as it stands in queue names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexRef {
    /// The name that users know.
    pub name: IndexName,
    /// Which life of that name.
    pub generation: Generation,
}

impl fmt::Display for IndexRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_pattern() {
        for good in ["a", "0", "packages", "a-b_c9", &"x".repeat(100)] {
            assert_eq!(IndexName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "ä", "a/b", &"x".repeat(101)] {
            assert!(IndexName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn serde_goes_through_the_same_door() {
        assert!(serde_json::from_str::<IndexName>("\"Bad Name\"").is_err());
        assert_eq!(serde_json::from_str::<IndexName>("\"good\"").unwrap().as_str(), "good");
    }
}
