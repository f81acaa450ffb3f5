//! Cuts a stream of bytes into documents, without reading more of it than the largest document has.
//!
//! Two forms: lines (NDJSON), where a broken document spoils its own line only, and JSON (one object, several, or an
//! array of them), where documents end where their braces close. Neither looks inside a document: that is
//! `warren_protocol::document::check`'s.

use bytes::{Buf, Bytes, BytesMut};
use warren_protocol::problem::Code;

/// How documents follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One document a line; empty lines are skipped.
    Lines,
    /// Objects one after the other, or an array of them.
    Json,
    /// Decided by the first bytes: an array is `Json`, anything else `Lines`.
    Sniff,
}

/// One piece of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The document, or why there is none.
    pub content: Result<Bytes, SplitError>,
}

/// Why a piece of the input is not a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It has more bytes than a document may; the rest of it was skipped.
    #[error("the document has more than {limit} bytes")]
    TooLarge {
        /// The most bytes of a document.
        limit: usize,
    },
    /// What stands here is neither a document nor what may stand between two; nothing behind it can be read.
    #[error("{0}: nothing behind this place was read")]
    Broken(&'static str),
}

impl SplitError {
    /// The code of its problem.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Broken(_) => Code::InvalidJson,
        }
    }
}

/// The splitter: [`push`](Splitter::push) bytes in, take pieces out until there is none, and once more after
/// [`finish`](Splitter::finish).
#[derive(Debug)]
pub struct Splitter {
    form: Form,
    limit: usize,
    buffer: BytesMut,
    /// How far the buffer was looked at.
    seen: usize,
    line: u64,
    finished: bool,
    /// The rest of the current line, or of everything, is thrown away.
    skipping: bool,
    scan: Scan,
}

/// Where in a JSON text the splitter stands.
#[derive(Debug, Default)]
struct Scan {
    in_array: bool,
    after_value: bool,
    array_closed: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
    lines_inside: u64,
}

impl Splitter {
    /// A splitter for documents of at most `limit` bytes.
    pub fn new(form: Form, limit: usize) -> Self {
        Self { form, limit, buffer: BytesMut::new(), seen: 0, line: 1, finished: false, skipping: false, scan: Scan::default() }
    }

    /// Takes the next bytes of the input.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that no more bytes come.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The next piece, `None` if more bytes are needed first (or all was given out).
    pub fn next_piece(&mut self) -> Option<Piece> {
        if self.form == Form::Sniff {
            self.form = self.sniff()?;
        }
        match self.form {
            Form::Json => self.next_value(),
            Form::Lines | Form::Sniff => self.next_line(),
        }
    }

    fn sniff(&mut self) -> Option<Form> {
        let first = self.buffer.iter().find(|byte| !is_space(**byte));
        match first {
            Some(b'[') => Some(Form::Json),
            Some(_) => Some(Form::Lines),
            None => self.finished.then_some(Form::Lines),
        }
    }

    fn next_line(&mut self) -> Option<Piece> {
        loop {
            let end = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| self.seen + at);
            let Some(end) = end.or((self.finished && !self.buffer.is_empty()).then_some(self.buffer.len())) else {
                self.seen = self.buffer.len();
                if self.seen > self.limit {
                    // A line that is too long: say so once, drop what came, and go on dropping until it ends.
                    self.buffer.clear();
                    self.seen = 0;
                    if !std::mem::replace(&mut self.skipping, true) {
                        return Some(Piece { line: self.line, content: Err(SplitError::TooLarge { limit: self.limit }) });
                    }
                }
                return None;
            };
            let text = self.buffer.split_to(end).freeze();
            if !self.buffer.is_empty() {
                self.buffer.advance(1);
            }
            self.seen = 0;
            let line = self.line;
            self.line += 1;
            if std::mem::take(&mut self.skipping) || text.iter().all(|byte| is_space(*byte)) {
                continue;
            }
            let content = if text.len() > self.limit { Err(SplitError::TooLarge { limit: self.limit }) } else { Ok(text) };
            return Some(Piece { line, content });
        }
    }

    fn next_value(&mut self) -> Option<Piece> {
        if self.skipping {
            self.buffer.clear();
            return None;
        }
        if self.scan.depth == 0 && !self.enter_value() {
            return self.at_a_gap();
        }
        while self.seen < self.buffer.len() {
            let byte = self.buffer[self.seen];
            self.seen += 1;
            if self.scan.inside(byte) {
                continue;
            }
            let value = self.buffer.split_to(self.seen).freeze();
            let line = self.line;
            self.line += std::mem::take(&mut self.scan.lines_inside);
            self.seen = 0;
            self.scan.after_value = true;
            let content = if value.len() > self.limit { Err(SplitError::TooLarge { limit: self.limit }) } else { Ok(value) };
            return Some(Piece { line, content });
        }
        if self.seen > self.limit {
            // Without its end nobody knows where the next document begins.
            return Some(self.broken("the document is larger than allowed"));
        }
        if self.finished {
            return Some(self.broken("the document has no end"));
        }
        None
    }

    /// Goes through what stands between two documents; true if a document begins, which is then entered.
    fn enter_value(&mut self) -> bool {
        while let Some(&byte) = self.buffer.first() {
            match byte {
                b'\n' => self.line += 1,
                _ if is_space(byte) => {}
                b'[' if !self.scan.in_array && !self.scan.array_closed && !self.scan.after_value => self.scan.in_array = true,
                b',' if self.scan.in_array && self.scan.after_value => self.scan.after_value = false,
                b']' if self.scan.in_array => {
                    self.scan.in_array = false;
                    self.scan.array_closed = true;
                }
                b'{' if self.scan.takes_value() => {
                    self.scan.depth = 1;
                    self.seen = 1;
                    return true;
                }
                _ => return false,
            }
            self.buffer.advance(1);
        }
        false
    }

    fn at_a_gap(&mut self) -> Option<Piece> {
        if !self.buffer.is_empty() {
            let what =
                if self.scan.array_closed { "something follows the end of the array" } else { "a JSON object must begin here" };
            Some(self.broken(what))
        } else if self.finished && self.scan.in_array {
            Some(self.broken("the array has no end"))
        } else {
            None
        }
    }

    fn broken(&mut self, what: &'static str) -> Piece {
        self.skipping = true;
        self.buffer.clear();
        Piece { line: self.line, content: Err(SplitError::Broken(what)) }
    }
}

