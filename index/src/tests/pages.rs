//! What `docs/queries.md` says is found is what is found.

use std::path::PathBuf;

use warren_protocol::Query;

use super::{definition, filled, matching_of, tree};

fn page() -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "docs", "queries.md"].iter().collect();
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of code of that language, each with the line behind it.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let opening = format!("\n```{language}\n");
    page.split(&opening)
        .skip(1)
        .map(|rest| {
            let (block, after) = rest.split_once("\n```\n").unwrap_or_else(|| panic!("a block without an end: {rest}"));
            (block, after.lines().next().unwrap_or_default())
        })
        .collect()
}

/// The ids in a text such as `Finds 1, 2.`
fn ids(text: &str) -> Vec<String> {
    let numbers = text.split(|character: char| !character.is_ascii_digit()).filter(|number| !number.is_empty());
    numbers.map(str::to_owned).collect()
}

#[test]
fn every_example_of_the_page_finds_what_it_says() {
    let page = page();
    let json = blocks(&page, "json");
    let documents: Vec<(String, &str)> = blocks(&page, "ndjson")[0]
        .0
        .lines()
        .map(|line| (serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned(), line))
        .collect();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(id, body)| (id.as_str(), *body)).collect();
    let (_directory, index) = filled(&definition(json[0].0), &documents);

    let mut kinds = std::collections::BTreeSet::new();
    for (query, says) in &json[1..] {
        assert!(says.starts_with("Finds "), "{query}: {says}");
        assert_eq!(matching_of(&index, tree(query)), ids(says), "{query}");
        kinds.insert(query.split('"').nth(1).unwrap().to_owned());
    }
    assert_eq!(kinds.len(), 19, "of each kind: {kinds:?}");

    let rows =
        page.lines().skip_while(|line| !line.starts_with("| query | finds |")).skip(2).take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        // A bar within a cell has a backslash before it.
        let cells: Vec<String> = row.replace("\\|", "\u{1}").split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        let query = cells[1].trim_matches('`');
        let strict = Query::parse(query, false).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(matching_of(&index, strict), ids(&cells[2]), "{query}");
        assert_eq!(matching_of(&index, Query::parse(query, true).unwrap()), ids(&cells[2]), "leniently: {query}");
        count += 1;
    }
    assert!(count > 25, "only {count} rows");
}
