//! The rows of a table, each with the line on which it begins, in bounded memory.

use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The most columns of a row; what has more is too large.
const MAX_COLUMNS: usize = 10_000;
/// How the buffers begin.
const START: usize = 256;

/// One row; its buffers are used again.
#[derive(Default)]
pub(super) struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    columns: usize,
}

/// What came of reading one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It stands in the [`Row`].
    Row,
    /// It is larger than allowed; its line stands in the [`Row`].
    TooLarge,
    /// There are no more.
    End,
}

pub(super) struct Rows<'a> {
    input: &'a mut dyn BufRead,
    parser: Reader,
    /// The line that is read next.
    line: u64,
    limit: usize,
}

impl Row {
    /// The values.
    pub(super) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).take(self.columns).map(|(start, end)| &self.bytes[start..*end])
    }
}

impl<'a> Rows<'a> {
    /// Rows of at most `limit` bytes.
    pub(super) fn new(input: &'a mut dyn BufRead, delimiter: u8, limit: usize) -> Self {
        Self { input, parser: ReaderBuilder::new().delimiter(delimiter).build(), line: 1, limit }
    }

    /// Reads the next row.
    pub(super) fn next(&mut self, row: &mut Row) -> std::io::Result<Read> {
        if !self.skip_empty_lines()? {
            return Ok(Read::End);
        }
        row.line = self.line;
        row.bytes.resize(START.max(row.bytes.len()), 0);
        row.ends.resize(START.max(row.ends.len()), 0);
        let (mut bytes, mut columns, mut too_large) = (0, 0, false);
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, written, ended) =
                self.parser.read_record(input, &mut row.bytes[bytes..], &mut row.ends[columns..]);
            self.line += newlines(&input[..read]);
            self.input.consume(read);
            (bytes, columns) = (bytes + written, columns + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                // What is too large is read to its end over what was read before.
                ReadRecordResult::OutputFull if row.bytes.len() >= self.limit => (bytes, too_large) = (0, true),
                ReadRecordResult::OutputFull => row.bytes.resize((row.bytes.len() * 2).min(self.limit.max(START)), 0),
                ReadRecordResult::OutputEndsFull if row.ends.len() >= MAX_COLUMNS => (columns, too_large) = (0, true),
                ReadRecordResult::OutputEndsFull => row.ends.resize(row.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(Read::End),
            }
        }
        row.columns = columns;
        Ok(if too_large || bytes > self.limit { Read::TooLarge } else { Read::Row })
    }

    /// Goes to the next line that is not empty; false at the end. The parser would skip them, too, and not say how many.
    fn skip_empty_lines(&mut self) -> std::io::Result<bool> {
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                return Ok(false);
            }
            let empty = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let is_all = empty == input.len();
            self.line += newlines(&input[..empty]);
            self.input.consume(empty);
            if !is_all {
                return Ok(true);
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
