//! Whatever is said on the bulletin: what can be read is written so that it can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::announcement::Announcement;

fuzz_target!(|json: &[u8]| {
    let Ok(announcement) = serde_json::from_slice::<Announcement>(json) else { return };
    let bytes = serde_json::to_vec(&announcement).expect("what was read can be written");
    let read: Announcement = serde_json::from_slice(&bytes).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&read).expect("what was read can be written"), bytes);
});
