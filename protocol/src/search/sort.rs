//! By what hits are ordered, and the order of values: the same in every segment, every partition and every merge.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// One key of a sort. In JSON: `"size"`, `"-size"`, or `{"size": {"order": "desc", "missing": "_first"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// What is compared.
    pub by: SortBy,
    /// Whether the largest comes first. Of several values of a field, the one that comes first counts.
    pub descending: bool,
    /// Where documents without a value come.
    pub missing: Missing,
}

/// What hits can be ordered by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// Their score: `_score`.
    Score,
    /// Their id: `id`, whatever the index calls it.
    Id,
    /// A field, by its name or path.
    Field(String),
}

/// Where documents without a value come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Missing {
    /// Behind all others, in either direction.
    #[default]
    Last,
    /// Before all others, in either direction.
    First,
}

impl SortKey {
    /// The best scores first: the order of hits without a sort.
    pub const BEST: Self = Self { by: SortBy::Score, descending: true, missing: Missing::Last };

    /// Understands `field` or `-field`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let by = match name {
            "" => return Err("a sort key is the name of a field, with - in front for descending, and not empty".to_owned()),
            "_score" => SortBy::Score,
            "id" | "_id" => SortBy::Id,
            name => SortBy::Field(name.to_owned()),
        };
        Ok(Self { by, descending, missing: Missing::Last })
    }

    /// The order of two values under this key.
    pub fn compare(&self, left: &SortValue, right: &SortValue) -> Ordering {
        match (left, right, self.missing) {
            (SortValue::Missing, SortValue::Missing, _) => Ordering::Equal,
            (SortValue::Missing, _, Missing::Last) | (_, SortValue::Missing, Missing::First) => Ordering::Greater,
            (SortValue::Missing, _, Missing::First) | (_, SortValue::Missing, Missing::Last) => Ordering::Less,
            _ if self.descending => right.cmp(left),
            _ => left.cmp(right),
        }
    }
}

impl fmt::Display for SortBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Score => "_score",
            Self::Id => "id",
            Self::Field(name) => name,
        })
    }
}

impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.descending { "-" } else { "" }, self.by)
    }
}

/// The order and the place of missing values, in the long form of a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default)]
    order: String,
    #[serde(default)]
    missing: String,
}

impl Serialize for SortKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.missing == Missing::Last {
            return serializer.collect_str(self);
        }
        let order = if self.descending { "desc" } else { "asc" }.to_owned();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.by.to_string(), &Options { order, missing: "_first".to_owned() })?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for SortKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = SortKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sort key: \"field\", \"-field\", or {\"field\": {\"order\": \"desc\", \"missing\": \"_first\"}}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SortKey, E> {
                SortKey::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SortKey, A::Error> {
                let Some((name, options)) = map.next_entry::<String, Value>()? else {
                    return Err(de::Error::custom("a sort key as an object names one field"));
                };
                if map.next_key::<String>()?.is_some() {
                    return Err(de::Error::custom("a sort key as an object names one field: make a list of several"));
                }
                long(&name, options).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Key)
    }
}

fn long(name: &str, options: Value) -> Result<SortKey, String> {
    let options: Options = match options {
        Value::String(order) => Options { order, missing: String::new() },
        options => serde_json::from_value(options).map_err(|error| format!("the sort key {name}: {error}"))?,
    };
    let mut key = SortKey::parse(name)?;
    key.descending = match options.order.as_str() {
        "" => key.descending,
        "asc" => false,
        "desc" => true,
        other => return Err(format!("the order of {name} is {other:?}: take asc or desc")),
    };
    key.missing = match options.missing.as_str() {
        "" | "_last" | "last" => Missing::Last,
        "_first" | "first" => Missing::First,
        other => return Err(format!("missing of {name} is {other:?}: take _first or _last")),
    };
    Ok(key)
}

impl PartialSchema for SortKey {
    fn schema() -> RefOr<Schema> {
        let short = ObjectBuilder::new().schema_type(Type::String).build();
        let long = ObjectBuilder::new().schema_type(Type::Object).build();
        OneOfBuilder::new().item(short).item(long).into()
    }
}

impl ToSchema for SortKey {}

/// A value that hits are ordered by. Of different types, booleans come before numbers, numbers before dates, dates before texts;
/// numbers are compared by what they mean, whichever way they are stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SortValue {
    /// The document has none.
    Missing,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    I64(i64),
    /// A whole number beyond those.
    U64(u64),
    /// A number.
    F64(f64),
    /// Nanoseconds since 1970.
    Date(i64),
    /// A text, compared by its UTF-8 bytes.
    Str(String),
}

