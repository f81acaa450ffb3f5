//! A link as it may be fetched, in the one form that all its spellings share.

use std::fmt;

use url::{Host, Url};
use warren_protocol::{DocumentId, IndexName};

/// A longer link is a document of its own.
const MAX_BYTES: usize = 4096;

/// An `http` or `https` URL without user and password; the fragment, which no server gets to see, is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(Url);

/// Why a text is no link to fetch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLink {
    /// It is longer than any link that is meant for people.
    #[error("the link has {0} bytes: at most {MAX_BYTES} are taken")]
    TooLong(usize),
    /// It is no URL.
    #[error("{text:?} is no URL ({reason}): write one like https://example.org/page")]
    NoUrl {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Files, mail, scripts…
    #[error("{0:?} links are not fetched: only http and https are")]
    Scheme(String),
    /// A password would end up in queues, documents and logs.
    #[error("the link holds a user or a password: only pages that anybody may read are fetched")]
    Credentials,
}

impl Link {
    /// Checks a link.
    pub fn new(text: &str) -> Result<Self, InvalidLink> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(InvalidLink::TooLong(text.len()));
        }
        let url = Url::parse(text).map_err(|error| InvalidLink::NoUrl { text: text.to_owned(), reason: error.to_string() })?;
        Self::of_url(url)
    }

    /// Where a redirect or a reference leads.
    pub(super) fn join(&self, reference: &str) -> Result<Self, InvalidLink> {
        if reference.len() > MAX_BYTES {
            return Err(InvalidLink::TooLong(reference.len()));
        }
        let no_url = |error: url::ParseError| InvalidLink::NoUrl { text: reference.to_owned(), reason: error.to_string() };
        Self::of_url(self.0.join(reference).map_err(no_url)?)
    }

    fn of_url(mut url: Url) -> Result<Self, InvalidLink> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidLink::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidLink::Credentials);
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The id of its document: the link itself, so that whoever knows one knows the other, and feeding a link again replaces its document.
    /// Of a link that is longer than an id may be, a hash.
    pub fn document_id(&self, index: &IndexName) -> DocumentId {
        let link = self.0.as_str();
        DocumentId::new(link).unwrap_or_else(|_| DocumentId::of_content(index, link.as_bytes()))
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The host as URLs of this scheme have it: numbers are addresses by now, however they were written.
    pub(super) fn host(&self) -> Option<Host<&str>> {
        self.0.host()
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Whom to treat politely as one, whatever the port.
    pub(super) fn host_name(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_end_matches('.')
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> IndexName {
        IndexName::new("pages").unwrap()
    }

    #[test]
    fn all_spellings_of_a_link_are_one() {
        for (text, link) in [
            ("HTTP://Example.ORG", "http://example.org/"),
            (" https://example.org:443/a/../b?q=1#part ", "https://example.org/b?q=1"),
            ("http://example.org:80/%7ea b", "http://example.org/%7ea%20b"),
            ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
            ("http://2130706433/", "http://127.0.0.1/"),
        ] {
            let parsed = Link::new(text).unwrap();
            assert_eq!(parsed.to_string(), link);
            assert_eq!(Link::new(link).unwrap(), parsed);
            assert_eq!(parsed.document_id(&index()).as_str(), link);
        }
    }

    #[test]
    fn a_long_link_has_an_id_all_the_same() {
        let link = Link::new(&format!("http://example.org/{}", "x".repeat(1000))).unwrap();
        let id = link.document_id(&index());
        assert_eq!(id.as_str().len(), 32, "{id}");
        assert_ne!(id, Link::new(&format!("http://example.org/{}", "x".repeat(1001))).unwrap().document_id(&index()));
    }

    #[test]
    fn what_is_no_link_says_why() {
        assert!(matches!(Link::new("example.org"), Err(InvalidLink::NoUrl { .. })));
        assert!(matches!(Link::new(""), Err(InvalidLink::NoUrl { .. })));
        assert!(matches!(Link::new("http://"), Err(InvalidLink::NoUrl { .. })));
        assert!(matches!(Link::new("file:///etc/passwd"), Err(InvalidLink::Scheme(_))));
        assert!(matches!(Link::new("http://user@example.org/"), Err(InvalidLink::Credentials)));
        assert!(matches!(Link::new(&format!("http://a/{}", "x".repeat(5000))), Err(InvalidLink::TooLong(_))));
        let link = Link::new("http://example.org/a/b").unwrap();
        assert_eq!(link.join("../c#d").unwrap().to_string(), "http://example.org/c");
        assert_eq!(link.join("//other.example.:81").unwrap().host_name(), "other.example");
        assert!(matches!(link.join("gopher://x"), Err(InvalidLink::Scheme(_))));
    }
}
