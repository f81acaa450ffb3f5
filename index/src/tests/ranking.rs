//! The order of hits is exact, whatever the segments are.

use std::collections::HashMap;

use tantivy::collector::DocSetCollector;
use tantivy::query::EnableScoring;
use tempfile::TempDir;
use warren_protocol::IndexDefinition;
use warren_protocol::search::round_score;

use super::{Random, Searching, checkpoint, definition, hits, open, parsed, spec};
use crate::PartitionIndex;
use crate::query::Plan;

const DEFINITION: &str = r#"{"fields":{"title":{"type":"text","analyzer":"english","boost":2.5},"body":{"type":"text"},
    "section":{"type":"keyword"},"size":{"type":"integer"}}}"#;

const WORDS: [&str; 12] =
    ["web", "server", "mail", "client", "library", "kernel", "shell", "editor", "game", "font", "driver", "daemon"];

/// A word, the first ones far more often.
fn word(random: &mut Random) -> &'static str {
    let limit = 1 + random.below(WORDS.len());
    WORDS[random.below(limit)]
}

fn text(random: &mut Random, most: usize) -> String {
    let length = 1 + random.below(most);
    (0..length).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// Documents with few different titles, and so with many equal scores.
fn documents(random: &mut Random, count: usize, longest: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|_| {
            let document = serde_json::json!({
                "title": text(random, 3), "body": text(random, longest), "section": *random.pick(&["net", "mail", "web"]),
                "size": random.below(1000), "note": text(random, 4), "rank": random.below(5),
            });
            (format!("{:08x}", random.below(1 << 32)), document.to_string())
        })
        .collect()
}

fn query(random: &mut Random) -> String {
    let [a, b, c, d] = [(); 4].map(|()| word(random));
    let (low, high) = (random.below(500), 500 + random.below(500));
    match random.below(24) {
        0 => "*".to_owned(),
        1 => a.to_owned(),
        2 => format!("title:{a}"),
        3 => format!("note:{a}"),
        4 => format!("section:{}", random.pick(&["net", "mail"])),
        5 => format!("{a} {b}"),
        6 => format!("{a} {b} {c} {d}"),
        7 => format!("+{a} {b} {c}"),
        8 => format!("{a} AND {b}"),
        9 => format!("{a} AND {b} AND {c}"),
        10 => format!("body:{a} AND body:{b} AND body:{c}"),
        11 => format!("title:{a} body:{b} body:{c} note:{d}"),
        12 => format!("\"{a} {b}\""),
        13 => format!("body:\"{a} {b}\"~3 {c}"),
        14 => format!("{a} -{b}"),
        15 => format!("-{a}"),
        16 => format!("{a}^3.7 {b}^0.2 {c}"),
        17 => format!("+size:[{low} TO {high}] {a} {b}"),
        18 => format!("size:>{high} section:net {a}"),
        19 => format!("({a} OR {b}) AND ({c} OR {d})"),
        20 => format!("+* +{a} rank:{}", random.below(5)),
        21 => format!("+size:[0 TO *] +{a} -rank:[3 TO *]"),
        22 => format!("{a}^0 {b}^0"),
        _ => format!("({a} {b})^2 ({c} AND NOT {d}) note:\"{a} {b}\""),
    }
}

/// The ranking of all matches, each scored by itself, and checked against what tantivy says about it.
fn ranking(index: &PartitionIndex, query: &str) -> Vec<(f32, String)> {
    let searcher = index.searcher();
    let plan = Plan::new(&parsed(query), None, index.fields(), index.tantivy().tokenizers()).unwrap();
    let tantivy_query = plan.query();
    let mut matches: Vec<_> = searcher.search(&*tantivy_query, &DocSetCollector).unwrap().into_iter().collect();
    matches.sort_unstable();
    let scoring = crate::search::scoring::Scoring::new(&plan, &searcher, &searcher).unwrap().unwrap();
    let weight = tantivy_query.weight(EnableScoring::enabled_from_searcher(&searcher)).unwrap();
    let mut segments = HashMap::new();
    let mut ranking = Vec::new();
    for address in matches {
        let segment = searcher.segment_reader(address.segment_ord);
        let (of_segment, scorer) = segments
            .entry(address.segment_ord)
            .or_insert_with(|| (scoring.in_segment(segment).unwrap(), weight.scorer(segment, 1.0).unwrap()));
        if scorer.doc() < address.doc_id {
            scorer.seek(address.doc_id);
        }
        assert_eq!(scorer.doc(), address.doc_id);
        let by_tantivy = scorer.score();
        let score = of_segment.rounded(address.doc_id, by_tantivy);
        assert!((score - by_tantivy).abs() <= by_tantivy * 1.2e-4, "{query}: {score}, tantivy says {by_tantivy}");
        let ids = segment.fast_fields().str("_id").unwrap().unwrap();
        let mut id = String::new();
        ids.ord_to_str(ids.ords().first(address.doc_id).unwrap(), &mut id).unwrap();
        ranking.push((score, id));
    }
    ranking.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
    ranking
}