impl Scan {
    /// Whether a document may begin here: not behind an array, and in one only behind a comma.
    fn takes_value(&self) -> bool {
        let comma_is_missing = self.in_array && self.after_value;
        !self.array_closed && !comma_is_missing
    }

    /// Takes one byte inside a value; false if the value ends with it.
    fn inside(&mut self, byte: u8) -> bool {
        if byte == b'\n' {
            self.lines_inside += 1;
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return true;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth > 0
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the input in chunks of `chunk` bytes and collects all pieces.
    fn split(form: Form, input: &str, chunk: usize) -> Vec<(u64, Result<String, SplitError>)> {
        let mut splitter = Splitter::new(form, 50);
        let mut pieces = Vec::new();
        let drain = |splitter: &mut Splitter, pieces: &mut Vec<_>| {
            while let Some(Piece { line, content }) = splitter.next_piece() {
                pieces.push((line, content.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())));
            }
        };
        for part in input.as_bytes().chunks(chunk) {
            splitter.push(part);
            drain(&mut splitter, &mut pieces);
        }
        splitter.finish();
        drain(&mut splitter, &mut pieces);
        pieces
    }

    fn every_chunking(form: Form, input: &str) -> Vec<(u64, Result<String, SplitError>)> {
        let whole = split(form, input, usize::MAX);
        for chunk in 1..=input.len() {
            assert_eq!(split(form, input, chunk), whole, "chunks of {chunk} bytes of {input:?}");
        }
        whole
    }

    fn good(line: u64, text: &str) -> (u64, Result<String, SplitError>) {
        (line, Ok(text.to_owned()))
    }

    #[test]
    fn lines_keep_their_numbers_and_a_broken_one_spoils_no_other() {
        let pieces = every_chunking(Form::Sniff, "\n{\"id\":1}\r\n\n{broken\n{\"id\":\"]}\"}");
        assert_eq!(pieces, [good(2, "{\"id\":1}\r"), good(4, "{broken"), good(5, "{\"id\":\"]}\"}")]);
    }

    #[test]
    fn arrays_objects_and_rows_of_objects_end_where_their_braces_close() {
        let array = "[ {\"a\":[1,{\"b\":\"}\\\"]\"}]},\n\n {\"c\":2} ]\n";
        assert_eq!(every_chunking(Form::Sniff, array), [good(1, "{\"a\":[1,{\"b\":\"}\\\"]\"}]}"), good(3, "{\"c\":2}")]);
        let pretty = "{\n \"a\": 1\n}\n{\"b\":2}";
        assert_eq!(every_chunking(Form::Json, pretty), [good(1, "{\n \"a\": 1\n}"), good(4, "{\"b\":2}")]);
        assert_eq!(every_chunking(Form::Sniff, " [ ] "), []);
        assert_eq!(every_chunking(Form::Sniff, ""), []);
    }

    #[test]
    fn what_is_no_document_is_said_once_with_its_line() {
        for (input, line) in
            [("[{\"a\":1},\n7]", 2), ("[{\"a\":1} {\"b\":2}]", 1), ("[{\"a\":1}", 1), ("[{\"a\":", 1), ("[] {}", 1)]
        {
            let pieces = every_chunking(Form::Sniff, input);
            let (at, last) = pieces.last().unwrap();
            assert!(*at == line && matches!(last, Err(SplitError::Broken(_))), "{input}: {pieces:?}");
            assert_eq!(pieces.iter().filter(|(_, content)| content.is_err()).count(), 1);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let input = format!("{{\"id\":1}}\n{}\n{{\"id\":3}}", "x".repeat(120));
        let pieces = every_chunking(Form::Lines, &input);
        assert_eq!(pieces, [good(1, "{\"id\":1}"), (2, Err(SplitError::TooLarge { limit: 50 })), good(3, "{\"id\":3}")]);
    }
}
