//! The query language for people.
//!
//! A descent over characters: a group is a list of operands with signs, joined by `AND` (which binds tighter), or by `OR` or nothing. Strict,
//! each thing that cannot be understood is an error with its place; lenient, it is taken for words, or left out.

mod list;
mod values;
mod words;

use super::error::QueryError;
use super::{Clause, Fuzziness, Kind, MAX_CLAUSES, MAX_DEPTH, MAX_TEXT_BYTES};
use list::{List, Operator, Sign};

/// How a text is to be understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Whether to make the best of what cannot be understood.
    pub lenient: bool,
    /// The field of words that name none.
    pub field: Option<String>,
    /// Whether words side by side are joined by AND instead of OR.
    pub all: bool,
    /// How far plain words may be from those in the documents: those without quotes, wildcards and a `~` of their own.
    pub fuzziness: Fuzziness,
}

/// Understands a text; nothing but blanks finds all documents.
pub(super) fn parse(text: &str, options: &TextOptions) -> Result<Clause, QueryError> {
    let text = match text.len() {
        0..=MAX_TEXT_BYTES => text,
        _ if options.lenient => &text[..text.floor_char_boundary(MAX_TEXT_BYTES)],
        length => return Err(QueryError::TooLarge { what: format!("{length} bytes"), most: MAX_TEXT_BYTES }),
    };
    if text.trim().is_empty() {
        return Ok(Kind::All.into());
    }
    let mut parser = Parser {
        characters: text.chars().collect(),
        at: 0,
        lenient: options.lenient,
        all: options.all,
        field: options.field.clone(),
        fuzziness: options.fuzziness,
        depth: 0,
        clauses: 0,
    };
    let clause = parser.group()?.unwrap_or_else(|| Kind::Nothing.into());
    let plain = !options.lenient || matches!(clause.kind, Kind::All | Kind::Nothing);
    Ok(if plain { clause } else { Kind::Lenient(clause.into()).into() })
}

/// Where the descent is. Every step that finds something moves on, so that it ends.
struct Parser {
    characters: Vec<char>,
    at: usize,
    lenient: bool,
    all: bool,
    /// The field of the group, as in `title:(web server)`.
    field: Option<String>,
    fuzziness: Fuzziness,
    /// How many parentheses are open.
    depth: usize,
    clauses: usize,
}

/// What a step finds; nothing, where it was left out.
type Found = Result<Option<Clause>, QueryError>;

impl Parser {
    fn peek(&self) -> Option<char> {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> Option<char> {
        self.characters.get(self.at + count).copied()
    }

    /// Whether nothing of a word stands so many characters ahead.
    fn ends_word(&self, count: usize) -> bool {
        self.ahead(count).is_none_or(|next| next.is_whitespace() || matches!(next, '(' | ')' | '"'))
    }

    /// Whether a word or a group as a whole ends there.
    fn ends_operand(&self, count: usize) -> bool {
        self.ahead(count).is_none_or(|next| next.is_whitespace() || next == ')')
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn error(&self, position: usize, reason: impl Into<String>) -> QueryError {
        QueryError::Text { position, reason: reason.into() }
    }

    /// Strict, an error; lenient, nothing.
    fn refuse<T>(&self, position: usize, reason: impl Into<String>) -> Result<Option<T>, QueryError> {
        if self.lenient { Ok(None) } else { Err(self.error(position, reason)) }
    }

    /// Consumes a word that stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let length = word.len();
        let stands = word.chars().enumerate().all(|(index, character)| self.ahead(index) == Some(character));
        if stands && self.ends_word(length) {
            self.at += length;
            return true;
        }
        false
    }

    /// All operands up to the end of the text or of the group.
    fn group(&mut self) -> Found {
        let mut list = List::new(self.all);
        loop {
            self.skip_blanks();
            let start = self.at;
            match self.peek() {
                None => break,
                Some(')') if self.depth > 0 => break,
                Some(')') => {
                    self.refuse::<()>(start, "this ) closes nothing: remove it, or write \\) for the character")?;
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            if let Some(operator) = self.operator() {
                if !list.join(operator, start) {
                    self.refuse::<()>(start, "an operator stands between two words: quote it to search it, as in \"and\"")?;
                }
                continue;
            }
            let sign = self.sign()?;
            self.skip_blanks();
            let operand = if self.ends_operand(0) {
                self.refuse(start, "a sign stands right in front of what it concerns, as in +word, -word and NOT word")?
            } else {
                self.operand()?
            };
            list.push(sign, operand);
        }
        if let Some(position) = list.dangling() {
            self.refuse::<()>(position, "something has to follow this operator: quote it to search it, as in \"and\"")?;
        }
        Ok(list.into_clause())
    }

    fn operator(&mut self) -> Option<Operator> {
        if self.keyword("AND") || self.keyword("&&") {
            return Some(Operator::And);
        }
        (self.keyword("OR") || self.keyword("||")).then_some(Operator::Or)
    }

    fn sign(&mut self) -> Result<Sign, QueryError> {
        let start = self.at;
        let mut sign = Sign::None;
        let mut signs = 0;
        loop {
            let next = match self.peek() {
                Some('+') => Sign::Must,
                Some('-') => Sign::Exclude,
                Some('N') if self.keyword("NOT") => {
                    self.skip_blanks();
                    (sign, signs) = (Sign::Not, signs + 1);
                    continue;
                }
                _ => break,
            };
            self.at += 1;
            (sign, signs) = (next, signs + 1);
            if self.ends_word(0) && self.peek() != Some('(') && self.peek() != Some('"') {
                self.refuse::<()>(start, "a sign stands right in front of what it concerns, as in +word and -word")?;
                return Ok(Sign::None);
            }
        }
        if signs > 1 {
            self.refuse::<()>(start, "one sign is enough: +word, -word or NOT word")?;
            // As in --option, which is no exclusion.
            if sign != Sign::Not {
                sign = Sign::None;
            }
        }
        Ok(sign)
    }

    /// A group, a phrase, a word or whatever else stands behind a sign.
    fn operand(&mut self) -> Found {
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            if !self.lenient {
                return Err(QueryError::TooLarge {
                    what: format!("more than {MAX_CLAUSES} words and groups"),
                    most: MAX_CLAUSES,
                });
            }
            self.at = self.characters.len();
            return Ok(None);
        }
        if self.peek() == Some('(') {
            return self.parentheses(self.field.clone());
        }
        let everything = ['*', ':', '*'];
        if (0..3).all(|index| self.ahead(index) == Some(everything[index])) && self.ends_operand(3) {
            self.at += 3;
            return Ok(Some(Kind::All.into()));
        }
        match self.name()? {
            Some(name) => self.value(Some(name), true),
            None => self.value(self.field.clone(), false),
        }
    }

    fn parentheses(&mut self, field: Option<String>) -> Found {
        let start = self.at;
        self.at += 1;
        if self.depth == MAX_DEPTH {
            return self.refuse(start, format!("parentheses go deeper than {MAX_DEPTH} levels"));
        }
        let outer = std::mem::replace(&mut self.field, field);
        self.depth += 1;
        let inner = self.group();
        self.depth -= 1;
        self.field = outer;
        let inner = inner?;
        if self.peek() == Some(')') {
            self.at += 1;
        } else {
            self.refuse::<()>(start, "this ( is never closed: add a ), or write \\( for the character")?;
        }
        let Some(inner) = inner else {
            return self.refuse(start, "there is nothing between the parentheses");
        };
        let boost = self.boost()?;
        Ok(Some(inner.boosted(boost)))
    }
}
