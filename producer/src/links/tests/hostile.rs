//! Links that lead where nobody may look, and servers that want to hurt.

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::server::{Answer, Server, head, page, redirect, text};
use super::*;
use crate::links::Link;
use crate::links::failure::{FetchError, Verdict};

const FORBIDDEN: &str = "forbidden_address";
const INVALID: &str = "invalid_link";

/// `{p}` is the port of a server on this machine, of which nobody may learn anything.
const HOSTILE: [(&str, &str); 49] = [
    // This machine, in all the ways in which its address can be written.
    ("http://127.0.0.1:{p}/", FORBIDDEN),
    ("http://127.0.0.1.:{p}/", FORBIDDEN),
    ("http://127.1:{p}/", FORBIDDEN),
    ("http://127.0.1:{p}/", FORBIDDEN),
    ("http://2130706433:{p}/", FORBIDDEN),
    ("http://0x7f000001:{p}/", FORBIDDEN),
    ("http://0x7f.1:{p}/", FORBIDDEN),
    ("http://0177.0.0.1:{p}/", FORBIDDEN),
    ("http://017700000001:{p}/", FORBIDDEN),
    ("http://0177.0x0.0.1:{p}/", FORBIDDEN),
    ("http://①②⑦.⓪.⓪.①:{p}/", FORBIDDEN),
    ("http://127%2e0%2e0%2e1:{p}/", FORBIDDEN),
    ("http://127.8.9.10:{p}/", FORBIDDEN),
    ("http://0:{p}/", FORBIDDEN),
    ("http://0.0.0.0:{p}/", FORBIDDEN),
    ("http://[::1]:{p}/", FORBIDDEN),
    ("http://[::]:{p}/", FORBIDDEN),
    ("http://[0:0:0:0:0:0:0:1]:{p}/", FORBIDDEN),
    ("http://[::ffff:127.0.0.1]:{p}/", FORBIDDEN),
    ("http://[::ffff:7f00:1]:{p}/", FORBIDDEN),
    ("http://[::127.0.0.1]:{p}/", FORBIDDEN),
    ("http://[::ffff:0:127.0.0.1]:{p}/", FORBIDDEN),
    ("http://[64:ff9b::127.0.0.1]:{p}/", FORBIDDEN),
    ("http://[2002:7f00:1::1]:{p}/", FORBIDDEN),
    // Its networks, and what clouds keep there.
    ("http://10.0.0.1/", FORBIDDEN),
    ("http://172.31.255.1/", FORBIDDEN),
    ("http://192.168.1.1/", FORBIDDEN),
    ("http://169.254.169.254/latest/meta-data/", FORBIDDEN),
    ("http://[fd00:ec2::254]/latest/meta-data/", FORBIDDEN),
    ("http://[fe80::1]/", FORBIDDEN),
    ("http://100.100.100.200/", FORBIDDEN),
    ("http://224.0.0.1/", FORBIDDEN),
    ("http://255.255.255.255/", FORBIDDEN),
    // Names that lead there, at once or the second time.
    ("http://localhost:{p}/", FORBIDDEN),
    ("http://metadata.test/", FORBIDDEN),
    ("http://six.test:{p}/", FORBIDDEN),
    ("http://mapped.test:{p}/", FORBIDDEN),
    ("http://rebinding.test:{q}/to-itself", FORBIDDEN),
    // Redirects.
    ("http://public.test:{q}/to-loopback", FORBIDDEN),
    ("http://public.test:{q}/to-decimal", FORBIDDEN),
    ("http://public.test:{q}/to-metadata", FORBIDDEN),
    ("http://public.test:{q}/to-name", FORBIDDEN),
    ("http://public.test:{q}/to-file", "bad_redirect"),
    ("http://public.test:{q}/to-password", "bad_redirect"),
    // Other services and other schemes.
    ("http://public.test:25/", FORBIDDEN),
    ("file:///etc/passwd", INVALID),
    ("gopher://127.0.0.1:{p}/_x", INVALID),
    ("http://user:password@public.test:{q}/", INVALID),
    ("http://127.0.0.1:{p}@public.test/", INVALID),
];

