//! The definition of an index: its partitions, and what its fields are.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Code, Problem};

/// What an index is made of; fixed for one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexDefinition {
    /// How many partitions the documents are spread over, 1 to 256.
    #[schema(value_type = u32)]
    pub partitions: NonZeroU32,
    /// How many workers hold a copy of each partition, 1 to 8.
    #[schema(value_type = u32)]
    pub replicas: NonZeroU32,
    /// The field of a document that holds its id.
    pub id_field: String,
    /// Whether fields that `fields` does not name are searchable too.
    pub dynamic: bool,
    /// The bytes that one partition's log may take on the broker. Writes are refused before it is half full of
    /// what no snapshot holds.
    pub log_max_bytes: u64,
    /// The fields with a fixed type, by name.
    pub fields: BTreeMap<String, FieldDefinition>,
}

/// What one field holds. Every field may hold one value or an array of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldDefinition {
    /// The type of its values.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// How a text is cut into words; for type `text` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analyzer: Option<Analyzer>,
    /// How much a match in this field counts in queries without a field, above 0 and at most 100; for type `text` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boost: Option<f32>,
}

/// The types of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Words, searched by relevance.
    Text,
    /// One exact value.
    Keyword,
    /// A whole number of 64 bits, signed.
    Integer,
    /// A number of 64 bits.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A date: RFC 3339 text, or Unix milliseconds.
    Date,
    /// An object, whose fields are treated as dynamic ones.
    Object,
}

/// How a text is cut into words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Analyzer {
    /// Words in lower case, no stemming.
    #[default]
    Standard,
    /// The whole value as one word.
    Keyword,
    /// Words in lower case, stemmed as Arabic.
    Arabic,
    /// Words in lower case, stemmed as Danish.
    Danish,
    /// Words in lower case, stemmed as Dutch.
    Dutch,
    /// Words in lower case, stemmed as English.
    English,
    /// Words in lower case, stemmed as Finnish.
    Finnish,
    /// Words in lower case, stemmed as French.
    French,
    /// Words in lower case, stemmed as German.
    German,
    /// Words in lower case, stemmed as Greek.
    Greek,
    /// Words in lower case, stemmed as Hungarian.
    Hungarian,
    /// Words in lower case, stemmed as Italian.
    Italian,
    /// Words in lower case, stemmed as Norwegian.
    Norwegian,
    /// Words in lower case, stemmed as Portuguese.
    Portuguese,
    /// Words in lower case, stemmed as Romanian.
    Romanian,
    /// Words in lower case, stemmed as Russian.
    Russian,
    /// Words in lower case, stemmed as Spanish.
    Spanish,
    /// Words in lower case, stemmed as Swedish.
    Swedish,
    /// Words in lower case, stemmed as Tamil.
    Tamil,
    /// Words in lower case, stemmed as Turkish.
    Turkish,
}

impl Default for IndexDefinition {
    fn default() -> Self {
        Self {
            partitions: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            replicas: NonZeroU32::MIN,
            id_field: "id".to_owned(),
            dynamic: true,
            log_max_bytes: 20_000_000_000,
            fields: BTreeMap::new(),
        }
    }
}

impl IndexDefinition {
    /// The most partitions of an index.
    pub const MAX_PARTITIONS: u32 = 256;
    /// The most replicas of a partition.
    pub const MAX_REPLICAS: u32 = 8;
    /// The most fields with a fixed type.
    pub const MAX_FIELDS: usize = 1000;
    /// The smallest log: below it, one batch could be half of the log.
    pub const MIN_LOG_BYTES: u64 = 64 << 20;

    /// Reads a definition from JSON and checks it; the problem names the field and the rule.
    pub fn from_json(json: &[u8]) -> Result<Self, Problem> {
        let definition: Self =
            serde_json::from_slice(json).map_err(|error| Problem::new(Code::InvalidDefinition, error.to_string()))?;
        definition.validate()?;
        Ok(definition)
    }

    /// Checks the rules that span more than one value.
    pub fn validate(&self) -> Result<(), Problem> {
        let refuse = |field: &str, detail: String| Err(Problem::new(Code::InvalidDefinition, detail).with_field(field));
        if self.partitions.get() > Self::MAX_PARTITIONS {
            return refuse("partitions", format!("partitions is {}: take 1 to {}", self.partitions, Self::MAX_PARTITIONS));
        }
        if self.replicas.get() > Self::MAX_REPLICAS {
            return refuse("replicas", format!("replicas is {}: take 1 to {}", self.replicas, Self::MAX_REPLICAS));
        }
        if self.log_max_bytes < Self::MIN_LOG_BYTES {
            return refuse(
                "log_max_bytes",
                format!("log_max_bytes is {}: take at least {}", self.log_max_bytes, Self::MIN_LOG_BYTES),
            );
        }
        if self.fields.len() > Self::MAX_FIELDS {
            return refuse("fields", format!("{} fields are defined: at most {} are", self.fields.len(), Self::MAX_FIELDS));
        }
        if let Err(rule) = check_field_name(&self.id_field) {
            return refuse("id_field", format!("id_field {:?} {rule}", self.id_field));
        }
        for (name, field) in &self.fields {
            let path = format!("fields.{name}");
            if let Err(rule) = check_field_name(name) {
                return refuse(&path, format!("field name {name:?} {rule}"));
            }
            if name == &self.id_field {
                return refuse(
                    &path,
                    format!("{name:?} is the id_field: the id is always an exact value, leave it out of fields"),
                );
            }
            if field.kind != FieldType::Text && field.analyzer.is_some() {
                return refuse(&format!("{path}.analyzer"), format!("analyzer goes with type text, and {name:?} is another"));
            }
            if let Some(boost) = field.boost {
                if field.kind != FieldType::Text {
                    return refuse(&format!("{path}.boost"), format!("boost goes with type text, and {name:?} is another"));
                }
                if !(boost > 0.0 && boost <= 100.0) {
                    return refuse(&format!("{path}.boost"), format!("boost is {boost}: take more than 0, at most 100"));
                }
            }
        }
        Ok(())
    }

