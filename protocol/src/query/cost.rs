//! How much a query costs, by its form alone: a guess, enough to tell those that many people may ask at once from those that take a processor for
//! long.

use super::{Bool, Clause, Fuzziness, Kind, Pattern, Query};

/// What a range costs, whose values are looked up or gone through.
const RANGE: usize = 4;
/// How many exact values cost as much as a word, which has to be scored.
const VALUES: usize = 8;
/// The length of words where there are no blanks between them, in bytes.
const WORD_BYTES: usize = 16;
/// What a word with typos and a pattern cost: an automaton, and a walk through the dictionary.
const WALK: usize = 16;
/// What a regular expression costs: its automaton may be large.
const REGEX: usize = 100;

impl Query {
    /// About how many words would cost as much to look up. What they match, and how often, is not in it.
    pub fn cost(&self) -> usize {
        self.root.cost()
    }
}

impl Clause {
    fn cost(&self) -> usize {
        let all = |clauses: &[Self]| clauses.iter().map(Self::cost).sum::<usize>();
        match &self.kind {
            Kind::Bool(Bool { must, should, must_not, filter, .. }) => all(must) + all(should) + all(must_not) + all(filter),
            Kind::Constant(inner) | Kind::Lenient(inner) => all(inner),
            Kind::Match { text, fuzziness, .. } => words(text, *fuzziness),
            Kind::Phrase { text, .. } => words(text, Fuzziness::Exact),
            Kind::Terms { values, .. } | Kind::Ids(values) => 1 + values.len() / VALUES,
            Kind::Range { .. } => RANGE,
            Kind::Pattern { pattern: Pattern::Regex(_), .. } => REGEX,
            Kind::Pattern { .. } => WALK,
            Kind::All | Kind::Nothing | Kind::Exists { .. } => 1,
        }
    }
}

fn words(text: &str, fuzziness: Fuzziness) -> usize {
    let cost = |word| if fuzziness.of(word) == 0 { 1 } else { WALK };
    text.split_whitespace().map(cost).sum::<usize>().max(text.len() / WORD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::TextOptions;

    #[test]
    fn a_query_costs_what_its_words_and_patterns_do() {
        let cost = |text: &str| Query::parse(text, false).unwrap().cost();
        assert_eq!(cost("web server"), 2);
        assert_eq!(cost("+web -(mail \"two words\") section:net"), 5);
        assert_eq!(cost("serv*"), WALK);
        assert_eq!(cost("size:[1 TO 5] sever~"), RANGE + WALK);
        assert_eq!(cost("title:/(a|b)*/"), REGEX);
        assert_eq!(cost(&"語".repeat(WORD_BYTES)), 3);
        let with_typos = TextOptions { fuzziness: Fuzziness::Auto, ..TextOptions::default() };
        assert_eq!(Query::parse_with("ab sever", &with_typos).unwrap().cost(), 1 + WALK);
    }
}
