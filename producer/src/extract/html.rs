//! HTML as a sequence of blocks of text.
//!
//! The tokens of html5ever are enough for that, without the tree that browsers build from them: so a page costs what it is long,
//! however its elements are nested.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use html5ever::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::content::{Block, Region, main_text};
use super::{ExtractError, Page, collapsed};

/// Between two looks at the clock.
const CHUNK_BYTES: usize = 16 * 1024;
/// Elements that are remembered as open; what lies deeper belongs to the last of them.
const MAX_DEPTH: usize = 512;

/// The title and the main content of a page.
pub(super) fn page(html: &str, limit: Duration) -> Result<Page, ExtractError> {
    let (title, blocks) = read(html, limit)?;
    Ok(Page { title, text: main_text(&blocks) })
}

/// All of its text, for a piece of HTML inside of something else.
pub(super) fn text(html: &str, limit: Duration) -> Result<Vec<String>, ExtractError> {
    Ok(read(html, limit)?.1.into_iter().map(|block| block.text).collect())
}

fn read(html: &str, limit: Duration) -> Result<(Option<String>, Vec<Block>), ExtractError> {
    let start = Instant::now();
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = html;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(rest.floor_char_boundary(CHUNK_BYTES));
        rest = behind;
        queue.push_back(StrTendril::from_slice(chunk));
        // It stops early only for scripts that the sink wants to run.
        while let TokenizerResult::Script(()) | TokenizerResult::EncodingIndicator(_) = tokenizer.feed(&queue) {}
        if start.elapsed() > limit {
            return Err(ExtractError::TooSlow);
        }
    }
    tokenizer.end();
    let mut reading = tokenizer.sink.0.take();
    reading.end_block();
    let title = [reading.title, reading.shared_title, reading.first_heading].into_iter().flatten().next();
    Ok((title, reading.blocks))
}

#[derive(Default)]
struct Sink(RefCell<Reading>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut reading = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => reading.text(&text),
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return reading.start(&tag),
            Token::TagToken(tag) => reading.end(&tag.name),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// What an open element means for the text in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Main,
    Surroundings,
    /// Its text is not for readers.
    Hidden,
    /// Its text is the title.
    Title,
}

/// How far a page is read.
#[derive(Default)]
struct Reading {
    title: Option<String>,
    /// What the page wants to be called where it is shared.
    shared_title: Option<String>,
    first_heading: Option<String>,
    blocks: Vec<Block>,
    open: Vec<(String, Effect)>,
    /// Open elements that were too deep to be remembered.
    deeper: usize,
    in_link: bool,
    in_heading: bool,
    /// Of the block that is being read: its text, and where in it links are.
    text: String,
    linked: usize,
}

impl Reading {
    fn text(&mut self, text: &str) {
        match self.effect(|effect| matches!(effect, Effect::Hidden | Effect::Title)) {
            Some(Effect::Title) => {
                // The text of one title may come in pieces.
                let title = self.title.get_or_insert_default();
                title.push_str(text);
            }
            Some(_) => {}
            None => {
                self.text.push_str(text);
                if self.in_link {
                    self.linked += text.split_whitespace().count();
                }
            }
        }
    }

    /// The effect of the innermost open element that has one like this.
    fn effect(&self, like: impl Fn(Effect) -> bool) -> Option<Effect> {
        self.open.iter().rev().map(|(_, effect)| *effect).find(|effect| like(*effect))
    }

    fn region(&self) -> Region {
        match self.effect(|effect| matches!(effect, Effect::Main | Effect::Surroundings)) {
            Some(Effect::Main) => Region::Main,
            Some(_) => Region::Surroundings,
            None => Region::Unmarked,
        }
    }

    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name = &*tag.name;
        match name {
            "a" => self.in_link = true,
            "br" | "td" | "th" | "img" | "wbr" | "input" => self.text.push(' '),
            "meta" if attribute(tag, "property") == Some("og:title") => {
                self.shared_title = attribute(tag, "content").and_then(collapsed);
            }
            _ if is_inline(name) => {}
            _ => self.end_block(),
        }
        if is_heading(name) {
            self.in_heading = true;
        }
        if let Some(effect) = self.effect_of(tag) {
            self.push(name, effect);
        }
        match name {
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
            "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            "plaintext" => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }

    /// `None` for elements whose end does not matter.
    fn effect_of(&self, tag: &Tag) -> Option<Effect> {
        let in_main = || self.region() == Region::Main;
        let effect = match &*tag.name {
            "script" | "style" | "noscript" | "template" | "svg" | "math" | "iframe" | "object" | "select" | "datalist"
            | "button" | "textarea" | "canvas" | "audio" | "video" | "noembed" | "noframes" => Effect::Hidden,
            "title" if self.title.is_none() && !self.open.iter().any(|(_, effect)| *effect == Effect::Hidden) => Effect::Title,
            "title" => Effect::Hidden,
            "main" | "article" => Effect::Main,
            "nav" | "aside" | "footer" => Effect::Surroundings,
            "header" if !in_main() => Effect::Surroundings,
            "header" | "div" | "section" | "span" | "ul" | "ol" | "table" | "form" => match attribute(tag, "role") {
                Some("main" | "article") => Effect::Main,
                Some(
                    "navigation" | "banner" | "contentinfo" | "complementary" | "search" | "menu" | "dialog" | "alertdialog",
                ) => Effect::Surroundings,
                _ => Effect::None,
            },
            _ => return None,
        };
        let hidden = attribute(tag, "hidden").is_some() || attribute(tag, "aria-hidden") == Some("true");
        Some(if hidden && effect != Effect::Title { Effect::Hidden } else { effect })
    }

    fn push(&mut self, name: &str, effect: Effect) {
        if self.open.len() < MAX_DEPTH {
            self.open.push((name.to_owned(), effect));
        } else {
            self.deeper += 1;
        }
    }

    fn end(&mut self, name: &str) {
        if name == "a" {
            self.in_link = false;
        }
        if !is_inline(name) && !matches!(name, "td" | "th") {
            self.end_block();
        }
        if is_heading(name) {
            self.in_heading = false;
        }
        if self.open.iter().any(|(open, _)| open == name) {
            if self.deeper > 0 {
                self.deeper -= 1;
            } else if let Some(at) = self.open.iter().rposition(|(open, _)| open == name) {
                self.open.truncate(at);
            }
        }
        if name == "title" {
            self.title = self.title.take().as_deref().and_then(collapsed);
        }
    }

    fn end_block(&mut self) {
        let linked = std::mem::take(&mut self.linked);
        let text = std::mem::take(&mut self.text);
        let Some(text) = collapsed(&text) else { return };
        if self.in_heading && self.first_heading.is_none() {
            self.first_heading = Some(text.clone());
        }
        let words = text.split(' ').count();
        self.blocks.push(Block { words, linked: linked.min(words), region: self.region(), heading: self.in_heading, text });
    }
}

fn attribute<'a>(tag: &'a Tag, name: &str) -> Option<&'a str> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

