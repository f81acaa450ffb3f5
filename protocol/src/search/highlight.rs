//! Which passages of a hit come along with it.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Passages in which the query was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Highlight {
    /// The fields to look at, as in the request's `fields`. All by default.
    pub fields: Option<Vec<String>>,
    /// The most passages of one field, 1 to 20.
    #[serde(alias = "number_of_fragments")]
    pub fragments: u32,
    /// The length of a passage in bytes of text, 20 to 1,000.
    #[serde(alias = "fragment_size")]
    pub size: u32,
    /// What stands before a word that was sought; as it is, while the text is escaped for HTML.
    pub pre_tag: String,
    /// What stands behind it.
    pub post_tag: String,
}

impl Default for Highlight {
    fn default() -> Self {
        Self { fields: None, fragments: 1, size: 150, pre_tag: "<b>".to_owned(), post_tag: "</b>".to_owned() }
    }
}

impl Highlight {
    /// The longest tag, in bytes.
    const MAX_TAG_BYTES: usize = 100;
    /// The most names in `fields`.
    const MAX_FIELDS: usize = 100;

    /// Checks the ranges; the error says what to take.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=20).contains(&self.fragments) {
            return Err(format!("fragments is {}: take 1 to 20", self.fragments));
        }
        if !(20..=1000).contains(&self.size) {
            return Err(format!("size is {}: take 20 to 1000", self.size));
        }
        if self.pre_tag.len().max(self.post_tag.len()) > Self::MAX_TAG_BYTES {
            return Err(format!("a tag has more than {} bytes: take a shorter one", Self::MAX_TAG_BYTES));
        }
        match &self.fields {
            Some(fields) if fields.len() > Self::MAX_FIELDS => {
                Err(format!("fields has {} names: at most {}", fields.len(), Self::MAX_FIELDS))
            }
            _ => Ok(()),
        }
    }
}

/// Whether there are passages: `true`, `false`, or an object that says how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HighlightChoice(Option<Highlight>);

impl HighlightChoice {
    /// No passages.
    pub const NONE: Self = Self(None);

    /// How passages look; `None`: there are none.
    pub fn options(&self) -> Option<&Highlight> {
        self.0.as_ref()
    }
}

impl Default for HighlightChoice {
    fn default() -> Self {
        true.into()
    }
}

impl From<bool> for HighlightChoice {
    fn from(wanted: bool) -> Self {
        Self(wanted.then(Highlight::default))
    }
}

impl From<Highlight> for HighlightChoice {
    fn from(options: Highlight) -> Self {
        Self(Some(options))
    }
}

impl Serialize for HighlightChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            None => serializer.serialize_bool(false),
            Some(options) if *options == Highlight::default() => serializer.serialize_bool(true),
            Some(options) => options.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HighlightChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = HighlightChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or an object with fields, fragments, size, pre_tag, post_tag")
            }

            fn visit_bool<E>(self, wanted: bool) -> Result<HighlightChoice, E> {
                Ok(wanted.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HighlightChoice, A::Error> {
                Highlight::deserialize(MapAccessDeserializer::new(map)).map(HighlightChoice::from)
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl PartialSchema for HighlightChoice {
    fn schema() -> RefOr<Schema> {
        let switch = ObjectBuilder::new().schema_type(Type::Boolean).build();
        OneOfBuilder::new().item(switch).item(Ref::from_schema_name("Highlight")).into()
    }
}

impl ToSchema for HighlightChoice {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Highlight".to_owned(), Highlight::schema()));
        Highlight::schemas(schemas);
    }
}