    /// What differs from `other`, one line each: `partitions: 4 here, 8 asked`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (mine, theirs) = (serde_json::json!(self), serde_json::json!(other));
        let mut lines = Vec::new();
        compare("", &mine, &theirs, &mut lines);
        lines
    }
}

fn compare(path: &str, mine: &serde_json::Value, theirs: &serde_json::Value, lines: &mut Vec<String>) {
    if let (Some(a), Some(b)) = (mine.as_object(), theirs.as_object()) {
        let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let null = serde_json::Value::Null;
            compare(&path, a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null), lines);
        }
    } else if mine != theirs {
        lines.push(format!("{path}: {mine} here, {theirs} asked"));
    }
}

fn check_field_name(name: &str) -> Result<(), &'static str> {
    let body = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@');
    if name.is_empty() || name.len() > 200 {
        Err("must have 1 to 200 bytes")
    } else if name.starts_with(['_', '-']) {
        Err("must not start with '_' or '-': those names are Warren's own")
    } else if !name.chars().all(body) {
        Err("must be letters, digits, '_', '-' and '@'")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<IndexDefinition, Problem> {
        IndexDefinition::from_json(json.as_bytes())
    }

    #[test]
    fn reads_the_example_of_the_contract() {
        let definition = parse(
            r#"{"partitions":4,"replicas":1,"id_field":"id","dynamic":true,"fields":{"title":{"type":"text",
            "analyzer":"english","boost":2},"section":{"type":"keyword"},"size":{"type":"integer"},"month":{"type":"date"}}}"#,
        )
        .unwrap();
        assert_eq!(definition.partitions.get(), 4);
        assert_eq!(definition.fields["title"].analyzer, Some(Analyzer::English));
        let again = serde_json::to_vec(&definition).unwrap();
        assert_eq!(IndexDefinition::from_json(&again).unwrap(), definition);
    }

    #[test]
    fn nothing_said_means_the_defaults() {
        assert_eq!(parse("{}").unwrap(), IndexDefinition::default());
    }

    #[test]
    fn each_rule_names_its_field() {
        for (json, field) in [
            (r#"{"partitions":257}"#, "partitions"),
            (r#"{"replicas":9}"#, "replicas"),
            (r#"{"log_max_bytes":5}"#, "log_max_bytes"),
            (r#"{"id_field":""}"#, "id_field"),
            (r#"{"fields":{"_x":{"type":"text"}}}"#, "fields._x"),
            (r#"{"fields":{"a.b":{"type":"text"}}}"#, "fields.a.b"),
            (r#"{"fields":{"id":{"type":"text"}}}"#, "fields.id"),
            (r#"{"fields":{"x":{"type":"integer","analyzer":"english"}}}"#, "fields.x.analyzer"),
            (r#"{"fields":{"x":{"type":"text","boost":0}}}"#, "fields.x.boost"),
            (r#"{"fields":{"x":{"type":"integer","boost":1}}}"#, "fields.x.boost"),
        ] {
            let problem = parse(json).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field), "{json}: {problem}");
        }
        for (json, word) in [
            (r#"{"partitons":4}"#, "partitons"),
            (r#"{"partitions":0}"#, "nonzero"),
            (r#"{"fields":{"x":{"type":"txt"}}}"#, "txt"),
        ] {
            let problem = parse(json).unwrap_err();
            assert!(problem.detail.contains(word), "{json}: {problem}");
        }
    }

    #[test]
    fn differences_name_the_path_and_both_values() {
        let here = parse(r#"{"fields":{"title":{"type":"text","boost":2}}}"#).unwrap();
        let asked = parse(r#"{"partitions":8,"fields":{"title":{"type":"keyword"}}}"#).unwrap();
        assert_eq!(
            here.differences(&asked),
            [
                "fields.title.boost: 2.0 here, null asked",
                "fields.title.type: \"text\" here, \"keyword\" asked",
                "partitions: 4 here, 8 asked"
            ]
        );
        assert!(here.differences(&here).is_empty());
    }
}