fn is_heading(name: &str) -> bool {
    matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6")
}

/// Elements within a run of text; all others end a block.
fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr"
            | "acronym"
            | "b"
            | "bdi"
            | "bdo"
            | "big"
            | "cite"
            | "code"
            | "data"
            | "del"
            | "dfn"
            | "em"
            | "font"
            | "i"
            | "ins"
            | "kbd"
            | "label"
            | "mark"
            | "meta"
            | "q"
            | "rp"
            | "rt"
            | "ruby"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strike"
            | "strong"
            | "sub"
            | "sup"
            | "time"
            | "tt"
            | "u"
            | "var"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_page(html: &str) -> Page {
        page(html, Duration::from_secs(60)).unwrap()
    }

    const ARTICLE: &str = "<!DOCTYPE html><html><head><title> On\n Apples </title><style>p { color: red }</style>
        <script>if (a < b) { document.write('<p>script</p>') }</script></head>
        <body><header><a href=/>Home</a> <a href=/news>News</a></header><nav><ul><li><a href=/x>Menu</a></ul></nav>
        <main><h1>Apples &amp; cakes</h1><p>The <em>apple</em> cake&nbsp;is <a href=/baked>baked</a>.<br>Then eaten
        <p>A second paragraph<script>tracker()</script> with<wbr>out end<div hidden>secret</div><aside>Advertisement</aside></main>
        <footer>Imprint</footer></body></html>";

    #[test]
    fn a_page_is_its_title_and_its_main_part() {
        let page = read_page(ARTICLE);
        assert_eq!(page.title.as_deref(), Some("On Apples"));
        assert_eq!(page.text, "Apples & cakes\nThe apple cake is baked. Then eaten\nA second paragraph with out end");
    }

    #[test]
    fn titles_come_from_where_there_is_one() {
        for (html, title) in [
            ("<title>a</title><title>b</title><h1>c</h1>", Some("a")),
            ("<svg><title>drawing</title></svg><h2>c <b>d</b></h2>", Some("c d")),
            ("<meta property=og:title content='shared  title'><h1>c</h1>", Some("shared title")),
            ("<title>&lt;script&gt;</title>", Some("<script>")),
            ("<title></title><p>text", None),
        ] {
            assert_eq!(read_page(html).title.as_deref(), title, "{html}");
        }
    }

    #[test]
    fn what_is_not_for_readers_is_left_out_and_what_is_broken_is_read() {
        for (html, text) in [
            ("apple apple cat zebra", "apple apple cat zebra"),
            ("<p>one<p>two<table><tr><td>a<td>b<tr><td>c</table>", "one\ntwo\na b\nc"),
            ("<ul><li>one<li>two</ul>", "one\ntwo"),
            ("</nav></div>text</p>", "text"),
            ("<p>text<!-- comment --> more<", "text more <"),
            ("<script>never ended", ""),
            ("<select><option>a<option>b</select><p>text", "text"),
            ("<div aria-hidden=true>x</div>y", "y"),
            ("<p>a</p>\0<p>b", "a\nb"),
            ("<textarea><p>typed</textarea>text", "text"),
            ("wo<b>r</b>d", "word"),
            ("&#x41;&amp;&unknown;", "A&&unknown;"),
            ("", ""),
        ] {
            assert_eq!(read_page(html).text, text, "{html}");
        }
    }

    #[test]
    fn nesting_is_no_matter_however_deep() {
        let deep = format!("{}deep{}<p>after", "<div><nav>".repeat(200_000), "</nav></div>".repeat(200_000));
        assert_eq!(read_page(&deep).text, "after");
        let links = "<a href=x>".repeat(100_000) + "text";
        assert_eq!(read_page(&links).text, "text");
    }

    #[test]
    fn what_is_made_to_take_time_is_given_up() {
        let tag: String = (0..300_000).map(|number| format!(" a{number}")).collect();
        assert_eq!(page(&format!("<p{tag}>"), Duration::from_millis(50)), Err(ExtractError::TooSlow));
    }
}
