//! One message's body: unpacked, and cut into documents.

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use serde::Deserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};
use warren_protocol::Problem;
use warren_protocol::ports::Message;
use warren_protocol::problem::Code;

/// Unpacked so much at a time, so that the runtime is not held up.
const CHUNK: usize = 64 * 1024;
/// The most documents of one message: each may become a dead letter, and those are bounded.
pub(super) const MAX_DOCUMENTS: usize = 10_000;

/// What a body holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// One document.
    One(Bytes),
    /// Several, in order; each may turn out to be none.
    Several(Vec<Bytes>),
}

/// The body without its compression; a problem if it has more than `limit` bytes then.
pub(super) async fn unpack(message: &Message, limit: usize) -> Result<Bytes, Problem> {
    let encoding = message.content_encoding.as_deref().unwrap_or_default().to_ascii_lowercase();
    let body = message.body.as_ref();
    match encoding.as_str() {
        "" | "identity" | "utf-8" | "utf8" => Ok(message.body.clone()),
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(body);
            decoder.multiple_members(true);
            read(decoder, limit).await
        }
        "zstd" => {
            // 8 MiB: what the format recommends every decoder to read, and a bound on memory.
            let mut decoder = ZstdDecoder::with_params(body, &[DParameter::window_log_max(23)]);
            decoder.multiple_members(true);
            read(decoder, limit).await
        }
        _ => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content_encoding is {encoding:?}: publish gzip, zstd, or the JSON as it is"),
        )),
    }
}

async fn read(decoder: impl AsyncRead + Unpin, limit: usize) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::new();
    // One byte more tells what is too large.
    let mut decoder = decoder.take(limit as u64 + 1);
    loop {
        unpacked.reserve(CHUNK.min(limit + 1 - unpacked.len().min(limit)));
        let read = (&mut decoder).take(CHUNK as u64).read_buf(&mut unpacked).await;
        let read = read.map_err(|error| {
            Problem::new(Code::InvalidRequest, format!("the body cannot be unpacked as its content_encoding says: {error}"))
        })?;
        if unpacked.len() > limit {
            let detail =
                format!("the body unpacks to more than {limit} bytes (producer.max_message_bytes): publish smaller batches");
            return Err(Problem::new(Code::TooLarge, detail));
        }
        if read == 0 {
            return Ok(unpacked.into());
        }
        tokio::task::yield_now().await;
    }
}

/// Cuts a body into documents. A content type of NDJSON says that there is one a line; otherwise an array holds several,
/// and so do objects on lines of their own.
pub(super) fn split(content_type: Option<&str>, body: Bytes) -> Result<Content, Problem> {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => lines(&body),
        _ if body.trim_ascii_start().starts_with(b"[") => array(&body),
        _ if is_lines(&body) => lines(&body),
        _ => Ok(Content::One(body)),
    }
}

fn too_many() -> Problem {
    Problem::new(Code::TooLarge, format!("the message holds more than {MAX_DOCUMENTS} documents: publish several messages"))
}

fn lines(body: &Bytes) -> Result<Content, Problem> {
    let whole = |line: &[u8]| body.slice_ref(line.trim_ascii());
    let lines = body.split(|byte| *byte == b'\n').map(whole).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take(MAX_DOCUMENTS + 1).collect();
    if lines.len() > MAX_DOCUMENTS { Err(too_many()) } else { Ok(Content::Several(lines)) }
}

/// An array is one text: if it is broken anywhere, nobody knows where its documents are.
fn array(body: &Bytes) -> Result<Content, Problem> {
    let mut more = false;
    let mut text = serde_json::Deserializer::from_slice(body);
    let values = text.deserialize_seq(Documents { more: &mut more }).and_then(|values| text.end().map(|()| values));
    match values {
        _ if more => Err(too_many()),
        Ok(values) => Ok(Content::Several(values.into_iter().map(|value| body.slice_ref(value.get().as_bytes())).collect())),
        Err(error) => {
            let detail = format!("the array of documents is no JSON, so none of them was taken: {error}");
            Err(Problem::new(Code::InvalidJson, detail))
        }
    }
}

