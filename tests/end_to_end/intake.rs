//! The intake queue: bad documents among good ones, batches, poison, and an intake that is cut off.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use warren_protocol::ports::Message;
use warren_tests::Proxy;
use warren_tests::bad_documents::{Badness, Sample, bad, codes, definition, documents};
use warren_tests::{bad_documents, eventually};

use crate::Deployment;
use crate::deployment::{PATIENCE, Server};
use crate::foreign_clients::{Client, letters, status, warren};

struct World {
    deployment: Deployment,
    query: Server,
    producer: Option<Server>,
    client: Client,
    _worker: warren_tests::Program,
}

async fn world(settings: &[(&str, &str)]) -> Result<World> {
    let mut deployment = Deployment::new().await?;
    for (variable, value) in settings {
        deployment.set(variable, value);
    }
    let query = deployment.serve("query-service", &[]).await?;
    let producer = Some(deployment.serve("producer", &[]).await?);
    let worker = deployment.start("worker", &[])?;
    let client = Client::connect(deployment.url()).await?;
    Ok(World { deployment, query, producer, client, _worker: worker })
}

/// How many letters have which reason.
fn reasons(letters: &[Value]) -> BTreeMap<&str, usize> {
    letters.iter().fold(BTreeMap::new(), |mut reasons, letter| {
        *reasons.entry(letter["reason"].as_str().unwrap_or_default()).or_default() += 1;
        reasons
    })
}

