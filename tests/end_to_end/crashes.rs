//! Conservation: whatever is killed, every confirmed document is found, once.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use warren_tests::http;

use crate::deployment::ids;
use crate::{Deployment, Server, sample};

const INDEX: &str = "packages";

/// Every document of the sample so many times, under ids of their own.
fn many(times: usize) -> Result<Vec<Value>> {
    let documents = sample::documents()?;
    let copy = |round: usize| {
        documents.iter().cloned().map(move |mut document| {
            document["id"] = format!("{round}-{}", sample::id(&document)).into();
            document
        })
    };
    Ok((0..times).flat_map(copy).collect())
}

/// Searches find each id once, and nothing else.
async fn every_id_once(server: &Server, documents: &[Value]) -> Result<()> {
    server.found(INDEX, documents.len()).await?;
    // A query has at most 16 KiB.
    for chunk in documents.chunks(100) {
        let mut wanted: Vec<&str> = chunk.iter().map(sample::id).collect();
        let query = wanted.iter().map(|id| format!("id:\"{id}\"")).collect::<Vec<_>>().join(" ");
        let mut found = ids(&server.search(INDEX, &query, 1000).await?);
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_indexes_loses_nothing_and_repeats_nothing() -> Result<()> {
    let documents = many(2)?;
    let mut deployment = Deployment::new().await?;
    let producer = deployment.serve("producer", &[]).await?;
    let query = deployment.serve("query-service", &[]).await?;
    query.create(INDEX, &sample::definition(4)?).await?;
    let mut worker = deployment.start_in("worker", "worker", &[])?;
    for (round, chunk) in documents.chunks(documents.len() / 6 + 1).enumerate() {
        producer.publish(INDEX, chunk).await?;
        // Some of it is committed, less is saved, some is neither: kill it there, and start it on the same folder.
        if round % 2 == 0 {
            worker.kill9()?;
            worker = deployment.start_in("worker", "worker", &[])?;
        }
    }
    every_id_once(&query, &documents).await?;

    // A worker whose folder has vanished builds everything from the logs.
    worker.kill9()?;
    let _worker = deployment.start_in("another", "worker", &[])?;
    every_id_once(&query, &documents).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_producer_had_confirmed_is_found() -> Result<()> {
    let documents = many(1)?;
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    query.create(INDEX, &sample::definition(4)?).await?;
    let _worker = deployment.start("worker", &[])?;
    let mut confirmed = Vec::new();
    for round in documents.chunks(documents.len() / 3 + 1) {
        let mut producer = deployment.serve("producer", &[]).await?;
        for chunk in round.chunks(200).take(6) {
            producer.publish(INDEX, chunk).await?;
            confirmed.extend(chunk.iter().map(sample::id));
        }
        // Killed with a request half way.
        let rest: String = round.iter().map(|document| format!("{document}\n")).collect();
        let path = format!("/indexes/{INDEX}/documents");
        let mut upload = JoinSet::new();
        upload.spawn(http::answer(producer.request(Method::POST, &path).body(rest)));
        producer.program.kill9()?;
        // It may have been answered, or cut off; what it wrote is in the log whole or not at all.
        upload.join_all().await;
    }
    for id in confirmed {
        let path = format!("/indexes/{INDEX}/documents/{}", id.replace('+', "%2B"));
        warren_tests::eventually("a confirmed document is found", crate::deployment::PATIENCE, async || {
            let (status, body) = query.get(&path).await?;
            ensure!(status == 200, "{id}: {status} {body}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_to_one_id_end_in_the_last_state_whatever_is_killed() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let producer = deployment.serve("producer", &[]).await?;
    let query = deployment.serve("query-service", &[]).await?;
    query.create(INDEX, &json!({"partitions": 1})).await?;
    let mut worker = deployment.start_in("worker", "worker", &[])?;
    for round in 0..20 {
        let writes: Vec<_> = (0..50).map(|write| json!({"id": "the-one", "value": format!("v{round}x{write}")})).collect();
        producer.publish(INDEX, &writes).await?;
        if round % 7 == 3 {
            worker.kill9()?;
            worker = deployment.start_in("worker", "worker", &[])?;
        }
    }
    warren_tests::eventually("the last state is found", crate::deployment::PATIENCE, async || {
        ensure!(ids(&query.search(INDEX, "v19x49", 10).await?) == ["the-one"]);
        Ok(())
    })
    .await?;
    assert_eq!(query.count(INDEX).await?, 1);
    Ok(())
}
