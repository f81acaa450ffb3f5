//! Whatever comes between query service and worker: what can be read is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::Query;
use warren_protocol::rpc::{Message, Reply, Request};

/// A reading that is not the one that was written would be a second form of the same message.
fn again<M: Message>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let encoded = message.encode().expect("what was read can be written");
    let read = M::decode(&encoded).expect("what was written can be read");
    assert_eq!(read.encode().expect("what was read can be written"), encoded);
}

fuzz_target!(|bytes: &[u8]| {
    again::<Request>(bytes);
    again::<Reply>(bytes);
    if let Ok(query) = postcard::from_bytes::<Query>(bytes) {
        postcard::to_stdvec(&query).expect("what was read can be written");
    }
});
