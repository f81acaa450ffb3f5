//! Cuts a stream of bytes into documents, without holding more of it than the largest document has.
//!
//! Two forms: lines (NDJSON), and JSON (one object, several, or an array of them), where [`scan`] finds the ends. In both
//! a broken document spoils only itself. Neither looks inside a document: that is `warren_protocol::document::check`'s.

mod scan;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use warren_protocol::problem::Code;

use scan::{Element, Step};

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
    /// Which piece it is, from 1: of an array that stands on one line, the line says nothing.
    pub number: u64,
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
    /// What stands here is no document; the next one is read.
    #[error("{0}")]
    Misplaced(&'static str),
    /// What stands here is neither a document nor what may stand between two; nothing behind it can be read.
    #[error("{0}: nothing behind this place was read")]
    Broken(&'static str),
    /// What should become a document cannot; for those who make documents of something else.
    #[error("{detail}")]
    Unusable {
        /// The code of its problem.
        code: Code,
        /// Why, for people.
        detail: String,
    },
}

impl SplitError {
    /// The code of its problem.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Misplaced(_) | Self::Broken(_) => Code::InvalidJson,
            Self::Unusable { code, .. } => *code,
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
    number: u64,
    finished: bool,
    /// The rest of the current line is thrown away.
    skipping: bool,
    place: Place,
    /// Whether the documents stand in an array.
    in_array: bool,
    /// Whether a document was read, and no comma behind it.
    after_value: bool,
}

/// Where in a JSON text the splitter stands.
#[derive(Debug)]
enum Place {
    /// Before everything.
    Start,
    /// Between two documents.
    Gap,
    /// In a document, or in what stands in its place.
    Inside(Element),
    /// Behind the array.
    Closed,
    /// Behind what cannot be read.
    Lost,
}

impl Splitter {
    /// A splitter for documents of at most `limit` bytes.
    pub fn new(form: Form, limit: usize) -> Self {
        Self {
            form,
            limit,
            buffer: BytesMut::new(),
            seen: 0,
            line: 1,
            number: 0,
            finished: false,
            skipping: false,
            place: Place::Start,
            in_array: false,
            after_value: false,
        }
    }

    /// Takes the next bytes of the input.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes it keeps until their piece is whole.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
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
        let start = self.buffer.iter().position(|byte| !is_space(*byte)).unwrap_or(self.buffer.len());
        self.line += self.buffer[..start].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.buffer.advance(start);
        match self.buffer.first() {
            Some(b'[') => Some(Form::Json),
            Some(_) => Some(Form::Lines),
            None => self.finished.then_some(Form::Lines),
        }
    }

    fn piece(&mut self, line: u64, content: Result<Bytes, SplitError>) -> Piece {
        self.number += 1;
        Piece { line, number: self.number, content }
    }

    /// Takes the first `length` bytes. A copy: a slice would keep all that it came with in memory, uncounted.
    fn take(&mut self, length: usize) -> Result<Bytes, SplitError> {
        let taken =
            if length > self.limit { Err(SplitError::TooLarge { limit: self.limit }) } else { Ok(&self.buffer[..length]) };
        let taken = taken.map(Bytes::copy_from_slice);
        self.buffer.advance(length);
        self.seen = 0;
        taken
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
                        return Some(self.piece(self.line, Err(SplitError::TooLarge { limit: self.limit })));
                    }
                }
                return None;
            };
            let skipped = std::mem::take(&mut self.skipping) || self.buffer[..end].iter().all(|byte| is_space(*byte));
            let line = self.line;
            let content = if skipped {
                self.buffer.advance(end);
                self.seen = 0;
                None
            } else {
                Some(self.take(end))
            };
            if !self.buffer.is_empty() {
                self.buffer.advance(1);
            }
            self.line += 1;
            if let Some(content) = content {
                return Some(self.piece(line, content));
            }
        }
    }

    fn next_value(&mut self) -> Option<Piece> {
        loop {
            match &mut self.place {
                Place::Inside(_) => match self.read_element() {
                    Read::Piece(piece) => return Some(piece),
                    Read::Ended => {}
                    Read::Waits => return None,
                },
                Place::Lost => {
                    self.buffer.clear();
                    return None;
                }
                Place::Start | Place::Gap | Place::Closed => match self.read_gap() {
                    Read::Piece(piece) => return Some(piece),
                    Read::Ended => {}
                    Read::Waits => return None,
                },
            }
        }
    }

    /// Goes through what stands between two documents, up to the first byte of the next one.
    fn read_gap(&mut self) -> Read {
        let Some(&byte) = self.buffer.first() else {
            return match self.place {
                Place::Gap if self.finished && self.in_array => self.lost("the array has no end"),
                _ => Read::Waits,
            };
        };
        match byte {
            b'\n' => self.line += 1,
            _ if is_space(byte) => {}
            _ if matches!(self.place, Place::Closed) => return self.lost("something follows the end of the array"),
            b'[' if matches!(self.place, Place::Start) => {
                self.in_array = true;
                self.place = Place::Gap;
            }
            b',' if self.in_array => {
                if !std::mem::replace(&mut self.after_value, false) {
                    self.buffer.advance(1);
                    return self.misplaced("a document is missing before this comma");
                }
            }
            b']' if self.in_array => self.place = Place::Closed,
            _ if self.in_array => {
                let is_junk = std::mem::replace(&mut self.after_value, true);
                self.place = Place::Inside(Element::new(byte, is_junk));
                if is_junk {
                    return self.misplaced("a comma is missing before this");
                }
                return Read::Ended;
            }
            b'{' => {
                self.place = Place::Inside(Element::new(byte, false));
                return Read::Ended;
            }
            _ => return self.lost("a JSON object must begin here"),
        }
        self.buffer.advance(1);
        Read::Ended
    }

    fn read_element(&mut self) -> Read {
        let Place::Inside(element) = &mut self.place else { return Read::Ended };
        let end = loop {
            let Some(&byte) = self.buffer.get(self.seen) else { break None };
            match element.step(byte, self.in_array) {
                Step::More => self.seen += 1,
                Step::EndsWith => break Some(self.seen + 1),
                Step::EndsBefore => break Some(self.seen),
            }
        };
        let (line, lines, is_told) = (self.line, element.lines, element.is_told);
        if let Some(end) = end {
            self.place = Place::Gap;
            // An object in the place of a name begins the next document, whatever is missing before it.
            self.after_value = self.buffer.get(end) != Some(&b'{');
            self.line += lines;
            if is_told {
                self.buffer.advance(end);
                self.seen = 0;
                return Read::Ended;
            }
            let content = self.take(end);
            return Read::Piece(self.piece(line, content));
        }
        if is_told || self.seen > self.limit {
            // Looked through to its end, but not kept.
            element.is_told = true;
            element.lines = 0;
            self.line += lines;
            self.buffer.clear();
            self.seen = 0;
            if !is_told {
                return Read::Piece(self.piece(line, Err(SplitError::TooLarge { limit: self.limit })));
            }
        }
        if self.finished { self.lost("the document has no end") } else { Read::Waits }
    }

    fn misplaced(&mut self, what: &'static str) -> Read {
        Read::Piece(self.piece(self.line, Err(SplitError::Misplaced(what))))
    }

    fn lost(&mut self, what: &'static str) -> Read {
        self.place = Place::Lost;
        self.buffer.clear();
        Read::Piece(self.piece(self.line, Err(SplitError::Broken(what))))
    }
}

/// What came of reading on.
enum Read {
    Piece(Piece),
    /// One thing has ended, the next one begins.
    Ended,
    /// More bytes are needed.
    Waits,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
