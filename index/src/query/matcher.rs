//! Patterns as automata over bytes: they walk the dictionary of words, and recognise words for highlighting.
//!
//! Each is built completely before it runs, within a limit of memory: what would be too large is refused and cannot grow while it runs.

use std::fmt;
use std::sync::OnceLock;

use levenshtein_automata::{DFA, Distance, LevenshteinAutomatonBuilder, SINK_STATE};
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, MatchKind, nfa::thompson, util::syntax};
use tantivy_fst::Automaton;
use warren_protocol::query::{MAX_PATTERN_CHARS, Pattern};

/// The memory that one automaton may take, and the making of it.
const MAX_BYTES: usize = 4 << 20;
/// The longest word with typos, in characters: each needs some 70 states of 1 KB.
const MAX_NEAR_CHARS: usize = 50;
/// The states of levenshtein_automata have a transition of 4 bytes for each byte.
const NEAR_STATE_BYTES: usize = 1024;
/// The state of what cannot match any more.
const DEAD: u32 = u32::MAX;

/// Recognises the words that a pattern describes.
pub(crate) struct Matcher {
    machine: Machine,
    bytes: usize,
}

enum Machine {
    /// A state is how many bytes were right.
    Prefix(Vec<u8>),
    /// A state is one of the automaton.
    Regex { dfa: Box<dense::DFA<Vec<u32>>>, start: u32 },
    /// A state is how many bytes of the prefix were right, or behind those one of the automaton.
    Near { prefix: Vec<u8>, dfa: DFA },
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Matcher {
    /// Of a pattern; `fold` for words that are in lower case. The error is for whoever wrote it.
    pub(super) fn new(pattern: &Pattern, fold: bool) -> Result<Self, String> {
        let folded = |text: &str| if fold { text.to_lowercase() } else { text.to_owned() };
        match pattern {
            Pattern::Prefix(prefix) => {
                let prefix = folded(prefix).into_bytes();
                Ok(Self { bytes: prefix.len(), machine: Machine::Prefix(prefix) })
            }
            Pattern::Wildcard(wildcard) => Self::regex(wildcard, &regex_of(&folded(wildcard)), false),
            Pattern::Regex(regex) => Self::regex(regex, regex, fold),
            Pattern::Fuzzy { word, fuzziness, prefix_chars } => {
                let word = folded(word);
                let chars = word.chars().count();
                if chars > MAX_NEAR_CHARS {
                    return Err(format!(
                        "{word:?} has {chars} characters: with typos, words of up to {MAX_NEAR_CHARS} are found"
                    ));
                }
                let prefix_bytes = word.chars().take(*prefix_chars as usize).map(char::len_utf8).sum();
                let (prefix, rest) = word.split_at(prefix_bytes);
                let dfa = near_builder(fuzziness.of(&word)).build_dfa(rest);
                let bytes = dfa.num_states() * NEAR_STATE_BYTES;
                Ok(Self { bytes, machine: Machine::Near { prefix: prefix.as_bytes().to_vec(), dfa } })
            }
        }
    }

    fn regex(written: &str, regex: &str, fold: bool) -> Result<Self, String> {
        if written.chars().count() > MAX_PATTERN_CHARS {
            return Err(format!("a pattern has at most {MAX_PATTERN_CHARS} characters"));
        }
        let refuse = |reason: &str| format!("the pattern {written:?} cannot be searched: {reason}");
        let too_large = || refuse("it would take too much memory: repeat less, or smaller sets");
        let syntax = syntax::Config::new().case_insensitive(fold).nest_limit(50);
        let parsed = syntax::parse_with(regex, &syntax).map_err(|error| {
            // The lines before show the place with a caret.
            let text = error.to_string();
            refuse(text.lines().last().unwrap_or(&text).trim_start_matches("error: "))
        })?;
        let nfa = thompson::Compiler::new()
            .configure(thompson::Config::new().nfa_size_limit(Some(MAX_BYTES)))
            .build_from_hir(&parsed)
            .map_err(|error| if error.size_limit().is_some() { too_large() } else { refuse(&error.to_string()) })?;
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            // All ways to match go on, so that the whole word decides.
            .match_kind(MatchKind::All)
            .dfa_size_limit(Some(MAX_BYTES))
            .determinize_size_limit(Some(MAX_BYTES));
        let dfa = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&nfa)
            .map_err(|error| if error.is_size_limit_exceeded() { too_large() } else { refuse(&error.to_string()) })?;
        let start = dfa.start_state_forward(&Input::new("").anchored(Anchored::Yes)).map_err(|error| error.to_string())?;
        Ok(Self { bytes: dfa.memory_usage(), machine: Machine::Regex { start: start.as_u32(), dfa: Box::new(dfa) } })
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it describes this word.
    pub(crate) fn matches(&self, word: &str) -> bool {
        let end = word.bytes().fold(self.start(), |state, byte| self.accept(&state, byte));
        self.is_match(&end)
    }
}

/// Building these takes milliseconds, so it happens once.
fn near_builder(edits: u8) -> &'static LevenshteinAutomatonBuilder {
    static BUILDERS: [OnceLock<LevenshteinAutomatonBuilder>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    let edits = edits.min(2);
    BUILDERS[usize::from(edits)].get_or_init(|| LevenshteinAutomatonBuilder::new(edits, true))
}

/// `*` and `?` as a regular expression.
fn regex_of(wildcard: &str) -> String {
    let mut regex = String::from("(?s)");
    let mut characters = wildcard.chars();
    while let Some(character) = characters.next() {
        match character {
            // Two stars are one, and cost more.
            '*' if regex.ends_with(".*") => {}
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => push_literal(&mut regex, characters.next().unwrap_or('\\')),
            literal => push_literal(&mut regex, literal),
        }
    }
    regex
}

fn push_literal(regex: &mut String, literal: char) {
    if literal.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(literal);
}

fn state(id: u32) -> StateID {
    StateID::new_unchecked(id as usize)
}

impl Automaton for Matcher {
    type State = u32;

