//! A network that breaks when a test says so: a TCP proxy in front of a broker that cuts connections, or freezes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CHUNK: usize = 16 * 1024;

/// The proxy; it ends, with its connections, when it is dropped.
pub struct Proxy {
    url: String,
    network: Arc<Network>,
    _tasks: JoinSet<()>,
}

struct Network {
    state: watch::Sender<State>,
    /// What clients may still send until the next cut; `i64::MAX` if none is planned.
    left: AtomicI64,
}

#[derive(Clone, Copy, Default)]
struct State {
    cuts: u64,
    frozen: bool,
}

impl Proxy {
    /// In front of the server that `url` names, as in `amqp://user:password@host:port/vhost`.
    pub async fn start(url: &str) -> Result<Self> {
        let authority = url.split('/').nth(2).context("a URL has an authority")?;
        let server = authority.rsplit('@').next().context("a URL has a host")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = url.replacen(&server, &listener.local_addr()?.to_string(), 1);
        let network = Arc::new(Network { state: watch::Sender::default(), left: AtomicI64::new(i64::MAX) });
        let server = tokio::net::lookup_host(server).await?.next().context("the server has an address")?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, Arc::clone(&network)));
        Ok(Self { url, network, _tasks: tasks })
    }

    /// The URL, with the proxy in place of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts all connections; new ones are let through.
    pub fn cut(&self) {
        self.network.cut();
    }

    /// Cuts all connections once clients have sent so many bytes more, wherever in a message that is.
    pub fn cut_after(&self, bytes: u32) {
        self.network.left.store(bytes.into(), Ordering::SeqCst);
    }

    /// How often connections were cut.
    pub fn cuts(&self) -> u64 {
        self.network.state.borrow().cuts
    }

    /// Holds everything back, in both directions and on new connections too, without closing anything.
    pub fn freeze(&self) {
        self.network.state.send_modify(|state| state.frozen = true);
    }

    /// Lets everything go on, beginning with what was held back.
    pub fn thaw(&self) {
        self.network.state.send_modify(|state| state.frozen = false);
    }
}

impl Network {
    fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// How many of these bytes of a client get through. The one who sends the last byte before a cut cuts.
    fn pass(&self, bytes: usize) -> (usize, bool) {
        let bytes = bytes as i64;
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            i64::MAX => None,
            left if left <= bytes => Some(i64::MAX),
            left => Some(left - bytes),
        });
        match before {
            Ok(left) if left <= bytes => (usize::try_from(left).unwrap_or_default(), true),
            _ => (bytes as usize, false),
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, network: Arc<Network>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let state = network.state.subscribe();
                    connections.spawn(connect(client, server, state, Arc::clone(&network)));
                }
                Err(error) => eprintln!("the proxy cannot accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until it ends at either side or is cut.
async fn connect(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>, network: Arc<Network>) {
    let cuts = state.borrow().cuts;
    let mut frozen = state.clone();
    let carry = async {
        thawed(&mut frozen).await;
        // Nobody listens there: the client sees its connection closed.
        let Ok(server) = TcpStream::connect(server).await else { return };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            () = pump(from_client, to_server, frozen.clone(), Some(&network)) => {}
            () = pump(from_server, to_client, frozen.clone(), None) => {}
        }
    };
    tokio::select! {
        () = carry => {}
        // An error means that the proxy has gone.
        _ = state.wait_for(|state| state.cuts > cuts) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>, network: Option<&Network>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        // An error is an end like any other.
        let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
        thawed(&mut state).await;
        let (passes, cut) = network.map_or((length, false), |network| network.pass(length));
        if to.write_all(&chunk[..passes]).await.is_err() {
            return;
        }
        if let (Some(network), true) = (network, cut) {
            return network.cut();
        }
    }
}

async fn thawed(state: &mut watch::Receiver<State>) {
    // An error means that the proxy has gone.
    let _ = state.wait_for(|state| !state.frozen).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::within;

    /// A server that sends back what it gets, a proxy in front, and a connection through both.
    async fn echo() -> (Proxy, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://user:word@{}/here", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    // Ends with the connection.
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(&url).await.unwrap();
        assert!(proxy.url().starts_with("amqp://user:word@127.0.0.1:") && proxy.url().ends_with("/here"));
        let stream = through(&proxy).await;
        (proxy, stream, server)
    }

    async fn through(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.url().split(['@', '/']).nth(3).unwrap()).await.unwrap()
    }

    async fn says(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        within("the echo", stream.read_exact(&mut back)).await.unwrap().unwrap();
        String::from_utf8(back).unwrap()
    }

    #[tokio::test]
    async fn a_cut_connection_ends_and_a_new_one_works() {
        let (proxy, mut stream, _server) = echo().await;
        assert_eq!(says(&mut stream, "one").await, "one");
        proxy.cut();
        assert!(!matches!(within("the end", stream.read(&mut [0])).await.unwrap(), Ok(1..)), "it is cut");
        let mut again = through(&proxy).await;
        assert_eq!(says(&mut again, "two").await, "two");

        proxy.cut_after(4);
        assert_eq!(says(&mut again, "abc").await, "abc");
        again.write_all(b"def").await.unwrap();
        let mut rest = Vec::new();
        // The end, or an error: both are a cut.
        let _ = within("the end", again.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.len() <= 1, "{rest:?} came through");
        assert_eq!(proxy.cuts(), 2);
        assert_eq!(says(&mut through(&proxy).await, "three").await, "three");
    }

    #[tokio::test]
    async fn a_frozen_network_loses_nothing_and_closes_nothing() {
        let (proxy, mut stream, _server) = echo().await;
        assert_eq!(says(&mut stream, "one").await, "one");
        proxy.freeze();
        stream.write_all(b"two").await.unwrap();
        let mut back = [0; 3];
        assert!(timeout(Duration::from_millis(100), stream.read_exact(&mut back)).await.is_err(), "it is frozen");
        let mut new = through(&proxy).await;
        new.write_all(b"six").await.unwrap();
        proxy.thaw();
        within("the echo", stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"two");
        within("the echo", new.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"six");
    }
}
