//! Hits as lines for people: the title first, then what tells the hit from others, then where the words were found.

use std::fmt::Write;

use console::Style;
use serde_json::Value;
use warren_protocol::search::{Hit, Relation, SearchResponse};

/// Fields that name a document, the best first.
const TITLES: [&str; 5] = ["title", "name", "subject", "headline", "label"];
/// Fields that say where a document is.
const LINKS: [&str; 4] = ["url", "link", "homepage", "href"];
/// The passages of one hit.
const MAX_PASSAGES: usize = 2;
/// The characters of a text that stands for a document without passages.
const MAX_EXCERPT: usize = 160;

/// How lines look.
#[derive(Clone, Copy)]
pub(super) struct Ink {
    colours: bool,
}

impl Ink {
    /// With colours or without.
    pub(super) fn new(colours: bool) -> Self {
        Self { colours }
    }

    fn style(self, style: Style, text: &str) -> String {
        style.force_styling(self.colours).apply_to(text).to_string()
    }

    fn strong(self, text: &str) -> String {
        self.style(Style::new().bold(), text)
    }

    fn quiet(self, text: &str) -> String {
        self.style(Style::new().dim(), text)
    }

    /// A passage, which is HTML with nothing but `<b>`, as text.
    fn passage(self, html: &str) -> String {
        let mut line = String::new();
        for (number, piece) in html.split("<b>").enumerate() {
            match piece.split_once("</b>") {
                Some((found, rest)) if number > 0 => {
                    line.push_str(&self.style(Style::new().yellow().bold(), &text(found)));
                    line.push_str(&text(rest));
                }
                _ => line.push_str(&text(piece)),
            }
        }
        line
    }
}

/// All hits, and how many there are.
pub(super) fn page(answer: &SearchResponse, offset: u32, ink: Ink) -> String {
    let mut page = String::new();
    for (number, hit) in (offset + 1..).zip(&answer.hits) {
        page.push_str(&lines(number, hit, ink));
    }
    let parts = &answer.partitions;
    let place = format!("in {} ms, {} of {} partitions", answer.took_ms, parts.answered, parts.total);
    let end = match &answer.total {
        Some(total) if total.relation == Relation::Gte => format!("at least {} found {place}", total.value),
        Some(total) => format!("{} found {place}", total.value),
        None => format!("{} shown {place}", answer.hits.len()),
    };
    page + &end + "\n"
}

fn lines(number: u32, hit: &Hit, ink: Ink) -> String {
    let document: Value = serde_json::from_str(hit.document.get()).unwrap_or_default();
    let field = |names: &[&'static str]| {
        names.iter().find_map(|name| Some((*name, document[*name].as_str().filter(|text| !text.trim().is_empty())?)))
    };
    let title = field(&TITLES);
    let mut lines = format!("{number:>3}. {}\n", ink.strong(&one_line(title.map_or(hit.id.as_str(), |(_, title)| title))));
    let id = title.is_some().then(|| one_line(&hit.id));
    let score = hit.score.map(|score| score.to_string());
    let about: Vec<_> = [id, score, field(&LINKS).map(|(_, link)| one_line(link))].into_iter().flatten().collect();
    let mut add = |line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "     {line}");
    };
    add(&ink.quiet(&about.join(" · ")));
    let elsewhere = |name: &str| title.is_none_or(|(title, _)| title != name);
    let passages = hit.highlights.iter().filter(|(name, _)| elsewhere(name));
    let passages: Vec<_> =
        passages.flat_map(|(name, all)| all.first().map(|passage| (name, passage))).take(MAX_PASSAGES).collect();
    for (name, passage) in &passages {
        add(&format!("{} {}", ink.quiet(&format!("{}:", one_line(name))), ink.passage(passage).trim()));
    }
    if passages.is_empty()
        && let Some(excerpt) = longest_text(&document, title.map(|(name, _)| name))
    {
        add(&excerpt);
    }
    lines
}

/// The beginning of the longest text that is no title.
fn longest_text(document: &Value, title: Option<&str>) -> Option<String> {
    let texts = document.as_object()?.iter().filter(|(name, _)| Some(name.as_str()) != title);
    let texts = texts.filter_map(|(_, value)| value.as_str()).filter(|text| text.contains(' '));
    let longest = one_line(texts.max_by_key(|text| text.len())?);
    match longest.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => Some(format!("{}…", longest[..end].trim_end())),
        None => Some(longest),
    }
}

/// A piece of HTML without tags as text.
fn text(html: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    let plain = entities.iter().fold(html.to_owned(), |text, (entity, letter)| text.replace(entity, letter));
    tame(&plain)
}

/// Text on one line.
fn one_line(text: &str) -> String {
    tame(text).trim().to_owned()
}

/// One space for all that is none and looks like some. What would move the cursor, change colours or turn the direction of
/// writing must not come from a document.
fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for letter in text.chars() {
        let space =
            letter.is_whitespace() || letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if !space {
            tamed.push(letter);
        } else if !tamed.ends_with(' ') {
            tamed.push(' ');
        }
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(document: &Value, highlights: &Value) -> SearchResponse {
        let hit = json!({"id": "a", "score": 1.5, "document": document, "highlights": highlights});
        let total = json!({"value": 1, "relation": "eq"});
        let partitions = json!({"total": 4, "answered": 4, "failed": []});
        serde_json::from_value(json!({"took_ms": 3, "total": total, "partitions": partitions, "hits": [hit]})).unwrap()
    }

    #[test]
    fn a_hit_has_its_title_what_tells_it_from_others_and_where_the_words_are() {
        let document = json!({"id": "a", "title": "A web\nserver", "link": "http://a.example/", "body": "long text"});
        let highlights = json!({"title": ["A <b>web</b>"], "body": ["a &lt;tag&gt; &amp;amp;\n <b>web</b> and <b>more</b>"]});
        let plain = page(&answer(&document, &highlights), 9, Ink::new(false));
        let expected = " 10. A web server\n     a · 1.5 · http://a.example/\n     body: a <tag> &amp; web and more\n\
                        1 found in 3 ms, 4 of 4 partitions\n";
        assert_eq!(plain, expected);
        let colourful = page(&answer(&document, &highlights), 9, Ink::new(true));
        assert!(colourful.contains("\u{1b}[1mA web server\u{1b}[0m"), "{colourful:?}");
        assert!(colourful.contains("web\u{1b}[0m and "), "{colourful:?}");
    }

    #[test]
    fn a_hit_without_title_and_passages_has_its_id_and_its_longest_text() {
        let document = json!({"id": "a", "short": "b c", "long": "word ".repeat(100)});
        let shown = page(&answer(&document, &json!({})), 0, Ink::new(false));
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!((lines[0], lines[1]), ("  1. a", "     1.5"));
        assert!(lines[2].starts_with("     word word") && lines[2].ends_with("word…") && lines[2].len() < 180, "{shown}");
    }

    #[test]
    fn a_document_cannot_drive_the_terminal() {
        let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}red";
        let document = json!({"id": "a", "title": evil, "url": evil, "text": evil.repeat(3)});
        for highlights in [json!({}), json!({evil: [format!("<b>{evil}</b> {evil}")]})] {
            let shown = page(&answer(&document, &highlights), 0, Ink::new(false));
            assert!(shown.contains("red") && !shown.contains(|letter: char| letter != '\n' && letter.is_control()), "{shown:?}");
            assert!(!shown.contains('\u{202e}'));
        }
    }
}
