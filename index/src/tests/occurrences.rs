//! Documents by how often the words of a query stand in them.

use std::collections::BTreeMap;

use tempfile::TempDir;
use warren_protocol::rpc::{Place, Ranking, Search};
use warren_protocol::search::SortValue;

use super::{Random, checkpoint, definition, filled, limits, open, parsed};
use crate::PartitionIndex;

const DEFINITION: &str = r#"{"dynamic":false,"fields":{"title":{"type":"text","boost":3},"body":{"type":"text"},
    "link":{"type":"keyword"}}}"#;

fn counted(index: &PartitionIndex, query: &str, hits: u32, after: Option<Place>) -> Vec<(String, f32)> {
    let search = Search { query: parsed(query), hits, count: true, after, ranking: Ranking::Occurrences, ..Search::default() };
    let found = index.view().search(&search, &limits(usize::MAX)).unwrap();
    found.hits.into_iter().map(|hit| (hit.id, hit.score.unwrap())).collect()
}

#[test]
fn the_books_of_the_book() {
    let book = |title: &str, body: &str| format!(r#"{{"title":"{title}","body":"{body}","link":"apple"}}"#);
    let bodies = [
        book("Book 1", "apple apple cat zebra"),
        book("Book 2", "banana cake zebra"),
        book("Book 3", "apple cake cake whale"),
        book("Dashes", "--"),
    ];
    let documents: Vec<_> = ["1", "2", "3", "4"].into_iter().zip(bodies.iter().map(String::as_str)).collect();
    let (_folder, index) = filled(&definition(DEFINITION), &documents);
    let of =
        |query: &str| counted(&index, query, 10, None).into_iter().map(|(id, count)| format!("{id}:{count}")).collect::<Vec<_>>();
    for (query, expected) in [
        ("apple", &["1:2", "3:1"][..]),
        ("cake", &["3:2", "2:1"]),
        ("cake apple", &["3:3", "1:2", "2:1"]),
        ("cat zebra", &["1:2", "2:1"]),
        ("Apple", &["1:2", "3:1"]),
        ("apple APPLE apple^7", &["1:2", "3:1"]),
        ("+cake -banana apple", &["3:3"]),
        ("title:book cake", &["3:3", "2:2", "1:1"]),
        ("\"--\"", &[]),
        ("\"--\" whale", &["3:1"]),
    ] {
        assert_eq!(of(query), expected, "{query}");
    }
}

#[test]
fn counts_are_those_of_the_texts_whatever_the_segments() {
    const WORDS: [&str; 5] = ["apple", "cake", "cat", "whale", "zebra"];
    let mut random = Random(7);
    let mut text = |most: usize| (0..random.below(most)).map(|_| *random.pick(&WORDS)).collect::<Vec<_>>().join(" ");
    let folder = TempDir::new().unwrap();
    let (index, _) = open(folder.path(), &definition(DEFINITION));
    let mut writer = index.writer().unwrap();
    let mut texts = BTreeMap::new();
    for number in 0..600 {
        // The later ones replace some of the first.
        let id = format!("{:03}", number % 450);
        let (title, body) = (text(4), text(20));
        writer.put(&id, serde_json::json!({"title": title, "body": body}).to_string().as_bytes()).unwrap();
        texts.insert(id, format!("{title} {body}"));
        if number % 100 == 99 {
            writer.commit(&checkpoint(number)).unwrap();
        }
    }
    for query in ["apple", "cake zebra", "whale cat apple whale"] {
        let sought: std::collections::BTreeSet<_> = query.split(' ').collect();
        let count = |text: &str| text.split(' ').filter(|word| sought.contains(word)).count() as f32;
        let mut expected: Vec<_> =
            texts.iter().map(|(id, text)| (id.clone(), count(text))).filter(|(_, count)| *count > 0.0).collect();
        expected.sort_by(|(one, more), (other, less)| less.total_cmp(more).then_with(|| one.cmp(other)));
        assert_eq!(counted(&index, query, 1000, None), expected, "{query}");
        // Page by page, the same.
        let mut pages: Vec<(String, f32)> = Vec::new();
        while pages.len() < expected.len() {
            let after = pages.last().map(|(id, count)| Place { values: vec![SortValue::F64((*count).into())], id: id.clone() });
            let page = counted(&index, query, 70, after);
            assert!(!page.is_empty(), "{query}: {} of {}", pages.len(), expected.len());
            pages.extend(page);
        }
        assert_eq!(pages, expected, "{query}");
    }
}
