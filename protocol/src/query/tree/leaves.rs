//! Clauses about one value in one field, and ids.

use serde_json::{Map, Value};

use super::options::{Options, scalar};
use super::{Builder, QueryError, only, shown, wrong};
use crate::query::{Bound, Clause, Fuzziness, Kind, MAX_PATTERN_CHARS, Pattern};

/// `{"field": …}`: the field, what is asked of it, and the place of that.
pub(super) fn field_of<'a>(value: &'a Value, path: &str, example: &str) -> Result<(&'a str, &'a Value, String), QueryError> {
    let Value::Object(object) = value else {
        return Err(wrong(path, format!("one field and its value are due here, as in {example}, and not {}", shown(value))));
    };
    match only(object) {
        Some((field, inner)) => Ok((field, inner, format!("{path}.{field}"))),
        None => {
            let reason = format!("one field is due here, as in {example}, and there are {}: put several into bool", object.len());
            Err(wrong(path, reason))
        }
    }
}

/// Of `{"field": value}` and `{"field": {"value": value, …}}`, the field, the value and the options.
fn valued(
    value: &Value,
    path: &str,
    kind: &str,
    names: &[&str],
) -> Result<(String, String, Map<String, Value>, String), QueryError> {
    let example = format!("{{\"{kind}\":{{\"title\":\"…\"}}}}");
    let (field, inner, inner_path) = field_of(value, path, &example)?;
    let Value::Object(map) = inner else {
        return Ok((field.to_owned(), scalar(inner, &inner_path)?, Map::new(), inner_path));
    };
    let options = Options::of(inner, &inner_path, "")?;
    let all: Vec<&str> = ["value", "boost"].iter().chain(names).copied().collect();
    options.allow(&all)?;
    // Elasticsearch takes the name of the query for the value, too.
    let known = names.iter().copied().find(|name| *name == kind && options.get(name).is_some()).unwrap_or("value");
    let text = options.required_text(known)?;
    Ok((field.to_owned(), text, map.clone(), inner_path))
}

