//! The query service on the embedded broker, with partitions that answer what a test wants.

mod at_least;
mod bounds;
mod clients;
mod paging;
mod ranking;
mod twice;

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;
use warren_broker::{Broker, Settings};
use warren_protocol::announcement::{Announcement, INTERVAL_MS, PartitionReport, ReplicaState, WorkerAnnouncement};
use warren_protocol::ports::{Message as QueueMessage, QueueName, RpcTarget, WorkerId};
use warren_protocol::rpc::{self, Answer, Failure, Found, Hits, Message, PartialHit, Question, Reply, Search, Statistics};
use warren_protocol::search::SortKey;
use warren_protocol::{IndexRef, PartitionId, Query};

use super::*;

/// What a partition does with a question; `None`: it keeps silent.
pub(crate) type Behaviour = fn(u32, Question) -> Option<Result<Answer, Failure>>;

pub(crate) struct World {
    pub broker: Broker,
    pub catalog: CatalogHandle,
    roster: Roster,
    service: QueryService,
    router: Router,
    partitions: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let broker = warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap();
        let stop = Stop::new();
        let catalog = CatalogHandle::start(&broker.ports).await.unwrap();
        catalog.ready(Instant::now() + Duration::from_secs(20)).await.unwrap();
        let roster = Roster::start(&broker.ports, &stop).await.unwrap();
        let service = QueryService::new(&config, &broker.ports, catalog.clone(), roster.clone());
        let router = router(service.clone());
        Self { broker, catalog, roster, service, router, partitions: JoinSet::new(), _folder: folder }
    }

    /// An index of three partitions that behave so.
    pub async fn with_index(change: impl FnOnce(&mut Config), behaviour: Behaviour) -> Self {
        let mut world = Self::new(change).await;
        let definition = warren_protocol::IndexDefinition { partitions: NonZeroU32::new(3).unwrap(), ..Default::default() };
        let entry = world.catalog.create(&IndexName::new("a").unwrap(), definition, false).await.unwrap().into_entry();
        for partition in 0..3 {
            let target = RpcTarget::Partition(PartitionId { index: entry.index.clone(), partition });
            let mut calls = world.broker.ports.rpc.serve(&target, NonZeroU16::new(64).unwrap()).await.unwrap();
            world.partitions.spawn(async move {
                let mut silent = Vec::new();
                while let Some(call) = calls.next().await {
                    let mut request = rpc::Request::decode(&call.request).unwrap();
                    match behaviour(partition, request.items.remove(0).question) {
                        Some(answer) => call.reply(reply(&format!("w{partition}"), answer)).await.unwrap(),
                        None => silent.push(call),
                    }
                }
            });
        }
        world
    }

    /// A worker that says that it serves these partitions, and behaves so when it is asked itself.
    async fn worker(&mut self, name: &'static str, partitions: &[u32], behaviour: Behaviour) {
        let index = self.catalog.get(&IndexName::new("a").unwrap()).unwrap().index.clone();
        let id = WorkerId(name.to_owned());
        let mut calls = self.broker.ports.rpc.serve(&RpcTarget::Worker(id.clone()), NonZeroU16::new(64).unwrap()).await.unwrap();
        let announcement = Announcement::Worker(WorkerAnnouncement {
            worker: id.clone(),
            leaving: false,
            stopping: false,
            cpu_percent: 0,
            store: None,
            partitions: partitions.iter().map(|partition| report(&index, *partition)).collect(),
        });
        let bulletin = self.broker.ports.bulletin.clone();
        bulletin.announce(&announcement).await.unwrap();
        self.partitions.spawn(async move {
            let mut silent = Vec::new();
            let mut tick = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
            loop {
                let call = tokio::select! {
                    Some(call) = calls.next() => call,
                    _ = tick.tick() => {
                        bulletin.announce(&announcement).await.unwrap();
                        continue;
                    }
                };
                let item = rpc::Request::decode(&call.request).unwrap().items.pop();
                match item.map(|item| behaviour(item.partition, item.question)) {
                    Some(Some(answer)) => call.reply(reply(name, answer)).await.unwrap(),
                    _ => silent.push(call),
                }
            }
        });
        let heard = || self.roster.workers().iter().any(|worker| worker.id == id);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !heard() {
            assert!(Instant::now() < deadline, "{name} is not heard");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, Body::empty()).await
    }
}

