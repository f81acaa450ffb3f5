//! How links are worked through: nobody is held up, nobody is overrun, nothing is lost.

use super::super::failure::FetchError;
use super::super::link::Link;
use super::server::{Answer, Server, page, redirect, text};
use super::*;

fn few(concurrency: u16, per_host: u16) -> LinksConfig {
    let number = |number| NonZeroU16::new(number).unwrap();
    LinksConfig { concurrency: number(concurrency), per_host: number(per_host), ..config() }
}

#[tokio::test]
async fn a_page_becomes_a_document_named_by_its_link() {
    let html = b"<title>Own title</title><p>apple cake";
    let answers = vec![
        ("/book.txt?q=1", text("apple apple cat zebra")),
        ("/page", Answer::Bytes(page(200, "Content-Type: text/html\r\n", html))),
    ];
    let server = Server::start((PUBLIC, 0), answers).await;
    let table = Table::new(&[("public.test", &[PUBLIC])]);
    let running = Running::start(config(), &table).await;
    let base = format!("http://public.test:{}", server.address.port());
    running.feed(&format!("HTTP://Public.TEST:{}/a/../book.txt?q=1#part", server.address.port())).await;
    let (id, document) = running.documents(1).await.remove(0);
    assert_eq!(id, format!("{base}/book.txt?q=1"));
    assert_eq!(document, serde_json::json!({"title": id, "link": id, "body": "apple apple cat zebra"}));
    running.feed(&format!("{base}/page")).await;
    assert_eq!(running.documents(2).await[1].1["title"], "Own title");
    running.close().await;
}

#[tokio::test]
async fn a_host_that_hangs_holds_nobody_up() {
    let slow = Server::start((PUBLIC, 0), vec![("/", Answer::Hang)]).await;
    let good = Server::start((PUBLIC, 0), vec![("/", text("good"))]).await;
    let table = Table::new(&[("slow.test", &[PUBLIC]), ("good.test", &[PUBLIC])]);
    let running = Running::start(few(4, 2), &table).await;
    for number in 0..50 {
        running.feed(&format!("http://slow.test:{}/?{number}", slow.address.port())).await;
    }
    slow.requested(1).await;
    running.feed(&format!("http://good.test:{}/", good.address.port())).await;
    assert_eq!(running.documents(1).await[0].1["body"], "good");
    assert!(slow.seen.most_at_a_time.load(Ordering::SeqCst) <= 2);
    running.close().await;
}

#[tokio::test]
async fn a_host_gets_no_more_requests_at_a_time_than_its_share() {
    let paths: Vec<String> = (0..6).map(|number| format!("/{number}")).collect();
    let slow = || Answer::Slow(Duration::from_millis(50), page(200, "Content-Type: text/plain\r\n", b"x"));
    let server = Server::start((PUBLIC, 0), paths.iter().map(|path| (path.as_str(), slow())).collect()).await;
    let table = Table::new(&[("public.test", &[PUBLIC])]);
    let running = Running::start(few(16, 2), &table).await;
    for path in &paths {
        running.feed(&format!("http://public.test:{}{path}", server.address.port())).await;
    }
    assert_eq!(running.documents(6).await.len(), 6);
    let most = server.seen.most_at_a_time.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} at a time");
    running.close().await;
}

#[tokio::test]
async fn what_may_get_better_is_tried_again_and_given_up_in_the_end() {
    let busy = page(503, "Retry-After: 1\r\n", b"");
    let mended =
        Server::start((PUBLIC, 0), vec![("/", Answer::Then(busy, page(200, "Content-Type: text/plain\r\n", b"mended")))]).await;
    let broken = Server::start((PUBLIC, 0), vec![("/", Answer::Bytes(page(500, "", b"")))]).await;
    let table = Table::new(&[("public.test", &[PUBLIC])]);
    let links = LinksConfig { attempts: NonZeroU16::new(2).unwrap(), ..config() };
    let running = Running::start(links, &table).await;
    let start = Instant::now();
    running.feed(&format!("http://public.test:{}/", mended.address.port())).await;
    let link = format!("http://public.test:{}/", broken.address.port());
    running.feed(&link).await;
    assert_eq!(running.documents(1).await[0].1["body"], "mended");
    assert!(start.elapsed() >= Duration::from_secs(1), "it came after {:?}", start.elapsed());
    let letters = running.dead_letters(1).await;
    let (reason, detail, attempts) = &letters[&link];
    assert_eq!((reason.as_str(), attempts.as_str()), ("page_unavailable", "2"), "{detail}");
    assert!(detail.contains("500") && detail.contains("2 attempts"), "{detail}");
    assert_eq!((mended.requests(), broken.requests()), (2, 2));
    running.close().await;
}

#[tokio::test]
async fn what_was_not_done_at_the_stop_comes_again() {
    let server = Server::start((PUBLIC, 0), vec![("/", Answer::Hang)]).await;
    let table = Table::new(&[("public.test", &[PUBLIC])]);
    let running = Running::start(config(), &table).await;
    running.feed(&format!("http://public.test:{}/", server.address.port())).await;
    server.requested(1).await;
    running.stop.request();
    tokio::time::timeout(PATIENCE / 2, running.fetchers.stopped()).await.expect("the fetchers stop without waiting for a page");
    assert_eq!(running.broker.ports.queue.depth(QueueName::Links).await.unwrap(), 1);
    running.close().await;
}

#[tokio::test]
async fn redirects_and_other_ports_take_turns_of_the_host_too() {
    let target = Server::start((PUBLIC, 0), vec![("/", text("target"))]).await;
    let to = format!("http://target.test:{}/", target.address.port());
    let moved = Server::start((PUBLIC, 0), vec![("/", redirect(&to))]).await;
    let table = Table::new(&["one.test", "two.test", "three.test", "target.test"].map(|host| (host, &[PUBLIC][..])));
    let pause = Duration::from_millis(200);
    let running = Running::start(LinksConfig { host_pause_ms: pause.as_millis() as u64, ..config() }, &table).await;
    let start = Instant::now();
    for host in ["one.test", "two.test", "three.test"] {
        running.feed(&format!("http://{host}:{}/", moved.address.port())).await;
    }
    // It asks the target by another port first, then where that redirects to.
    running.feed(&format!("http://target.test:{}/", moved.address.port())).await;
    assert_eq!(running.documents(4).await.len(), 4);
    assert!(start.elapsed() >= pause * 4, "five requests to one host took {:?}", start.elapsed());
    running.close().await;
}

#[tokio::test]
async fn a_host_that_rests_is_left_alone_by_redirects_too() {
    let busy = Server::start((PUBLIC, 0), vec![("/", Answer::Bytes(page(503, "Retry-After: 600\r\n", b"")))]).await;
    let to = format!("http://busy.test:{}/", busy.address.port());
    let moved = Server::start((PUBLIC, 0), vec![("/", redirect(&to))]).await;
    let table = Table::new(&[("moved.test", &[PUBLIC]), ("busy.test", &[PUBLIC])]);
    let fetcher = fetcher(&config(), &table);
    let link = Link::new(&format!("http://moved.test:{}/", moved.address.port())).unwrap();
    let error = fetcher.page(&link).await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 503, .. }), "{error}");
    let error = fetcher.page(&link).await.unwrap_err();
    assert!(matches!(&error, FetchError::Resting { host, wait } if host == "busy.test" && wait.as_secs() > 500), "{error}");
    assert_eq!(busy.requests(), 1);
}
