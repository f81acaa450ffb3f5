//! Whatever clients send as the end of a page: the place that it was, or a problem.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_fuzz::{index, pieces};
use warren_protocol::rpc::{Place, Statistics, keys_or_best};
use warren_protocol::search::{Cursor, SearchRequest};

fuzz_target!(|bytes: &[u8]| {
    let [request, text, place] = pieces(bytes)[..] else { return };
    let Ok(request) = serde_json::from_slice::<SearchRequest>(request) else { return };
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = Cursor::read(text, &index(), &request);
    }
    let Ok((place, statistics)) = postcard::from_bytes::<(Place, Option<Statistics>)>(place) else { return };
    let fits = place.values.len() == keys_or_best(&request.sort).len();
    let text = Cursor::new(&index(), &request, place, statistics).encode().expect("a cursor can be written");
    match Cursor::read(&text, &index(), &request) {
        Ok(cursor) => assert_eq!(cursor.encode().expect("what was read can be written"), text),
        Err(_) => assert!(!fits),
    }
});
