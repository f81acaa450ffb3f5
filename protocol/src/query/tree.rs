//! The query language for programs: a tree in the names and shapes of Elasticsearch's query DSL.
//!
//! Each error names the place, and what is written there nearest to what was meant.

mod leaves;
mod options;
mod texts;

use serde_json::{Map, Value};

use super::error::QueryError;
use super::{Bool, Children, Clause, Kind, MAX_CLAUSES, MAX_DEPTH, MAX_TREE_BYTES, MAX_VALUES};
use options::{Options, nearest};

/// Every kind of query.
const KINDS: [&str; 19] = [
    "bool",
    "constant_score",
    "exists",
    "fuzzy",
    "ids",
    "match",
    "match_all",
    "match_none",
    "match_phrase",
    "multi_match",
    "prefix",
    "query_string",
    "range",
    "regex",
    "regexp",
    "simple_query_string",
    "term",
    "terms",
    "wildcard",
];

/// Kinds of Elasticsearch that people will try, and what to write instead.
const ABSENT: [(&str, &str); 5] = [
    ("match_phrase_prefix", "take match_phrase for whole words, or prefix for the beginning of one"),
    ("match_bool_prefix", "take bool with match and prefix"),
    ("dis_max", "take bool with should: scores are added"),
    ("function_score", "take boost"),
    ("nested", "name the inner field with dots, as in {\"match\":{\"author.name\":\"…\"}}"),
];

pub(super) fn parse(tree: &Map<String, Value>, name: &str) -> Result<Clause, QueryError> {
    let mut length = Length(0);
    // A tree that is written to nowhere is measured.
    if serde_json::to_writer(&mut length, tree).is_err() {
        return Err(QueryError::TooLarge { what: format!("more than {MAX_TREE_BYTES} bytes"), most: MAX_TREE_BYTES });
    }
    Builder { clauses: 0, values: 0 }.clause(tree, name, 0)
}