/// Replays and says how many were, and how many were skipped.
async fn replay(server: &Server, request: &Value) -> Result<(u64, u64)> {
    let request = server.request(reqwest::Method::POST, "/dead-letters/replay").json(request);
    let (status, answer) = warren_tests::http::answer(request).await?;
    ensure!(status == 200 && answer["complete"] == true, "{status}: {answer}");
    Ok((answer["replayed"].as_u64().context("replayed")?, answer["skipped_count"].as_u64().context("skipped")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_documents_each_is_found_or_in_the_dead_letters_with_its_reason() -> Result<()> {
    let limit = bad_documents::MAX_DOCUMENT_BYTES.to_string();
    let mut world = world(&[]).await?;
    drop(world.producer.take());
    // An intake that changes how many messages it takes at a time gives some back, which counts as an attempt: this one begins with as
    // many as it may ever take.
    let small = [
        ("WARREN__HTTP__MAX_DOCUMENT_BYTES", limit.as_str()),
        ("WARREN__PRODUCER__MAX_MESSAGE_BYTES", "9000000"),
        ("WARREN__PRODUCER__INTAKE_PREFETCH", "7"),
    ];
    world.producer = Some(world.deployment.serve("producer", &small).await?);
    let (query, client) = (&world.query, &world.client);
    query.create("samples", &definition()).await?;
    let samples = documents(1000);
    client.bodies("samples", samples.iter().map(|sample| sample.body.clone())).await?;
    query.found("samples", 900).await?;
    let dead = letters(query, "", 100).await?;
    assert_eq!(reasons(&dead), codes(&samples));
    for (_, sample, badness) in bad(&samples) {
        let shown = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned();
        let letter = dead.iter().find(|letter| letter["body"] == shown(&sample.body));
        let letter = letter.with_context(|| format!("{} is not among the dead letters", sample.id))?;
        assert_eq!(letter["reason"], badness.code().as_str(), "{badness:?}");
        assert_eq!((&letter["source"], &letter["attempts"]), (&json!("warren.intake"), &json!(1)));
        assert_eq!((&letter["index"], &letter["body_bytes"]), (&json!("samples"), &json!(sample.body.len())));
    }
    // The bytes are there as they came.
    let (_, sample, _) = bad(&samples).find(|(_, _, badness)| *badness == Badness::NotUtf8).context("one is no UTF-8")?;
    let letter = dead.iter().find(|letter| letter["body"] == String::from_utf8_lossy(&sample.body).into_owned());
    let path = format!("/dead-letters/{}/body", letter.context("its letter")?["id"].as_str().context("its id")?);
    assert_eq!(query.request(reqwest::Method::GET, &path).send().await?.bytes().await?, sample.body);

    // Mended by their author: what was refused is older than what is there now, and stays away.
    let wrong_fields = || bad(&samples).filter(|(_, _, badness)| *badness == Badness::FieldOfWrongType);
    for (_, sample, _) in wrong_fields() {
        client.document("samples", &sample.mended).await?;
    }
    let mut found = 900 + wrong_fields().count();
    query.found("samples", found).await?;
    assert_eq!(replay(query, &json!({"reason": "invalid_field"})).await?, (0, wrong_fields().count() as u64));

    // Mended by the operator, who allows larger documents.
    drop(world.producer.take());
    world.producer = Some(world.deployment.serve("producer", &[]).await?);
    let large = || bad(&samples).filter(|(_, _, badness)| *badness == Badness::TooLarge);
    assert_eq!(replay(query, &json!({"reason": "too_large"})).await?, (large().count() as u64, 0));
    found += large().count();
    query.found("samples", found).await?;
    let (_, sample, _) = large().next().context("a large one")?;
    assert_eq!(query.get(&format!("/indexes/samples/documents/{}", sample.id)).await?.1["id"], json!(sample.id));

    // The rest is what it was: a replay refuses it again, once.
    let left = 100 - large().count();
    letters(query, "", left).await?;
    let said = warren(query, &["dead-letters", "replay", "--reason", "invalid_id"]).await?;
    let ids = codes(&samples)["invalid_id"];
    ensure!(said.contains(&format!("replayed {ids} dead letters, skipped 0")), "{said}");
    letters(query, "", left).await?;
    let said = warren(query, &["dead-letters", "purge", "--all"]).await?;
    ensure!(said.contains(&format!("deleted {left} dead letters")), "{said}");
    assert_eq!(query.count("samples").await?, found as u64);
    let _: () = world.client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_one_message_is_taken_document_by_document() -> Result<()> {
    let world = world(&[("WARREN__PRODUCER__MAX_MESSAGE_BYTES", "9000000")]).await?;
    let (query, client) = (&world.query, &world.client);
    query.create("batched", &definition()).await?;
    // An array with such parts is no JSON at all.
    let spoils_an_array = |badness: Badness| matches!(badness, Badness::NotJson | Badness::NotUtf8);
    let samples: Vec<Sample> = documents(400).into_iter().filter(|sample| sample.badness != Some(Badness::TooLarge)).collect();
    let (lines, array): (Vec<_>, Vec<_>) =
        samples.iter().partition(|sample| sample.badness.is_some_and(spoils_an_array) || sample.id.ends_with(['1', '3', '0']));
    let bodies =
        |samples: &[&Sample], between: &[u8]| samples.iter().map(|sample| &*sample.body).collect::<Vec<_>>().join(between);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&bodies(&lines, b"\n"))?;
    let text = |text: &str| Some(text.to_owned());
    let lines_message = Message {
        body: gzip.finish()?.into(),
        content_type: text("application/x-ndjson"),
        content_encoding: text("gzip"),
        message_id: text("of all of them"),
        ..Message::default()
    };
    let array_body = [b"[".to_vec(), bodies(&array, b",\n"), b"]".to_vec()].concat();
    let array_message =
        Message { body: zstd::bulk::compress(&array_body, 1)?.into(), content_encoding: text("zstd"), ..Message::default() };
    client.send("batched", lines_message).await?;
    client.send("batched", array_message).await?;

    let good = samples.iter().filter(|sample| sample.badness.is_none()).count();
    query.found("batched", good).await?;
    let dead = letters(query, "", samples.len() - good).await?;
    for batch in [&lines, &array] {
        for (ordinal, sample) in (1..).zip(batch.iter()).filter(|(_, sample)| sample.badness.is_some()) {
            let body = String::from_utf8_lossy(&sample.body);
            let letter = dead.iter().find(|letter| letter["body"] == *body).with_context(|| sample.id.clone())?;
            let code = sample.badness.map(|badness| badness.code().as_str());
            assert_eq!((&letter["reason"], &letter["ordinal"]), (&json!(code), &json!(ordinal)), "{}", sample.id);
            assert_eq!((&letter["message_id"], &letter["content_encoding"]), (&Value::Null, &Value::Null));
        }
    }
    // Looked at: lines without any type, then their deletion.
    let some: Vec<_> = samples.iter().filter(|sample| sample.badness.is_none()).take(20).collect();
    let body = Bytes::from(bodies(&some, b"\n"));
    client.send("batched", Message { body, kind: text("delete"), ..Message::default() }).await?;
    query.found("batched", good - 20).await?;
    // A bomb, and an array that breaks off, are refused whole.
    let bomb = zstd::bulk::compress(&vec![b' '; 50_000_000], 1)?;
    client.send("batched", Message { body: bomb.into(), content_encoding: text("zstd"), ..Message::default() }).await?;
    client.send("batched", Message { body: "[{\"id\":\"whole\"},".into(), ..Message::default() }).await?;
    let dead = letters(query, "", samples.len() - good + 2).await?;
    let whole: Vec<_> = dead.iter().filter(|letter| letter["ordinal"].is_null()).cloned().collect();
    assert_eq!(reasons(&whole), [("invalid_json", 1), ("too_large", 1)].into());
    let expected = json!({"indexed": good, "deleted": 20, "refused": dead.len()});
    let is_expected = |intake: &Value| ["indexed", "deleted", "refused"].iter().all(|key| intake[key] == expected[key]);
    status(query, "all is counted", |status| is_expected(&status["intake"])).await?;
    let _: () = world.client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_makes_its_handler_panic_harms_no_other() -> Result<()> {
    let world = world(&[("WARREN__PRODUCER__TEST_PANICS", "true")]).await?;
    let (query, client) = (&world.query, &world.client);
    for number in 0..60 {
        let poison = number % 20 == 7;
        let headers = poison.then(|| ("warren-test-panic".to_owned(), "1".to_owned()));
        let body = json!({"id": number}).to_string().into();
        client.send("notes", Message { body, headers: headers.into_iter().collect(), ..Message::default() }).await?;
    }
    query.found("notes", 57).await?;
    let dead = letters(query, "&reason=poison", 3).await?;
    for number in [7, 27, 47] {
        let body = json!({"id": number}).to_string();
        let letter = dead.iter().find(|letter| letter["body"].as_str() == Some(&body)).context("its letter")?;
        assert_eq!((&letter["attempts"], &letter["headers"]), (&json!(3), &json!({"warren-test-panic": "1"})));
    }
    letters(query, "", 3).await?;
    let _: () = world.client.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intake_that_is_cut_off_cannot_write_over_its_successor() -> Result<()> {
    const IDS: usize = 20;
    let mut world = world(&[]).await?;
    drop(world.producer.take());
    let (query, client) = (&world.query, &world.client);
    query.create("states", &json!({"partitions": 2})).await?;
    let proxy = Proxy::start(world.deployment.url()).await?;
    let behind = [("WARREN__BROKER__URL", proxy.url()), ("WARREN__BROKER__HEARTBEAT_S", "2")];
    let first = world.deployment.serve("producer", &behind).await?;
    let round = async |number: usize| -> Result<()> {
        for id in 0..IDS {
            client.document("states", &json!({"id": id, "round": number})).await?;
        }
        Ok(())
    };
    round(0).await?;
    query.found("states", IDS).await?;
    let takes = "this process takes documents from the queue";
    ensure!(first.program.said().contains(takes), "the first one is active");
    let second = world.deployment.serve("producer", &[]).await?;
    ensure!(!second.program.said().contains(takes), "the second one stands by");

    // Frozen while it has much in hand, and more comes.
    round(1).await?;
    proxy.freeze();
    let mut rounds = 2;
    eventually("the second one takes over", PATIENCE, async || {
        round(rounds).await?;
        rounds += 1;
        ensure!(second.program.said().contains(takes));
        Ok(())
    })
    .await?;
    round(rounds).await?;
    proxy.thaw();
    rounds += 1;
    round(rounds).await?;
    let last = eventually("the last states are found", PATIENCE, async || {
        let found = query.search("states", &format!("round:{rounds}"), 100).await?;
        ensure!(found["total"]["value"] == IDS, "{}", found["total"]);
        Ok(found)
    })
    .await?;
    assert_eq!(last["hits"].as_array().map(Vec::len), Some(IDS));
    // The first one has noticed, and stands by now; whatever it still sent has changed nothing.
    eventually("the first one begins anew", PATIENCE, async || {
        ensure!(first.program.said().contains("the intake starts anew"));
        Ok(())
    })
    .await?;
    tokio::time::timeout(Duration::from_secs(10), round(rounds)).await??;
    assert_eq!(query.count("states").await?, IDS as u64);
    assert_eq!(query.search("states", &format!("round:{rounds}"), 0).await?["total"]["value"], json!(IDS));
    letters(query, "", 0).await?;
    let _: () = world.client.close().await;
    Ok(())
}
