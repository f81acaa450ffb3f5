//! The page, in a real browser.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use warren_tests::Program;
use warren_tests::browser::{Browser, keys};

use crate::Deployment;
use crate::deployment::PATIENCE;
use crate::up::up;

/// What stands in an element.
async fn text(browser: &Browser, selector: &str) -> Result<String> {
    let script = format!("return document.querySelector({}).textContent;", json!(selector));
    Ok(browser.run(&script).await?.as_str().context("text")?.to_owned())
}

/// The ids of the hits that are shown; where a document has no title, its id is the heading.
async fn shown(browser: &Browser) -> Result<Value> {
    browser.run("return [...document.querySelectorAll('.hit h2')].map((heading) => heading.textContent);").await
}

/// Runs what the page offers to copy.
async fn run(name: &str, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let mut program = Program::spawn(name, command)?;
    let (status, said) = (program.wait(PATIENCE).await?, program.all());
    ensure!(status.success(), "{name}: {status}: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_warren_shows_how_to_publish_and_what_was_published() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let browser = Browser::start(1000, 900).await?;
    browser.open(&server.url()).await?;
    browser.until("document.querySelector('#empty').textContent.includes('There are no indexes yet')").await?;
    assert!(text(&browser, "#empty").await?.contains("warren.documents"), "how to publish over AMQP");
    let curl = text(&browser, "#empty .code pre").await?;
    run("the curl of the page", "sh", &["-c", &curl]).await?;
    server.found("notes", 1).await?;

    // The panel: what is wrong is said; then a document is published, and shown when it is found.
    browser.run("location.reload();").await?;
    browser.until("document.querySelectorAll('.hit').length === 1").await?;
    browser.click("#publish-toggle").await?;
    let write = |document: &str| format!("document.querySelector('#document').value = {};", json!(document));
    for (document, answer) in [("{", "This is no JSON"), ("[7]", "(invalid_json)")] {
        browser.run(&write(document)).await?;
        browser.click("#send").await?;
        browser.until(&format!("document.querySelector('#outcome').textContent.includes('{answer}')")).await?;
    }
    browser.run(&write(r#"{"id": "second", "title": "<b>Second</b> document", "text": "published by hand"}"#)).await?;
    browser.click("#send").await?;
    browser
        .until("/Searchable after [0-9,]+ ms, at position [0-9.]+\\./.test(document.querySelector('#outcome').textContent)")
        .await?;
    browser.until("document.querySelectorAll('.hit').length === 2").await?;
    assert_eq!(shown(&browser).await?, json!(["The first document", "<b>Second</b> document"]));

    // A query service without a producer's half says where one is.
    let mut deployment = Deployment::new().await?;
    let alone = deployment.serve("query-service", &[]).await?;
    browser.open(&alone.url()).await?;
    browser.until("document.querySelector('#empty').textContent.includes('There are no indexes yet')").await?;
    browser.click("#empty button.primary").await?;
    browser.click("#send").await?;
    browser.until("document.querySelector('#outcome').textContent.includes('This server only searches')").await?;
    assert!(text(&browser, "#outcome").await?.contains(":8081/indexes/notes/documents"));
    browser.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_types_and_chooses_and_links_what_was_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let mut documents: Vec<_> = (10..40)
        .map(|number| {
            let kind = if number % 3 == 0 { "third" } else { "other" };
            json!({"id": format!("n-{number}"), "title": format!("Number {number}"), "kind": kind})
        })
        .collect();
    documents.push(json!({"id": "a", "title": "A web server", "body": "It serves pages of the web."}));
    server.publish("notes", &documents).await?;
    server.found("notes", documents.len()).await?;
    server.create("other", &json!({})).await?;
    let browser = Browser::start(1000, 900).await?;
    browser.open(&format!("{}/?index=notes", server.url())).await?;
    browser.until("document.querySelectorAll('.hit').length === 10").await?;
    let status = text(&browser, "#status").await?;
    ensure!(status.starts_with("31 documents · 4 of 4 partitions, ") && status.ends_with(" ms"), "{status}");

    // The keyboard is enough.
    browser.run("document.activeElement.blur();").await?;
    browser.press("/web").await?;
    browser.until("document.querySelectorAll('.hit').length === 1 && location.search.includes('q=web')").await?;
    assert_eq!(browser.run("return document.querySelector('.hit mark').textContent;").await?, "web");
    browser.press(keys::DOWN).await?;
    browser.until("document.activeElement.matches('.hit')").await?;
    browser.press(keys::ENTER).await?;
    browser.until("document.querySelector('.hit pre').textContent.includes('It serves pages')").await?;
    browser.press(keys::UP).await?;
    browser.until("document.activeElement.id === 'query'").await?;
    browser.press(keys::ESCAPE).await?;
    browser.until("document.querySelectorAll('.hit').length === 10 && !location.search.includes('q=')").await?;

    // Pages; the address is the state, and so are back and forward.
    browser.click("#next").await?;
    browser.until("location.search.includes('page=2') && document.querySelector('#page').textContent === 'Page 2 of 4'").await?;
    let (second, address) = (shown(&browser).await?, browser.run("return location.href;").await?);
    browser.press("/number").await?;
    browser.press(keys::ENTER).await?;
    browser.until("document.querySelector('#status').textContent.startsWith('30 hits')").await?;
    browser.run("history.back();").await?;
    browser.until("document.querySelector('#page').textContent === 'Page 2 of 4'").await?;
    browser.open(address.as_str().context("an address")?).await?;
    browser.until("document.querySelector('#page').textContent === 'Page 2 of 4'").await?;
    assert_eq!(shown(&browser).await?, second);

    // A value that tells documents apart narrows the search, and the address knows it.
    let value = "[...document.querySelectorAll('#facets .value')].find((value) => value.textContent.startsWith('third'))";
    browser.open(&format!("{}/?index=notes", server.url())).await?;
    browser.until(&format!("{value} && {value}.textContent === 'third10'")).await?;
    browser.run(&format!("{value}.click();")).await?;
    browser.until("document.querySelector('#status').textContent.startsWith('10 hits')").await?;
    browser.run("location.reload();").await?;
    browser.until(&format!("document.querySelectorAll('.hit').length === 10 && {value}.ariaPressed === 'true'")).await?;
    browser.run(&format!("{value}.click();")).await?;
    browser.until("document.querySelector('#status').textContent.startsWith('31 documents')").await?;

    // The search to copy finds the same.
    browser.open(&format!("{}/?index=notes&q=it%27s+%22web+server%22", server.url())).await?;
    browser.until("document.querySelectorAll('.hit').length === 1").await?;
    browser.click("#snippets summary").await?;
    browser.until("document.querySelectorAll('#snippets pre').length === 2").await?;
    let curl = text(&browser, "#snippets figure:nth-of-type(1) pre").await?;
    let found: Value = serde_json::from_str(&run("the curl of the page", "sh", &["-c", &format!("{curl} --silent")]).await?)?;
    assert_eq!(found["hits"][0]["id"], "a");
    let python = text(&browser, "#snippets figure:nth-of-type(2) pre").await?;
    let said = run("the Python of the page", "/usr/bin/python3", &["-c", &python]).await?;
    ensure!(said.trim().ends_with(" a"), "{said}");

    // Dark where that is wanted, and no wider than a telephone.
    let paper = "return getComputedStyle(document.body).backgroundColor;";
    browser.prefer_dark(false).await?;
    let light = browser.run(paper).await?;
    browser.prefer_dark(true).await?;
    assert_ne!(browser.run(paper).await?, light);
    browser.resize(500, 800).await?;
    browser.until("document.documentElement.scrollWidth <= innerWidth").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_document_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = up(folder.path(), &[], &[]).await?;
    let evil = "wicked <img src=x onerror=\"window.owned=1\"> <script>window.owned=1</script> <b onclick=\"window.owned=1\">bold</b> </pre>";
    let document = json!({"id": evil, "title": evil, "body": evil.repeat(3), "url": "javascript:window.owned=1", evil: evil});
    server.publish("notes", &[document, json!({"id": "b", "title": "A tree"})]).await?;
    server.found("notes", 2).await?;
    let browser = Browser::start(1000, 900).await?;
    browser.open(&format!("{}/?index=notes&q=wicked+%3Cimg+src%3Dx+onerror%3Downed%3E", server.url())).await?;
    browser.until("document.querySelectorAll('.hit').length === 1").await?;
    browser.click(".hit summary").await?;
    browser.click("#snippets summary").await?;
    browser.until("document.querySelector('.hit pre') && document.querySelector('#snippets pre')").await?;
    assert_eq!(browser.run("return document.querySelector('.hit mark').textContent;").await?, "wicked");
    assert_eq!(text(&browser, ".hit h2").await?, evil, "it is text");
    let alive =
        "return [window.owned ?? null, document.querySelectorAll('.hit img, .hit script, .hit a, [onclick], [onerror]').length];";
    assert_eq!(browser.run(alive).await?, json!([null, 0]));
    browser.close().await
}
