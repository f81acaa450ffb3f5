//! Whatever programs send: a query or a problem that names its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::{Query, QueryInput};

fuzz_target!(|json: &[u8]| {
    let Ok(input) = serde_json::from_slice::<QueryInput>(json) else { return };
    match input.parse("query", false) {
        Ok(query) => {
            let bytes = postcard::to_stdvec(&query).expect("a query can be encoded");
            assert_eq!(postcard::from_bytes::<Query>(&bytes).expect("a query can be read"), query);
        }
        Err(problem) => assert!(problem.field.is_some_and(|field| field.starts_with("query"))),
    }
});
