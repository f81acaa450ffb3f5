//! A file of text, Markdown or HTML as one document: id, title, body, path.

use std::io::Read;

use serde_json::{Map, Value};
use warren_producer::extract::{Kind, extract};
use warren_producer::split::{Piece, SplitError};
use warren_protocol::IndexDefinition;
use warren_protocol::problem::Code;

use super::files::Input;

/// Reads the file to its end, or to the limit.
pub(super) fn read(
    input: &mut dyn Read,
    file: &Input,
    kind: Kind,
    definition: &IndexDefinition,
    limit: usize,
) -> std::io::Result<Piece> {
    let mut bytes = Vec::new();
    input.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    let content =
        if bytes.len() > limit { Err(SplitError::TooLarge { limit }) } else { document(&bytes, file, kind, definition) };
    Ok(Piece { line: 1, number: 1, content: content.map(Into::into) })
}

fn document(bytes: &[u8], file: &Input, kind: Kind, definition: &IndexDefinition) -> Result<Vec<u8>, SplitError> {
    let page = extract(kind, bytes, None)
        .map_err(|error| SplitError::Unusable { code: Code::UnsupportedMediaType, detail: error.to_string() })?;
    let name = file.relative.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let title = page.title.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| stem.to_owned());
    let fields = [
        ("path", file.path.to_string_lossy().into_owned()),
        ("title", title),
        ("body", page.text),
        (definition.id_field.as_str(), file.relative.clone()),
    ];
    let document: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    Ok(Value::Object(document).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::format::Reading;

    fn page(kind: Kind, content: &[u8], limit: usize) -> Result<Value, SplitError> {
        let file = Input { path: "notes/a/b.md".into(), relative: "a/b.md".to_owned(), reading: Reading::Page(kind) };
        let piece = read(&mut &content[..], &file, kind, &IndexDefinition::default(), limit).unwrap();
        piece.content.map(|document| serde_json::from_slice(&document).unwrap())
    }

    #[test]
    fn a_file_is_a_document_with_its_place_as_id() {
        let document = page(Kind::Markdown, b"# On rabbits\n\nThey *dig*.", 1000).unwrap();
        assert_eq!((&document["id"], &document["path"]), (&"a/b.md".into(), &"notes/a/b.md".into()));
        assert_eq!(document["title"], "On rabbits");
        assert!(document["body"].as_str().unwrap().contains("They dig."), "{document}");
        let html = page(Kind::Html, b"<title>Warrens</title><body><p>Deep <b>below</b></p><script>x()</script>", 1000).unwrap();
        assert_eq!(html["title"], "Warrens");
        assert!(html["body"].as_str().unwrap().contains("Deep below") && !html["body"].to_string().contains("x()"), "{html}");
        assert_eq!(page(Kind::Plain, b"words", 1000).unwrap()["title"], "b");
    }

    #[test]
    fn what_is_too_large_or_no_text_is_refused() {
        assert_eq!(page(Kind::Plain, b"words", 4), Err(SplitError::TooLarge { limit: 4 }));
        assert_eq!(page(Kind::Plain, b"a\0b", 9).unwrap_err().code(), Code::UnsupportedMediaType);
    }
}