/// Builds a clause of a field, a value and its options.
fn build(
    value: &Value,
    path: &str,
    kind: &str,
    names: &[&str],
    make: impl FnOnce(String, String, &Options<'_>) -> Result<Kind, QueryError>,
) -> Result<Clause, QueryError> {
    let (field, text, map, inner_path) = valued(value, path, kind, names)?;
    let map = Value::Object(map);
    let options = Options::of(&map, &inner_path, "")?;
    let made = make(field, text, &options)?;
    options.boosted(made)
}

pub(super) fn term(value: &Value, path: &str) -> Result<Clause, QueryError> {
    build(value, path, "term", &["term"], |field, text, _| Ok(Kind::Terms { field, values: vec![text] }))
}

fn pattern_length(text: &str, options: &Options<'_>) -> Result<(), QueryError> {
    match text.chars().count() {
        0 => Err(wrong(options.path, "the pattern is empty: exists finds documents with any value")),
        length if length > MAX_PATTERN_CHARS => {
            Err(wrong(options.path, format!("the pattern has {length} characters: at most {MAX_PATTERN_CHARS}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn prefix(value: &Value, path: &str) -> Result<Clause, QueryError> {
    build(value, path, "prefix", &["prefix"], |field, text, options| {
        pattern_length(&text, options)?;
        Ok(Kind::Pattern { field: Some(field), pattern: Pattern::Prefix(text) })
    })
}

pub(super) fn wildcard(value: &Value, path: &str) -> Result<Clause, QueryError> {
    build(value, path, "wildcard", &["wildcard"], |field, text, options| {
        pattern_length(&text, options)?;
        if text.chars().all(|character| character == '*') {
            return Ok(Kind::Exists { field });
        }
        if !text.chars().any(char::is_alphanumeric) {
            return Err(wrong(
                options.path,
                "wildcards need a letter or a digit beside them; exists finds documents with any value",
            ));
        }
        Ok(Kind::Pattern { field: Some(field), pattern: Pattern::Wildcard(text) })
    })
}

pub(super) fn regex(value: &Value, path: &str) -> Result<Clause, QueryError> {
    let names: &[&str] = if path.ends_with(".regex") { &["regex"] } else { &["regexp"] };
    build(value, path, names[0], names, |field, text, options| {
        pattern_length(&text, options)?;
        Ok(Kind::Pattern { field: Some(field), pattern: Pattern::Regex(text) })
    })
}

pub(super) fn fuzzy(value: &Value, path: &str) -> Result<Clause, QueryError> {
    let names = ["fuzzy", "fuzziness", "prefix_length", "transpositions"];
    build(value, path, "fuzzy", &names, |field, word, options| {
        pattern_length(&word, options)?;
        options.fixed("transpositions", &Value::Bool(true), "two letters that are swapped are always one edit")?;
        let most = u32::try_from(MAX_PATTERN_CHARS).unwrap_or(u32::MAX);
        let prefix_chars = options.count("prefix_length", most)?.unwrap_or(0);
        let fuzziness = options.fuzziness("fuzziness")?.unwrap_or(Fuzziness::Auto);
        Ok(Kind::Pattern { field: Some(field), pattern: Pattern::Fuzzy { word, fuzziness, prefix_chars } })
    })
}

pub(super) fn exists(value: &Value, path: &str) -> Result<Clause, QueryError> {
    let options = Options::of(value, path, "an object such as {\"field\":\"title\"}")?;
    options.allow(&["field", "boost"])?;
    let field = options.required_text("field")?;
    options.boosted(Kind::Exists { field })
}

pub(super) fn range(value: &Value, path: &str) -> Result<Clause, QueryError> {
    let (field, inner, inner_path) = field_of(value, path, "{\"range\":{\"size\":{\"gte\":1,\"lt\":5}}}")?;
    let options = Options::of(inner, &inner_path, "an object such as {\"gte\":1,\"lt\":5}")?;
    options.allow(&["gt", "gte", "lt", "lte", "from", "to", "boost"])?;
    for absent in ["from", "to"] {
        if options.get(absent).is_some() {
            return Err(wrong(&inner_path, format!("{absent} is not known here: bounds are called gt, gte, lt and lte")));
        }
    }
    let bound = |exclusive: &str, inclusive: &str| {
        let given = |name: &str| options.get(name).filter(|value| !value.is_null());
        let text = |name: &str, value: &Value| scalar(value, &format!("{inner_path}.{name}"));
        match (given(exclusive), given(inclusive)) {
            (Some(_), Some(_)) => {
                Err(wrong(&inner_path, format!("there are both {exclusive} and {inclusive}: take one of them")))
            }
            (Some(value), None) => text(exclusive, value).map(Bound::Excluded),
            (None, Some(value)) => text(inclusive, value).map(Bound::Included),
            (None, None) => Ok(Bound::Unbounded),
        }
    };
    let (lower, upper) = (bound("gt", "gte")?, bound("lt", "lte")?);
    options.boosted(Kind::Range { field: field.to_owned(), lower, upper })
}

impl Builder {
    pub(super) fn terms(&mut self, value: &Value, path: &str) -> Result<Clause, QueryError> {
        let example = "an object such as {\"section\":[\"net\",\"web\"]}";
        let options = Options::of(value, path, example)?;
        let Value::Object(map) = value else { return Err(wrong(path, example)) };
        let mut fields = map.iter().filter(|(name, _)| *name != "boost" && *name != "_name");
        let (Some((field, values)), None) = (fields.next(), fields.next()) else {
            return Err(wrong(path, format!("one field is due here: {example}")));
        };
        let path = format!("{path}.{field}");
        let Value::Array(values) = values else {
            return Err(wrong(&path, format!("a list of values is due here, and not {}", shown(values))));
        };
        let values = self.values(values, &path)?;
        options.boosted(Kind::Terms { field: field.clone(), values })
    }

    pub(super) fn ids(&mut self, value: &Value, path: &str) -> Result<Clause, QueryError> {
        let options = Options::of(value, path, "an object such as {\"values\":[\"1\",\"2\"]}")?;
        options.allow(&["values", "boost"])?;
        let path = format!("{path}.values");
        let ids = match options.get("values") {
            Some(Value::Array(values)) => self.values(values, &path)?,
            Some(value @ (Value::String(_) | Value::Number(_))) => vec![scalar(value, &path)?],
            _ => return Err(wrong(&path, "a list of ids is due here, as in {\"values\":[\"1\",\"2\"]}")),
        };
        options.boosted(Kind::Ids(ids))
    }

    fn values(&mut self, values: &[Value], path: &str) -> Result<Vec<String>, QueryError> {
        self.count_values(values.len())?;
        values.iter().enumerate().map(|(index, value)| scalar(value, &format!("{path}[{index}]"))).collect()
    }
}
