//! Whatever is typed, and whatever partitions find like it: texts that can be put in its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_fuzz::pieces;
use warren_protocol::suggest::{MAX_TEXT_BYTES, Suggestions, completions, correction, words};

fuzz_target!(|bytes: &[u8]| {
    let all = pieces(bytes);
    let Some((text, replies)) = all.split_first() else { return };
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TEXT_BYTES) else { return };
    let mut found = Suggestions::default();
    for reply in replies {
        let Ok(reply) = postcard::from_bytes(reply) else { return };
        found.merge(reply);
    }
    let words = words(text);
    if let Some(last) = words.last() {
        let completed = completions(text, last, found.completions.clone(), 5);
        assert!(completed.len() <= 5 && completed.iter().all(|one| one.text.ends_with(&one.word)));
    }
    if let Some(corrected) = correction(text, &words, &found.words) {
        assert!(corrected.words.iter().all(|word| text.contains(&word.word) && corrected.text.contains(&word.suggestion)));
    }
});
