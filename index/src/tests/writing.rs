//! Puts and deletes end in the state that a map would have.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::{Random, Searching, checkpoint, definition, filled, matching, open};
use crate::{IndexError, Options, PartitionIndex};

fn contents(index: &PartitionIndex) -> BTreeMap<String, String> {
    let ids: Vec<String> = matching(index, "*");
    let found = index.fetch(&ids, None).unwrap();
    ids.into_iter().zip(found).map(|(id, found)| (id, String::from_utf8(found.unwrap().body).unwrap())).collect()
}

#[test]
fn random_puts_and_deletes_with_commits_and_restarts_equal_a_map() {
    let directory = TempDir::new().unwrap();
    let definition = definition("{}");
    let (mut index, _) = open(directory.path(), &definition);
    let mut writer = index.writer().unwrap();
    let mut random = Random(99);
    let mut model = BTreeMap::new();
    let mut committed = model.clone();
    for step in 1..4000_u64 {
        let id = format!("id-{}", random.below(150));
        if random.below(3) == 0 {
            writer.delete(&id);
            model.remove(&id);
        } else {
            let body = format!(r#"{{"text":"version {step}"}}"#);
            writer.put(&id, body.as_bytes()).unwrap();
            model.insert(id, body);
        }
        match random.below(100) {
            0..10 => {
                assert!(writer.uncommitted_bytes() > 0 || model == committed);
                writer.commit(&checkpoint(step)).unwrap();
                assert_eq!(writer.uncommitted_bytes(), 0);
                committed.clone_from(&model);
                assert_eq!(index.documents(), committed.len() as u64);
            }
            10 => {
                drop((writer, index));
                (index, _) = open(directory.path(), &definition);
                writer = index.writer().unwrap();
                model.clone_from(&committed);
            }
            11 => assert_eq!(contents(&index), committed),
            _ => {}
        }
    }
    writer.commit(&checkpoint(4000)).unwrap();
    assert_eq!(contents(&index), model);
    assert_eq!(matching(&index, "text:version").len(), model.len());
}

#[test]
fn a_commit_is_visible_when_it_returns_and_nothing_before() {
    let (_directory, index) = filled(&definition("{}"), &[("a", r#"{"text":"old"}"#)]);
    let mut writer = index.writer().unwrap();
    writer.put("a", br#"{"text":"new"}"#).unwrap();
    writer.put("b", br#"{"text":"new"}"#).unwrap();
    writer.delete("b");
    writer.delete("never there");
    assert_eq!((matching(&index, "old").len(), matching(&index, "new").len()), (1, 0));
    writer.commit(&checkpoint(2)).unwrap();
    assert_eq!((matching(&index, "old").len(), matching(&index, "new").len()), (0, 1));
    assert_eq!(index.documents(), 1);
}

#[test]
fn a_document_that_does_not_fit_harms_only_itself() {
    let strict = definition(
        r#"{"fields":{"n":{"type":"integer"},"d":{"type":"date"},"t":{"type":"text"},"o":{"type":"object"},"b":{"type":"boolean"}}}"#,
    );
    let (_directory, index) = filled(&strict, &[("good", r#"{"t":"word"}"#)]);
    let mut writer = index.writer().unwrap();
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    for bad in [
        "",
        "[]",
        "{",
        "{\"t\":\"\\ud800\"}",
        "{\"n\":1.5}",
        "{\"n\":9223372036854775808}",
        "{\"d\":\"soon\"}",
        "{\"d\":9223372036854775807}",
        "{\"t\":{}}",
        "{\"o\":1}",
        "{\"o\":[{},2]}",
        "{\"b\":0}",
        "{\"f\":1e999}",
        &deep,
    ] {
        let error = writer.put("bad", bad.as_bytes()).unwrap_err();
        assert!(matches!(&error, IndexError::Document { id, .. } if id == "bad"), "{bad}: {error}");
    }
    assert!(matches!(writer.put("bad", b"\xff{}"), Err(IndexError::Document { .. })));
    writer.put("fine", br#"{"t":["word",null,["nested"]],"n":[],"d":null,"o":[[{"x":1}],null]}"#).unwrap();
    writer.commit(&checkpoint(2)).unwrap();
    assert_eq!(matching(&index, "*"), ["fine", "good"]);
    assert_eq!(matching(&index, "nested"), ["fine"]);
}

#[test]
fn large_documents_pass_through_little_memory() {
    let directory = TempDir::new().unwrap();
    let (index, _) =
        PartitionIndex::open(directory.path(), &definition("{}"), &Options { writer_memory_bytes: 0, ..Options::default() })
            .unwrap();
    let mut writer = index.writer().unwrap();
    let text = "word ".repeat(400_000);
    for number in 0..20 {
        writer.put(&format!("{number}"), format!(r#"{{"text":"{text} w{number}"}}"#).as_bytes()).unwrap();
    }
    writer.commit(&checkpoint(1)).unwrap();
    assert_eq!(matching(&index, "w7"), ["7"]);
    assert_eq!(index.documents(), 20);
}
