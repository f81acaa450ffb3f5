//! Whatever a producer hears of its batches, or a client of its documents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_protocol::ports::Message;
use warren_protocol::receipt::{Receipt, Reports, WrittenAt};

fuzz_target!(|bytes: &[u8]| {
    let word = Message { body: bytes.to_vec().into(), ..Message::default() };
    if let Ok(reports) = Reports::decode(&word) {
        let word = reports.encode().expect("what was read can be written");
        assert_eq!(Reports::decode(&word).expect("what was written can be read"), reports);
    }
    if let Ok(receipt) = serde_json::from_slice::<Receipt>(bytes) {
        let json = serde_json::to_vec(&receipt).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<Receipt>(&json).expect("what was written can be read"), receipt);
    }
    if let Some(position) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<WrittenAt>().ok()) {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
});
