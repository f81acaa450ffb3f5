//! Pages while partitions fail: nothing is lost, nothing comes twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use warren_protocol::search::SortValue;

use super::*;

/// Partition p holds the documents whose number modulo 3 is p, of 30.
fn all_of(partition: u32, search: &Search) -> Hits {
    let hit = |number: u32| {
        let id = format!("d{number:02}");
        let values = [SortValue::I64(i64::from(number / 4)), SortValue::F64(f64::from(number % 7))];
        let sort = values.into_iter().take(search.sort.len()).collect();
        PartialHit { found: Some(found(&id)), id, score: Some((number % 7) as f32), sort }
    };
    let mut hits: Vec<_> = (0..30).filter(|number| number % 3 == partition).map(hit).collect();
    hits.sort_by(|left, right| PartialHit::compare(&search.sort, left, right));
    if let Some(place) = &search.after {
        let score = search.sort.is_empty().then(|| match place.values[0] {
            SortValue::F64(score) => score as f32,
            _ => panic!("{place:?}"),
        });
        let last = PartialHit { id: place.id.clone(), score, sort: place.values.clone(), found: None };
        hits.retain(|hit| PartialHit::compare(&search.sort, hit, &last).is_gt());
    }
    hits.truncate(search.hits as usize);
    Hits { total: Some(10), hits, ..Hits::default() }
}

/// Partition 0 fails on every second page, partition 1 on four of six.
fn failing(partition: u32, question: Question) -> Option<Result<Answer, Failure>> {
    static ASKED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    let Question::Search(search) = question else { return two_each(partition, question) };
    let page = ASKED[partition as usize].fetch_add(1, Ordering::Relaxed);
    let fails = (partition == 0 && page % 2 == 1) || (partition == 1 && page % 6 < 4);
    Some(if fails {
        Err(Failure::Internal("as the test wants it".to_owned()))
    } else {
        Ok(Answer::Hits(all_of(partition, &search)))
    })
}

#[tokio::test]
async fn who_follows_the_cursor_gets_every_document_once() {
    let world = World::with_index(|_| {}, failing).await;
    for sort in ["", "size", "-size,_score"] {
        let (mut all, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/indexes/a/search?q=x&limit=4&sort={sort}{after}");
            let (status, page) = world.get(&path).await;
            assert_eq!(status, 200, "{page}");
            all.extend(ids(&page).into_iter().map(str::to_owned));
            pages += 1;
            let Some(next) = page["after"].as_str() else { break };
            after = format!("&after={next}");
        }
        all.sort_unstable();
        assert_eq!(all, (0..30).map(|number| format!("d{number:02}")).collect::<Vec<_>>(), "{sort}");
        assert!(pages < 40, "{pages} pages");
    }
}

#[tokio::test]
async fn a_page_that_lacks_a_partition_is_never_the_last() {
    let world = World::with_index(
        |_| {},
        |partition, question| match (partition, &question) {
            (1, Question::Search(_)) => Some(Err(Failure::NotHere)),
            (_, Question::Search(_)) => Some(Ok(Answer::Hits(Hits { total: Some(0), ..Hits::default() }))),
            _ => two_each(partition, question),
        },
    )
    .await;
    let (_, first) = world.get("/indexes/a/search?q=x").await;
    let (hits, after) = (ids(&first).len(), first["after"].as_str().unwrap());
    let (status, second) = world.get(&format!("/indexes/a/search?q=x&after={after}")).await;
    assert_eq!((hits, status, second["after"].as_str()), (0, 200, Some(after)), "{second}");
    assert_eq!(world.get("/indexes/a/search?q=x&limit=0").await.1.get("after"), None, "nobody wants pages");
}
