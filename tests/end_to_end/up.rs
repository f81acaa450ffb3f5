//! `warren up`: the first command of the README.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use warren_tests::{Program, eventually, http};

use crate::deployment::{PATIENCE, Server, hits, ids};
use crate::sample;

/// Starts `warren up` on the embedded broker in this folder.
pub async fn up(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Server> {
    let folder = folder.to_str().expect("the folder's name is text");
    let arguments = [&["up", "--listen", "127.0.0.1:0", "--data-dir", folder], arguments].concat();
    Server::ready(Program::start("warren", &arguments, environment)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_is_found_with_highlights_and_is_still_there_after_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let documents = sample::documents()?;
    let mut server = up(folder.path(), &["--sample"], &[]).await?;
    server.found("packages", documents.len()).await?;
    let (status, answer) = server.get("/indexes/packages/search?q=web+server").await?;
    assert_eq!(status, 200);
    assert_eq!(answer["partitions"], json!({"total": 4, "answered": 4, "failed": []}));
    assert!(ids(&answer).len() == 10 && answer["total"]["relation"] == "eq", "{answer}");
    for hit in hits(&answer) {
        let highlights = hit["highlights"].to_string().to_lowercase();
        assert!(highlights.contains("<b>web</b>") || highlights.contains("<b>server"), "{hit}");
        let own = documents.iter().find(|document| document["id"] == hit["id"]);
        assert_eq!(Some(&hit["document"]), own, "a document comes back as it was published");
    }
    eventually("it says where it listens", PATIENCE, async || {
        ensure!(server.program.said().contains(&format!("Warren listens on {}", server.url())));
        Ok(())
    })
    .await?;
    // The clean stop: Ctrl-C.
    server.program.signal("INT")?;
    ensure!(server.program.wait(Duration::from_secs(10)).await?.success(), "not a clean stop");

    let mut again = up(folder.path(), &["--sample"], &[]).await?;
    again.found("packages", documents.len()).await?;
    let (_, same) = again.get("/indexes/packages/search?q=web+server").await?;
    assert_eq!(hits(&same), hits(&answer));
    ensure!(again.program.said().contains("the sample is there already"), "the sample was published again");

    // And after the other kind of stop.
    again.program.kill9()?;
    let last = up(folder.path(), &[], &[]).await?;
    last.found("packages", documents.len()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_written_replaced_and_deleted_by_id() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let path = "/indexes/notes/documents/a%2Fb";
    let (status, answer) = server.put(path, &json!({"text": "first words"})).await?;
    assert_eq!((status, &answer["id"]), (202, &json!("a/b")));
    server.found("notes", 1).await?;
    assert_eq!(server.get(path).await?, (200, json!({"text": "first words"})));
    server.put(path, &json!({"text": "second words", "id": "a/b"})).await?;
    eventually("the new text is found", PATIENCE, async || {
        ensure!(ids(&server.search("notes", "second", 10).await?) == ["a/b"]);
        Ok(())
    })
    .await?;
    assert_eq!(server.count("notes").await?, 1);
    assert_eq!(ids(&server.search("notes", "first", 10).await?), [""; 0]);
    let (status, _) = http::answer(server.request(reqwest::Method::DELETE, path)).await?;
    assert_eq!(status, 202);
    server.found("notes", 0).await?;
    assert_eq!(server.get(path).await?.0, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_lives_again_under_its_name_without_its_old_documents() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    for round in 1..=3 {
        server.create("notes", &json!({"partitions": round})).await?;
        server.publish("notes", &[json!({"id": round, "text": "words"})]).await?;
        server.found("notes", 1).await?;
        let (status, same) = server.put("/indexes/notes", &json!({"partitions": round})).await?;
        assert_eq!(status, 200, "{same}");
        let (status, problem) = server.put("/indexes/notes", &json!({"partitions": round + 1})).await?;
        assert!(status == 409 && problem["detail"].to_string().contains("partitions"), "{problem}");
        assert_eq!(http::answer(server.request(reqwest::Method::DELETE, "/indexes/notes")).await?.0, 200);
        assert_eq!(server.get("/indexes/notes/search?q=words").await?.0, 404);
    }
    Ok(())
}
