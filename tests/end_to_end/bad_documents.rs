//! A thousand documents of which a hundred are bad, over HTTP and from the command line: each bad one is answered with its line
//! and its reason, the others are found, and the mended ones, too.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::bad_documents::{Badness, MAX_DOCUMENT_BYTES, Sample, bad, codes, definition, documents};
use warren_tests::{Program, http};

use crate::deployment::PATIENCE;
use crate::{Deployment, Server};

const COUNT: usize = 1000;
const BAD: usize = 100;
const LIMIT: &str = "WARREN__HTTP__MAX_DOCUMENT_BYTES";

struct World {
    deployment: Deployment,
    producer: Server,
    query: Server,
    _worker: Program,
    samples: Vec<Sample>,
}

async fn world() -> Result<World> {
    let mut deployment = Deployment::new().await?;
    deployment.set(LIMIT, MAX_DOCUMENT_BYTES);
    let producer = deployment.serve("producer", &[]).await?;
    let query = deployment.serve("query-service", &[]).await?;
    let worker = deployment.start("worker", &[])?;
    Ok(World { deployment, producer, query, _worker: worker, samples: documents(COUNT) })
}

impl World {
    fn lines(&self) -> Vec<u8> {
        self.samples.iter().flat_map(|sample| [&sample.body, b"\n".as_slice()].concat()).collect()
    }

    /// One document a line, so that the first one stands on the second line.
    fn array(&self) -> Vec<u8> {
        let documents: Vec<&[u8]> = self.samples.iter().map(|sample| sample.body.as_slice()).collect();
        [b"[\n".as_slice(), &documents.join(b",\n".as_slice()), b"\n]"].concat()
    }

    /// The good ones are found; then the bad ones are mended, and all are.
    async fn mend(&self, index: &str) -> Result<()> {
        self.query.found(index, COUNT - BAD).await?;
        let mended: Vec<Value> = bad(&self.samples).map(|(_, sample, _)| sample.mended.clone()).collect();
        self.producer.publish(index, &mended).await?;
        self.query.found(index, COUNT).await?;
        for sample in self.samples.iter().step_by(9).chain(bad(&self.samples).map(|(_, sample, _)| sample).take(8)) {
            let path = format!("/indexes/{index}/documents/{}", sample.id);
            assert_eq!(self.query.get(&path).await?, (200, sample.mended.clone()));
        }
        Ok(())
    }

    /// Runs `warren publish` on a file, which must say of each bad document what it must say.
    async fn publish(&self, index: &str, to: [&str; 2], file: &Path, first_line: u64) -> Result<()> {
        let name = file.to_str().context("the file's name is text")?;
        let limit = MAX_DOCUMENT_BYTES.to_string();
        let mut command =
            Program::start("warren", &["publish", to[0], to[1], "--index", index, name], &[(LIMIT, limit.as_str())])?;
        let status = command.wait(PATIENCE).await?;
        let said = command.all();
        ensure!(status.code() == Some(1), "{status}: {said}");
        ensure!(said.contains(&format!("{} accepted, {BAD} rejected", COUNT - BAD)), "{said}");
        let told: Vec<(u64, String)> = said.lines().filter_map(|line| refusal(line, name)).collect();
        let expected: Vec<_> =
            bad(&self.samples).map(|(number, _, badness)| (number - 1 + first_line, badness.code().to_string())).collect();
        assert_eq!(told, expected, "{said}");
        Ok(())
    }
}

