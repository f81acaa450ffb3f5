//! The parts of a document that a search asks for.

use serde_json::{Map, Value};

/// Paths with dots, each of which stands for what is at it and below; with a `*` at the end, for all that begin so.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    paths: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(paths: &'a [String]) -> Self {
        Self { paths: paths.iter().map(String::as_str).collect() }
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_none(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether all that is at the path is asked for.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.paths.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        })
    }

    /// Whether something below the path may be asked for.
    fn reaches_below(&self, path: &str) -> bool {
        self.paths.iter().any(|wanted| {
            wanted.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')) || wanted.strip_suffix('*') == Some("")
        })
    }

    /// The parts of a document, as JSON: objects keep their order, and of arrays the elements that have something.
    pub(crate) fn of(&self, document: &[u8]) -> Vec<u8> {
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(document) else {
            return b"{}".to_vec();
        };
        Value::Object(self.of_object(object, "")).to_string().into_bytes()
    }

    fn of_object(&self, object: Map<String, Value>, path: &str) -> Map<String, Value> {
        let mut chosen = Map::new();
        for (key, value) in object {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if self.has(&path) {
                chosen.insert(key, value);
            } else if self.reaches_below(&path)
                && let Some(value) = self.below(value, &path)
            {
                chosen.insert(key, value);
            }
        }
        chosen
    }

    fn below(&self, value: Value, path: &str) -> Option<Value> {
        match value {
            Value::Object(object) => Some(self.of_object(object, path)).filter(|object| !object.is_empty()).map(Value::Object),
            Value::Array(items) => {
                let items: Vec<_> = items.into_iter().filter_map(|item| self.below(item, path)).collect();
                Some(items).filter(|items| !items.is_empty()).map(Value::Array)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_choose_what_is_at_them_and_below() {
        let document =
            br#"{"title":"t","author":{"name":"n","mail":{"home":"h"}},"list":[{"a":1,"b":2},{"b":3},4],"authority":5,"x.y":6}"#;
        for (paths, expected) in [
            (vec!["title"], r#"{"title":"t"}"#),
            (vec!["author"], r#"{"author":{"name":"n","mail":{"home":"h"}}}"#),
            (vec!["author.mail.home", "title"], r#"{"title":"t","author":{"mail":{"home":"h"}}}"#),
            (vec!["author*"], r#"{"author":{"name":"n","mail":{"home":"h"}},"authority":5}"#),
            (vec!["author.m*"], r#"{"author":{"mail":{"home":"h"}}}"#),
            (vec!["list.a"], r#"{"list":[{"a":1}]}"#),
            (vec!["x.y", "nothing", "title.below"], r#"{"x.y":6}"#),
            (vec![], "{}"),
        ] {
            let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
            assert_eq!(String::from_utf8(Parts::new(&paths).of(document)).unwrap(), expected, "{paths:?}");
        }
        let all = ["*".to_owned()];
        assert_eq!(Parts::new(&all).of(document), document);
    }
}
