//! CSV and TSV: a header, then a document a row. Values are strings, but where the index defines another type for the field.
//!
//! Rows are read by csv-core into buffers that never grow beyond a document's limit: a quote that nobody closes costs that much
//! memory and no more.

mod rows;

use std::io::BufRead;

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Map, Number, Value};
use warren_producer::split::{Piece, SplitError};
use warren_protocol::IndexDefinition;
use warren_protocol::definition::FieldType;
use warren_protocol::problem::Code;

use rows::{Read, Row, Rows};

/// What may separate the columns, if nobody says what does; the earlier one where two stand equally often in the header.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// Reads a table, and gives out its rows until `emit` says that nobody wants more.
pub(super) fn read(
    input: &mut dyn BufRead,
    delimiter: Option<u8>,
    definition: &IndexDefinition,
    limit: usize,
    mut emit: impl FnMut(Piece) -> bool,
) -> anyhow::Result<()> {
    let delimiter = match delimiter {
        Some(delimiter) => delimiter,
        None => detect(input.fill_buf()?),
    };
    let mut rows = Rows::new(input, delimiter, limit);
    let mut row = Row::default();
    let names = match rows.next(&mut row)? {
        Read::End => return Ok(()),
        Read::TooLarge => anyhow::bail!("the header has more than {limit} bytes: is a quote missing?"),
        Read::Row => header(&row)?,
    };
    let columns: Vec<Column> = names.into_iter().map(|name| Column { kind: kind_of(definition, &name), name }).collect();
    for number in 1.. {
        let content = match rows.next(&mut row)? {
            Read::End => break,
            Read::TooLarge => Err(SplitError::TooLarge { limit }),
            Read::Row => document(&row, &columns),
        };
        if !emit(Piece { line: row.line, number, content }) {
            break;
        }
    }
    Ok(())
}

struct Column {
    name: String,
    kind: Option<FieldType>,
}

fn kind_of(definition: &IndexDefinition, name: &str) -> Option<FieldType> {
    definition.fields.get(name).map(|field| field.kind).filter(|_| name != definition.id_field)
}

/// The most frequent candidate in the first line, outside of quotes.
fn detect(start: &[u8]) -> u8 {
    let (mut counts, mut in_quotes) = ([0_usize; DELIMITERS.len()], false);
    for byte in start.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')) {
        if *byte == b'"' {
            in_quotes = !in_quotes;
        } else if let Some(at) = DELIMITERS.iter().position(|delimiter| delimiter == byte).filter(|_| !in_quotes) {
            counts[at] += 1;
        }
    }
    let best = (0..counts.len()).rev().max_by_key(|at| counts[*at]).unwrap_or(0);
    DELIMITERS[best]
}

fn header(row: &Row) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (number, name) in (1..).zip(row.fields()) {
        let name = std::str::from_utf8(name).with_context(|| format!("column {number} of the header is not UTF-8"))?.trim();
        anyhow::ensure!(!name.is_empty(), "column {number} of the header has no name: the first line must name all columns");
        anyhow::ensure!(!names.iter().any(|other| other == name), "the header names {name:?} twice: rename one of the columns");
        names.push(name.to_owned());
    }
    Ok(names)
}

fn document(row: &Row, columns: &[Column]) -> Result<Bytes, SplitError> {
    let unusable = |detail: String| SplitError::Unusable { code: Code::InvalidRow, detail };
    let found = row.fields().count();
    if found != columns.len() {
        let expected = columns.len();
        return Err(unusable(format!(
            "the row has {found} columns, the header has {expected}: is a quote or a delimiter missing?"
        )));
    }
    let mut document = Map::new();
    for (column, value) in columns.iter().zip(row.fields()) {
        let name = &column.name;
        let text = std::str::from_utf8(value).map_err(|error| unusable(format!("the column {name:?} is not UTF-8: {error}")))?;
        if let Some(value) = converted(column.kind, text) {
            document.insert(name.clone(), value);
        }
    }
    Ok(Value::Object(document).to_string().into())
}

/// The value for a field of this type; what is none stays a string, which the check of documents then refuses with its reason. `None`: it
/// has no value.
fn converted(kind: Option<FieldType>, text: &str) -> Option<Value> {
    let string = || Value::from(text);
    let Some(kind) = kind.filter(|kind| !matches!(kind, FieldType::Text | FieldType::Keyword)) else { return Some(string()) };
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let value = match kind {
        FieldType::Integer => text.parse::<i64>().ok().map(Value::from),
        FieldType::Float => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::from),
        FieldType::Boolean if text.eq_ignore_ascii_case("true") => Some(true.into()),
        FieldType::Boolean if text.eq_ignore_ascii_case("false") => Some(false.into()),
        FieldType::Date if is_day(text) => Some(format!("{text}T00:00:00Z").into()),
        FieldType::Date => text.parse::<i64>().ok().map(Value::from),
        FieldType::Boolean | FieldType::Object | FieldType::Text | FieldType::Keyword => None,
    };
    Some(value.unwrap_or_else(string))
}

