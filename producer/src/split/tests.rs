//! Every input is fed in chunks of every size: where a network cuts it must make no difference.

use super::*;

type Got = (u64, Result<String, SplitError>);

/// Feeds the input in chunks of `chunk` bytes and collects all pieces.
fn split(form: Form, input: &str, chunk: usize) -> Vec<Got> {
    let mut splitter = Splitter::new(form, 50);
    let mut pieces = Vec::new();
    let drain = |splitter: &mut Splitter, pieces: &mut Vec<_>| {
        while let Some(Piece { line, number, content }) = splitter.next_piece() {
            pieces.push((line, content.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())));
            assert_eq!(number, pieces.len() as u64);
        }
    };
    for part in input.as_bytes().chunks(chunk) {
        splitter.push(part);
        drain(&mut splitter, &mut pieces);
        assert!(splitter.buffer.len() <= 50 + chunk, "{} bytes are held", splitter.buffer.len());
    }
    splitter.finish();
    drain(&mut splitter, &mut pieces);
    pieces
}

fn every_chunking(form: Form, input: &str) -> Vec<Got> {
    let whole = split(form, input, 1 << 20);
    for chunk in 1..=input.len() {
        assert_eq!(split(form, input, chunk), whole, "chunks of {chunk} bytes of {input:?}");
    }
    whole
}

fn good(line: u64, text: &str) -> Got {
    (line, Ok(text.to_owned()))
}

fn too_large(line: u64) -> Got {
    (line, Err(SplitError::TooLarge { limit: 50 }))
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
fn a_bad_element_of_an_array_spoils_no_other() {
    let last = || good(2, "{\"z\":9}");
    for bad in [
        "7",
        "null",
        "nonsense",
        "\"text, with a ] and a {\"",
        "[1,{\"a\":[2]}]",
        "{\"a\":}",
        "{\"a\":[1}",
        "{\"a\":[{\"b\":1]}",
        "{a,b}",
        "{\"a\":1}}",
        "{\"a\":\"\u{7f}é\\u12\"}",
    ] {
        let pieces = every_chunking(Form::Json, &format!("[{{\"a\":1}},{bad},\n{{\"z\":9}}]"));
        let spoilt = pieces.iter().filter(|piece| **piece != good(1, "{\"a\":1}") && **piece != last()).count();
        assert!(pieces.first() == Some(&good(1, "{\"a\":1}")) && pieces.last() == Some(&last()), "{bad}: {pieces:?}");
        assert!((1..=2).contains(&spoilt), "{bad}: {pieces:?}");
    }
    // What does not end by itself ends where the next one begins.
    for bad in ["{\"a\":\"no quote", "{\"a\":{\"b\":1}", "{\"a\":", "{\"a\":1,", "{\"a\"", "{\"a\":\"x\",\"b"] {
        let pieces = every_chunking(Form::Json, &format!("[{{\"a\":1}},\n{bad}\n,{{\"y\":8}},{{\"z\":9}}]"));
        let (first, rest) = pieces.split_first().unwrap();
        assert_eq!((first, rest[0].0), (&good(1, "{\"a\":1}"), 2), "{bad}");
        let more = good(3, "{\"z\":9}");
        assert!(rest.last() == Some(&more) && rest.len() == 3, "{bad}: {pieces:?}");
    }
    let pieces = every_chunking(Form::Json, "[{\"a\":1},{\"b\":2]");
    assert_eq!(pieces, [good(1, "{\"a\":1}"), good(1, "{\"b\":2")], "the array ends all the same");
}

#[test]
fn commas_that_are_missing_or_too_many_are_told() {
    let pieces = every_chunking(Form::Json, "[{\"a\":1} {\"b\":2},\n,{\"c\":3},]");
    let told = |line, what| (line, Err(SplitError::Misplaced(what)));
    let expected = [
        good(1, "{\"a\":1}"),
        told(1, "a comma is missing before this"),
        told(2, "a document is missing before this comma"),
        good(2, "{\"c\":3}"),
    ];
    assert_eq!(pieces, expected);
}

#[test]
fn where_nothing_more_can_be_read_it_is_said_once_with_its_line() {
    for (input, line) in [
        ("[{\"a\":1}", 1),
        ("[{\"a\":", 1),
        ("[] {}", 1),
        ("[\n[1,", 2),
        ("{\"a\":1}\n7", 2),
        ("nonsense", 1),
        (&format!("[{{\"a\":\"{}", "x".repeat(99)), 1),
    ] {
        let pieces = every_chunking(Form::Json, input);
        let (at, last) = pieces.last().unwrap();
        assert!(*at == line && matches!(last, Err(SplitError::Broken(_))), "{input}: {pieces:?}");
        assert_eq!(pieces.iter().filter(|(_, content)| matches!(content, Err(SplitError::Broken(_)))).count(), 1);
    }
}

#[test]
fn what_is_too_long_is_skipped_to_its_end() {
    let long = format!("{{\"id\":\"{}\"}}", "x,]".repeat(40));
    let pieces = every_chunking(Form::Lines, &format!("{{\"id\":1}}\n{long}\n{{\"id\":3}}"));
    assert_eq!(pieces, [good(1, "{\"id\":1}"), too_large(2), good(3, "{\"id\":3}")]);
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for long in [&long, &deep, &"7".repeat(99)] {
        let pieces = every_chunking(Form::Json, &format!("[{{\"id\":1}},\n{long}\n,{{\"id\":3}}]"));
        assert_eq!(pieces, [good(1, "{\"id\":1}"), too_large(2), good(3, "{\"id\":3}")]);
    }
}
