//! How the fields of an index definition become fields of tantivy.
//!
//! | tantivy field | holds |
//! |---|---|
//! | `_id` | the document's id; fast, because equal scores are ordered by it |
//! | `_source` | the document as it was published |
//! | one for each defined field | its values |
//! | `_all` | all dynamic strings, as words: a query without a field finds nothing in a JSON field, which has no length normalisation either |
//! | `_words` | the dynamic strings by their paths, as words; and the booleans |
//! | `_values` | the dynamic values by their paths, as fast columns: exact strings, numbers, booleans, dates |
//!
//! `_values` is not in the term index: the dictionary of all exact strings was half the cost of indexing (measured), and columns find values too.
//!
//! No defined or dynamic name reaches a field that starts with `_`: names of users are looked up in [`Fields`] only.

use std::collections::BTreeMap;

use tantivy::schema::{
    BytesOptions, DateOptions, DateTimePrecision, Field, IndexRecordOption, JsonObjectOptions, NumericOptions, Schema,
    TextFieldIndexing, TextOptions,
};
use warren_protocol::IndexDefinition;
use warren_protocol::definition::{FieldDefinition, FieldType};

use crate::analysis;

/// The longest exact string, in bytes, that can be searched as a value; longer ones are texts, and found by their words.
pub(crate) const MAX_DYNAMIC_VALUE_BYTES: usize = 512;
/// The same for the values of a defined keyword field; Lucene's limit.
pub(crate) const MAX_KEYWORD_BYTES: usize = 32_766;
/// The longest path of a dynamic field, in bytes with its dots; what lies deeper is found without a field only.
pub(crate) const MAX_PATH_BYTES: usize = 1000;
/// The deepest dynamic field; as far down as tantivy's fast fields go.
pub(crate) const MAX_PATH_DEPTH: usize = 20;

pub(crate) const ID: &str = "_id";
pub(crate) const VALUES: &str = "_values";

/// The fields of one index.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) schema: Schema,
    pub(crate) id_field: String,
    pub(crate) id: Field,
    pub(crate) source: Field,
    /// Whether a name that `defined` does not know is a dynamic field.
    pub(crate) dynamic: bool,
    pub(crate) defined: BTreeMap<String, Defined>,
    /// Where dynamic values go; `None` if the definition leaves no place for any.
    pub(crate) dynamic_fields: Option<DynamicFields>,
}

/// A field of the definition.
#[derive(Debug)]
pub(crate) struct Defined {
    pub(crate) kind: Kind,
    pub(crate) definition: FieldDefinition,
}

/// Where the values of a defined field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(Field),
    Keyword(Field),
    Integer(Field),
    Float(Field),
    Boolean(Field),
    Date(Field),
    /// Among the dynamic ones.
    Object,
}

/// Where dynamic values are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DynamicFields {
    pub(crate) all: Field,
    pub(crate) words: Field,
    pub(crate) values: Field,
}

impl Fields {
    pub(crate) fn new(definition: &IndexDefinition) -> Self {
        let mut schema = Schema::builder();
        let id = schema.add_text_field(ID, exact());
        let source = schema.add_bytes_field("_source", BytesOptions::default().set_stored());
        let mut defined = BTreeMap::new();
        for (name, field) in &definition.fields {
            let numeric = || NumericOptions::default().set_indexed().set_fast();
            let kind = match field.kind {
                FieldType::Text => {
                    Kind::Text(schema.add_text_field(name, words(analysis::name(field.analyzer.unwrap_or_default()))))
                }
                FieldType::Keyword => Kind::Keyword(schema.add_text_field(name, exact())),
                FieldType::Integer => Kind::Integer(schema.add_i64_field(name, numeric())),
                FieldType::Float => Kind::Float(schema.add_f64_field(name, numeric())),
                FieldType::Boolean => Kind::Boolean(schema.add_bool_field(name, numeric())),
                // Not in the term index, which would cut dates to seconds.
                FieldType::Date => Kind::Date(
                    schema.add_date_field(name, DateOptions::default().set_fast().set_precision(DateTimePrecision::Nanoseconds)),
                ),
                FieldType::Object => Kind::Object,
            };
            defined.insert(name.clone(), Defined { kind, definition: field.clone() });
        }
        let has_objects = defined.values().any(|field| field.kind == Kind::Object);
        let dynamic_fields = (definition.dynamic || has_objects).then(|| DynamicFields {
            all: schema.add_text_field("_all", words(analysis::STANDARD)),
            words: schema.add_json_field("_words", json_words()),
            values: schema.add_json_field(VALUES, JsonObjectOptions::default().set_fast("raw").set_expand_dots_enabled()),
        });
        Self {
            schema: schema.build(),
            id_field: definition.id_field.clone(),
            id,
            source,
            dynamic: definition.dynamic,
            defined,
            dynamic_fields,
        }
    }

    /// The defined texts, with what a match in them counts.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, Field, f32)> {
        self.defined.iter().filter_map(|(name, field)| match field.kind {
            Kind::Text(text) => Some((name.as_str(), text, field.definition.boost.unwrap_or(1.0))),
            _ => None,
        })
    }

    /// The name of the analyzer of a defined text.
    pub(crate) fn analyzer_of(&self, name: &str) -> &'static str {
        analysis::name(self.defined.get(name).and_then(|field| field.definition.analyzer).unwrap_or_default())
    }

    /// The dynamic fields, if `path` can be one.
    pub(crate) fn dynamic_at(&self, path: &str) -> Option<DynamicFields> {
        let first = path.split('.').next().unwrap_or(path);
        let in_object = self.defined.get(first).is_some_and(|field| field.kind == Kind::Object);
        self.dynamic_fields.filter(|_| self.dynamic || in_object)
    }

    /// Whether `key` can be a part of a dynamic path: tantivy separates the parts by control characters.
    pub(crate) fn is_path_key(key: &str) -> bool {
        !key.chars().any(|character| character < ' ')
    }
}

/// Exact values. Without frequencies, and so without block-max pruning: tantivy keeps no usable block maxima for a field
/// without field norms.
fn exact() -> TextOptions {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(analysis::WHOLE)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    TextOptions::default().set_indexing_options(indexing).set_fast("raw")
}

fn words(analyzer: &str) -> TextOptions {
    let indexing =
        TextFieldIndexing::default().set_tokenizer(analyzer).set_index_option(IndexRecordOption::WithFreqsAndPositions);
    TextOptions::default().set_indexing_options(indexing)
}

fn json_words() -> JsonObjectOptions {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(analysis::STANDARD)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions)
        .set_fieldnorms(false);
    JsonObjectOptions::default().set_indexing_options(indexing).set_expand_dots_enabled()
}
