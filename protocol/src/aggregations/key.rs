//! What names a bucket of a terms aggregation.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A value. Numbers are equal if they are the same number, whatever type a partition keeps them in: [`Key::float`] and [`Key::unsigned`]
/// see to it. Ordered by type, then by value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "AnyKey")]
pub enum Key {
    /// `false` or `true`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number above those.
    Unsigned(u64),
    /// A number that is none of these.
    Float(f64),
    /// A date, in nanoseconds since 1970.
    Date(i64),
    /// A text.
    Text(String),
}

/// 2^63 and 2^64: beyond the whole numbers of 64 bits, with and without sign.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;
const BEYOND_U64: f64 = 18_446_744_073_709_551_616.0;

/// A key as it comes: its number may have another form than keys have.
#[derive(Deserialize)]
enum AnyKey {
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Date(i64),
    Text(String),
}

impl From<AnyKey> for Key {
    fn from(key: AnyKey) -> Self {
        match key {
            AnyKey::Boolean(truth) => Self::Boolean(truth),
            AnyKey::Integer(number) => Self::Integer(number),
            AnyKey::Unsigned(number) => Self::unsigned(number),
            AnyKey::Float(number) => Self::float(number),
            AnyKey::Date(nanos) => Self::Date(nanos),
            AnyKey::Text(text) => Self::Text(text),
        }
    }
}

impl Key {
    /// Of a number of any kind.
    pub fn float(number: f64) -> Self {
        if number.fract() != 0.0 || !(-BEYOND_I64..BEYOND_U64).contains(&number) {
            Self::Float(number)
        } else if number < BEYOND_I64 {
            Self::Integer(number as i64)
        } else {
            Self::Unsigned(number as u64)
        }
    }

    /// Of a whole number.
    pub fn unsigned(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Unsigned(number), Self::Integer)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Boolean(_) => 0,
            Self::Integer(_) | Self::Unsigned(_) | Self::Float(_) => 1,
            Self::Date(_) => 2,
            Self::Text(_) => 3,
        }
    }

    fn approximate(&self) -> f64 {
        match self {
            Self::Integer(number) => *number as f64,
            Self::Unsigned(number) => *number as f64,
            Self::Float(number) => *number,
            Self::Boolean(_) | Self::Date(_) | Self::Text(_) => f64::NAN,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) | (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Unsigned(a), Self::Unsigned(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            // A number has one form only, so those of different forms are different, and a float is enough to tell which is greater.
            (a, b) if a.rank() == b.rank() => a.approximate().total_cmp(&b.approximate()),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_key_in_whatever_type() {
        assert_eq!(Key::float(2.0), Key::Integer(2));
        assert_eq!(Key::float(-0.0), Key::Integer(0));
        assert_eq!(Key::unsigned(7), Key::Integer(7));
        assert_eq!(Key::float(BEYOND_I64), Key::unsigned(1 << 63));
        assert_eq!(Key::float(i64::MIN as f64), Key::Integer(i64::MIN));
        assert!(matches!(Key::float(BEYOND_U64), Key::Float(_)));
        let read = |key: Key| postcard::from_bytes::<Key>(&postcard::to_stdvec(&key).unwrap()).unwrap();
        assert!(matches!(read(Key::Float(2.0)), Key::Integer(2)));
        assert!(matches!(read(Key::Unsigned(2)), Key::Integer(2)));
    }

    #[test]
    fn keys_are_ordered_by_type_and_value() {
        let keys = [
            Key::Boolean(false),
            Key::Boolean(true),
            Key::float(-1e300),
            Key::Integer(-3),
            Key::float(-2.5),
            Key::Integer(0),
            Key::float(0.5),
            Key::Integer(i64::MAX),
            Key::Unsigned(u64::MAX),
            Key::float(1e300),
            Key::Date(0),
            Key::Text("10".to_owned()),
            Key::Text("9".to_owned()),
            Key::Text("é".to_owned()),
        ];
        for (i, left) in keys.iter().enumerate() {
            for (j, right) in keys.iter().enumerate() {
                assert_eq!(left.cmp(right), i.cmp(&j), "{left:?} {right:?}");
            }
        }
    }
}
