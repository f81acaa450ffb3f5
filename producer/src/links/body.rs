//! The body of an answer, decompressed, within limits on both sides of the decompression.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use futures_util::TryStreamExt;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::failure::FetchError;

/// What the client says that it understands.
pub(super) const ACCEPT_ENCODING: &str = "gzip, br, zstd";
/// What a zstd frame may ask for as its window, as a power of two: 8 MiB, HTTP's limit (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// The whole body, at most `max` bytes of it, sent or unpacked.
pub(super) async fn read(response: Response, max: u64) -> Result<Vec<u8>, FetchError> {
    if response.content_length().is_some_and(|length| length > max) {
        return Err(FetchError::TooLarge(max));
    }
    let encoding =
        response.headers().get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let mut received = 0;
    let sent = response.bytes_stream().map_err(io::Error::other).and_then(move |chunk| {
        received += chunk.len() as u64;
        let within = received <= max;
        std::future::ready(if within { Ok(chunk) } else { Err(io::ErrorKind::FileTooLarge.into()) })
    });
    let sent = StreamReader::new(sent);
    let body: Box<dyn AsyncRead + Send + Unpin> = match encoding.as_deref().map(str::trim) {
        None | Some("" | "identity") => Box::new(sent),
        Some("gzip" | "x-gzip") => {
            let mut decoder = GzipDecoder::new(sent);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Some("br") => Box::new(BrotliDecoder::new(sent)),
        Some("zstd") => {
            let mut decoder = ZstdDecoder::with_params(sent, &[DParameter::window_log_max(ZSTD_WINDOW_LOG)]);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Some(other) => return Err(FetchError::Encoding(other.to_owned())),
    };
    let mut bytes = Vec::new();
    match body.take(max + 1).read_to_end(&mut bytes).await {
        Ok(_) if bytes.len() as u64 > max => Err(FetchError::TooLarge(max)),
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(FetchError::TooLarge(max)),
        Err(error) => Err(FetchError::BrokenOff(error.to_string())),
    }
}
