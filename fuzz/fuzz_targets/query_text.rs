//! Whatever people type: leniently it always has a meaning, and every meaning travels unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::Query;
use warren_protocol::query::QueryError;

fuzz_target!(|text: &str| {
    let lenient = Query::parse(text, true).expect("leniently, everything has a meaning");
    for query in [Some(lenient), Query::parse(text, false).ok()].into_iter().flatten() {
        let bytes = postcard::to_stdvec(&query).expect("a query can be encoded");
        assert_eq!(postcard::from_bytes::<Query>(&bytes).expect("a query can be read"), query);
    }
    if let Err(QueryError::Text { position, .. }) = Query::parse(text, false) {
        assert!(position <= text.chars().count());
    }
});
