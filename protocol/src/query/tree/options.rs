//! The options of one clause: which there are, of which type.

use serde_json::{Map, Value};

use super::{QueryError, shown, wrong};
use crate::query::{Clause, Fuzziness, Kind, MAX_BOOST, MAX_FUZZINESS, Minimum};

/// The options of one clause.
pub(super) struct Options<'a> {
    pub(super) path: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Options<'a> {
    /// Of a value that has to be an object.
    pub(super) fn of(value: &'a Value, path: &'a str, due: &str) -> Result<Self, QueryError> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            other => Err(wrong(path, format!("{due} is due here, and not {}", shown(other)))),
        }
    }

    /// Refuses options with other names.
    pub(super) fn allow(&self, names: &[&str]) -> Result<(), QueryError> {
        let unknown = self.map.keys().find(|name| !names.contains(&name.as_str()) && *name != "_name");
        let Some(unknown) = unknown else { return Ok(()) };
        let hint = match nearest(unknown, names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("there are {}", names.join(", ")),
        };
        Err(wrong(self.path, format!("there is no option {unknown:?} here: {hint}")))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> QueryError {
        wrong(&format!("{}.{name}", self.path), reason)
    }

    /// The clause, with its boost.
    pub(super) fn boosted(&self, kind: Kind) -> Result<Clause, QueryError> {
        let boost = match self.get("boost") {
            None => 1.0,
            Some(value) => boost(value)
                .ok_or_else(|| self.wrong("boost", format!("a number from 0 to {MAX_BOOST:e} is due here, and not {value}")))?,
        };
        Ok(Clause { boost, kind })
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, QueryError> {
        self.get(name).map(|value| scalar(value, &format!("{}.{name}", self.path))).transpose()
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, QueryError> {
        self.text(name)?.ok_or_else(|| wrong(self.path, format!("{name} is missing")))
    }

    /// A whole number of at most `most`.
    pub(super) fn count(&self, name: &str, most: u32) -> Result<Option<u32>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count <= most);
        let due = || self.wrong(name, format!("a whole number from 0 to {most} is due here, and not {value}"));
        count.map(Some).ok_or_else(due)
    }

    /// Whether all words have to be there: `"operator": "and"`.
    pub(super) fn all(&self, name: &str) -> Result<bool, QueryError> {
        match self.get(name).map(|value| value.as_str().map(str::to_ascii_lowercase)) {
            None => Ok(false),
            Some(Some(operator)) if operator == "or" => Ok(false),
            Some(Some(operator)) if operator == "and" => Ok(true),
            Some(_) => Err(self.wrong(name, "either \"and\" or \"or\" is due here")),
        }
    }

    pub(super) fn minimum(&self, name: &str) -> Result<Option<Minimum>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let minimum = match value {
            Value::Number(number) => number.as_i64().and_then(|count| i32::try_from(count).ok()).map(Minimum::Count),
            Value::String(text) => match text.trim().strip_suffix('%') {
                Some(percent) => percent.parse().ok().filter(|percent| (-100..=100).contains(percent)).map(Minimum::Percent),
                None => text.trim().parse().ok().map(Minimum::Count),
            },
            _ => None,
        };
        let due = || {
            let reason = format!("a whole number or a percentage is due here, as in 2, -1, \"75%\" or \"-25%\", and not {value}");
            self.wrong(name, reason)
        };
        minimum.map(Some).ok_or_else(due)
    }

    pub(super) fn fuzziness(&self, name: &str) -> Result<Option<Fuzziness>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let fuzziness = match value {
            Value::String(text) => Fuzziness::read(text),
            Value::Number(number) => Fuzziness::read(&number.to_string()),
            _ => None,
        };
        let due = || self.wrong(name, format!("\"auto\" or a number from 0 to {MAX_FUZZINESS} is due here, and not {value}"));
        fuzziness.map(Some).ok_or_else(due)
    }

    /// Only `true` makes sense, or only `false`: what the option would change otherwise is not there.
    pub(super) fn fixed(&self, name: &str, only: &Value, why: &str) -> Result<(), QueryError> {
        match self.get(name) {
            Some(value) if value != only => Err(self.wrong(name, format!("only {only} is possible here: {why}"))),
            _ => Ok(()),
        }
    }
}

/// A boost that a query can have.
pub(super) fn boost(value: &Value) -> Option<f32> {
    value.as_f64().filter(|boost| (0.0..=f64::from(MAX_BOOST)).contains(boost)).map(|boost| boost as f32)
}

/// A string, a number or a boolean, as text.
pub(super) fn scalar(value: &Value, path: &str) -> Result<String, QueryError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(wrong(path, format!("a string, a number or a boolean is due here, and not {}", shown(other)))),
    }
}

/// The name that was meant, if one is near.
pub(super) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &&&str| strsim::damerau_levenshtein(&lower, known);
    let near = names.iter().min_by_key(distance)?;
    let reach = (near.len() / 3).max(1);
    let similar = distance(&near) <= reach
        || (lower.len() > 3 && (near.contains(&lower) || lower.replace('_', "") == near.replace('_', "")));
    similar.then_some(*near)
}
