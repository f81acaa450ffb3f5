//! Markdown as its text: what a reader of the rendered page would read.

use std::time::Duration;

use pulldown_cmark::{Event, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::{ExtractError, Page, collapsed, html};

/// The title (of the YAML head, else the first heading) and the text.
pub(super) fn page(markdown: &str, limit: Duration) -> Result<Page, ExtractError> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut reading = Reading::default();
    let mut in_head = false;
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::Start(Tag::MetadataBlock(MetadataBlockKind::YamlStyle)) => in_head = true,
            Event::End(TagEnd::MetadataBlock(_)) => in_head = false,
            Event::Text(text) if in_head => reading.title = title_of(&text),
            Event::Start(Tag::Heading { .. }) => {
                reading.end_line();
                reading.in_heading = true;
            }
            Event::End(TagEnd::Heading(_)) => {
                reading.end_line();
                reading.in_heading = false;
            }
            Event::Text(text) | Event::Code(text) => reading.line.push_str(&text),
            Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::TableCell) => reading.line.push(' '),
            Event::InlineHtml(tag) if tag.starts_with("<br") => reading.line.push(' '),
            Event::Html(piece) => reading.html.push_str(&piece),
            Event::End(TagEnd::HtmlBlock) => {
                reading.end_line();
                let lines = html::text(&std::mem::take(&mut reading.html), limit)?;
                reading.lines.extend(lines);
            }
            Event::Start(tag) if is_block(&tag) => reading.end_line(),
            Event::End(
                TagEnd::Paragraph
                | TagEnd::Item
                | TagEnd::CodeBlock
                | TagEnd::TableHead
                | TagEnd::TableRow
                | TagEnd::FootnoteDefinition,
            ) => reading.end_line(),
            _ => {}
        }
    }
    reading.end_line();
    Ok(Page { title: reading.title.or(reading.first_heading), text: reading.lines.join("\n") })
}

fn is_block(tag: &Tag<'_>) -> bool {
    matches!(
        tag,
        Tag::Paragraph | Tag::Item | Tag::CodeBlock(_) | Tag::Table(_) | Tag::FootnoteDefinition(_) | Tag::BlockQuote(_)
    )
}

#[derive(Default)]
struct Reading {
    title: Option<String>,
    first_heading: Option<String>,
    lines: Vec<String>,
    line: String,
    html: String,
    in_heading: bool,
}

impl Reading {
    fn end_line(&mut self) {
        let Some(line) = collapsed(&std::mem::take(&mut self.line)) else { return };
        if self.in_heading && self.first_heading.is_none() {
            self.first_heading = Some(line.clone());
        }
        self.lines.push(line);
    }
}

/// What `title:` says in the head of a document.
fn title_of(yaml: &str) -> Option<String> {
    let value = yaml.lines().find_map(|line| line.strip_prefix("title:"))?;
    collapsed(value.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(markdown: &str) -> Page {
        page(markdown, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn markdown_is_read_without_its_marks() {
        let page = read(
            "# On *Apples*\n\nAn [apple](http://example.org/a \"t\") a\nday,  `cargo run`.\n\n- one\n- **two**\n\n\
             | a | b |\n|---|---|\n| c | d |\n\n```rust\nfn main() {}\n```\n\n<div align=center><b>bold</b> text</div>\n\nend<br>ed\n",
        );
        assert_eq!(page.title.as_deref(), Some("On Apples"));
        assert_eq!(page.text, "On Apples\nAn apple a day, cargo run.\none\ntwo\na b\nc d\nfn main() {}\nbold text\nend ed");
    }

    #[test]
    fn the_head_names_the_title_and_is_no_text() {
        let page = read("---\ntitle: \"The Head\"\ntags: [a]\n---\n\n# Heading\n\ntext\n");
        assert_eq!((page.title.as_deref(), page.text.as_str()), (Some("The Head"), "Heading\ntext"));
        assert_eq!(read("no heading"), Page { title: None, text: "no heading".to_owned() });
        assert_eq!(read(""), Page::default());
    }

    #[test]
    fn nesting_is_no_matter_however_deep() {
        assert!(read(&("> ".repeat(100_000) + "deep")).text.ends_with("deep"));
        assert!(read(&("[".repeat(50_000) + "text")).text.ends_with("text"));
    }
}
