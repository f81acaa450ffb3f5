//! Whatever comes by whatever source: a document that is a part of its message, an id, a deletion, or a problem.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use warren_fuzz::pieces;
use warren_protocol::SourceDefinition;

fuzz_target!(|bytes: &[u8]| {
    let [definition, message] = pieces(bytes)[..] else { return };
    let Ok(definition) = serde_json::from_slice::<SourceDefinition>(definition) else { return };
    if definition.validate().is_err() {
        return;
    }
    let Ok(taken) = definition.take(&Bytes::copy_from_slice(message)) else { return };
    assert_eq!(taken.id.is_some(), definition.id.is_some());
    assert!(taken.delete || taken.document.is_some());
    if let Some(document) = taken.document {
        serde_json::from_slice::<&serde_json::value::RawValue>(&document).expect("a part of a message is JSON");
    }
});
