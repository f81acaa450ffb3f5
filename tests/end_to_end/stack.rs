//! The stack on RabbitMQ: producer, two workers and query service as processes of their own.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use warren_tests::{Program, eventually};

use crate::deployment::{PATIENCE, hits};
use crate::up::up;
use crate::{Deployment, sample};

const INDEX: &str = "packages";

/// Runs a command of `warren` to its end, which must be a success; gives what it said.
async fn command(arguments: &[&str]) -> Result<String> {
    let mut program = Program::start("warren", arguments, &[])?;
    let status = program.wait(PATIENCE).await?;
    let said = program.all();
    ensure!(status.success(), "warren {arguments:?}: {status}: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_is_found_and_answers_equal_those_of_other_layouts() -> Result<()> {
    let documents = sample::documents()?;
    let mut deployment = Deployment::new().await?;
    let producer = deployment.serve("producer", &[]).await?;
    let query = deployment.serve("query-service", &[]).await?;
    let mut first = deployment.start("worker", &[])?;
    let _second = deployment.start("worker", &[])?;
    query.create(INDEX, &sample::definition(4)?).await?;
    let file = sample::file();
    let file = file.to_str().context("the file's name is text")?;
    let said = command(&["publish", "--server", &producer.url(), "--index", INDEX, file]).await?;
    ensure!(said.contains(&format!("{} accepted, 0 rejected", documents.len())), "{said}");
    query.found(INDEX, documents.len()).await?;

    // The counts of the partitions add up, and each worker has its two.
    eventually("the workers announce all documents", PATIENCE, async || {
        let (_, status) = query.get("/status").await?;
        let replicas: Vec<&Value> =
            partitions(&status).flat_map(|partition| partition["replicas"].as_array().into_iter().flatten()).collect();
        let documents_held: u64 = replicas.iter().filter_map(|replica| replica["documents"].as_u64()).sum();
        let workers: HashSet<&str> = replicas.iter().filter_map(|replica| replica["worker"].as_str()).collect();
        ensure!(replicas.len() == 4 && workers.len() == 2 && documents_held == documents.len() as u64, "{status}");
        Ok(())
    })
    .await?;

    for document in documents.iter().step_by(7) {
        let path = format!("/indexes/{INDEX}/documents/{}", sample::id(document).replace('+', "%2B"));
        assert_eq!(query.get(&path).await?, (200, document.clone()), "{path}");
    }

    // Equal answers: the same partitions on the embedded broker, and one index without partitions.
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let embedded = up(folders.0.path(), &[], &[]).await?;
    let whole = up(folders.1.path(), &[], &[]).await?;
    for (server, partitions) in [(&embedded, 4), (&whole, 1)] {
        server.create(INDEX, &sample::definition(partitions)?).await?;
        server.publish(INDEX, &documents).await?;
        server.found(INDEX, documents.len()).await?;
    }
    for text in sample::QUERIES {
        let answer = query.search(INDEX, text, 20).await?;
        let same = embedded.search(INDEX, text, 20).await?;
        assert_eq!((hits(&answer), &answer["total"]), (hits(&same), &same["total"]), "{text}");
        // Partitions do not show.
        let all = query.search(INDEX, text, 1000).await?;
        let one = whole.search(INDEX, text, 1000).await?;
        assert_eq!((hits(&all), &all["total"]), (hits(&one), &one["total"]), "{text}");
    }

    // A worker that stands still is missed by its partitions, and by nobody else.
    first.signal("STOP")?;
    let path = format!("/indexes/{INDEX}/search?q=server&timeout_ms=1500");
    let (status, partial) = query.get(&path).await?;
    assert_eq!(status, 200, "{partial}");
    let failed = partial["partitions"]["failed"].as_array().map(Vec::len);
    assert_eq!((failed, &partial["total"]["relation"]), (Some(2), &"gte".into()), "{partial}");
    assert!(!hits(&partial).is_empty());
    first.signal("CONT")?;
    eventually("the worker answers again", PATIENCE, async || query.search(INDEX, "server", 10).await.map(drop)).await?;

    // SIGTERM: a clean end.
    first.signal("TERM")?;
    ensure!(first.wait(Duration::from_secs(15)).await?.success(), "not a clean stop");
    Ok(())
}

fn partitions(status: &Value) -> impl Iterator<Item = &Value> {
    status["indexes"].as_array().into_iter().flatten().flat_map(|index| index["partitions"].as_array().into_iter().flatten())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_works_against_a_broker_and_a_server() -> Result<()> {
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    let (server, file) = (query.url(), sample::file());
    let file = file.to_str().context("the file's name is text")?;
    let definition = sample::definition_file();
    let definition = definition.to_str().context("the file's name is text")?;
    command(&["index", "create", "--server", &server, INDEX, "--definition", definition]).await?;
    // Straight into the logs: no producer runs.
    let said = command(&["publish", "--broker", deployment.url(), "--index", INDEX, file]).await?;
    let documents = sample::documents()?.len();
    ensure!(said.contains(&format!("{documents} accepted, 0 rejected")), "{said}");
    query.found(INDEX, documents).await?;
    let said = command(&["search", "--server", &server, "--index", INDEX, "web", "server"]).await?;
    ensure!(said.contains("found in") && said.contains("  1. "), "{said}");
    let said = command(&["search", "--server", &server, "--index", INDEX, "--json", "web", "server"]).await?;
    ensure!(serde_json::from_str::<Value>(&said)?["hits"].is_array(), "{said}");
    ensure!(command(&["index", "list", "--server", &server]).await?.contains(INDEX));
    eventually("the status shows four serving partitions", PATIENCE, async || {
        let said = command(&["status", "--server", &server]).await?;
        ensure!(said.matches("serving").count() == 4, "{said}");
        Ok(())
    })
    .await?;
    command(&["dead-letters", "list", "--server", &server]).await?;
    command(&["index", "delete", "--server", &server, INDEX]).await?;
    assert_eq!(query.get(&format!("/indexes/{INDEX}")).await?.0, 404);
    Ok(())
}
