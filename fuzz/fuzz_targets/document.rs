//! Whatever is published to whatever index: a document with one id, or a problem.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_fuzz::{index, pieces};
use warren_protocol::document::{IdSource, check};
use warren_protocol::{DocumentId, IndexDefinition, partition_of};

fuzz_target!(|bytes: &[u8]| {
    let [definition, body] = pieces(bytes)[..] else { return };
    let Ok(definition) = IndexDefinition::from_json(definition) else { return };
    let index = index().name;
    let Ok(id) = check(&index, &definition, body, IdSource::Document) else { return };
    serde_json::from_slice::<serde_json::Map<_, _>>(body).expect("a document is an object");
    assert_eq!(check(&index, &definition, body, IdSource::Required(&id)).as_ref(), Ok(&id));
    assert_eq!(DocumentId::new(id.as_str()).as_ref(), Ok(&id));
    assert!(partition_of(&id, definition.partitions) < definition.partitions.get());
});
