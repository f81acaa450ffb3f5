//! Answers on their way to the client: what they hold counts until the client has taken them, however slow it is.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use warren_protocol::Problem;
use warren_protocol::problem::Code;

use crate::memory::Kept;

/// The server asks for the next piece once most of this one is sent.
const PIECE_BYTES: usize = 64 * 1024;

impl<T: Serialize> Kept<T> {
    /// As JSON.
    pub(super) fn json(self) -> Result<Kept<Vec<u8>>, Problem> {
        let json = serde_json::to_vec(&self.response).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        Ok(Kept { response: json, held: self.held })
    }
}

/// Bytes of JSON.
impl IntoResponse for Kept<Vec<u8>> {
    fn into_response(self) -> Response {
        let Self { response, held } = self;
        let length = response.len();
        let pieces = stream::unfold((Bytes::from(response), held), |(mut rest, held)| async move {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, held)))
        });
        // What compresses a body asks on behind its end.
        let pieces = pieces.fuse();
        let json = HeaderValue::from_static("application/json");
        let headers = [(header::CONTENT_TYPE, json), (header::CONTENT_LENGTH, length.into())];
        (headers, Body::from_stream(pieces)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use warren_service::config::QueryConfig;

    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn what_is_not_sent_yet_counts() {
        let memory = Memory::new(&QueryConfig::default());
        let most = usize::try_from(QueryConfig::default().max_memory_bytes.get()).unwrap();
        let held = memory.hold();
        held.add(most).unwrap();
        let text = "x".repeat(3 * PIECE_BYTES);
        let response = Kept { response: text.clone(), held }.json().unwrap().into_response();
        assert_eq!(response.headers()[header::CONTENT_LENGTH], (text.len() + 2).to_string());
        let mut body = response.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap().len(), PIECE_BYTES);
        assert!(memory.hold().add(1).is_err());
        let mut left = 0;
        while let Some(piece) = body.next().await {
            left += piece.unwrap().len();
        }
        assert_eq!(left, text.len() + 2 - PIECE_BYTES);
        drop(body);
        assert!(memory.hold().add(most).is_ok());
    }
}