impl SortValue {
    fn rank(&self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::Bool(_) => 1,
            Self::I64(_) | Self::U64(_) | Self::F64(_) => 2,
            Self::Date(_) => 3,
            Self::Str(_) => 4,
        }
    }

    /// The value as clients see it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::I64(number) => Value::from(*number),
            Self::U64(number) => Value::from(*number),
            Self::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Self::Date(nanoseconds) => OffsetDateTime::from_unix_timestamp_nanos(i128::from(*nanoseconds))
                .ok()
                .and_then(|date| date.format(&Rfc3339).ok())
                .map_or(Value::Null, Value::String),
            Self::Str(text) => Value::String(text.clone()),
        }
    }
}

impl PartialEq for SortValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SortValue {}

impl PartialOrd for SortValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::I64(left), Self::I64(right)) | (Self::Date(left), Self::Date(right)) => left.cmp(right),
            (Self::U64(left), Self::U64(right)) => left.cmp(right),
            (Self::F64(left), Self::F64(right)) => left.partial_cmp(right).unwrap_or_else(|| left.total_cmp(right)),
            (Self::I64(left), Self::U64(right)) => i128::from(*left).cmp(&i128::from(*right)),
            (Self::U64(left), Self::I64(right)) => i128::from(*left).cmp(&i128::from(*right)),
            (Self::I64(left), Self::F64(right)) => compare_whole(i128::from(*left), *right),
            (Self::U64(left), Self::F64(right)) => compare_whole(i128::from(*left), *right),
            (Self::F64(left), Self::I64(right)) => compare_whole(i128::from(*right), *left).reverse(),
            (Self::F64(left), Self::U64(right)) => compare_whole(i128::from(*right), *left).reverse(),
            (Self::Str(left), Self::Str(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Without rounding: not every whole number of 64 bits is a float.
fn compare_whole(whole: i128, float: f64) -> Ordering {
    if float.is_nan() {
        return if float.is_sign_negative() { Ordering::Greater } else { Ordering::Less };
    }
    // Saturates; whole numbers of 64 bits are far from the ends.
    let floor = float.floor();
    whole.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_what_they_mean() {
        let ascending = [
            SortValue::Bool(false),
            SortValue::Bool(true),
            SortValue::F64(f64::MIN),
            SortValue::I64(i64::MIN),
            SortValue::F64(-0.5),
            SortValue::I64(0),
            SortValue::F64(0.5),
            SortValue::F64(9_007_199_254_740_992.0),
            SortValue::I64(9_007_199_254_740_993),
            SortValue::I64(i64::MAX),
            SortValue::U64(u64::MAX),
            SortValue::F64(1e300),
            SortValue::Date(-1),
            SortValue::Date(1),
            SortValue::Str(String::new()),
            SortValue::Str("a".to_owned()),
            SortValue::Str("ä".to_owned()),
        ];
        for (left, first) in ascending.iter().enumerate() {
            for (right, second) in ascending.iter().enumerate() {
                assert_eq!(first.cmp(second), left.cmp(&right), "{first:?} {second:?}");
            }
        }
        // Nobody writes these, but a message may hold them, and sorting needs one order.
        let odd = [SortValue::F64(-f64::NAN), SortValue::I64(i64::MIN), SortValue::F64(0.5), SortValue::F64(f64::NAN)];
        assert!(odd.is_sorted() && odd.iter().enumerate().all(|(at, value)| odd[at + 1..].iter().all(|other| value < other)));
        assert_eq!(SortValue::I64(2), SortValue::F64(2.0));
        assert_eq!(SortValue::F64(0.0), SortValue::F64(-0.0));
    }

    #[test]
    fn missing_values_stay_at_their_end_in_either_direction() {
        for descending in [false, true] {
            for (missing, order) in [(Missing::Last, Ordering::Greater), (Missing::First, Ordering::Less)] {
                let key = SortKey { by: SortBy::Id, descending, missing };
                assert_eq!(key.compare(&SortValue::Missing, &SortValue::I64(1)), order);
            }
        }
    }

    #[test]
    fn values_read_as_they_were_written() {
        assert_eq!(SortValue::Date(1_500_000_000).to_json(), "1970-01-01T00:00:01.5Z");
        assert_eq!(SortValue::U64(u64::MAX).to_json(), u64::MAX);
        assert_eq!(SortValue::Missing.to_json(), Value::Null);
    }
}