/// `FILE:LINE: CODE: …`
fn refusal(line: &str, file: &str) -> Option<(u64, String)> {
    let (number, rest) = line.strip_prefix(file)?.strip_prefix(':')?.split_once(": ")?;
    Some((number.parse().ok()?, rest.split(':').next()?.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_documents_are_answered_one_by_one_over_http_and_the_others_are_kept() -> Result<()> {
    let world = world().await?;
    for (index, kind, body, first_line) in
        [("lines", "application/x-ndjson", world.lines(), 1), ("array", "application/json", world.array(), 2)]
    {
        world.query.create(index, &definition()).await?;
        let request = world.producer.request(Method::POST, &format!("/indexes/{index}/documents"));
        let (status, answer) = http::answer(request.header("content-type", kind).body(body)).await?;
        assert_eq!((status, &answer["accepted"], &answer["rejected_count"]), (202, &json!(COUNT - BAD), &json!(BAD)), "{index}");
        let rejected = answer["rejected"].as_array().context("a list")?;
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        for ((number, sample, badness), rejection) in bad(&world.samples).zip(rejected) {
            let place = (rejection["line"].as_u64(), rejection["number"].as_u64());
            assert_eq!(place, (Some(number - 1 + first_line), Some(number)), "{index}: {badness:?}: {rejection}");
            assert_eq!(rejection["code"], badness.code().as_str(), "{index}: {badness:?}: {rejection}");
            if badness == Badness::FieldOfWrongType {
                assert_eq!(rejection["id"], sample.id, "{rejection}");
                ensure!(rejection["detail"].to_string().contains("size"), "the field is not named: {rejection}");
            }
            *counted.entry(rejection["code"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let expected: BTreeMap<String, usize> =
            codes(&world.samples).into_iter().map(|(code, count)| (code.to_owned(), count)).collect();
        assert_eq!((rejected.len(), counted), (BAD, expected), "{index}");
        world.mend(index).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_documents_are_told_by_the_command_line_and_the_others_are_kept() -> Result<()> {
    let world = world().await?;
    let folder = tempfile::tempdir()?;
    let (lines, array) = (folder.path().join("samples.ndjson"), folder.path().join("samples.json"));
    std::fs::write(&lines, world.lines())?;
    std::fs::write(&array, world.array())?;
    for index in ["by-server", "by-broker"] {
        world.query.create(index, &definition()).await?;
    }
    world.publish("by-server", ["--server", &world.producer.url()], &array, 2).await?;
    world.publish("by-broker", ["--broker", world.deployment.url()], &lines, 1).await?;
    world.mend("by-server").await?;
    world.mend("by-broker").await
}

/// Rows of a table: every tenth is bad, in five ways in turn. The lines and codes of those come along.
fn table() -> (Vec<u8>, Vec<(u64, String)>) {
    let mut table = b"\xef\xbb\xbfid;size;text\n".to_vec();
    let (mut line, mut expected) = (2, Vec::new());
    for number in 1..=200_usize {
        let id = format!("row-{number:03}");
        let bad = |text: String, code: &'static str| (text.into_bytes(), Some(code));
        let (row, code) = match (number % 10, number / 10 % 5) {
            (0, 0) => bad(format!("{id};1"), "invalid_row"),
            (0, 1) => bad(format!("{id};many;text"), "invalid_field"),
            (0, 2) => bad(format!("{id}{};1;text", "x".repeat(513)), "invalid_id"),
            (0, 3) => bad(format!("{id};1;{}", "large ".repeat(MAX_DOCUMENT_BYTES / 5)), "too_large"),
            (0, _) => ([format!("{id};1;").as_bytes(), b"caf\xe9"].concat(), Some("invalid_row")),
            (5, _) => (format!("{id};{number};\"two\nlines; \"\"{number}\"\"\"").into_bytes(), None),
            _ => (format!("{id};{number};words {number}").into_bytes(), None),
        };
        expected.extend(code.map(|code| (line, code.to_owned())));
        line += 1 + row.iter().filter(|byte| **byte == b'\n').count() as u64;
        table.extend(row);
        table.push(b'\n');
    }
    (table, expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_every_kind_become_documents() -> Result<()> {
    let world = world().await?;
    let folder = tempfile::tempdir()?;
    let (rows, expected) = table();
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, rows)?;
    world.query.create("rows", &json!({"fields": {"size": {"type": "integer"}}})).await?;
    let (broker, limit) = (world.deployment.url(), MAX_DOCUMENT_BYTES.to_string());
    let publish = async |index: &str, name: &Path| -> Result<(Option<i32>, String)> {
        let name = name.to_str().context("the name is text")?;
        let arguments = ["publish", "--broker", broker, "--index", index, name];
        let mut command = Program::start("warren", &arguments, &[(LIMIT, limit.as_str())])?;
        let status = command.wait(PATIENCE).await?;
        Ok((status.code(), command.all()))
    };
    let (code, said) = publish("rows", &file).await?;
    let told: Vec<_> = said.lines().filter_map(|line| refusal(line, file.to_str()?)).collect();
    assert_eq!((code, told), (Some(1), expected), "{said}");
    ensure!(said.contains("180 accepted, 20 rejected"), "{said}");
    world.query.found("rows", 180).await?;
    let (_, row) = world.query.get("/indexes/rows/documents/row-015").await?;
    assert_eq!(row, json!({"id": "row-015", "size": 15, "text": "two\nlines; \"15\""}));
    let found = world.query.search("rows", "size:[11 TO 13]", 10).await?;
    assert_eq!(found["total"]["value"], 3, "a number is a number");

    let notes = folder.path().join("notes");
    std::fs::create_dir_all(notes.join("deep/.hidden"))?;
    for (name, content) in [
        ("deep/warren.md", &b"# On warrens\n\nRabbits *dig*."[..]),
        (
            "page.html",
            b"<html><head><title>Carrots</title></head><body><main><p>Orange and <b>sweet</b></p></main></body></html>",
        ),
        ("plain.txt", b"just words"),
        ("image.txt", b"\x89PNG\0\0"),
        ("deep/.hidden/secret.md", b"secret"),
        ("program.bin", b"binary"),
    ] {
        std::fs::write(notes.join(name), content)?;
    }
    let (code, said) = publish("notes", &notes).await?;
    ensure!(code == Some(0) && said.contains("3 accepted, 0 rejected"), "{code:?}: {said}");
    for word in ["1 hidden", "1 no text", "1 of another kind"] {
        ensure!(said.contains(word), "{said}");
    }
    world.query.found("notes", 3).await?;
    let (_, page) = world.query.get("/indexes/notes/documents/deep%2Fwarren.md").await?;
    assert_eq!((&page["id"], &page["title"]), (&json!("deep/warren.md"), &json!("On warrens")));
    assert_eq!(crate::deployment::ids(&world.query.search("notes", "sweet", 10).await?), ["page.html"]);
    Ok(())
}