fn names() -> Arc<Table> {
    Table::new(&[
        ("localhost", &["127.0.0.1 ::1"]),
        ("metadata.test", &["169.254.169.254"]),
        ("six.test", &["::1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("rebinding.test", &[PUBLIC, "127.0.0.1"]),
        ("public.test", &[PUBLIC]),
        ("mixed.test", &["127.0.0.1 10.0.0.1 127.0.0.2"]),
        ("nowhere.test", &[""]),
    ])
}

#[tokio::test]
async fn no_link_leads_where_nobody_may_look() {
    let private = Server::start(("127.0.0.1", 0), vec![("/", text("a secret"))]).await;
    let port = private.address.port();
    let answers = vec![
        ("/to-loopback", redirect(&format!("http://127.0.0.1:{port}/"))),
        ("/to-decimal", redirect(&format!("//2130706433:{port}/"))),
        ("/to-metadata", redirect("http://169.254.169.254/")),
        ("/to-name", redirect(&format!("http://localhost:{port}/"))),
        ("/to-file", redirect("file:///etc/passwd")),
        ("/to-password", redirect(&format!("http://a:b@public.test:{port}/"))),
        ("/to-itself", redirect("/to-itself")),
    ];
    let public = Server::start((PUBLIC, 0), answers).await;
    let running = Running::start(config(), &names()).await;
    let links = HOSTILE.map(|(link, reason)| {
        (link.replace("{p}", &port.to_string()).replace("{q}", &public.address.port().to_string()), reason)
    });
    for (link, _) in &links {
        running.feed(link).await;
    }
    let letters = running.dead_letters(links.len()).await;
    for (link, reason) in &links {
        let (told, detail, attempts) = &letters[link];
        assert_eq!((told.as_str(), attempts.as_str()), (*reason, "1"), "{link}: {detail}");
        assert!(!detail.contains("user:password"), "{detail}");
    }
    assert_eq!(letters.len(), links.len());
    assert_eq!(private.requests(), 0, "nobody has asked the private server");
    running.close().await;
}

#[tokio::test]
async fn every_request_is_sent_to_an_address_that_was_checked() {
    let secret = text("a secret");
    let public = Server::start((PUBLIC, 0), vec![("/", text("public")), ("/to-itself", redirect("/"))]).await;
    let port = public.address.port();
    let private = Server::start(("127.0.0.1", port), vec![("/", secret)]).await;
    let table = names();
    let fetcher = fetcher(&config(), &table);
    let page = async |link: String| fetcher.page(&Link::new(&link).unwrap()).await;
    // One look-up for each request: no second one between the check and the connection.
    assert_eq!(page(format!("http://rebinding.test:{port}/")).await.unwrap().text, "public");
    assert_eq!(table.lookups.load(Ordering::Relaxed), 1);
    assert!(matches!(page(format!("http://rebinding.test:{port}/")).await, Err(FetchError::ForbiddenName(_))));
    // What may be asked among several is asked, the others are not.
    assert_eq!(page(format!("http://mixed.test:{port}/")).await.unwrap().text, "public");
    assert_eq!(page(format!("http://public.test:{port}/to-itself")).await.unwrap().text, "public");
    assert!(matches!(page(format!("http://nowhere.test:{port}/")).await, Err(FetchError::Unreachable(_))));
    assert!(matches!(page(format!("http://unknown.test:{port}/")).await, Err(FetchError::Unreachable(_))));
    assert_eq!(private.requests(), 0);
}

async fn packed(encoder: impl AsyncRead) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::pin::pin!(encoder).read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn zeros() -> BufReader<impl AsyncRead> {
    BufReader::new(tokio::io::repeat(b' ').take(32 * 1024 * 1024))
}

#[tokio::test]
async fn what_a_server_sends_ends_in_time_and_in_bounds() {
    const TEXT: &str = "Content-Type: text/plain\r\n";
    let (gzip, brotli, zstd) = tokio::join!(
        packed(GzipEncoder::with_quality(zeros(), Level::Fastest)),
        packed(BrotliEncoder::with_quality(zeros(), Level::Fastest)),
        packed(ZstdEncoder::with_quality(zeros(), Level::Fastest)),
    );
    let bomb = |name: &str, bytes: &[u8]| {
        assert!(bytes.len() < 64 * 1024, "the {name} bomb has {} bytes", bytes.len());
        Answer::Bytes(page(200, &format!("{TEXT}Content-Encoding: {name}\r\n"), bytes))
    };
    let block = vec![b'x'; 64 * 1024];
    let endless = |headers: &str| Answer::Repeat(head(headers), block.clone(), Duration::ZERO);
    // Gzip streams of nothing, one behind the other.
    let nothing = packed(GzipEncoder::new(&b""[..])).await.repeat(1000);
    let announced = format!("{TEXT}Content-Length: 10737418240\r\n");
    let answers = vec![
        ("/large", endless(&announced)),
        ("/endless", endless(TEXT)),
        ("/gzip", bomb("gzip", &gzip)),
        ("/br", bomb("br", &brotli)),
        ("/zstd", bomb("zstd", &zstd)),
        ("/nothing", Answer::Repeat(head(&format!("{TEXT}Content-Encoding: gzip\r\n")), nothing, Duration::ZERO)),
        ("/drops", Answer::Repeat(head(TEXT), b"x".to_vec(), Duration::from_millis(100))),
        ("/slow-head", Answer::Repeat(b"HTTP/1.1 200 OK\r\nA: ".to_vec(), b"x".to_vec(), Duration::from_millis(100))),
        ("/endless-head", Answer::Repeat(b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(1000), Duration::ZERO)),
        ("/hang", Answer::Hang),
        ("/loop", redirect("/loop")),
        ("/short", Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nshort".to_vec())),
        ("/torn", bomb("gzip", &gzip[..gzip.len() / 2000])),
        ("/layers", Answer::Bytes(page(200, &format!("{TEXT}Content-Encoding: gzip, gzip\r\n"), b""))),
        ("/image", Answer::Bytes(page(200, "Content-Type: image/png\r\n", b"x"))),
        ("/binary", Answer::Bytes(page(200, TEXT, b"a\0b"))),
        ("/noise", Answer::Bytes(b"\x16\x03\x01 no http at all\r\n\r\n".to_vec())),
        ("/gone", Answer::Bytes(page(410, "", b""))),
        ("/forbidden", Answer::Bytes(page(403, "", b""))),
        ("/busy", Answer::Bytes(page(503, "Retry-After: 120\r\n", b""))),
    ];
    let server = Server::start((PUBLIC, 0), answers).await;
    let table = names();
    let short = LinksConfig { timeout_ms: NonZeroU64::new(1000).unwrap(), ..config() };
    let (patient, hasty) = (fetcher(&config(), &table), fetcher(&short, &table));
    let page = async |fetcher: &Fetcher, path: &str| {
        let link = Link::new(&format!("http://public.test:{}{path}", server.address.port())).unwrap();
        match fetcher.page(&link).await {
            Ok(page) => panic!("{path} is a page: {page:?}"),
            Err(error) => match error.verdict() {
                Verdict::Never(reason) => (reason, None),
                Verdict::Again { reason, not_before, .. } => (reason, Some(not_before)),
                Verdict::Later => panic!("{path}: {error}"),
            },
        }
    };
    for (path, reason) in [
        ("/large", "too_large"),
        ("/endless", "too_large"),
        ("/gzip", "too_large"),
        ("/br", "too_large"),
        ("/zstd", "too_large"),
        ("/nothing", "too_large"),
        ("/loop", "bad_redirect"),
        ("/layers", "unsupported_media_type"),
        ("/image", "unsupported_media_type"),
        ("/binary", "unreadable_page"),
        ("/gone", "page_not_found"),
        ("/not-there", "page_not_found"),
        ("/forbidden", "page_refused"),
    ] {
        assert_eq!(page(&patient, path).await, (reason.to_owned(), None), "{path}");
    }
    for path in ["/short", "/torn", "/noise", "/endless-head"] {
        assert_eq!(page(&patient, path).await, ("page_unavailable".to_owned(), Some(Duration::ZERO)), "{path}");
    }
    assert_eq!(page(&patient, "/busy").await, ("page_unavailable".to_owned(), Some(Duration::from_secs(120))));
    for path in ["/drops", "/slow-head", "/hang"] {
        assert_eq!(page(&hasty, path).await, ("page_timeout".to_owned(), Some(Duration::ZERO)), "{path}");
    }
    let silent = hasty.page(&Link::new("http://silent.test/").unwrap()).await;
    assert!(matches!(silent, Err(FetchError::Unreachable(_) | FetchError::Timeout(_))), "{silent:?}");
}

#[tokio::test]
async fn pages_are_read_whatever_their_encoding() {
    let html = "<html><head><meta charset=koi8-r><title>T</title><body><p>".as_bytes();
    let koi8 = [html, b"\xf0\xd2\xc9\xd7\xc5\xd4"].concat();
    let packing = |name: &str, bytes: Vec<u8>| {
        Answer::Bytes(page(200, &format!("Content-Type: text/html\r\nContent-Encoding: {name}\r\n"), &bytes))
    };
    let answers = vec![
        ("/gzip", packing("gzip", packed(GzipEncoder::new(&koi8[..])).await)),
        ("/br", packing("br", packed(BrotliEncoder::new(&koi8[..])).await)),
        ("/zstd", packing("zstd", packed(ZstdEncoder::new(&koi8[..])).await)),
        ("/plain", Answer::Bytes(page(200, "Content-Type: text/html\r\n", &koi8))),
        ("/moved", redirect("a/../plain#part")),
    ];
    let server = Server::start((PUBLIC, 0), answers).await;
    let fetcher = fetcher(&config(), &names());
    for path in ["/gzip", "/br", "/zstd", "/plain", "/moved"] {
        let link = Link::new(&format!("http://public.test:{}{path}", server.address.port())).unwrap();
        let page = fetcher.page(&link).await.unwrap();
        assert_eq!((page.title.as_deref(), page.text.as_str()), (Some("T"), "Привет"), "{path}");
    }
}
