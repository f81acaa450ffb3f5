//! Whatever comes between query service and worker: what can be read is written the same way again, and hits have one order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::Query;
use warren_protocol::rpc::{Answer, Message, PartialHit, Reply, Request, Statistics};
use warren_protocol::search::SortKey;

/// A reading that is not the one that was written would be a second form of the same message.
fn again<M: Message>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let encoded = message.encode().expect("what was read can be written");
    let read = M::decode(&encoded).expect("what was written can be read");
    assert_eq!(read.encode().expect("what was read can be written"), encoded);
    Some(message)
}

/// What a query service does with the answers.
fn merge(reply: Reply) {
    let (mut hits, mut sums) = (Vec::new(), Statistics::default());
    for answer in reply.answers.into_iter().flatten() {
        match answer {
            Answer::Hits(found) => hits.extend(found.hits),
            Answer::Statistics(found) => found.into_iter().for_each(|each| sums.add(each)),
            _ => {}
        }
    }
    let keys = ["-_score", "a", "-b"].map(|key| SortKey::parse(key).expect("it is a key"));
    for keys in [&keys[..], &[]] {
        hits.sort_unstable_by(|left, right| PartialHit::compare(keys, left, right));
        assert!(hits.is_sorted_by(|left, right| PartialHit::compare(keys, left, right).is_le()));
    }
}

fuzz_target!(|bytes: &[u8]| {
    again::<Request>(bytes);
    if let Some(reply) = again::<Reply>(bytes) {
        reply.clone().encode_for(1).expect("what was read can be written for an older one");
        merge(reply);
    }
    if let Ok(query) = postcard::from_bytes::<Query>(bytes) {
        postcard::to_stdvec(&query).expect("what was read can be written");
    }
});
