//! Clauses whose text is cut into words, and those that hold a query in the language for people.

use serde_json::Value;

use super::leaves::field_of;
use super::options::{Options, boost, scalar};
use super::{Builder, QueryError, shown, wrong};
use crate::query::text::{self, TextOptions};
use crate::query::{Clause, Fuzziness, Kind, MAX_SLOP, Minimum};

pub(super) fn phrase(value: &Value, path: &str) -> Result<Clause, QueryError> {
    let (field, inner, inner_path) = field_of(value, path, "{\"match_phrase\":{\"title\":\"web server\"}}")?;
    let field = Some(field.to_owned());
    if !inner.is_object() {
        return Ok(Kind::Phrase { field, text: scalar(inner, &inner_path)?, slop: 0 }.into());
    }
    let options = Options::of(inner, &inner_path, "")?;
    options.allow(&["query", "slop", "boost"])?;
    let slop = options.count("slop", MAX_SLOP)?.unwrap_or(0);
    options.boosted(Kind::Phrase { field, text: options.required_text("query")?, slop })
}

/// How many of the words, from `operator` and `minimum_should_match`.
fn minimum(options: &Options<'_>) -> Result<Option<Minimum>, QueryError> {
    let all = options.all("operator")?;
    Ok(if all { Some(Minimum::ALL) } else { options.minimum("minimum_should_match")? })
}

fn fuzziness(options: &Options<'_>) -> Result<Fuzziness, QueryError> {
    Ok(options.fuzziness("fuzziness")?.unwrap_or_default())
}

impl Builder {
    pub(super) fn matching(&mut self, value: &Value, path: &str) -> Result<Clause, QueryError> {
        let (field, inner, inner_path) = field_of(value, path, "{\"match\":{\"title\":\"web server\"}}")?;
        let field = Some(field.to_owned());
        if !inner.is_object() {
            let text = scalar(inner, &inner_path)?;
            return Ok(Kind::Match { field, text, minimum: None, fuzziness: Fuzziness::Exact }.into());
        }
        let options = Options::of(inner, &inner_path, "")?;
        options.allow(&["query", "operator", "minimum_should_match", "fuzziness", "boost"])?;
        let (text, minimum, fuzziness) = (options.required_text("query")?, minimum(&options)?, fuzziness(&options)?);
        options.boosted(Kind::Match { field, text, minimum, fuzziness })
    }

    /// One text in several fields, whose scores are added; without fields, in all texts, wherever each word stands.
    pub(super) fn multi_match(&mut self, value: &Value, path: &str) -> Result<Clause, QueryError> {
        let options = Options::of(value, path, "an object such as {\"query\":\"web server\",\"fields\":[\"title^2\",\"body\"]}")?;
        options.allow(&["query", "fields", "type", "operator", "minimum_should_match", "fuzziness", "boost"])?;
        options.fixed("type", &"most_fields".into(), "the scores of the fields are added")?;
        let (text, minimum, fuzziness) = (options.required_text("query")?, minimum(&options)?, fuzziness(&options)?);
        let each = |field| Kind::Match { field, text: text.clone(), minimum, fuzziness };
        let Some(fields) = options.get("fields") else {
            return options.boosted(each(None));
        };
        let mut clauses = Vec::new();
        for (field, weight) in fields_of(fields, &format!("{path}.fields"))? {
            self.count()?;
            clauses.push(Clause::from(each(Some(field))).boosted(weight));
        }
        let boost = options.boosted(Kind::All)?.boost;
        Ok(Clause::any(clauses).boosted(boost))
    }

    /// A text in the language for people.
    pub(super) fn text(&mut self, value: &Value, path: &str, lenient: bool) -> Result<Clause, QueryError> {
        let options = Options::of(value, path, "an object such as {\"query\":\"web server\"}")?;
        options.allow(&["query", "default_field", "fields", "default_operator", "boost"])?;
        let text = options.required_text("query")?;
        let all = options.all("default_operator")?;
        let default = options.text("default_field")?.filter(|field| field != "*");
        let fields = match (options.get("fields"), default) {
            (Some(_), Some(_)) => return Err(wrong(path, "there are both fields and default_field: take one of them")),
            (Some(fields), None) => {
                fields_of(fields, &format!("{path}.fields"))?.into_iter().map(|(field, weight)| (Some(field), weight)).collect()
            }
            (None, default) => vec![(default, 1.0)],
        };
        let mut clauses = Vec::new();
        for (field, weight) in fields {
            let parsed = text::parse(&text, &TextOptions { lenient, field, all, ..TextOptions::default() });
            let clause = parsed.map_err(|error| match error {
                QueryError::TooLarge { .. } => error,
                error => wrong(&format!("{path}.query"), error.to_string()),
            })?;
            self.clauses += clause.size();
            self.count()?;
            clauses.push(clause.boosted(weight));
        }
        let boost = options.boosted(Kind::All)?.boost;
        Ok(Clause::any(clauses).boosted(boost))
    }
}

/// Names with what they count: `["title^2", "body"]`.
fn fields_of(value: &Value, path: &str) -> Result<Vec<(String, f32)>, QueryError> {
    let Value::Array(names) = value else {
        return Err(wrong(path, format!("a list of fields is due here, as in [\"title^2\",\"body\"], and not {}", shown(value))));
    };
    let mut fields = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::String(name) = name else {
            return Err(wrong(&path, format!("the name of a field is due here, and not {}", shown(name))));
        };
        let (name, weight) = match name.split_once('^') {
            None => (name.as_str(), 1.0),
            Some((name, weight)) => {
                let weight = weight.parse().ok().and_then(|weight: f64| boost(&weight.into()));
                (name, weight.ok_or_else(|| wrong(&path, "a number has to follow ^, as in \"title^2\""))?)
            }
        };
        if name.is_empty() || name.contains('*') {
            return Err(wrong(&path, "fields are named one by one; without fields, all texts are searched"));
        }
        fields.push((name.to_owned(), weight));
    }
    if fields.is_empty() {
        return Err(wrong(path, "the list is empty: leave it out to search all texts"));
    }
    Ok(fields)
}
