//! The server: bounded connections and requests, no wait without an end, and a clean stop.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::timeout::TimeoutBody;
use warren_protocol::problem::Code;

use super::ApiError;
use super::guard::{Guard, guard};
use super::observe::observe;
use crate::config::{AuthConfig, Config, ConfigError, HttpConfig};
use crate::stop::Stop;

/// The pause after a connection that could not be accepted: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the configured address, or `default`. Refuses one that others can reach when there are no keys, unless the
/// configuration says `insecure`.
pub async fn bind(config: &HttpConfig, default: SocketAddr, auth: &AuthConfig) -> anyhow::Result<TcpListener> {
    let address = config.listen.unwrap_or(default);
    if !address.ip().is_loopback() && auth.keys.is_empty() && !config.insecure {
        let rule = format!(
            "is {address}, which other machines can reach, and there are no keys: set auth.keys (WARREN__AUTH__KEYS), \
             listen on 127.0.0.1, or set http.insecure = true if the network is trusted"
        );
        return Err(ConfigError::Rule { key: "http.listen".to_owned(), rule }.into());
    }
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another address with --listen, http.listen or WARREN__HTTP__LISTEN")
    })
}

/// Serves until a stop is requested; then takes no more connections, and ends those that are open once their requests
/// are answered, or after `stop_timeout_ms`.
pub async fn serve(listener: TcpListener, router: Router, config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let idle = Duration::from_millis(config.http.idle_timeout_ms.get());
    let service = guarded(router, config, idle);
    let slots = Arc::new(Semaphore::new(config.http.max_connections.get() as usize));
    let connections = TaskTracker::new();
    // Ends what is still open when this function does, however it does.
    let forced = tokio_util::sync::CancellationToken::new();
    let _forced_at_the_end = forced.clone().drop_guard();

    tracing::info!(address = %listener.local_addr()?, "listening");
    loop {
        let accepted = tokio::select! {
            () = stop.requested() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { break };
        let connection = connection(stream, service.clone(), idle, stop.clone());
        let forced = forced.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = forced.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    let limit = Duration::from_millis(config.stop_timeout_ms.get());
    if tokio::time::timeout(limit, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still busy when the time to stop was over");
    }
    Ok(())
}

/// The next connection, once there is room for it. `None` never comes: the semaphore is not closed.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, service: Router, idle: Duration, stop: Stop) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn guarded(router: Router, config: &Config, idle: Duration) -> Router {
    let slow_body =
        move |request: Request, next: Next| next.run(request.map(|body| Body::new(TimeoutBody::new(idle, Box::pin(body)))));
    router
        .layer(middleware::from_fn(slow_body))
        .layer(middleware::from_fn_with_state(Arc::new(Guard::new(config)), guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(observe))
}

/// One request has failed; the panic itself was logged by the panic hook.
fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    ApiError::new(Code::Internal, "the request met a defect of Warren; the log of the server says more").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    const ENOUGH: Duration = Duration::from_secs(20);

    /// A server on a free port with routes that answer, panic, wait and read.
    async fn server(change: impl FnOnce(&mut Config)) -> (SocketAddr, Stop, JoinHandle<anyhow::Result<()>>) {
        let mut config = Config::default();
        change(&mut config);
        let listener = bind(&config.http, "127.0.0.1:0".parse().unwrap(), &config.auth).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), Stop::new());
        let release = stop.clone();
        let router = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route("/panic", get(|| async { panic!("as the test wants it") as () }))
            .route(
                "/until-stop",
                get(move || async move {
                    release.requested().await;
                    "ended"
                }),
            )
            .route("/for-ever", get(std::future::pending::<()>))
            .route("/read", post(|_: Bytes| async { "read" }));
        let asked = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "the test awaits the handle")]
        let served = tokio::spawn(async move { serve(listener, router, &config, &asked).await });
        (address, stop, served)
    }

    async fn send(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(ENOUGH, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        rest(send(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await).await
    }

    #[tokio::test]
    async fn an_address_that_others_reach_needs_keys_or_a_word() {
        let mut http = HttpConfig { listen: Some("0.0.0.0:0".parse().unwrap()), ..HttpConfig::default() };
        let (default, open) = ("127.0.0.1:0".parse().unwrap(), AuthConfig::default());
        let refusal = bind(&http, default, &open).await.unwrap_err();
        assert!(refusal.is::<ConfigError>(), "it is the configuration that is bad");
        let refusal = refusal.to_string();
        assert!(refusal.contains("auth.keys") && refusal.contains("http.insecure"), "{refusal}");
        http.insecure = true;
        let taken = bind(&http, default, &open).await.unwrap().local_addr().unwrap();
        let config = HttpConfig { listen: None, ..HttpConfig::default() };
        let first = bind(&config, default, &open).await.unwrap();
        let busy = bind(&config, first.local_addr().unwrap(), &open).await.unwrap_err();
        assert!(format!("{busy:#}").contains("--listen"), "{busy:#}");
        assert!(taken.ip().is_unspecified());
    }

    #[tokio::test]
    async fn a_panic_harms_only_its_request() {
        let (address, stop, served) = server(|_| {}).await;
        let panicked = ask(address, "/panic").await;
        assert!(panicked.starts_with("HTTP/1.1 500") && panicked.contains("\"code\":\"internal\""), "{panicked}");
        let fine = ask(address, "/fine").await;
        assert!(fine.starts_with("HTTP/1.1 200") && fine.contains("x-request-id: "), "{fine}");
        stop.request();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn too_many_requests_are_refused_and_health_is_not() {
        let (address, stop, served) = server(|config| config.http.max_requests = std::num::NonZeroU32::MIN).await;
        let waiting = send(address, "GET /until-stop HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let deadline = std::time::Instant::now() + ENOUGH;
        loop {
            let refused = ask(address, "/fine").await;
            if refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1") {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{refused}");
        }
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 404"), "it has no slot, and needs none");
        stop.request();
        let ended = rest(waiting).await;
        assert!(ended.ends_with("ended"), "a request that was begun is answered: {ended}");
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn silent_clients_are_cut_off() {
        let short = std::num::NonZeroU64::new(100).unwrap();
        let (address, stop, served) = server(|config| config.http.idle_timeout_ms = short).await;
        assert_eq!(rest(send(address, "GET /fi").await).await, "", "a head that does not end");
        let idle = rest(send(address, "GET /fine HTTP/1.1\r\nhost: localhost\r\n\r\n").await).await;
        assert!(idle.ends_with("fine"), "a connection without another request: {idle}");
        let body = "POST /read HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf";
        assert!(!rest(send(address, body).await).await.contains(" 200 "), "a body that does not end");
        stop.request();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_ever() {
        let limit = std::num::NonZeroU64::new(200).unwrap();
        let (address, stop, served) = server(|config| config.stop_timeout_ms = limit).await;
        let idle = send(address, "").await;
        let endless = send(address, "GET /for-ever HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        stop.request();
        tokio::time::timeout(ENOUGH, served).await.unwrap().unwrap().unwrap();
        assert_eq!((rest(idle).await, rest(endless).await), (String::new(), String::new()));
    }
}
