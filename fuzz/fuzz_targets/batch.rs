//! Whatever stands in a partition log: a batch that can be walked to its end, or an error.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use warren_protocol::Batch;

fuzz_target!(|message: &[u8]| {
    let Ok(batch) = Batch::decode(&Bytes::copy_from_slice(message)) else { return };
    let Ok(operations) = batch.operations() else { return };
    for operation in operations.iter() {
        let Ok(operation) = operation else { break };
        let _ = operation.id().len();
    }
});
