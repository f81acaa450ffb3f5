//! The body of an upload: read, unpacked and cut as it comes. What is not read yet waits at the client.

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader};
use warren_protocol::Problem;
use warren_protocol::problem::Code;

use crate::split::Form;

/// A packed body may make its reader keep so much of it, as a power of two: 8 MiB, what RFC 9659 allows for zstd.
const WINDOW_LOG: u32 = 23;
pub(super) const WINDOW_BYTES: u32 = 1 << WINDOW_LOG;

/// The problem of a body that cannot be read.
pub(super) fn unreadable(error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return Problem::new(Code::TooLarge, error.to_string());
    }
    Problem::new(Code::InvalidRequest, format!("the body cannot be read to its end: {error}"))
}

/// How documents follow each other in this body. What clients send when nobody told them a type is looked at.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    let kind = content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match kind {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok(Form::Lines),
        "application/json" => Ok(Form::Json),
        "" | "text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(Form::Sniff),
        other => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content type {other:?}: send application/json or application/x-ndjson"),
        )),
    }
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase())
}

/// Whether the body is packed in a way that may make its reader keep [`WINDOW_BYTES`] of it.
pub(super) fn has_window(headers: &HeaderMap) -> bool {
    encoding(headers).as_deref() == Some("zstd")
}

/// The bytes of a body, unpacked.
pub(super) type Chunks = BoxStream<'static, std::io::Result<Bytes>>;

/// The body as it comes, decompressed, and ended with an error once more than `limit` bytes came over the network.
pub(super) fn decoded(headers: &HeaderMap, body: Body, limit: u64) -> Result<Chunks, Problem> {
    let mut received = 0;
    let raw = body.into_data_stream().map_err(std::io::Error::other).map(move |chunk: std::io::Result<Bytes>| {
        let chunk = chunk?;
        received += chunk.len() as u64;
        if received > limit {
            let text = format!("the body has more than {limit} bytes (http.max_body_bytes): send several requests");
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
        }
        Ok(chunk)
    });
    match encoding(headers).as_deref() {
        None | Some("" | "identity") => Ok(raw.boxed()),
        Some("gzip" | "x-gzip") => {
            let mut decoder = GzipDecoder::new(StreamReader::new(raw));
            decoder.multiple_members(true);
            Ok(ReaderStream::new(decoder).boxed())
        }
        Some("zstd") => {
            let mut decoder = ZstdDecoder::with_params(StreamReader::new(raw), &[DParameter::window_log_max(WINDOW_LOG)]);
            decoder.multiple_members(true);
            Ok(ReaderStream::new(decoder).boxed())
        }
        Some(other) => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content encoding {other:?}: send gzip, zstd, or the text as it is"),
        )),
    }
}