    fn start(&self) -> u32 {
        match &self.machine {
            Machine::Prefix(_) => 0,
            Machine::Regex { start, .. } => *start,
            Machine::Near { prefix, dfa } if prefix.is_empty() => dfa.initial_state(),
            Machine::Near { .. } => 0,
        }
    }

    fn is_match(&self, at: &u32) -> bool {
        match &self.machine {
            Machine::Prefix(prefix) => *at as usize == prefix.len(),
            Machine::Regex { dfa, .. } => *at != DEAD && dfa.is_match_state(dfa.next_eoi_state(state(*at))),
            Machine::Near { prefix, dfa } => {
                let behind = (*at as usize).checked_sub(prefix.len()).filter(|_| *at != DEAD);
                behind.is_some_and(|behind| matches!(dfa.distance(behind as u32), Distance::Exact(_)))
            }
        }
    }

    fn can_match(&self, at: &u32) -> bool {
        *at != DEAD
    }

    fn will_always_match(&self, at: &u32) -> bool {
        matches!(&self.machine, Machine::Prefix(prefix) if *at as usize == prefix.len())
    }

    fn accept(&self, at: &u32, byte: u8) -> u32 {
        if *at == DEAD {
            return DEAD;
        }
        match &self.machine {
            Machine::Prefix(prefix) => match prefix.get(*at as usize) {
                None => *at,
                Some(expected) if *expected == byte => *at + 1,
                Some(_) => DEAD,
            },
            Machine::Regex { dfa, .. } => {
                let next = dfa.next_state(state(*at), byte);
                if dfa.is_dead_state(next) || dfa.is_quit_state(next) { DEAD } else { next.as_u32() }
            }
            Machine::Near { prefix, dfa } => {
                let first = prefix.len() as u32;
                match prefix.get(*at as usize) {
                    Some(expected) if *expected != byte => DEAD,
                    Some(_) if *at + 1 == first => first + dfa.initial_state(),
                    Some(_) => *at + 1,
                    None => match dfa.transition(*at - first, byte) {
                        SINK_STATE => DEAD,
                        next => first + next,
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::query::Fuzziness;

    fn matcher(pattern: Pattern, fold: bool) -> Matcher {
        Matcher::new(&pattern, fold).unwrap()
    }

    fn near(word: &str, edits: u8, prefix_chars: u32) -> Pattern {
        Pattern::Fuzzy { word: word.to_owned(), fuzziness: Fuzziness::Edits(edits), prefix_chars }
    }

    #[test]
    fn patterns_match_whole_words() {
        for (pattern, matching, others) in [
            (Pattern::Prefix("Ser".into()), "ser server", "se xser"),
            (Pattern::Wildcard("w?Ld*".into()), "wild wüld wildcard", "wld world old wil"),
            (Pattern::Wildcard("*.txt".into()), "a.txt .txt ü.txt", "atxt a.txtx"),
            (Pattern::Wildcard("**a**".into()), "a bab", "b"),
            (Pattern::Wildcard("a\\*b".into()), "a*b", "axb ab"),
            (Pattern::Regex("a|ab|b+c?".into()), "a ab b bbc", "abb c ac"),
            (Pattern::Regex("W[0-9]{2,3}".into()), "w12 w123", "w1 w1234"),
            (Pattern::Regex("ä.".into()), "äö äx", "ä äxx"),
            (Pattern::Regex("(?:x*?)y?".into()), "x xxy y", "z xz"),
            (near("server", 1, 0), "server servr sever serverx esrver sörver", "svr servant"),
            (near("server", 2, 0), "srvr servers serverxx", "servant svr"),
            (near("größe", 1, 0), "größe grße gröe", "grösse gr"),
            (near("server", 2, 3), "server serber serv", "sarver xerver"),
        ] {
            let matcher = matcher(pattern.clone(), true);
            for word in matching.split_whitespace() {
                assert!(matcher.matches(word), "{pattern:?} {word}");
            }
            for word in others.split_whitespace() {
                assert!(!matcher.matches(word), "{pattern:?} {word}");
            }
        }
        assert!(!matcher(Pattern::Prefix("Ser".into()), false).matches("server"));
        assert!(!matcher(Pattern::Regex("S.*".into()), false).matches("server"));
    }

    #[test]
    fn what_would_be_too_large_or_is_wrong_is_refused() {
        for (regex, part) in [
            ("((a{100}){100}){100}", "memory"),
            ("(.*a){20}.{200}", "memory"),
            ("[\\w]{200}", "memory"),
            ("(", "unclosed"),
            ("a**{", "repetition"),
            ("\\bword\\b", "Unicode"),
            (&format!("{}a{}", "(".repeat(100), ")".repeat(100)), "nest"),
        ] {
            let error = Matcher::new(&Pattern::Regex(regex.to_owned()), true).unwrap_err();
            assert!(error.contains(part), "{regex}: {error}");
        }
        let gaps = Matcher::new(&Pattern::Wildcard("?*a".repeat(80)), true);
        assert!(gaps.is_err() || gaps.is_ok_and(|matcher| matcher.bytes() <= MAX_BYTES));
        assert!(Matcher::new(&near(&"x".repeat(51), 2, 0), true).is_err());
        let longest = Matcher::new(&near(&"abcdefghij".repeat(5), 2, 0), true).unwrap();
        assert!(longest.bytes() < 8 << 20, "{}", longest.bytes());
    }
}
