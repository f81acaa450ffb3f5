//! Texts that no log line and no printed configuration may show.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// An API key: at least 16 characters, shown as `[hidden]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

/// A key that is too easily guessed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least {min} visible ASCII characters, this one has {0}: make one with `openssl rand -hex 16`", min = Secret::MIN_LEN)]
pub struct WeakSecret(usize);

impl Secret {
    /// The shortest key, in characters.
    pub const MIN_LEN: usize = 16;

    /// Takes `text` if it is long enough and can stand in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, WeakSecret> {
        let text = text.into();
        let visible = text.bytes().filter(u8::is_ascii_graphic).count();
        if visible < Self::MIN_LEN || visible != text.len() { Err(WeakSecret(visible)) } else { Ok(Self(text)) }
    }

    /// The secret itself, for the header of a request.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this secret; the time it takes tells nothing but whether the lengths are equal.
    pub fn matches(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl TryFrom<String> for Secret {
    type Error = WeakSecret;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_are_refused_without_being_shown() {
        for weak in ["", "short", "fifteen-letters", "sixteen letters!", "sixteen-letters-ä"] {
            let error = Secret::new(weak).unwrap_err();
            assert!(weak.is_empty() || !error.to_string().contains(weak));
        }
    }

    #[test]
    fn a_key_matches_itself_and_shows_nothing() {
        let secret = Secret::new("0123456789abcdef").unwrap();
        assert!(secret.matches("0123456789abcdef"));
        assert!(!secret.matches("0123456789abcdeF") && !secret.matches("0123456789abcdef0") && !secret.matches(""));
        assert_eq!(format!("{secret:?}"), "[hidden]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[hidden]\"");
    }
}