/// Counts what is written, up to the most that a tree may have.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > MAX_TREE_BYTES {
            return Err(std::io::Error::other("too long"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Counts while the tree is built.
struct Builder {
    clauses: usize,
    values: usize,
}

fn wrong(path: &str, reason: impl Into<String>) -> QueryError {
    QueryError::Tree { path: path.to_owned(), reason: reason.into() }
}

/// A value of JSON as an error shows it.
fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The only entry of an object.
fn only(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (name, value) = entries.next()?;
    entries.next().is_none().then_some((name.as_str(), value))
}

impl Builder {
    fn clause(&mut self, tree: &Map<String, Value>, path: &str, depth: usize) -> Result<Clause, QueryError> {
        if depth > MAX_DEPTH {
            return Err(wrong(path, format!("queries go deeper than {MAX_DEPTH} levels")));
        }
        self.count()?;
        let Some((kind, value)) = only(tree) else {
            let names: Vec<&str> = tree.keys().map(String::as_str).take(5).collect();
            let reason = match names.len() {
                0 => "an empty object is no query: {\"match_all\":{}} finds all documents".to_owned(),
                _ => format!(
                    "one kind of query is due here, and there are {}: put several into bool.must or bool.should",
                    names.join(", ")
                ),
            };
            return Err(wrong(path, reason));
        };
        let inner = format!("{path}.{kind}");
        match kind {
            "bool" => self.bool(value, &inner, depth),
            "constant_score" => self.constant(value, &inner, depth),
            "match_all" => boost_only(value, &inner, Kind::All),
            "match_none" => boost_only(value, &inner, Kind::Nothing),
            "match" => self.matching(value, &inner),
            "match_phrase" => texts::phrase(value, &inner),
            "multi_match" => self.multi_match(value, &inner),
            "query_string" => self.text(value, &inner, false),
            "simple_query_string" => self.text(value, &inner, true),
            "term" => leaves::term(value, &inner),
            "terms" => self.terms(value, &inner),
            "range" => leaves::range(value, &inner),
            "prefix" => leaves::prefix(value, &inner),
            "wildcard" => leaves::wildcard(value, &inner),
            "regexp" | "regex" => leaves::regex(value, &inner),
            "fuzzy" => leaves::fuzzy(value, &inner),
            "exists" => leaves::exists(value, &inner),
            "ids" => self.ids(value, &inner),
            _ => Err(unknown_kind(kind, path)),
        }
    }

    fn count(&mut self) -> Result<(), QueryError> {
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(QueryError::TooLarge { what: format!("more than {MAX_CLAUSES} clauses"), most: MAX_CLAUSES });
        }
        Ok(())
    }

    fn count_values(&mut self, values: usize) -> Result<(), QueryError> {
        self.values += values;
        if self.values > MAX_VALUES {
            return Err(QueryError::TooLarge { what: format!("{} values in terms and ids", self.values), most: MAX_VALUES });
        }
        Ok(())
    }

    fn bool(&mut self, value: &Value, path: &str, depth: usize) -> Result<Clause, QueryError> {
        let options = Options::of(value, path, "an object such as {\"must\":[…]}")?;
        options.allow(&["must", "should", "must_not", "filter", "minimum_should_match", "boost"])?;
        let mut children = |name: &str| self.children(&options, name, depth);
        let group = Bool {
            must: children("must")?,
            should: children("should")?,
            must_not: children("must_not")?,
            filter: children("filter")?,
            minimum: options.minimum("minimum_should_match")?,
        };
        let empty = [&group.must, &group.should, &group.must_not, &group.filter].into_iter().all(|side| side.is_empty());
        let kind = if empty { Kind::All } else { Kind::Bool(group) };
        options.boosted(kind)
    }

    /// One query or a list of them.
    fn children(&mut self, options: &Options<'_>, name: &str, depth: usize) -> Result<Children, QueryError> {
        let path = format!("{}.{name}", options.path);
        let due = "a query or a list of queries is due here";
        match options.get(name) {
            None => Ok(Children::default()),
            Some(Value::Object(tree)) => Ok(self.clause(tree, &path, depth + 1)?.into()),
            Some(Value::Array(trees)) => {
                let mut clauses = Vec::new();
                for (index, tree) in trees.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let Value::Object(tree) = tree else {
                        return Err(wrong(
                            &path,
                            format!("a query is due here, as in {{\"match\":{{…}}}}, and not {}", shown(tree)),
                        ));
                    };
                    clauses.push(self.clause(tree, &path, depth + 1)?);
                }
                Ok(clauses.into())
            }
            Some(other) => Err(wrong(&path, format!("{due}, and not {}", shown(other)))),
        }
    }

    fn constant(&mut self, value: &Value, path: &str, depth: usize) -> Result<Clause, QueryError> {
        let options = Options::of(value, path, "an object such as {\"filter\":{…},\"boost\":2}")?;
        options.allow(&["filter", "boost"])?;
        let Some(Value::Object(tree)) = options.get("filter") else {
            return Err(wrong(path, "filter has to hold one query, as in {\"filter\":{\"term\":{…}}}"));
        };
        let inner = self.clause(tree, &format!("{path}.filter"), depth + 1)?;
        options.boosted(Kind::Constant(inner.into()))
    }
}

fn boost_only(value: &Value, path: &str, kind: Kind) -> Result<Clause, QueryError> {
    let options = Options::of(value, path, "an object is due here, as in {}")?;
    options.allow(&["boost"])?;
    options.boosted(kind)
}

fn unknown_kind(kind: &str, path: &str) -> QueryError {
    if let Some((_, instead)) = ABSENT.iter().find(|(absent, _)| *absent == kind) {
        return wrong(path, format!("there is no query {kind:?} in Warren: {instead}"));
    }
    let hint = match nearest(kind, &KINDS) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", KINDS.join(", ")),
    };
    wrong(path, format!("{kind:?} is no kind of query: {hint}"))
}
