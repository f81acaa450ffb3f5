//! Whatever calls itself a sketch: an estimate, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use warren_fuzz::{DEFINITION, pieces};
use warren_protocol::aggregations::{Aggregations, Partial};

fuzz_target!(|bytes: &[u8]| {
    let json = json!({"p": {"percentiles": {"field": "size"}}, "c": {"cardinality": {"field": "size"}}});
    let parsed = Aggregations::parse(json.as_object().expect("it is an object"), &DEFINITION, 10).expect("it is a request");
    for (place, partial) in [Partial::Quantiles, Partial::Distinct].into_iter().enumerate() {
        let request = Aggregations { nodes: vec![parsed.nodes[place].clone()], ..parsed.clone() };
        let mut merged = request.empty();
        for sketch in pieces(bytes) {
            if request.merge(&mut merged, vec![partial(vec![sketch.to_vec()])]).is_err() {
                break;
            }
            let _ = request.finish(merged.clone());
        }
    }
});