/// Reads an array, and stops where it holds too many.
struct Documents<'a> {
    more: &'a mut bool,
}

impl<'de> Visitor<'de> for Documents<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element()? {
            if values.len() == MAX_DOCUMENTS {
                *self.more = true;
                return Err(A::Error::custom("too many documents"));
            }
            values.push(value);
        }
        Ok(values)
    }
}

/// Whether the first line is an object, and another line follows that is not empty.
fn is_lines(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let Some(end) = body.iter().position(|byte| *byte == b'\n') else { return false };
    let first = &body[..end];
    first.starts_with(b"{") && serde_json::from_slice::<&RawValue>(first).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(parts: &[&'static str]) -> Content {
        Content::Several(parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect())
    }

    #[test]
    fn arrays_and_lines_are_several_documents_and_all_else_is_one() {
        let looked_at = |body: &'static str| split(None, Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(looked_at(r#" [{"a":1}, 7 ,"x"]"#), several(&[r#"{"a":1}"#, "7", r#""x""#]));
        assert_eq!(looked_at("[]"), several(&[]));
        assert_eq!(looked_at("{\"a\":1}\r\n\n{broken\n"), several(&[r#"{"a":1}"#, "{broken"]));
        for one in [r#"{"a":[1]}"#, "{\n\"a\":1}", "{\"a\":1}\n", "nonsense\nmore", ""] {
            assert_eq!(looked_at(one), Content::One(one.into()), "{one}");
        }
        let ndjson = split(Some("application/x-ndjson; charset=utf-8"), "broken\n{}".into()).unwrap();
        assert_eq!(ndjson, several(&["broken", "{}"]));
        assert_eq!(split(None, r#"[{"a":1},"#.into()).unwrap_err().code, Code::InvalidJson);
        let most = MAX_DOCUMENTS;
        for (many, separator) in [("{}\n".repeat(most), "{}"), (format!("[0{}", ",0".repeat(most - 1)), ",0]")] {
            let ends = if many.starts_with('[') { "]" } else { "" };
            assert!(matches!(split(None, format!("{many}{ends}").into()), Ok(Content::Several(all)) if all.len() == most));
            assert_eq!(split(None, format!("{many}{separator}").into()).unwrap_err().code, Code::TooLarge);
        }
    }

    #[tokio::test]
    async fn a_body_is_unpacked_up_to_the_limit() {
        use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
        use tokio::io::AsyncWriteExt;
        let text = "x".repeat(200_000);
        let (mut gzip, mut zstd) = (GzipEncoder::new(Vec::new()), ZstdEncoder::new(Vec::new()));
        for writer in [&mut gzip as &mut (dyn tokio::io::AsyncWrite + Unpin), &mut zstd] {
            writer.write_all(text.as_bytes()).await.unwrap();
            writer.shutdown().await.unwrap();
        }
        for (encoding, packed) in [("gzip", gzip.into_inner()), ("ZSTD", zstd.into_inner())] {
            let mut message = Message { body: packed.into(), content_encoding: Some(encoding.to_owned()), ..Message::default() };
            assert_eq!(unpack(&message, text.len()).await.unwrap(), text);
            assert_eq!(unpack(&message, text.len() - 1).await.unwrap_err().code, Code::TooLarge);
            message.body = message.body.slice(..message.body.len() - 4);
            assert_eq!(unpack(&message, text.len()).await.unwrap_err().code, Code::InvalidRequest, "{encoding}");
        }
        let message = Message { content_encoding: Some("br".to_owned()), ..Message::default() };
        assert_eq!(unpack(&message, 9).await.unwrap_err().code, Code::UnsupportedMediaType);
    }
}
