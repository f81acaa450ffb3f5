//! Pages of ids, through commits, deletions and merges.

use std::collections::BTreeSet;

use tempfile::TempDir;
use warren_protocol::Query;

use super::{Random, checkpoint, definition, filled, open};
use crate::{PartitionIndex, SearchError};

fn page(index: &PartitionIndex, query: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    index.matching_ids(&Query::parse(query, false).unwrap(), after, limit).unwrap()
}

#[test]
fn pages_hold_every_match_once_in_order_whatever_is_written_between_them() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition(r#"{"fields":{"kind":{"type":"keyword"}}}"#));
    let mut writer = index.writer().unwrap();
    let (mut random, mut expected) = (Random(7), BTreeSet::new());
    for step in 1..1500_u64 {
        let id = format!("é{}", random.below(600));
        match random.below(4) {
            0 => {
                writer.delete(&id);
                expected.remove(&id);
            }
            1 => {
                writer.put(&id, br#"{"kind":"other"}"#).unwrap();
                expected.remove(&id);
            }
            _ => {
                writer.put(&id, br#"{"kind":"wanted"}"#).unwrap();
                expected.insert(id);
            }
        }
        if random.below(40) == 0 {
            writer.commit(&checkpoint(step)).unwrap();
        }
    }
    writer.commit(&checkpoint(1500)).unwrap();
    for limit in [1, 7, 100, 10_000] {
        let (mut found, mut step) = (Vec::<String>::new(), 1500 + limit as u64 * 1000);
        loop {
            let page = page(&index, "kind:wanted", found.last().map(String::as_str), limit);
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            // What was listed is written again, and what is no match is new: neither moves what is still to come.
            writer.put(&page[0], br#"{"kind":"wanted"}"#).unwrap();
            writer.put(&format!("new-{step}"), br#"{"kind":"other"}"#).unwrap();
            step += 1;
            writer.commit(&checkpoint(step)).unwrap();
            found.extend(page);
        }
        assert_eq!(found, expected.iter().cloned().collect::<Vec<_>>(), "pages of {limit}");
    }
}

#[test]
fn everything_nothing_and_what_cannot_be_understood() {
    let definition = definition(r#"{"fields":{"size":{"type":"integer"}}}"#);
    let (_directory, index) = filled(&definition, &[("b", r#"{"text":"x"}"#), ("a", r#"{"text":"y"}"#)]);
    assert_eq!(page(&index, "*", None, 10), ["a", "b"]);
    assert_eq!(page(&index, "*", Some("a"), 10), ["b"]);
    assert_eq!(page(&index, "*", Some("aa"), 10), ["b"]);
    assert_eq!(page(&index, "*", Some("zz"), 10), [""; 0]);
    assert_eq!(page(&index, "-y", None, 10), ["b"]);
    assert_eq!(page(&index, "nowhere", None, 10), [""; 0]);
    let unfit = Query::parse("size:many", false).unwrap();
    assert!(matches!(index.matching_ids(&unfit, None, 10), Err(SearchError::InvalidQuery(_))));
}