fn assert_exact(index: &PartitionIndex, random: &mut Random, queries: usize) {
    for _ in 0..queries {
        let query = query(random);
        let expected = ranking(index, &query);
        for wanted in [1, 2, 3, 10, 50, 100_000] {
            let result = index.search(&spec(&query, wanted)).unwrap();
            let found: Vec<(f32, String)> = result.hits.into_iter().map(|hit| (hit.score.unwrap(), hit.id)).collect();
            assert_eq!(found, expected[..wanted.min(expected.len())], "{query}, {wanted} wanted");
            assert_eq!(result.total, Some(expected.len() as u64), "{query}");
        }
    }
}

#[test]
fn the_best_hits_are_those_of_a_full_ranking_over_several_segments_with_ties_and_deletions() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition(DEFINITION));
    let mut writer = index.writer().unwrap();
    let mut random = Random(7);
    for (number, (count, longest)) in (1..).zip([(3000, 30), (1500, 4), (900, 200), (400, 12), (5, 5)]) {
        let documents = documents(&mut random, count, longest);
        for (id, body) in &documents {
            writer.put(id, body.as_bytes()).unwrap();
        }
        for (id, _) in documents.iter().step_by(9) {
            writer.delete(id);
        }
        writer.commit(&checkpoint(number)).unwrap();
    }
    assert!(index.searcher().segment_readers().len() > 2);
    assert_exact(&index, &mut random, 200);
}

/// Every query's hits, scores and count.
fn answers(index: &PartitionIndex, seed: u64) -> Vec<(String, Vec<(f32, String)>)> {
    let mut random = Random(seed);
    let queries: Vec<String> = (0..300).map(|_| query(&mut random)).collect();
    queries
        .into_iter()
        .map(|query| {
            let found = hits(index, &query, 25).into_iter().map(|hit| (hit.score.unwrap(), hit.id)).collect();
            (query, found)
        })
        .collect()
}

fn index_in_commits(
    definition: &IndexDefinition,
    documents: &[(String, String)],
    per_commit: usize,
) -> (TempDir, PartitionIndex) {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), definition);
    let mut writer = index.writer().unwrap();
    for (number, chunk) in (1..).zip(documents.chunks(per_commit)) {
        for (id, body) in chunk {
            writer.put(id, body.as_bytes()).unwrap();
        }
        writer.commit(&checkpoint(number)).unwrap();
    }
    (directory, index)
}

#[test]
fn many_small_commits_and_merges_answer_like_one_large_commit() {
    let definition = definition(DEFINITION);
    let documents = documents(&mut Random(11), 4000, 25);
    let (_one_directory, one) = index_in_commits(&definition, &documents, documents.len());
    let (directory, many) = index_in_commits(&definition, &documents, 23);
    assert_eq!(one.searcher().segment_readers().len(), 1);
    assert!(many.searcher().segment_readers().len() > 1);
    let expected = answers(&one, 5);
    assert_eq!(answers(&many, 5), expected);
    drop(many);
    let (reopened, found) = open(directory.path(), &definition);
    assert_eq!(found.unwrap().operations, 4000_u64.div_ceil(23));
    assert_eq!(answers(&reopened, 5), expected);
    assert!(expected.iter().all(|(_, hits)| hits.iter().all(|(score, _)| *score == round_score(*score))));
}

#[test]
fn merges_keep_the_number_of_segments_low() {
    let documents = documents(&mut Random(3), 6000, 5);
    let (_directory, index) = index_in_commits(&definition("{}"), &documents, 20);
    let mut writer = index.writer().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut number = 1000;
    // Merges run beside the commits; each commit shows those that are done.
    loop {
        number += 1;
        writer.put("one more", br#"{"text":"x"}"#).unwrap();
        writer.commit(&checkpoint(number)).unwrap();
        let segments = index.searcher().segment_readers().len();
        if segments <= 20 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{segments} segments");
    }
    assert_eq!(index.documents(), 6001);
}
