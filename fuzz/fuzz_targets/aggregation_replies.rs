//! Whatever partitions answer to aggregations: an answer to the client, or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_fuzz::{REQUESTS, pieces};
use warren_protocol::aggregations::Reply;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, replies)) = bytes.split_first() else { return };
    let request = &REQUESTS[usize::from(*which) % REQUESTS.len()];
    let mut merged = request.empty();
    for reply in pieces(replies) {
        let Ok(reply) = Reply::decode(reply) else { return };
        let encoded = reply.encode().expect("what was read can be written");
        assert_eq!(Reply::decode(&encoded).expect("what was written can be read").encode().as_ref(), Ok(&encoded));
        let Reply::Partials(found) = reply else { return };
        if request.merge(&mut merged, found).is_err() || request.shrink(&mut merged).is_err() {
            return;
        }
    }
    if let Ok(answer) = request.finish(merged) {
        serde_json::to_string(&answer).expect("an answer is JSON");
    }
});
