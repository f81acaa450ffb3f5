//! Whatever asks for aggregations: what is computed, or a problem that names its place; and what no document has is an answer, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use warren_fuzz::DEFINITION;
use warren_protocol::aggregations::Aggregations;

fuzz_target!(|json: &[u8]| {
    let Ok(Value::Object(json)) = serde_json::from_slice(json) else { return };
    match Aggregations::parse(&json, &DEFINITION, 1000) {
        Ok(request) => {
            let sent = serde_json::to_string(&request).expect("what was read can be written");
            let read: Aggregations = serde_json::from_str(&sent).expect("what was written can be read");
            assert_eq!(read.nodes.len(), request.nodes.len());
            let _ = request.finish(request.empty());
        }
        Err(problem) => assert!(problem.field.is_some_and(|field| field.starts_with("aggregations"))),
    }
});
