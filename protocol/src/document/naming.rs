//! The id of a document that was refused, so that its sender knows which one it was.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{DocumentId, read_id};
use crate::definition::IndexDefinition;

/// The id that stands in a document, as far as the document can be read, whatever else is wrong with it.
pub fn id_in(definition: &IndexDefinition, body: &[u8]) -> Option<DocumentId> {
    let mut id = None;
    let mut parser = serde_json::Deserializer::from_slice(body);
    // Where the document breaks off, the id stands before or nowhere.
    let _ = parser.deserialize_map(Search { definition, id: &mut id });
    id
}

struct Search<'a> {
    definition: &'a IndexDefinition,
    id: &'a mut Option<DocumentId>,
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.definition.id_field.as_str() {
                *self.id = read_id(self.definition, &map.next_value()?).ok();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_wherever_it_can_be_read() {
        let definition = IndexDefinition::default();
        for (body, id) in [
            (&br#"{"size":"x","id":"a"}"#[..], Some("a")),
            (br#"{"id":7,"text":unquoted}"#, Some("7")),
            (b"{\"id\":\"b\",\"text\":\"caf\xe9\"}", Some("b")),
            (br#"{"text":unquoted,"id":"a"}"#, None),
            (br#"{"id":1.5}"#, None),
            (br#"{"other":1}"#, None),
            (br#"["a"]"#, None),
            (b"", None),
        ] {
            let found = id_in(&definition, body);
            assert_eq!(found.as_ref().map(DocumentId::as_str), id, "{}", String::from_utf8_lossy(body));
        }
    }
}
