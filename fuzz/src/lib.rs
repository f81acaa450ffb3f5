//! What several targets share: an index, requests for its aggregations, and how one input holds several messages.

use std::sync::LazyLock;

use serde_json::Value;
use warren_protocol::aggregations::Aggregations;
use warren_protocol::{Generation, IndexDefinition, IndexName, IndexRef};

/// A definition with fields of all types.
pub static DEFINITION: LazyLock<IndexDefinition> = LazyLock::new(|| {
    let json =
        br#"{"fields":{"title":{"type":"text"},"section":{"type":"keyword"},"size":{"type":"integer"},"price":{"type":"float"},
        "free":{"type":"boolean"},"day":{"type":"date"},"author":{"type":"object"}}}"#;
    IndexDefinition::from_json(json).expect("it is one")
});

/// Requests of all kinds, one in another.
pub static REQUESTS: LazyLock<Vec<Aggregations>> = LazyLock::new(|| {
    let requests = [
        r#"{"a":{"terms":{"field":"section","size":3,"order":[{"m":"desc"},{"_key":"asc"}]},"aggs":{"m":{"max":{"field":"day"}},
            "n":{"value_count":{"field":"any"}}}}}"#,
        r#"{"a":{"terms":{"field":"any","size":2,"order":{"s.avg":"asc"}},"aggs":{"s":{"stats":{"field":"any"}},
            "t":{"terms":{"field":"section"},"aggs":{"t":{"terms":{"field":"id"}}}}}},"b":{"terms":{"field":"day","min_doc_count":2}}}"#,
        r#"{"a":{"histogram":{"field":"price","interval":0.5,"extended_bounds":{"min":-2,"max":2}},"aggs":{
            "r":{"range":{"field":"size","ranges":[{"to":1},{"from":1,"to":5},{"key":"more","from":5}]},"aggs":{"c":{"avg":{"field":"price"}}}}}}}"#,
        r#"{"a":{"date_histogram":{"field":"day","calendar_interval":"month","keyed":true},"aggs":{"p":{"percentiles":{"field":"any"}}}},
            "b":{"date_histogram":{"field":"any","fixed_interval":"90m","offset":"-6h","min_doc_count":1}},"c":{"min":{"field":"day"}}}"#,
        r#"{"a":{"range":{"field":"any","keyed":true,"ranges":[{"from":"2026-01-01T00:00:00Z"},{"to":0}]},"aggs":{"c":{"cardinality":{"field":"any"}}}},
            "b":{"terms":{"field":"free","order":{"c":"desc"}},"aggs":{"c":{"cardinality":{"field":"section"}}}}}"#,
        r#"{"a":{"percentiles":{"field":"day","percents":[0,50,99.9,100],"keyed":false}},"b":{"sum":{"field":"size"}},"c":{"cardinality":{"field":"id"}}}"#,
    ];
    let parse = |text: &str| {
        let Ok(Value::Object(json)) = serde_json::from_str(text) else { unreachable!("it is an object") };
        Aggregations::parse(&json, &DEFINITION, 100).expect("it is a request")
    };
    requests.into_iter().map(parse).collect()
});

/// An index.
pub fn index() -> IndexRef {
    IndexRef { name: IndexName::new("a").expect("it is a name"), generation: Generation(1) }
}

/// The messages in one input: each behind its length, two bytes. The last one may be shorter than it says.
pub fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// The input that holds these messages.
pub fn joined(pieces: &[&[u8]]) -> Vec<u8> {
    let length = |piece: &&[u8]| u16::try_from(piece.len()).expect("seeds are small").to_be_bytes();
    pieces.iter().flat_map(|piece| [&length(piece)[..], piece].concat()).collect()
}
