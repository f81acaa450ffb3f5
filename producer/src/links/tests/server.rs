//! A web server that does what a test wants, down to the single byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with a request for a path.
#[derive(Clone)]
pub(super) enum Answer {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends the first bytes, then these again and again, with this pause between.
    Repeat(Vec<u8>, Vec<u8>, Duration),
    /// Says nothing, and holds the connection.
    Hang,
    /// Takes its time.
    Slow(Duration, Vec<u8>),
    /// The first one, once; then the other.
    Then(Vec<u8>, Vec<u8>),
}

/// A server; it ends when it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

/// What it has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) requests: AtomicUsize,
    running: AtomicUsize,
    pub(super) most_at_a_time: AtomicUsize,
}

impl Server {
    /// Listens on this address; port 0 takes a free one.
    pub(super) async fn start(address: (&str, u16), answers: Vec<(&str, Answer)>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<HashMap<String, Answer>> =
            Arc::new(answers.into_iter().map(|(path, answer)| (path.to_owned(), answer)).collect());
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = shared.requests.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, number, Arc::clone(&answers), Arc::clone(&shared)));
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    /// Waits until it has seen so many requests.
    pub(super) async fn requested(&self, count: usize) {
        let start = std::time::Instant::now();
        while self.requests() < count {
            assert!(start.elapsed() < super::PATIENCE, "{} of {count} requests", self.requests());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, number: usize, answers: Arc<HashMap<String, Answer>>, seen: Arc<Seen>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_at_a_time.fetch_max(running, Ordering::SeqCst);
    // Whoever asks may go at any time: that is what is tested.
    let answer = answers.get(path).or_else(|| answers.get(path.split('?').next()?)).cloned();
    match answer.unwrap_or_else(|| Answer::Bytes(page(404, "", b""))) {
        Answer::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Answer::Repeat(first, again, pause) => {
            let mut sent = stream.write_all(&first).await;
            while sent.is_ok() {
                tokio::time::sleep(pause).await;
                sent = stream.write_all(&again).await;
            }
        }
        Answer::Hang => drop(stream.read_u8().await),
        Answer::Slow(time, bytes) => {
            tokio::time::sleep(time).await;
            // Before the other side can know, and start its next request.
            seen.running.fetch_sub(1, Ordering::SeqCst);
            drop(stream.write_all(&bytes).await);
            drop(stream.shutdown().await);
            return;
        }
        Answer::Then(first, later) => drop(stream.write_all(if number == 0 { &first } else { &later }).await),
    }
    seen.running.fetch_sub(1, Ordering::SeqCst);
    drop(stream.shutdown().await);
}

/// A whole answer; `headers` are lines that end with CRLF.
pub(super) fn page(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The head of an answer whose body ends with the connection.
pub(super) fn head(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n").into_bytes()
}

pub(super) fn redirect(to: &str) -> Answer {
    Answer::Bytes(page(302, &format!("Location: {to}\r\n"), b""))
}

pub(super) fn text(body: &str) -> Answer {
    Answer::Bytes(page(200, "Content-Type: text/plain\r\n", body.as_bytes()))
}
