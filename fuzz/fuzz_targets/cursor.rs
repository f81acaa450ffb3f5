//! Whatever clients send as the end of a page: the place that it was, or a problem.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_fuzz::{index, pieces};
use warren_protocol::rpc::Statistics;
use warren_protocol::search::{Cursor, Places, SearchRequest};

fuzz_target!(|bytes: &[u8]| {
    let [request, text, places] = pieces(bytes)[..] else { return };
    let Ok(request) = serde_json::from_slice::<SearchRequest>(request) else { return };
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = Cursor::read(text, &index(), &request);
    }
    let Ok((places, statistics)) = postcard::from_bytes::<(Places, Option<Statistics>)>(places) else { return };
    let text = Cursor::new(&index(), &request, places, statistics).encode().expect("a cursor can be written");
    // Places of another sort are refused.
    if let Ok(cursor) = Cursor::read(&text, &index(), &request) {
        assert_eq!(cursor.encode().expect("what was read can be written"), text);
    }
});
