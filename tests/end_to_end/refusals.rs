//! What Warren refuses, and how it says so.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::{Program, http};

use crate::deployment::PATIENCE;
use crate::up::up;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_document_is_listed_with_its_line_and_the_others_are_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    server.create("notes", &json!({"fields": {"size": {"type": "integer"}}})).await?;
    let post = async |body: &'static str, kind: &str| {
        let request = server.request(Method::POST, "/indexes/notes/documents").header("content-type", kind.to_owned());
        http::answer(request.body(body)).await
    };
    let body = "{\"id\":1,\"size\":1}\n{\"id\":2,\"size\":\"x\"}\nnonsense\n\n{\"id\":3}\n[1]\n";
    let (status, answer) = post(body, "application/x-ndjson").await?;
    assert_eq!((status, &answer["accepted"], &answer["rejected_count"]), (202, &json!(2), &json!(3)));
    let lines: Vec<_> =
        answer["rejected"].as_array().into_iter().flatten().map(|one| (one["line"].clone(), one["code"].clone())).collect();
    let expected = [(2, "invalid_field"), (3, "invalid_json"), (6, "invalid_json")];
    assert_eq!(lines, expected.map(|(line, code)| (json!(line), json!(code))));

    let (status, answer) = post("[{\"id\":4},{\"id\":5}]", "application/json").await?;
    assert_eq!((status, &answer["accepted"]), (202, &json!(2)));
    let (status, answer) = post("{\n \"id\": 6\n}", "application/json").await?;
    assert_eq!((status, &answer["accepted"]), (202, &json!(1)));
    let (status, problem) = post("nonsense", "text/plain").await?;
    assert_eq!((status, &problem["code"]), (422, &json!("all_rejected")));
    assert_eq!(post("{}", "image/png").await?.0, 415);
    server.found("notes", 5).await?;

    for (path, status, code) in [
        ("/indexes/none/search?q=x", 404, "unknown_index"),
        ("/indexes/No/search?q=x", 400, "invalid_index_name"),
        ("/indexes/notes/search?q=x&limit=1001", 400, "invalid_request"),
        ("/indexes/notes/search?q=x&limt=1", 400, "invalid_request"),
        ("/indexes/notes/documents/none", 404, "unknown_document"),
        ("/nowhere", 404, "not_found"),
    ] {
        let (got, problem) = server.get(path).await?;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{path}: {problem}");
    }
    let strict = server.request(Method::POST, "/indexes/notes/search").json(&json!({"query": "size:[1 TO"}));
    let (status, problem) = http::answer(strict).await?;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_query")), "{problem}");
    let (status, lenient) = server.get("/indexes/notes/search?q=size:[1+TO").await?;
    ensure!(status == 200, "{lenient}");
    let (status, problem) = server.put("/indexes/notes/documents/7", &json!({"id": 8})).await?;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_id")));
    let wait = server.request(Method::POST, "/indexes/notes/documents?wiat=searchable").body("{}");
    assert_eq!(http::answer(wait).await?.0, 400, "what is not there is not ignored");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_open_what_others_cannot_reach() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let key = "a-key-of-sufficient-length";
    let mut program = Program::start(
        "warren",
        &["up", "--listen", "127.0.0.1:0", "--data-dir", folder.path().to_str().expect("text")],
        &[("WARREN__AUTH__KEYS", key)],
    )?;
    let url = format!("http://{}", program.address().await?);
    let client = http::client()?;
    let get = |path: &str| client.get(format!("{url}{path}"));
    assert_eq!(http::answer(get("/healthz")).await?.0, 200);
    for request in [get("/indexes"), get("/indexes").bearer_auth("another-key-of-some-length"), get("/status")] {
        let (status, problem) = http::answer(request).await?;
        assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")));
    }
    assert_eq!(http::answer(get("/indexes").bearer_auth(key)).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_only_this_machine_and_its_own_pages_are_answered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    for (header, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let (status, problem) = http::answer(server.request(Method::GET, "/indexes").header(header, value)).await?;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{header}");
    }
    assert_eq!(server.get("/indexes").await?.0, 200);
    Ok(())
}

