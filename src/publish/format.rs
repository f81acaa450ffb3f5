//! What a file holds, told by its name or by `--format`.

use std::path::Path;

use clap::ValueEnum;
use warren_producer::extract::Kind;
use warren_producer::split::Form;

/// The forms of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A JSON array of objects, or one object, or several
    Json,
    /// A JSON object a line
    Ndjson,
    /// A table with a header: a document a row
    Csv,
    /// The same, separated by tabs
    Tsv,
    /// Plain text: a document a file
    Text,
    /// Markdown: a document a file
    Markdown,
    /// HTML: a document a file
    Html,
}

/// How the documents of a file are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The splitter finds them.
    Split(Form),
    /// Each row is one; the separator, if it is known.
    Table(Option<u8>),
    /// The file is one.
    Page(Kind),
}

impl Reading {
    /// What the name says; packed files say it before `.gz` and `.zst`.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match plain.rsplit_once('.')?.1 {
            "json" => Some(Self::Split(Form::Sniff)),
            "jsonl" | "ndjson" => Some(Self::Split(Form::Lines)),
            "csv" => Some(Self::Table(None)),
            "tsv" => Some(Self::Table(Some(b'\t'))),
            _ => Kind::of_file(Path::new(plain)).map(Self::Page),
        }
    }

    /// Whether it can be told only from the index what the documents look like.
    pub(super) fn makes_documents(self) -> bool {
        !matches!(self, Self::Split(_))
    }
}

impl From<Format> for Reading {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Split(Form::Json),
            Format::Ndjson => Self::Split(Form::Lines),
            Format::Csv => Self::Table(None),
            Format::Tsv => Self::Table(Some(b'\t')),
            Format::Text => Self::Page(Kind::Plain),
            Format::Markdown => Self::Page(Kind::Markdown),
            Format::Html => Self::Page(Kind::Html),
        }
    }
}

/// Reads `--delimiter`.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("take one character that is no letter, no digit and no quote, or `tab`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_files_hold() {
        for (name, reading) in [
            ("a.json", Some(Reading::Split(Form::Sniff))),
            ("a.NDJSON.gz", Some(Reading::Split(Form::Lines))),
            ("a.b.csv.zst", Some(Reading::Table(None))),
            ("a.tsv", Some(Reading::Table(Some(b'\t')))),
            ("folder.csv/a.md", Some(Reading::Page(Kind::Markdown))),
            ("a.HTM", Some(Reading::Page(Kind::Html))),
            ("a.txt", Some(Reading::Page(Kind::Plain))),
            ("a.png", None),
            ("csv", None),
            ("a.gz", None),
        ] {
            assert_eq!(Reading::of_file(Path::new(name)), reading, "{name}");
        }
    }

    #[test]
    fn a_delimiter_is_one_character() {
        assert_eq!((delimiter(";"), delimiter("tab"), delimiter("\\t")), (Ok(b';'), Ok(b'\t'), Ok(b'\t')));
        for wrong in ["", "ab", ",,", "\"", "x", "é", "\n"] {
            assert!(delimiter(wrong).is_err(), "{wrong:?}");
        }
    }
}
