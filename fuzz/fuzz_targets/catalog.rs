//! Whatever stands in the catalog: records that fold in any order, or errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::catalog::{Catalog, Record};
use warren_protocol::ports::Position;

fuzz_target!(|lines: &[u8]| {
    let mut catalog = Catalog::default();
    for (position, line) in (0..).map(Position).zip(lines.split(|byte| *byte == b'\n')) {
        let Ok(record) = Record::decode(line, position) else { continue };
        catalog.apply(position, &record);
        let bytes = record.encode().expect("what was read can be written");
        Record::decode(&bytes, position).expect("what was written can be read");
    }
    for entry in catalog.entries() {
        assert!(catalog.get(&entry.index.name).is_some());
    }
});