/// `2026-11-26`: midnight in UTC.
fn is_day(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn pieces(table: &[u8], delimiter: Option<u8>, limit: usize) -> anyhow::Result<Vec<(u64, Result<Value, SplitError>)>> {
        let definition = r#"{"fields":{"size":{"type":"integer"},"price":{"type":"float"},"open":{"type":"boolean"},
            "day":{"type":"date"},"note":{"type":"keyword"}}}"#;
        let definition = IndexDefinition::from_json(definition.as_bytes()).unwrap();
        let mut all: Vec<Vec<(u64, Result<Value, SplitError>)>> = Vec::new();
        // However much comes at a time, it is the same.
        for buffer in [1 << 16, 7, 1] {
            let mut pieces = Vec::new();
            let mut input = BufReader::with_capacity(buffer, table);
            let delimiter = delimiter.or((buffer < 100).then(|| detect(table)));
            read(&mut input, delimiter, &definition, limit, |piece| {
                assert_eq!(piece.number, pieces.len() as u64 + 1);
                let document = piece.content.map(|document| serde_json::from_slice(&document).unwrap());
                pieces.push((piece.line, document));
                true
            })?;
            all.push(pieces);
        }
        assert!(all.iter().all(|pieces| *pieces == all[0]), "{all:?}");
        Ok(all.remove(0))
    }

    fn good(table: &str) -> Vec<(u64, Value)> {
        let pieces = pieces(table.as_bytes(), None, 1000).unwrap();
        pieces.into_iter().map(|(line, document)| (line, document.unwrap())).collect()
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn rows_become_documents_with_their_lines() {
        let expected = vec![
            (2, json(r#"{"id":"1","text":"plain"}"#)),
            (3, json(r#"{"id":"2","text":"two\nlines, \"quoted\""}"#)),
            (6, json(r#"{"id":"3","text":""}"#)),
        ];
        assert_eq!(good("id,text\n1,plain\n2,\"two\nlines, \"\"quoted\"\"\"\n\n3,\n"), expected);
        let windows = good("id;text\r\n1;plain\r\n2;\"two\r\nlines\"\r\n\r\n3;last");
        assert_eq!(windows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 6]);
        assert_eq!((&windows[1].1["text"], &windows[2].1["text"]), (&"two\r\nlines".into(), &"last".into()));
        assert_eq!(good("id\ttext\n1\ta,b\n"), [(2, json(r#"{"id":"1","text":"a,b"}"#))]);
        assert_eq!(good(""), []);
        assert_eq!(good("id,text\n"), []);
    }

    #[test]
    fn defined_fields_get_their_types() {
        let row = good("id,size,price,open,day,note\n7,12,1.50,TRUE,2026-11-26,12\n");
        let expected = r#"{"id":"7","size":12,"price":1.5,"open":true,"day":"2026-11-26T00:00:00Z","note":"12"}"#;
        assert_eq!(row, [(2, json(expected))]);
        assert_eq!(good("id,size,open,day\na,, ,\n"), [(2, json(r#"{"id":"a"}"#))], "no value");
        // The check of documents says what is wrong with these.
        let wrong = r#"{"id":"a","size":"many","price":"1,5","open":"yes","day":"soon"}"#;
        assert_eq!(good("id;size;price;open;day\na;many;1,5;yes;soon\n"), [(2, json(wrong))]);
    }

    #[test]
    fn a_bad_row_is_refused_with_its_line_and_the_next_is_read() {
        let table = b"id,text\n1,one\n2\n3,three,more\n4,caf\xe9\n5,five\n";
        let pieces = pieces(table, None, 1000).unwrap();
        let codes: Vec<_> = pieces.iter().map(|(line, row)| (*line, row.as_ref().err().map(SplitError::code))).collect();
        let bad = Some(Code::InvalidRow);
        assert_eq!(codes, [(2, None), (3, bad), (4, bad), (5, bad), (6, None)]);
    }

    #[test]
    fn a_row_that_is_too_large_is_skipped() {
        let table = format!("id,text\n1,one\n2,\"{}\"\n3,three\n", "long\n".repeat(100));
        let pieces = pieces(table.as_bytes(), None, 50).unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!((pieces[1].0, &pieces[1].1), (3, &Err(SplitError::TooLarge { limit: 50 })));
        assert_eq!(pieces[2].0, 104);
    }

    #[test]
    fn a_header_names_every_column_once() {
        for (table, word) in [("id,,x\n1,2,3\n", "column 2"), ("id,a,a\n1,2,3\n", "twice"), ("id,\"open\n1,2\n", "header")] {
            let error = pieces(table.as_bytes(), None, 5).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_delimiter_is_found_outside_of_quotes() {
        for (line, delimiter) in
            [("a,b;c,d\nx;y;z;;;", b','), ("\"a,b,c\";d\n", b';'), ("a|b|c", b'|'), ("a\tb", b'\t'), ("single", b',')]
        {
            assert_eq!(detect(line.as_bytes()), delimiter, "{line}");
        }
    }
}
