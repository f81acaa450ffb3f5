//! Whatever lies in the queue of dead letters: `name: value` for each header, an empty line, the body.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use warren_protocol::dead_letter::{BROKER_HEADERS, DeadLetter, HEADERS, Letter};
use warren_protocol::ports::Message;

fuzz_target!(|text: &str| {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: BTreeMap<_, _> = head.lines().filter_map(header).collect();
    let message = Message { headers, body: body.to_owned().into(), routing_key: "a".to_owned(), ..Message::default() };
    let found = DeadLetter::from(message.clone());
    let own = |message: &Message| message.headers.keys().all(|name| !HEADERS.contains(&name.as_str()));
    assert!(own(&found.message) && found.message.headers.keys().all(|name| !BROKER_HEADERS.contains(&name.as_str())));
    // What is replayed and refused again says what it was refused for last.
    let again = DeadLetter::from(Letter::new("reason", body).of(found.message, "source", 2));
    assert_eq!((again.reason.as_deref(), again.detail.as_deref(), again.attempts), (Some("reason"), Some(body), Some(2)));
    assert!(own(&again.message));
});
