//! Names, words and their suffixes.

use super::super::error::QueryError;
use super::super::{Fuzziness, Kind, MAX_FUZZINESS, MAX_PATTERN_CHARS, Minimum, Pattern};
use super::{Found, Parser};

/// A character, and whether a backslash stood in front of it, so that it means itself.
type Read = (char, bool);

impl Parser {
    /// The name of a field in front of a colon, both consumed. A colon within a text, as in `http://…`, `std::vector` or `see: there`, makes
    /// none.
    pub(super) fn name(&mut self) -> Result<Option<String>, QueryError> {
        let start = self.at;
        let mut name = String::new();
        loop {
            match self.peek() {
                Some(':') if !name.is_empty() => break,
                Some('\\') => {
                    self.at += 1;
                    name.extend(self.peek());
                }
                Some('(' | ')' | '[' | ']' | '{' | '}' | '"' | '^' | '~' | '*' | '?' | '/' | '<' | '>' | ':') | None => {
                    self.at = start;
                    return Ok(None);
                }
                Some(character) if character.is_whitespace() => {
                    self.at = start;
                    return Ok(None);
                }
                Some(character) => name.push(character),
            }
            self.at += 1;
        }
        self.at += 1;
        let within_text = self.peek() == Some(':') || (self.peek() == Some('/') && self.ahead(1) == Some('/'));
        let odd = self.lenient && !name.starts_with(|first: char| first.is_alphabetic() || first == '_');
        if within_text || odd {
            self.at = start;
            return Ok(None);
        }
        if self.ends_operand(0) {
            let after = self.at;
            self.skip_blanks();
            if self.begins_set() {
                return Ok(Some(name));
            }
            let reason = format!("a value has to follow {name}: without a blank; write {name}\\: for the text");
            self.refuse::<()>(after, reason)?;
            self.at = start;
            return Ok(None);
        }
        Ok(Some(name))
    }

    /// A word, with wildcards and suffixes.
    pub(super) fn word(&mut self, field: Option<String>) -> Found {
        let start = self.at;
        let mut word = Vec::new();
        let mut suffix = Suffix::default();
        while let Some(character) = self.peek().filter(|_| !self.ends_word(0)) {
            match character {
                '\\' => {
                    self.at += 1;
                    match self.peek() {
                        Some(next) => word.push((next, true)),
                        None => {
                            self.refuse::<()>(self.at - 1, "a backslash stands in front of a character: write \\\\ for itself")?;
                            break;
                        }
                    }
                }
                '^' | '~' if !word.is_empty() => {
                    if let Some(found) = self.suffix()? {
                        suffix = found;
                        break;
                    }
                    word.push((character, false));
                }
                _ => word.push((character, false)),
            }
            self.at += 1;
        }
        let clause = match suffix.edits {
            Some(edits) => self.fuzzy(start, field, word, edits)?,
            None => self.plain(start, field, word)?,
        };
        Ok(clause.map(|kind| super::Clause::from(kind).boosted(suffix.boost)))
    }

    fn fuzzy(&self, start: usize, field: Option<String>, word: Vec<Read>, edits: Edits) -> Result<Option<Kind>, QueryError> {
        if word.iter().any(|read| is_wildcard(*read)) {
            self.refuse::<()>(start, "a word has either wildcards or a ~: write \\*, \\? or \\~ for the character")?;
            return self.plain(start, field, word);
        }
        let fuzziness = match edits {
            Edits::Auto => Fuzziness::Auto,
            Edits::Count(edits) => {
                if edits > u32::from(MAX_FUZZINESS) {
                    let reason = format!("words may be up to {MAX_FUZZINESS} letters apart: take word~, word~1 or word~2");
                    self.refuse::<()>(start, reason)?;
                }
                Fuzziness::Edits(u8::try_from(edits).unwrap_or(MAX_FUZZINESS).min(MAX_FUZZINESS))
            }
        };
        let word = text(&word);
        if word.chars().count() > MAX_PATTERN_CHARS {
            return self.refuse(start, format!("a word with a ~ has at most {MAX_PATTERN_CHARS} characters"));
        }
        Ok(Some(Kind::Pattern { field, pattern: Pattern::Fuzzy { word, fuzziness, prefix_chars: 0 } }))
    }

