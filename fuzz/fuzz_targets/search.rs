//! Whatever a client asks for: a request that travels, with a query and aggregations, or problems.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_fuzz::DEFINITION;
use warren_protocol::aggregations::Aggregations;
use warren_protocol::search::SearchRequest;

fuzz_target!(|json: &[u8]| {
    let Ok(request) = serde_json::from_slice::<SearchRequest>(json) else { return };
    let json = serde_json::to_string(&request).expect("what was read can be written");
    serde_json::from_str::<SearchRequest>(&json).expect("what was written can be read");
    if request.validate().is_err() {
        return;
    }
    let _ = request.query.parse("query", request.lenient);
    let _ = request.filter.as_ref().map(|filter| filter.parse("filter", request.lenient));
    if let Ok(mut aggregations) = Aggregations::parse(&request.aggregations, &DEFINITION, 100) {
        let _ = aggregations.add_facets(&request.facets, &DEFINITION);
    }
});
