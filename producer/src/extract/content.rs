//! Which blocks of a page are its content, and which are what every page of its site has: menus, banners, footers.
//!
//! What a page says about itself (`main`, `article`, `nav`, `aside`, …) comes first. Without it, the shape decides: content is blocks of
//! several words that are not mostly links, and the short ones beside them. If that leaves little, everything but the
//! marked surroundings is the content: for a search it is worse to lose text than to keep a menu.

/// A run of text that no block element divides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// White space collapsed.
    pub text: String,
    /// Its words.
    pub words: usize,
    /// Those of them that stand in links.
    pub linked: usize,
    /// Where it stands.
    pub region: Region,
    /// Whether it is a heading.
    pub heading: bool,
}

/// Where a block stands, by what the page says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Region {
    /// In the main part, or in an article.
    Main,
    /// In a menu, a banner, a footer, a side bar.
    Surroundings,
    /// The page does not say.
    #[default]
    Unmarked,
}

/// A block of so many words is a paragraph.
const PARAGRAPH_WORDS: usize = 15;
/// So many words are a text.
const ENOUGH_WORDS: usize = 25;

impl Block {
    /// Not mostly links.
    fn is_prose(&self) -> bool {
        self.linked * 3 <= self.words
    }

    fn is_paragraph(&self) -> bool {
        self.words >= PARAGRAPH_WORDS && self.is_prose()
    }
}

/// The text of the blocks that are content, a line each.
pub(super) fn main_text(blocks: &[Block]) -> String {
    let within = |region: Region| blocks.iter().filter(move |block| block.region == region).collect::<Vec<_>>();
    let marked = within(Region::Main);
    let unmarked = within(Region::Unmarked);
    if words(&marked) >= ENOUGH_WORDS || (!marked.is_empty() && words(&marked) * 2 >= words(&unmarked)) {
        return lines(&marked);
    }
    // An empty main part, or a heading alone, marks nothing.
    let candidates: Vec<_> = blocks.iter().filter(|block| block.region != Region::Surroundings).collect();
    let chosen = by_shape(&candidates);
    if words(&chosen) >= ENOUGH_WORDS && words(&chosen) * 4 >= words(&candidates) {
        return lines(&chosen);
    }
    if words(&candidates) > 0 {
        return lines(&candidates);
    }
    lines(&blocks.iter().collect::<Vec<_>>())
}

/// Paragraphs, what stands beside them, and the headings above.
fn by_shape<'a>(blocks: &[&'a Block]) -> Vec<&'a Block> {
    let paragraph = |at: Option<usize>| at.and_then(|at| blocks.get(at)).is_some_and(|block| block.is_paragraph());
    let mut chosen: Vec<bool> = (0..blocks.len())
        .map(|at| {
            let beside = paragraph(at.checked_sub(1)) || paragraph(at.checked_add(1));
            blocks[at].is_paragraph() || (beside && blocks[at].is_prose())
        })
        .collect();
    for at in (1..blocks.len()).rev() {
        if chosen[at] && blocks[at - 1].heading {
            chosen[at - 1] = true;
        }
    }
    blocks.iter().zip(chosen).filter_map(|(block, chosen)| chosen.then_some(*block)).collect()
}

fn words(blocks: &[&Block]) -> usize {
    blocks.iter().map(|block| block.words).sum()
}

fn lines(blocks: &[&Block]) -> String {
    blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str, linked: usize, region: Region) -> Block {
        Block { text: text.to_owned(), words: text.split(' ').count(), linked, region, heading: false }
    }

    fn prose(word: &str) -> Block {
        block(&[word; 20].join(" "), 0, Region::Unmarked)
    }

    #[test]
    fn what_the_page_marks_is_its_content() {
        let blocks = [prose("menu"), block(&["story"; 30].join(" "), 2, Region::Main), prose("footer")];
        assert_eq!(main_text(&blocks), blocks[1].text);
        let short = [block("apple cat", 0, Region::Main), block("home", 1, Region::Unmarked)];
        assert_eq!(main_text(&short), "apple cat");
        let empty = [block("title", 0, Region::Main), prose("a"), prose("b")];
        assert_eq!(main_text(&empty).lines().count(), 3, "a heading alone is no main part");
    }

    #[test]
    fn without_marks_the_shape_decides() {
        let menu = block("home news about contact", 4, Region::Unmarked);
        let heading = Block { heading: true, ..block("Of apples", 0, Region::Unmarked) };
        let [first, second, last] = ["apple", "cake", "whale"].map(prose);
        let aside = block("short remark", 0, Region::Unmarked);
        let imprint = block("imprint privacy terms", 3, Region::Unmarked);
        let blocks = [menu.clone(), menu, heading, first, aside, second, last, imprint.clone(), imprint];
        let text = main_text(&blocks);
        assert!(text.starts_with("Of apples\napple") && text.ends_with("whale") && text.contains("short remark"), "{text}");
        assert!(!text.contains("imprint") && !text.contains("home"), "{text}");
    }

    #[test]
    fn a_page_of_few_words_keeps_them_all() {
        let blocks = [block("apple apple cat zebra", 0, Region::Unmarked), block("cake", 1, Region::Unmarked)];
        assert_eq!(main_text(&blocks), "apple apple cat zebra\ncake");
        let menu = [block("only a menu", 3, Region::Surroundings)];
        assert_eq!(main_text(&menu), "only a menu");
        assert_eq!(main_text(&[]), "");
    }
}
