//! A web server for links to lead to: one that serves files, and one that behaves badly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is at a path.
#[derive(Clone, Debug)]
pub enum Resource {
    /// A file: its content type, further headers as lines that end with CRLF, and its bytes.
    File(&'static str, String, Vec<u8>),
    /// Another place.
    Redirect(String),
    /// A text that never ends.
    Endless,
    /// A byte a second, for ever.
    Drops,
    /// No answer, ever.
    Hangs,
}

impl Resource {
    /// A plain text.
    pub fn text(text: &str) -> Self {
        Self::File("text/plain; charset=utf-8", String::new(), text.as_bytes().to_vec())
    }
}

/// A server on this machine; it ends when it is dropped.
pub struct Web {
    /// Its URL, without a slash at the end.
    pub url: String,
    requests: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Web {
    /// Serves these paths.
    pub async fn start(resources: impl IntoIterator<Item = (&'static str, Resource)>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let resources: Arc<HashMap<_, _>> = Arc::new(resources.into_iter().collect());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let resources = Arc::clone(&resources);
                connections.spawn(async move {
                    // Whoever asks may go at any time.
                    let _ = serve(stream, &resources).await;
                });
            }
        });
        Ok(Self { url, requests, _server: server })
    }

    /// How many connections there were.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, resources: &HashMap<&str, Resource>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head = |status: &str, headers: &str| format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n").into_bytes();
    let endless = head("200 OK", "Content-Type: text/plain\r\n");
    match resources.get(path) {
        None => stream.write_all(&head("404 Not Found", "Content-Length: 0\r\n")).await?,
        Some(Resource::Redirect(to)) => {
            stream.write_all(&head("302 Found", &format!("Location: {to}\r\nContent-Length: 0\r\n"))).await?;
        }
        Some(Resource::File(content_type, headers, bytes)) => {
            let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n{headers}", bytes.len());
            stream.write_all(&[&head("200 OK", &headers), bytes.as_slice()].concat()).await?;
        }
        Some(Resource::Endless) => {
            stream.write_all(&endless).await?;
            loop {
                stream.write_all(&[b'x'; 16 * 1024]).await?;
            }
        }
        Some(Resource::Drops) => {
            stream.write_all(&endless).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        // Until the other side goes.
        Some(Resource::Hangs) => drop(stream.read_u8().await?),
    }
    stream.shutdown().await
}
