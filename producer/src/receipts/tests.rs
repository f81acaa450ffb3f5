//! Receipts on the embedded broker: a test plays the replicas, and the clients.

use std::num::{NonZeroU32, NonZeroU64};

use warren_broker::{Broker, Settings};
use warren_protocol::ports::Position;
use warren_protocol::problem::Code;
use warren_protocol::receipt::{Receipt, Status};
use warren_protocol::{Generation, IndexName, IndexRef, Problem};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

struct World {
    broker: Broker,
    receipts: Receipts,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let mut config = ProducerConfig::default();
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let broker = warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap();
        let receipts = Receipts::new(broker.ports.bulletin.clone(), &config);
        Self { broker, receipts, _folder: folder }
    }

    async fn wish(&self, ids: &[&str]) -> (Option<Wish>, Ticket) {
        let ids = ids.iter().map(|id| DocumentId::new(*id).unwrap()).collect();
        self.receipts.wish(&partition(), ids).await
    }

    /// What a replica says that sees these batches.
    async fn report(&self, wanted: Wanted, failed: Vec<Failed>) {
        let reports = Reports { batches: vec![Report { batch: wanted.batch, position: Position(41), failed }] };
        self.broker.ports.bulletin.tell(&wanted.address(), reports.encode().unwrap()).await.unwrap();
    }
}

fn partition() -> PartitionId {
    let index = IndexRef { name: IndexName::new("notes").unwrap(), generation: Generation(7) };
    PartitionId { index, partition: 3 }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("within ten seconds")
}

fn failed(operation: u32) -> Failed {
    Failed { operation, detail: "too odd".to_owned() }
}

#[tokio::test]
async fn the_first_report_answers_every_parcel_of_its_batch_and_the_next_ones_nobody() {
    let world = World::new(|_| {}).await;
    let (first, mut one) = world.wish(&["a"]).await;
    let (second, mut two) = world.wish(&["b", "c"]).await;
    let wanted = world.receipts.register(vec![(0, first.unwrap()), (1, second.unwrap())]).unwrap();
    world.report(wanted, vec![failed(2)]).await;
    let (one, two) = (soon(one.seen()).await.unwrap(), soon(two.seen()).await.unwrap());
    assert_eq!(one.position.to_string(), "7.3.41");
    assert_eq!((one.failed, two.failed), (vec![], vec![failed(1)]));
    // The other replica, and whoever reads the log again.
    let (third, mut three) = world.wish(&["d"]).await;
    let next = world.receipts.register(vec![(0, third.unwrap())]).unwrap();
    world.report(wanted, Vec::new()).await;
    world.report(next, Vec::new()).await;
    assert!(soon(three.seen()).await.is_some());
    assert!(world.receipts.shared.waiting().is_empty());
}

#[tokio::test]
async fn how_many_wait_and_how_long_is_bounded() {
    let world = World::new(|config| {
        config.max_receipts = NonZeroU32::new(3).unwrap();
        config.receipt_timeout_ms = NonZeroU64::new(50).unwrap();
    })
    .await;
    let (wish, mut ticket) = world.wish(&["a", "b"]).await;
    let (beyond, mut unknown) = world.wish(&["c", "d"]).await;
    assert!(beyond.is_none());
    assert!(unknown.seen().await.is_none(), "nobody will say");
    world.receipts.register(vec![(0, wish.unwrap())]).unwrap();
    assert!(soon(ticket.seen()).await.is_none(), "the time is over");
    assert!(world.wish(&["c", "d"]).await.0.is_some(), "there is room again");
}

#[tokio::test]
async fn what_was_not_confirmed_is_forgotten() {
    let world = World::new(|_| {}).await;
    let (wish, mut ticket) = world.wish(&["a"]).await;
    let wanted = world.receipts.register(vec![(0, wish.unwrap())]).unwrap();
    world.receipts.forget(wanted);
    assert!(soon(ticket.seen()).await.is_none());
    assert!(world.receipts.register(Vec::new()).is_none(), "nobody wants one");
}

