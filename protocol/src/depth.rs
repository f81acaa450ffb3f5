//! How deep a message may nest.
//!
//! Reading what contains its own kind recurses, and a message is not to be trusted that far: one of a megabyte could nest deep enough to
//! exhaust a thread's stack.

use std::cell::Cell;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

thread_local! {
    /// How deep the message that this thread reads has gone.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One level; left when it is dropped.
struct Level;

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Reads what stands one level deeper, unless that is deeper than `most`.
pub(crate) fn deeper<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D, most: usize) -> Result<T, D::Error> {
    if DEPTH.get() >= most {
        return Err(D::Error::custom(format!("a message nests deeper than {most} levels")));
    }
    DEPTH.set(DEPTH.get() + 1);
    let _level = Level;
    T::deserialize(deserializer)
}
