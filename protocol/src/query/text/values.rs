//! What can stand behind `field:`, and phrases.

use super::super::error::QueryError;
use super::super::{Bound, Clause, Kind, MAX_PATTERN_CHARS, MAX_SLOP, Pattern};
use super::{Found, Parser};

impl Parser {
    /// A value in a field; `own` if the name of the field stands right in front.
    pub(super) fn value(&mut self, field: Option<String>, own: bool) -> Found {
        match (self.peek(), field) {
            (_, Some(field)) if own && field == "_exists_" => self.exists(),
            (Some('('), field) if own => self.parentheses(field),
            (Some('"'), field) => self.phrase(field),
            (Some('['), Some(field)) => self.range(field),
            (Some('{'), Some(field)) => self.range(field),
            (Some('['), None) if !self.lenient => Err(self.error(self.at, "a range needs a field, as in size:[1 TO 5]")),
            (Some('{'), None) if !self.lenient => Err(self.error(self.at, "a range needs a field, as in size:{1 TO 5}")),
            (Some('>' | '<'), Some(field)) => self.comparison(field),
            (_, Some(field)) if own && self.begins_set() => self.set(&field),
            (Some('/'), field) => match self.expression() {
                Some(expression) => {
                    let clause = Clause::from(Kind::Pattern { field, pattern: Pattern::Regex(expression) });
                    Ok(Some(clause.boosted(self.boost()?)))
                }
                None => self.word(field),
            },
            (_, field) => self.word(field),
        }
    }

    fn exists(&mut self) -> Found {
        let start = self.at;
        let field = self.plain_value(&[])?.filter(|name| !name.is_empty());
        match field {
            Some(field) => Ok(Some(Clause::from(Kind::Exists { field }).boosted(self.boost()?))),
            None => self.refuse(start, "the name of a field has to follow _exists_:"),
        }
    }

    /// The regular expression between two slashes, consumed. One with something behind the second slash is a path and no expression.
    fn expression(&mut self) -> Option<String> {
        let mut expression = String::new();
        let mut ahead = 1;
        while ahead <= MAX_PATTERN_CHARS {
            match self.ahead(ahead)? {
                '/' => {
                    if expression.is_empty() || !(self.ends_operand(ahead + 1) || self.ahead(ahead + 1) == Some('^')) {
                        return None;
                    }
                    self.at += ahead + 1;
                    return Some(expression);
                }
                '\\' => {
                    ahead += 1;
                    let next = self.ahead(ahead)?;
                    if next != '/' {
                        expression.push('\\');
                    }
                    expression.push(next);
                }
                character => expression.push(character),
            }
            ahead += 1;
        }
        None
    }

    fn phrase(&mut self, field: Option<String>) -> Found {
        let start = self.at;
        let Some(text) = self.quoted()? else { return Ok(None) };
        let mut slop = 0;
        if self.peek() == Some('~') {
            self.at += 1;
            let digits = self.digits();
            if digits.is_empty() {
                self.refuse::<()>(
                    self.at - 1,
                    "behind a phrase stands by how many places its words may be moved, as in \"web server\"~2",
                )?;
            }
            slop = digits.parse().unwrap_or(if digits.is_empty() { 0 } else { MAX_SLOP }).min(MAX_SLOP);
        }
        if self.peek() == Some('*') {
            self.refuse::<()>(start, "the beginning of a phrase cannot be searched: remove the * behind it")?;
            self.at += 1;
        }
        Ok(Some(Clause::from(Kind::Phrase { field, text, slop }).boosted(self.boost()?)))
    }

