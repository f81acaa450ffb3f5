//! From the bytes of a page or a file to its title and its text: HTML by its main content, Markdown, plain text.
//!
//! Made for bytes that anybody may have written: the work is linear in their number, memory is bounded by a few times of it,
//! nothing recurses, and what takes too long all the same is given up. It still takes a CPU: not for a thread of the async runtime.

mod charset;
mod content;
mod html;
mod markdown;

use std::path::Path;
use std::time::Duration;

/// What takes longer was made to: a page of 8 MiB takes a third of a second.
const MAX_TIME: Duration = Duration::from_secs(10);

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTML and XHTML.
    Html,
    /// Markdown (CommonMark with tables and a YAML head).
    Markdown,
    /// Text without any marks.
    Plain,
}

/// What is indexed of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What it says is its title.
    pub title: Option<String>,
    /// Its text: a paragraph a line, white space collapsed, no control characters.
    pub text: String,
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// It has NUL characters: it is something else than it says.
    #[error("it is no text: it has NUL characters")]
    Binary,
    /// It is made to take time.
    #[error("its marks take more than {} s to read", MAX_TIME.as_secs())]
    TooSlow,
}

impl Kind {
    /// By the end of a file's name, whatever its case; `None` for what is no text that can be read here.
    pub fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "md" | "markdown" => Some(Self::Markdown),
            "txt" | "text" => Some(Self::Plain),
            _ => None,
        }
    }

    /// By a content type such as `text/html; charset=utf-8`, and where that says little, by the path and the first bytes.
    pub fn of_content(content_type: Option<&str>, path: &str, bytes: &[u8]) -> Option<Self> {
        let media_type = content_type.map(essence).unwrap_or_default();
        let by_path = Self::of_file(Path::new(path));
        match media_type.as_str() {
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "text/markdown" | "text/x-markdown" => Some(Self::Markdown),
            // Servers know no Markdown, and send it as text.
            "text/plain" if by_path == Some(Self::Markdown) => by_path,
            "text/plain" => Some(Self::Plain),
            "" | "application/octet-stream" | "binary/octet-stream" => by_path.or_else(|| Self::sniff(bytes)),
            _ => None,
        }
    }

    fn sniff(bytes: &[u8]) -> Option<Self> {
        let start = bytes.trim_ascii_start();
        let begins = |tag: &str| start.len() >= tag.len() && start[..tag.len()].eq_ignore_ascii_case(tag.as_bytes());
        if ["<!doctype html", "<html", "<head", "<body"].into_iter().any(begins) {
            return Some(Self::Html);
        }
        (std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0)).then_some(Self::Plain)
    }
}

/// The type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The charset that a content type names.
fn charset_of(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.next().map(|(_, value)| value.trim().trim_matches(['"', '\'']))
}

/// Reads bytes of that kind. The encoding is the one of the byte order mark, else of `content_type`, else of the HTML itself,
/// else UTF-8, and for what is no UTF-8, windows-1252.
pub fn extract(kind: Kind, bytes: &[u8], content_type: Option<&str>) -> Result<Page, ExtractError> {
    let text = charset::decode(bytes, content_type.and_then(charset_of), kind == Kind::Html);
    match kind {
        Kind::Html => html::page(&text, MAX_TIME),
        _ if text.contains('\0') => Err(ExtractError::Binary),
        Kind::Markdown => markdown::page(&text, MAX_TIME),
        Kind::Plain => Ok(Page { title: None, text: text.lines().filter_map(collapsed).collect::<Vec<_>>().join("\n") }),
    }
}

/// The text with single blanks between its words; `None` if it has none.
fn collapsed(text: &str) -> Option<String> {
    let mut collapsed = String::with_capacity(text.len());
    for word in text.split(|character: char| character.is_whitespace() || character.is_control()).filter(|word| !word.is_empty())
    {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    (!collapsed.is_empty()).then_some(collapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_type_path_and_bytes() {
        use Kind::{Html, Markdown, Plain};
        for (content_type, path, bytes, kind) in [
            (Some("text/html; charset=utf-8"), "/", "", Some(Html)),
            (Some("TEXT/HTML"), "/a.txt", "", Some(Html)),
            (Some("application/xhtml+xml"), "/", "", Some(Html)),
            (Some("text/plain"), "/README.md", "", Some(Markdown)),
            (Some("text/plain"), "/README", "", Some(Plain)),
            (Some("text/markdown"), "/", "", Some(Markdown)),
            (Some("application/octet-stream"), "/a.md", "", Some(Markdown)),
            (None, "/a", " <!DOCTYPE html><p>", Some(Html)),
            (None, "/a", "some text", Some(Plain)),
            (None, "/a", "a\0b", None),
            (Some("application/pdf"), "/a.txt", "", None),
            (Some("image/png"), "/a.html", "", None),
        ] {
            assert_eq!(Kind::of_content(content_type, path, bytes.as_bytes()), kind, "{content_type:?} {path} {bytes:?}");
        }
        assert_eq!(Kind::of_file(Path::new("a/B.HTM")), Some(Html));
        assert_eq!(Kind::of_file(Path::new("a/b.rs")), None);
    }

    #[test]
    fn plain_text_keeps_its_lines_and_loses_what_is_none() {
        let page = extract(Kind::Plain, b"apple  apple\tcat\r\n\r\n \x07zebra\n--\n", None).unwrap();
        assert_eq!(page, Page { title: None, text: "apple apple cat\nzebra\n--".to_owned() });
        assert_eq!(extract(Kind::Plain, b"a\0b", None), Err(ExtractError::Binary));
        assert_eq!(extract(Kind::Plain, b"", None).unwrap(), Page::default());
    }

    #[test]
    fn the_charset_of_the_type_is_read() {
        assert_eq!(charset_of("text/html; Charset=\"ISO-8859-1\""), Some("ISO-8859-1"));
        assert_eq!(charset_of("text/html; boundary=x; charset = koi8-r "), Some("koi8-r"));
        assert_eq!(charset_of("text/html"), None);
        let page = extract(Kind::Plain, b"Gr\xfc\xdfe", Some("text/plain; charset=latin1")).unwrap();
        assert_eq!(page.text, "Grüße");
    }
}