/// Runs `warren` to its end; gives its exit code and what it said.
async fn ends(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let mut program = Program::start("warren", arguments, environment)?;
    let status = program.wait(PATIENCE).await?;
    Ok((status.code(), program.all()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_and_messages_tell_what_to_mend() -> Result<()> {
    let up = ["up", "--listen", "127.0.0.1:0"];
    for (arguments, environment, code, word) in [
        (vec!["up", "--nonsense"], vec![], 2, "--nonsense"),
        (up.to_vec(), vec![("WARREN__WORKER__SHAER", "1/2")], 78, "shaer"),
        (up.to_vec(), vec![("WARREN__WORKER__MEMORY_BYTES", "much")], 78, "memory_bytes"),
        (up.to_vec(), vec![("WARREN__BROKER__URL", "http://x")], 78, "amqp://"),
        (vec!["up", "--listen", "0.0.0.0:0"], vec![], 78, "auth.keys"),
        (vec!["status", "--server", "http://127.0.0.1:1"], vec![], 1, "is it running"),
        (vec!["publish", "--index", "notes", "/nowhere.ndjson"], vec![], 1, "/nowhere.ndjson"),
        (vec!["publish", "--index", "Bad Name", "-"], vec![], 2, "lower case"),
    ] {
        let folder = tempfile::tempdir()?;
        let mut environment = environment.clone();
        environment.push(("WARREN__DATA_DIR", folder.path().to_str().expect("text")));
        let (got, said) = ends(&arguments, &environment).await?;
        ensure!(got == Some(code) && said.to_lowercase().contains(word), "{arguments:?} {environment:?}: {got:?}: {said}");
    }
    let secret = "amqp://user:hidden-password@127.0.0.1:1/%2f";
    let (code, said) = ends(&["up", "--check-config", "--broker", secret], &[("WARREN__AUTH__KEYS", "0123456789abcdef")]).await?;
    ensure!(code == Some(0) && said.contains("refresh_interval_ms = 100"), "{said}");
    ensure!(!said.contains("hidden-password") && !said.contains("0123456789abcdef"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_belongs_to_one_warren() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = up(folder.path(), &[], &[]).await?;
    let name = folder.path().to_str().expect("text");
    let (code, said) = ends(&["up", "--listen", "127.0.0.1:0", "--data-dir", name], &[]).await?;
    ensure!(code == Some(1) && said.contains(name), "{code:?}: {said}");
    server.program.signal("TERM")?;
    ensure!(server.program.wait(Duration::from_secs(10)).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_has_the_routes_of_the_contract() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let (status, document) = server.get("/openapi.json").await?;
    assert_eq!(status, 200);
    let methods = |path: &str| match &document["paths"][path] {
        Value::Object(methods) => methods.keys().cloned().collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    for (path, expected) in [
        ("/indexes", vec!["get"]),
        ("/indexes/{index}", vec!["delete", "get", "put"]),
        ("/indexes/{index}/documents", vec!["post"]),
        ("/indexes/{index}/documents/{id}", vec!["delete", "get", "put"]),
        ("/indexes/{index}/search", vec!["get", "post"]),
        ("/indexes/{index}/suggest", vec!["get"]),
        ("/indexes/{index}/merge", vec!["post"]),
        ("/dead-letters", vec!["delete", "get"]),
        ("/dead-letters/{id}", vec!["get"]),
        ("/dead-letters/{id}/body", vec!["get"]),
        ("/dead-letters/replay", vec!["post"]),
        ("/sources", vec!["get"]),
        ("/sources/{source}", vec!["delete", "get", "put"]),
        ("/healthz", vec!["get"]),
        ("/readyz", vec!["get"]),
        ("/status", vec!["get"]),
    ] {
        let mut found = methods(path);
        found.sort();
        assert_eq!(found, expected, "{path}");
    }
    Ok(())
}