    /// A text between quotes, consumed. Without an end, lenient, only the quote is.
    fn quoted(&mut self) -> Result<Option<String>, QueryError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return Ok(Some(text));
                }
                Some('\\') if self.ahead(1).is_some() => {
                    text.extend(self.ahead(1));
                    self.at += 2;
                }
                Some(character) => {
                    text.push(character);
                    self.at += 1;
                }
                None => {
                    self.at = start + 1;
                    return self.refuse(start, "this quote is never closed: add a \", or write \\\" for the character");
                }
            }
        }
    }

    /// A value, quoted or up to a blank, a parenthesis or one of `ends`.
    fn plain_value(&mut self, ends: &[char]) -> Result<Option<String>, QueryError> {
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let mut value = String::new();
        while let Some(character) = self.peek().filter(|next| !next.is_whitespace() && !ends.contains(next) && *next != ')') {
            // Behind a comparison; a range has none.
            if ends.is_empty() && character == '^' {
                break;
            }
            if character == '\\' {
                self.at += 1;
            }
            value.extend(self.peek());
            self.at += 1;
        }
        Ok(Some(value))
    }

    /// `>5`, `>=5`, `<5`, `<=5`
    fn comparison(&mut self, field: String) -> Found {
        let start = self.at;
        let above = self.peek() == Some('>');
        self.at += 1;
        let inclusive = self.peek() == Some('=');
        self.at += usize::from(inclusive);
        let Some(value) = self.plain_value(&[])?.filter(|value| !value.is_empty()) else {
            return self.refuse(start, format!("a value has to follow the comparison, as in {field}:>=5"));
        };
        let bound = if inclusive { Bound::Included(value) } else { Bound::Excluded(value) };
        let (lower, upper) = if above { (bound, Bound::Unbounded) } else { (Bound::Unbounded, bound) };
        Ok(Some(Clause::from(Kind::Range { field, lower, upper }).boosted(self.boost()?)))
    }

    /// `[1 TO 5]`, `{1 TO 5}` and mixtures; lenient, what is none loses its bracket and becomes words.
    fn range(&mut self, field: String) -> Found {
        let start = self.at;
        let parsed = self.bounds();
        match parsed {
            Some((lower, upper)) => Ok(Some(Clause::from(Kind::Range { field, lower, upper }).boosted(self.boost()?))),
            None => {
                self.at = start + 1;
                self.refuse(
                    start,
                    format!("a range has two bounds, as in {field}:[1 TO 5], {field}:{{1 TO 5}} or {field}:[1 TO *]"),
                )
            }
        }
    }

    fn bounds(&mut self) -> Option<(Bound, Bound)> {
        let lower_inclusive = self.peek() == Some('[');
        self.at += 1;
        let lower = self.range_value()?;
        self.skip_blanks();
        if !self.keyword("TO") {
            return None;
        }
        let upper = self.range_value()?;
        self.skip_blanks();
        let upper_inclusive = match self.peek()? {
            ']' => true,
            '}' => false,
            _ => return None,
        };
        self.at += 1;
        let bound = |value: Option<String>, inclusive| match value {
            None => Bound::Unbounded,
            Some(value) if inclusive => Bound::Included(value),
            Some(value) => Bound::Excluded(value),
        };
        Some((bound(lower, lower_inclusive), bound(upper, upper_inclusive)))
    }

    /// One bound: `None` if it is no value at all, `Some(None)` for `*`.
    fn range_value(&mut self) -> Option<Option<String>> {
        self.skip_blanks();
        let quoted = self.peek() == Some('"');
        let value = self.plain_value(&[']', '}']).ok()??;
        match value.as_str() {
            "*" if !quoted => Some(None),
            "" if !quoted => None,
            _ => Some(Some(value)),
        }
    }

    /// Whether `IN [` stands ahead.
    pub(super) fn begins_set(&self) -> bool {
        let blanks = (2..).take_while(|index| self.ahead(*index).is_some_and(char::is_whitespace)).count();
        self.ahead(0) == Some('I') && self.ahead(1) == Some('N') && blanks > 0 && self.ahead(2 + blanks) == Some('[')
    }

    /// `IN [a b "c d"]`
    fn set(&mut self, field: &str) -> Found {
        let start = self.at;
        self.at += 2;
        self.skip_blanks();
        self.at += 1;
        let mut elements: Vec<Clause> = Vec::new();
        loop {
            self.skip_blanks();
            let before = self.at;
            match self.peek() {
                Some(']') => {
                    self.at += 1;
                    break;
                }
                None => {
                    self.refuse::<()>(start, format!("this list is never closed: write {field}:IN [a b]"))?;
                    break;
                }
                Some(_) => {}
            }
            let value = self.plain_value(&[']'])?;
            if self.at == before {
                // A character that ends values and no list.
                self.refuse::<()>(before, "values with such characters have to be quoted")?;
                self.at += 1;
            }
            let value = value.filter(|value| !value.is_empty());
            if let Some(text) = value {
                self.clauses += 1;
                if self.clauses <= super::MAX_CLAUSES {
                    elements.push(Kind::Phrase { field: Some(field.to_owned()), text, slop: 0 }.into());
                } else if !self.lenient {
                    let what = format!("more than {} words and values", super::MAX_CLAUSES);
                    return Err(QueryError::TooLarge { what, most: super::MAX_CLAUSES });
                }
            }
        }
        if elements.is_empty() {
            return self.refuse(start, format!("the list is empty: write {field}:IN [a b]"));
        }
        Ok(Some(Clause::any(elements).boosted(self.boost()?)))
    }
}
