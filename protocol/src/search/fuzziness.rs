//! `fuzziness` in a request: `"auto"`, or a number.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use crate::query::{Fuzziness, MAX_FUZZINESS};

pub(super) fn is_exact(fuzziness: &Fuzziness) -> bool {
    *fuzziness == Fuzziness::Exact
}

/// As requests write it.
pub fn serialize<S: Serializer>(fuzziness: &Fuzziness, serializer: S) -> Result<S::Ok, S::Error> {
    match fuzziness {
        Fuzziness::Auto => serializer.serialize_str("auto"),
        Fuzziness::Exact => serializer.serialize_u8(0),
        Fuzziness::Edits(edits) => serializer.serialize_u8(*edits),
    }
}

/// A number in JSON, its digits as a parameter.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fuzziness, D::Error> {
    struct Reader;
    impl Visitor<'_> for Reader {
        type Value = Fuzziness;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "\"auto\", or a number from 0 to {MAX_FUZZINESS}")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Fuzziness, E> {
            Fuzziness::read(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }

        fn visit_u64<E: Error>(self, edits: u64) -> Result<Fuzziness, E> {
            self.visit_str(&edits.to_string())
        }
    }
    deserializer.deserialize_any(Reader)
}
