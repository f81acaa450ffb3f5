//! Searches of clients that speak to the broker only.

use warren_protocol::ports::{ClientReply, ClientRequest, RpcError};

use super::*;

async fn ask_for(world: &World, index: &str, body: &str, limit: Duration) -> Result<(String, Value), RpcError> {
    let request = ClientRequest { index: index.to_owned(), content_encoding: None, body: Bytes::from(body.to_owned()) };
    let ClientReply { content_type, body } = world.broker.ports.rpc.ask(request, Instant::now() + limit).await?;
    Ok((content_type, serde_json::from_slice(&body).unwrap()))
}

async fn ask(world: &World, index: &str, body: &str) -> (String, Value) {
    ask_for(world, index, body, Duration::from_secs(10)).await.unwrap()
}

fn serve(world: &World, change: impl FnOnce(&mut Config)) -> (ClientSearches, Stop) {
    let (mut config, stop) = (Config::default(), Stop::new());
    change(&mut config);
    (ClientSearches::start(world.service.clone(), &config, &stop), stop)
}

#[tokio::test]
async fn the_answer_is_that_of_http() {
    let world = World::with_index(|_| {}, two_each).await;
    let (serving, stop) = serve(&world, |_| {});
    let body = r#"{"query":"x","offset":1,"limit":3}"#;
    let (content_type, mut answer) = ask(&world, "a", body).await;
    let (_, mut same) = world.ask("POST", "/indexes/a/search", body).await;
    for answer in [&mut answer, &mut same] {
        answer["took_ms"] = Value::Null;
    }
    assert_eq!((content_type.as_str(), &answer), ("application/json", &same));
    assert_eq!(ids(&answer), ["d1", "d0", "e0"]);
    assert_eq!(ask(&world, "a", "").await.1["total"]["value"], 6, "nothing at all asks for everything");
    let status = world.get("/status").await.1;
    assert_eq!(status["amqp_searches"], json!({"answered": 2, "unanswerable": 0, "late": 0}));
    stop.request();
    serving.stopped().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_as_a_problem() {
    let world = World::with_index(|_| {}, two_each).await;
    let _serving = serve(&world, |_| {});
    let large = format!(r#"{{"query":"{}"}}"#, "x".repeat(3 << 20));
    for (index, body, code, word) in [
        ("a", r#"{"qury":"x"}"#, "invalid_request", "qury"),
        ("a", "words", "invalid_request", "expected value"),
        ("a", "7", "invalid_request", "expected"),
        ("a", r#"{"limit":1001}"#, "invalid_request", "1000"),
        ("a", large.as_str(), "too_large", "2097152"),
        ("b", "{}", "unknown_index", "PUT /indexes/b"),
        ("", "{}", "invalid_index_name", ""),
        ("A.B", "{}", "invalid_index_name", "lower case"),
    ] {
        let (content_type, problem) = ask(&world, index, body).await;
        assert_eq!((content_type.as_str(), &problem["code"]), ("application/problem+json", &json!(code)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let request = ClientRequest { index: "a".to_owned(), content_encoding: Some("gzip".to_owned()), body: Bytes::new() };
    let reply = world.broker.ports.rpc.ask(request, Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap()["code"], "unsupported_media_type");
}

#[tokio::test]
async fn a_search_awaits_its_turn_and_not_beyond_its_deadline() {
    // One partition keeps silent, so that a search takes as long as it may.
    let slow: Behaviour = |partition, question| if partition == 1 { None } else { two_each(partition, question) };
    let world = World::with_index(|config| config.query.max_concurrent = NonZeroU32::MIN, slow).await;
    let _serving = serve(&world, |_| {});
    let (first, second) = tokio::join!(ask(&world, "a", r#"{"timeout_ms":300}"#), ask(&world, "a", r#"{"timeout_ms":1500}"#));
    for (_, answer) in [first, second] {
        assert_eq!(answer["partitions"]["answered"], 2, "{answer}");
    }
    let (first, second) = tokio::join!(ask(&world, "a", r#"{"timeout_ms":1500}"#), ask(&world, "a", r#"{"timeout_ms":300}"#));
    assert_eq!(first.1["partitions"]["answered"], 2, "{first:?}");
    assert_eq!(second.1["code"], "too_many_requests", "{second:?}");

    // What the client itself does not await any longer ends then, whatever the request says.
    let start = Instant::now();
    let late = ask_for(&world, "a", r#"{"timeout_ms":30000}"#, Duration::from_millis(300)).await;
    assert!(late.is_err() || late.unwrap().1["partitions"]["answered"] == 2);
    assert_eq!(ask(&world, "a", r#"{"timeout_ms":2000,"limit":1}"#).await.1["partitions"]["answered"], 2);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_was_taken_is_answered_when_it_stops() {
    let slow: Behaviour = |partition, question| if partition == 1 { None } else { two_each(partition, question) };
    let world = World::with_index(|_| {}, slow).await;
    let (serving, stop) = serve(&world, |_| {});
    let asking = async {
        let (_, answer) = ask(&world, "a", r#"{"timeout_ms":1000}"#).await;
        assert_eq!(answer["partitions"]["answered"], 2, "{answer}");
    };
    let stopping = async {
        let deadline = Instant::now() + Duration::from_secs(10);
        while world.service.shared.searches.available_permits() == world.service.shared.max_searches as usize {
            assert!(Instant::now() < deadline, "the search does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.request();
        serving.stopped().await;
    };
    tokio::join!(asking, stopping);
    let after = ask_for(&world, "a", "{}", Duration::from_millis(300)).await;
    assert_eq!(after, Err(RpcError::Deadline), "nobody serves any more");
}