    fn plain(&self, start: usize, field: Option<String>, mut word: Vec<Read>) -> Result<Option<Kind>, QueryError> {
        if self.lenient && word.contains(&('?', false)) {
            // At its end it ends a question.
            let is_mark = |(character, _): &Read| !character.is_alphanumeric() && *character != '*';
            while word.last().is_some_and(is_mark) {
                word.pop();
            }
        }
        if word.is_empty() {
            return Ok(None);
        }
        let wildcards = word.iter().filter(|read| is_wildcard(**read)).count();
        if wildcards == 0 {
            let (text, fuzziness) = (text(&word), self.fuzziness);
            return Ok(Some(match fuzziness {
                Fuzziness::Exact => Kind::Phrase { field, text, slop: 0 },
                fuzziness => Kind::Match { field, text, minimum: Some(Minimum::ALL), fuzziness },
            }));
        }
        if word == [('*', false)] {
            return Ok(Some(field.map_or(Kind::All, |field| Kind::Exists { field })));
        }
        if !word.iter().any(|read| !is_wildcard(*read) && read.0.is_alphanumeric()) {
            return self.refuse(
                start,
                "wildcards need a letter or a digit beside them; * alone finds all documents, field:* those with a value",
            );
        }
        if word.len() > MAX_PATTERN_CHARS {
            return self.refuse(start, format!("a word with wildcards has at most {MAX_PATTERN_CHARS} characters"));
        }
        let pattern = if wildcards == 1 && word.last() == Some(&('*', false)) {
            word.pop();
            Pattern::Prefix(text(&word))
        } else {
            Pattern::Wildcard(wildcard(&word))
        };
        Ok(Some(Kind::Pattern { field, pattern }))
    }

    /// `~`, `~1`, `^2` or `~1^2` at the end of a word, consumed.
    fn suffix(&mut self) -> Result<Option<Suffix>, QueryError> {
        let start = self.at;
        let mut suffix = Suffix { boost: 1.0, edits: None };
        if self.peek() == Some('~') {
            self.at += 1;
            let digits = self.digits();
            // A number that is too large for the type is too large for the rule.
            suffix.edits = Some(if digits.is_empty() { Edits::Auto } else { Edits::Count(digits.parse().unwrap_or(u32::MAX)) });
        }
        if self.peek() == Some('^')
            && let Some(boost) = self.number_after_caret()
        {
            suffix.boost = boost;
        }
        if self.at > start && self.ends_operand(0) {
            return Ok(Some(suffix));
        }
        self.at = start;
        self.refuse(start, "behind a word stand ~ or ~1 for words that are near, and ^2 for what it counts; write \\~ and \\^ for the characters")
    }

    /// What a group, a phrase or a range counts: 1 without `^`.
    pub(super) fn boost(&mut self) -> Result<f32, QueryError> {
        if self.peek() != Some('^') {
            return Ok(1.0);
        }
        let start = self.at;
        if let Some(boost) = self.number_after_caret() {
            return Ok(boost);
        }
        self.refuse::<()>(start, "a number has to follow ^, as in word^2; write \\^ for the character")?;
        self.at += 1;
        Ok(1.0)
    }

    fn number_after_caret(&mut self) -> Option<f32> {
        let start = self.at;
        self.at += 1;
        let mut number = self.digits();
        if self.peek() == Some('.') {
            self.at += 1;
            number = format!("{number}.{}", self.digits());
        }
        let number = number.parse().ok();
        if number.is_none() {
            self.at = start;
        }
        number
    }

    pub(super) fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        digits
    }
}

/// What stands behind a word.
struct Suffix {
    boost: f32,
    edits: Option<Edits>,
}

impl Default for Suffix {
    fn default() -> Self {
        Self { boost: 1.0, edits: None }
    }
}

#[derive(Clone, Copy)]
enum Edits {
    Auto,
    Count(u32),
}

fn is_wildcard((character, escaped): Read) -> bool {
    !escaped && matches!(character, '*' | '?')
}

fn text(word: &[Read]) -> String {
    word.iter().map(|(character, _)| character).collect()
}

fn wildcard(word: &[Read]) -> String {
    let mut pattern = String::new();
    for (character, escaped) in word {
        if *character == '\\' || (*escaped && matches!(character, '*' | '?')) {
            pattern.push('\\');
        }
        pattern.push(*character);
    }
    pattern
}