#[tokio::test]
async fn a_request_learns_what_can_be_found_and_what_is_pending() {
    let world = World::new(|_| {}).await;
    let (first, one) = world.wish(&["a", "b", "c"]).await;
    let (second, two) = world.wish(&["d", "e"]).await;
    let wanted = world.receipts.register(vec![(0, first.unwrap())]).unwrap();
    world.receipts.register(vec![(0, second.unwrap())]).unwrap();
    let mut gathering = Gathering::new(1);
    gathering.add(vec![one, two]);
    world.report(wanted, vec![failed(1)]).await;
    // As long as it takes until the report was heard.
    let deadline = Instant::now() + PATIENCE;
    while gathering.waiting() == 2 {
        assert!(Instant::now() < deadline);
        gathering.add(Vec::new());
        tokio::task::yield_now().await;
    }
    let found = gathering.finish(tokio::time::Instant::now()).await;
    let lost = vec![Lost { id: "b".to_owned(), detail: "too odd".to_owned() }];
    let positions = vec!["7.3.41".parse().unwrap()];
    let expected = Found { searchable: 2, positions, pending_count: 2, pending: vec!["d".to_owned()], lost };
    assert_eq!(found, expected);
    assert!(!found.is_complete());
}

#[tokio::test]
async fn answers_of_several_requests_add_up_to_one() {
    let mut sum = Found::default();
    let positions = |positions: &[&str]| positions.iter().map(|position| position.parse().unwrap()).collect();
    sum.add(Found { searchable: 2, positions: positions(&["7.0.5", "7.1.9"]), ..Found::default() }, 1);
    let pending = vec!["x".to_owned(), "y".to_owned()];
    sum.add(Found { searchable: 1, positions: positions(&["7.0.8", "7.1.2"]), pending_count: 2, pending, ..Found::default() }, 1);
    let expected = Found {
        searchable: 3,
        positions: positions(&["7.0.8", "7.1.9"]),
        pending_count: 2,
        pending: vec!["x".to_owned()],
        ..Found::default()
    };
    assert_eq!(sum, expected);
}

fn message(reply_to: &str) -> Message {
    Message {
        routing_key: "notes".to_owned(),
        message_id: Some("m".to_owned()),
        reply_to: Some(reply_to.to_owned()),
        correlation_id: Some("c".to_owned()),
        ..Message::default()
    }
}

async fn heard(words: &mut BoxStream<'static, Message>) -> Receipt {
    let word = soon(words.next()).await.unwrap();
    assert_eq!((word.correlation_id.as_deref(), word.content_type.as_deref()), (Some("c"), Some("application/json")));
    serde_json::from_slice(&word.body).unwrap()
}

#[tokio::test]
async fn a_client_gets_one_receipt_for_each_document() {
    let world = World::new(|_| {}).await;
    let mut words = world.broker.ports.bulletin.listen(&Address::of_client("client").unwrap()).await.unwrap();
    let reply = || Reply::wanted(&world.receipts, &message("client"), false).unwrap();
    let (wish, ticket) = world.wish(&["a", "b"]).await;
    let wanted = world.receipts.register(vec![(0, wish.unwrap())]).unwrap();
    reply().answer(vec![ticket], Vec::new());
    world.report(wanted, vec![failed(1)]).await;
    assert_eq!(heard(&mut words).await, Receipt::searchable("notes".to_owned(), "a".to_owned(), "7.3.41".parse().unwrap()));
    let second = heard(&mut words).await;
    assert_eq!((second.id.as_deref(), second.status, second.position), (Some("b"), Status::Rejected, None));

    let problem = Problem::new(Code::InvalidField, "size must be an integer");
    reply().answer(Vec::new(), vec![(None, problem.clone())]);
    assert_eq!(heard(&mut words).await, Receipt::rejected("notes".to_owned(), Some("m".to_owned()), problem));
    world.receipts.close().await;
}

#[tokio::test]
async fn who_may_have_been_answered_or_is_no_client_gets_none() {
    let world = World::new(|_| {}).await;
    let wanted = |message: &Message, redelivered| Reply::wanted(&world.receipts, message, redelivered).is_some();
    assert!(wanted(&message("client"), false));
    assert!(!wanted(&message("client"), true), "its first receipt may be on its way");
    for hostile in ["warren.intake", "warren.reply.x", ""] {
        assert!(!wanted(&message(hostile), false), "{hostile:?}");
    }
    let mut replayed = message("client");
    replayed.headers.insert("warren-reason".to_owned(), "invalid_json".to_owned());
    assert!(!wanted(&replayed, false), "it was answered when it was refused");
    let without = Message { correlation_id: None, ..message("client") };
    assert!(wanted(&without, false), "the receipt names the document");
    assert!(!wanted(&Message { reply_to: None, ..message("client") }, false));
}