fn reply(worker: &str, answer: Result<Answer, Failure>) -> Bytes {
    Reply { worker: WorkerId(worker.to_owned()), answers: vec![answer] }.encode().unwrap()
}

fn report(index: &IndexRef, partition: u32) -> PartitionReport {
    PartitionReport {
        index: index.clone(),
        partition,
        replica: 0,
        held: true,
        state: ReplicaState::Serving,
        position: None,
        documents: 0,
        log_bytes: 0,
        operations: 0,
        segments: 0,
        bytes: 0,
        snapshot: None,
        lost: None,
        error: None,
    }
}

fn found(id: &str) -> Found {
    let highlights = BTreeMap::from([("id".to_owned(), vec![format!("<b>{id}</b>")])]);
    Found { body: json!({ "id": id }).to_string().into_bytes(), highlights }
}

fn statistics(partition: u32) -> Answer {
    Answer::Statistics(vec![Statistics { documents: 2 + u64::from(partition), ..Statistics::default() }])
}

/// Partition p holds d{p} with score p + 1, and e{p} with score 1, whatever the query.
fn two_each(partition: u32, question: Question) -> Option<Result<Answer, Failure>> {
    Some(Ok(match question {
        Question::Search(search) => {
            let hit = |id: String, score| PartialHit { found: Some(found(&id)), id, score: Some(score), sort: vec![] };
            let mut all = vec![hit(format!("d{partition}"), partition as f32 + 1.0), hit(format!("e{partition}"), 1.0)];
            all.truncate(search.hits as usize);
            Answer::Hits(Hits { total: search.count.then_some(2), hits: all, ..Hits::default() })
        }
        Question::Fetch(fetch) => {
            let held = [format!("d{partition}"), format!("e{partition}")];
            Answer::Documents(fetch.ids.iter().map(|id| held.contains(id).then(|| found(id))).collect())
        }
        Question::Statistics { .. } => statistics(partition),
        _ => return None,
    }))
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_search_is_merged_from_all_partitions() {
    let world = World::with_index(|_| {}, two_each).await;
    let (status, answer) = world.get("/indexes/a/search?q=x").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ids(&answer), ["d2", "d1", "d0", "e0", "e1", "e2"]);
    assert_eq!(answer["total"], json!({"value": 6, "relation": "eq"}));
    assert_eq!(answer["partitions"], json!({"total": 3, "answered": 3, "failed": []}));
    assert_eq!(answer["hits"][0]["document"], json!({"id": "d2"}));
    assert_eq!(answer["hits"][0]["highlights"], json!({"id": ["<b>d2</b>"]}));
    let (_, page) = world.get("/indexes/a/search?q=x&offset=2&limit=2&total=false").await;
    assert_eq!((ids(&page), page.get("total")), (vec!["d0", "e0"], None));
    let (_, same) = world.ask("POST", "/indexes/a/search", r#"{"query":"x","offset":2,"limit":2,"total":false}"#).await;
    assert_eq!(ids(&same), ids(&page));
}

#[tokio::test]
async fn parameters_reach_the_partitions() {
    let world = World::with_index(
        |_| {},
        |_, question| {
            let Question::Search(search) = question else { return two_each(0, question) };
            let expected = Search {
                query: Query::parse("w s", true).unwrap(),
                filter: Some(Query::parse("a:b", true).unwrap()),
                hits: 12,
                sort: vec![SortKey::parse("-size").unwrap(), SortKey::parse("id").unwrap()],
                document: rpc::DocumentParts { fields: Some(vec!["title".into(), "x.*".into()]), highlight: None },
                ..Search::default()
            };
            Some(if *search == expected { Ok(Answer::Hits(Hits::default())) } else { Err(Failure::NotHere) })
        },
    )
    .await;
    let path = "/indexes/a/search?q=w+s&limit=7&offset=5&total=false&highlight=false&timeout_ms=20000&sort=-size,id\
        &filter=a:b&fields=title,x.*";
    let (status, answer) = world.get(path).await;
    assert_eq!((status, &answer["partitions"]["answered"]), (200, &json!(3)), "{answer}");
    let (status, problem) = world.get("/indexes/a/search?q=w+s").await;
    assert_eq!((status, &problem["code"]), (503, &json!("no_partition")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("does not hold"), "{problem}");
}

#[tokio::test]
async fn a_silent_partition_is_named_when_the_time_is_over() {
    let world =
        World::with_index(|_| {}, |partition, question| if partition == 1 { None } else { two_each(partition, question) }).await;
    let start = Instant::now();
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=300").await;
    assert!(start.elapsed() >= Duration::from_millis(290) && start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((status, ids(&answer)), (200, vec!["d2", "d0", "e0", "e2"]));
    assert_eq!(answer["total"], json!({"value": 4, "relation": "gte"}));
    assert_eq!(answer["partitions"]["answered"], 2);
    assert_eq!(answer["partitions"]["failed"], json!([{"partition": 1, "reason": "no answer within the deadline"}]));
}

#[tokio::test]
async fn a_query_that_is_at_fault_is_a_bad_request() {
    let world = World::with_index(|_| {}, |_, _| Some(Err(Failure::InvalidQuery("a bracket is open".to_owned())))).await;
    let (status, problem) = world.ask("POST", "/indexes/a/search", r#"{"query":"x"}"#).await;
    assert_eq!((status, &problem["code"], &problem["field"]), (400, &json!("invalid_query"), &json!("query")));
    assert_eq!(problem["detail"], "a bracket is open");
    assert_eq!(world.get("/indexes/a/search?q=x").await.1["field"], "q");
}

/// As [`two_each`], but documents have to be fetched; partition 1 has lost d1, and partition 2 fails to send any.
fn without_documents(partition: u32, question: Question) -> Option<Result<Answer, Failure>> {
    if partition == 2 && matches!(question, Question::Fetch(_)) {
        return Some(Err(Failure::Internal("the disk is gone".to_owned())));
    }
    match two_each(partition, question) {
        Some(Ok(Answer::Hits(mut found))) => {
            found.hits.iter_mut().for_each(|hit| hit.found = None);
            found.view = Some(70 + u64::from(partition));
            Some(Ok(Answer::Hits(found)))
        }
        Some(Ok(Answer::Documents(documents))) if partition == 1 => {
            let lost = br#"{"id":"d1"}"#;
            Some(Ok(Answer::Documents(documents.into_iter().map(|found| found.filter(|found| found.body != lost)).collect())))
        }
        other => other,
    }
}

#[tokio::test]
async fn documents_that_did_not_come_along_are_fetched() {
    let world = World::with_index(|_| {}, without_documents).await;
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=20000").await;
    assert_eq!((status, ids(&answer)), (200, vec!["d0", "e0", "e1"]), "{answer}");
    assert_eq!(answer["partitions"]["answered"], 2);
    let failed = &answer["partitions"]["failed"];
    assert_eq!((failed.as_array().unwrap().len(), &failed[0]["partition"]), (1, &json!(2)));
    assert!(failed[0]["reason"].as_str().unwrap().contains("the disk is gone"), "{failed}");
}

#[tokio::test]
async fn fetching_does_not_wait_for_a_silent_partition() {
    let world = World::with_index(
        |_| {},
        |partition, question| if partition == 0 { None } else { without_documents(partition, question) },
    )
    .await;
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=1500").await;
    assert_eq!((status, ids(&answer)), (200, vec!["e1"]), "the last fifth of the time is for fetching: {answer}");
}

#[tokio::test]
async fn documents_are_fetched_from_the_worker_that_answered() {
    // Whoever takes the partition's questions now does not know them.
    let mut world = World::with_index(
        |_| {},
        |partition, question| match question {
            Question::Search(_) => without_documents(0, question).filter(|_| partition == 0),
            Question::Fetch(_) => Some(Err(Failure::Internal("asked the wrong one".to_owned()))),
            _ => two_each(partition, question),
        },
    )
    .await;
    world.worker("w0", &[0], two_each).await;
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=2000").await;
    assert_eq!((status, ids(&answer)), (200, vec!["d0", "e0"]), "{answer}");
    assert_eq!(answer["partitions"]["failed"].as_array().unwrap().len(), 2, "those that keep silent: {answer}");
}

#[tokio::test]
async fn nobody_waits_for_a_partition_that_no_worker_serves() {
    let mut world =
        World::with_index(|_| {}, |partition, question| if partition == 1 { None } else { two_each(partition, question) }).await;
    world.worker("w", &[0, 2], two_each).await;
    let unserved = PartitionId { index: world.catalog.list()[0].index.clone(), partition: 1 };
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.roster.unserved(&unserved).is_none() {
        assert!(Instant::now() < deadline, "the roster never knows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let start = Instant::now();
    let (status, answer) = world.get("/indexes/a/search?q=x&timeout_ms=20000").await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((status, ids(&answer)), (200, vec!["d2", "d0", "e0", "e2"]));
    let reason = answer["partitions"]["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("no worker serves partition 1 since "), "{reason}");
}

#[tokio::test]
async fn searches_beyond_the_limit_are_refused() {
    let world = World::with_index(|config| config.query.max_concurrent = NonZeroU32::MIN, |_, _| None).await;
    let search = || world.get("/indexes/a/search?timeout_ms=500");
    let (first, second) = tokio::join!(search(), search());
    let (mut statuses, code) = ([first.0, second.0], if first.0 == 429 { first.1 } else { second.1 });
    statuses.sort_unstable();
    assert_eq!((statuses, &code["code"]), ([429, 503], &json!("too_many_requests")));
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let world = World::with_index(|_| {}, two_each).await;
    for (method, path, body, status, code, word) in [
        ("GET", "/indexes/a/search?qq=x", "", 400, "invalid_request", "qq"),
        ("GET", "/indexes/a/search?limit=1001", "", 400, "invalid_request", "1000"),
        ("GET", "/indexes/a/search?limit=many", "", 400, "invalid_request", "invalid digit"),
        ("POST", "/indexes/a/search", r#"{"qury":"x"}"#, 400, "invalid_request", "qury"),
        ("POST", "/indexes/a/search", "{", 400, "invalid_request", "EOF"),
        ("GET", "/indexes/b/search", "", 404, "unknown_index", "PUT /indexes/b"),
        ("GET", "/indexes/B/search", "", 400, "invalid_index_name", "lower case"),
        ("GET", "/indexes/a/documents/nothing", "", 404, "unknown_document", "nothing"),
        ("PUT", "/indexes/c", r#"{"partitions":999}"#, 400, "invalid_definition", "partitions"),
        ("PUT", "/indexes/c", "x", 400, "invalid_definition", "expected value"),
        ("DELETE", "/indexes/c", "", 404, "unknown_index", "c"),
        ("GET", "/dead-letters?limit=101", "", 400, "invalid_request", "100"),
        ("PATCH", "/indexes/a", "", 405, "method_not_allowed", "PATCH"),
        ("GET", "/index", "", 404, "not_found", "/index"),
    ] {
        let (got, problem) = world.ask(method, path, body).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{method} {path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem} does not say {word:?}");
    }
}

#[tokio::test]
async fn a_document_is_found_by_its_id() {
    let world = World::with_index(
        |_| {},
        |_, question| match question {
            Question::Fetch(fetch) => Some(Ok(Answer::Documents(fetch.ids.iter().map(|id| Some(found(id))).collect()))),
            _ => None,
        },
    )
    .await;
    let (status, document) = world.get("/indexes/a/documents/a%2Fb%20c").await;
    assert_eq!((status, document), (200, json!({"id": "a/b c"})));
    let (status, problem) = world.get(&format!("/indexes/a/documents/{}", "x".repeat(513))).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_id")));
}

#[tokio::test]
async fn indexes_come_and_go() {
    let world = World::new(|_| {}).await;
    assert_eq!(world.get("/indexes").await, (200, json!({"indexes": []})));
    let (status, created) = world.ask("PUT", "/indexes/a", r#"{"partitions":2}"#).await;
    assert_eq!((status, &created["name"], &created["definition"]["partitions"]), (201, &json!("a"), &json!(2)));
    assert_eq!(world.ask("PUT", "/indexes/a", r#"{"partitions":2}"#).await, (200, created.clone()));
    let (status, conflict) = world.ask("PUT", "/indexes/a", "").await;
    assert_eq!((status, &conflict["code"]), (409, &json!("index_exists")));
    assert_eq!(conflict["differences"], json!(["partitions: 2 here, 4 asked"]));
    assert_eq!(world.get("/indexes/a").await, (200, created.clone()));
    assert_eq!(world.get("/indexes").await.1["indexes"], json!([created]));
    let (_, status) = world.get("/status").await;
    assert_eq!((&status["workers"], &status["warnings"][0]), (&json!([]), &json!("no worker runs: nothing can be found")));
    let partition = json!({"partition": 1, "unserved_s": null, "log": null, "snapshot": null, "replicas": []});
    assert_eq!(status["indexes"][0]["partitions"][1], partition);
    assert_eq!(world.ask("DELETE", "/indexes/a", "").await, (200, created));
    assert_eq!(world.get("/indexes/a").await.0, 404);
}

#[tokio::test]
async fn dead_letters_are_shown_and_purged() {
    let world = World::new(|_| {}).await;
    assert_eq!(world.get("/dead-letters").await, (200, json!({"count": 0, "letters": [], "more": false})));
    for number in 0..3 {
        let headers = [("warren-reason", "invalid_json"), ("warren-detail", "no object"), ("warren-source", "intake")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let body = Bytes::from(vec![b'a' + number; 2000]);
        let message = QueueMessage { body, routing_key: "packages".to_owned(), headers, ..QueueMessage::default() };
        world.broker.ports.queue.publish(QueueName::DeadLetters, message).await.unwrap();
    }
    let (status, answer) = world.get("/dead-letters?limit=2").await;
    assert_eq!((status, &answer["count"], answer["letters"].as_array().unwrap().len()), (200, &json!(3), 2));
    let letter = &answer["letters"][0];
    assert_eq!(
        (&letter["reason"], &letter["detail"], &letter["source"]),
        (&json!("invalid_json"), &json!("no object"), &json!("intake"))
    );
    assert_eq!(
        (&letter["routing_key"], &letter["body_bytes"], &letter["body"]),
        (&json!("packages"), &json!(2000), &json!("a".repeat(1024)))
    );
    assert_eq!(world.ask("DELETE", "/dead-letters", "").await, (200, json!({"purged": 3, "complete": true})));
    assert_eq!(world.get("/dead-letters").await.1["count"], 0);
}

#[tokio::test]
async fn the_description_names_the_routes_of_the_contract() {
    let world = World::new(|_| {}).await;
    let (status, document) = world.get("/openapi.json").await;
    assert_eq!(status, 200);
    for (path, methods) in [
        ("/", vec!["get"]),
        ("/indexes", vec!["get"]),
        ("/indexes/{index}", vec!["get", "put", "delete"]),
        ("/indexes/{index}/search", vec!["get", "post"]),
        ("/indexes/{index}/suggest", vec!["get"]),
        ("/indexes/{index}/merge", vec!["post"]),
        ("/indexes/{index}/documents/{id}", vec!["get"]),
        ("/status", vec!["get"]),
        ("/dead-letters", vec!["get", "delete"]),
        ("/dead-letters/replay", vec!["post"]),
        ("/sources/{source}", vec!["get", "put", "delete"]),
        ("/healthz", vec!["get"]),
        ("/readyz", vec!["get"]),
        ("/openapi.json", vec!["get"]),
    ] {
        for method in methods {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
    }
    let parameters = document["paths"]["/indexes/{index}/search"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<_> = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    let known = "index q fuzziness limit offset timeout_ms highlight total sort filter fields facets after scoring at_least";
    assert_eq!(names.join(" "), known);
    assert_eq!(world.get("/readyz").await.0, 200);
    assert_eq!(world.get("/healthz").await.0, 200);
}
