//! How hits are scored, how one page leads to the next, and what becomes of a search whose client has gone.

use warren_protocol::rpc::Ranking;
use warren_protocol::search::SortValue;

use super::*;

#[tokio::test]
async fn scores_are_those_of_all_partitions_unless_they_do_not_matter() {
    let world = World::with_index(
        |_| {},
        |partition, question| match &question {
            Question::Search(search)
                if search.ranking == Ranking::Global(Statistics { documents: 2 + 3 + 4, ..Statistics::default() }) =>
            {
                two_each(partition, question)
            }
            Question::Search(_) => Some(Err(Failure::Internal("scored by something else".to_owned()))),
            _ => two_each(partition, question),
        },
    )
    .await;
    for (parameters, status) in
        [("q=x", 200), ("q=x&sort=-_score,size", 200), ("q=x&sort=size", 503), ("q=x&limit=0", 503), ("q=x&scoring=local", 503)]
    {
        let (got, answer) = world.get(&format!("/indexes/a/search?{parameters}")).await;
        assert_eq!(got, status, "{parameters}: {answer}");
    }
}

#[tokio::test]
async fn a_cursor_leads_on_and_only_in_its_search() {
    let world = World::with_index(
        |_| {},
        |partition, question| match question {
            Question::Search(search) if search.after.is_some() => {
                let place = search.after.unwrap();
                let found =
                    place.id == "d1" && place.values == [SortValue::F64(2.0)] && matches!(search.ranking, Ranking::Global(_));
                Some(if found { Ok(Answer::Hits(Hits::default())) } else { Err(Failure::NotHere) })
            }
            question => two_each(partition, question),
        },
    )
    .await;
    let (_, page) = world.get("/indexes/a/search?q=x&limit=2").await;
    assert_eq!(ids(&page), ["d2", "d1"]);
    let after = page["after"].as_str().unwrap();
    let (status, last) = world.get(&format!("/indexes/a/search?q=x&limit=2&after={after}")).await;
    assert_eq!((status, ids(&last), last.get("after")), (200, vec![], None), "{last}");
    for other in ["q=y", "q=x&sort=size", "q=x&offset=1", "q=x&scoring=local"] {
        let (status, problem) = world.get(&format!("/indexes/a/search?{other}&limit=2&after={after}")).await;
        assert_eq!(status, 400, "{other}: {problem}");
    }
    assert_eq!(world.get("/indexes/a/search?q=x&limit=7").await.1.get("after"), None, "all were there");
}

#[tokio::test]
async fn a_search_whose_client_has_gone_is_not_run() {
    let world = World::new(|config| config.query.max_concurrent = NonZeroU32::MIN).await;
    let definition = warren_protocol::IndexDefinition { partitions: NonZeroU32::MIN, ..Default::default() };
    let entry = world.catalog.create(&IndexName::new("a").unwrap(), definition, false).await.unwrap().into_entry();
    let gone = tokio::time::timeout(Duration::from_millis(100), world.get("/indexes/a/search?q=gone&timeout_ms=20000")).await;
    assert!(gone.is_err(), "nobody serves yet");
    let target = RpcTarget::Partition(PartitionId { index: entry.index.clone(), partition: 0 });
    let mut calls = world.broker.ports.rpc.serve(&target, NonZeroU16::MIN).await.unwrap();
    // Its turn is free for another, and its question waits no more.
    let serve = async {
        let call = calls.next().await.unwrap();
        let question = rpc::Request::decode(&call.request).unwrap().items.remove(0).question;
        let Question::Search(search) = question else { panic!("{question:?}") };
        call.reply(reply("w", Ok(Answer::Hits(Hits { total: Some(0), ..Hits::default() })))).await.unwrap();
        search.query
    };
    let ((status, answer), asked) = tokio::join!(world.get("/indexes/a/search?q=here&timeout_ms=20000"), serve);
    assert_eq!((status, asked), (200, Query::parse("here", true).unwrap()), "{answer}");
}
