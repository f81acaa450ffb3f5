//! What a search seeks, as one tree: [`Query`].
//!
//! People write text ([`Query::parse`]), programs a JSON tree in the shapes of Elasticsearch's query DSL ([`Query::from_json`]). Both become
//! this form once, in the query service, and travel in it to the workers, which know the fields and run it.

mod cost;
mod depth;
mod error;
#[cfg(test)]
mod tests;
mod text;
mod tree;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use depth::Children;
pub use error::QueryError;
pub use text::TextOptions;

use crate::Problem;

/// The longest query text, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// The largest query tree, in bytes of JSON.
pub const MAX_TREE_BYTES: usize = 1024 * 1024;
/// The most clauses of one query: each word, value and group is one. As many as Lucene takes by default.
pub const MAX_CLAUSES: usize = 1024;
/// The deepest nesting: parsing, planning and scoring recurse, each on a bounded stack.
pub const MAX_DEPTH: usize = 50;
/// The most values of `terms` and `ids`, all together in one query.
pub const MAX_VALUES: usize = 8192;
/// The longest pattern (prefix, wildcards, regular expression) and the longest fuzzy word, in characters.
pub const MAX_PATTERN_CHARS: usize = 255;
/// The largest edit distance: beyond it, most words of a language are near each other.
pub const MAX_FUZZINESS: u8 = 2;
/// The farthest apart that the words of a phrase may be asked to stand (`"a b"~5`).
pub const MAX_SLOP: u32 = 1000;
/// Boosts are multiplied, and scores summed; so both stay finite.
pub const MAX_BOOST: f32 = 1e9;

/// What is sought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The whole, as one clause.
    pub root: Clause,
}

/// A part of a query: what it matches, and how much that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clause {
    /// Its score is multiplied by this; 0 to [`MAX_BOOST`].
    pub boost: f32,
    /// What matches.
    pub kind: Kind,
}

/// What matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// All documents, with one score.
    All,
    /// None.
    Nothing,
    /// Clauses that belong together.
    Bool(Bool),
    /// What the clause matches, with one score for all.
    Constant(Children),
    /// The clause; what in it makes no sense in the index (a word where a number is due) is left out instead of refused.
    Lenient(Children),
    /// The words of a text, in any order; in a field without words, the text as its value.
    Match {
        /// `None`: all texts and all dynamic strings; each word counts wherever it stands.
        field: Option<String>,
        /// What is cut into words.
        text: String,
        /// How many of the words have to be there; `None`: one.
        minimum: Option<Minimum>,
        /// How far a word in the document may be from the one that is sought.
        fuzziness: Fuzziness,
    },
    /// The words of a text, one after the other; in a field without words, the text as its value.
    Phrase {
        /// `None`: all texts and all dynamic strings.
        field: Option<String>,
        /// What is cut into words.
        text: String,
        /// By how many places the words may be moved.
        slop: u32,
    },
    /// One of these exact values. In a text: one of these very words, as the analyzer leaves them.
    Terms {
        /// The field.
        field: String,
        /// The values, as text.
        values: Vec<String>,
    },
    /// A value between two bounds.
    Range {
        /// The field.
        field: String,
        /// The lower bound.
        lower: Bound,
        /// The upper bound.
        upper: Bound,
    },
    /// A word, or a whole value of a field without words, that a pattern describes.
    Pattern {
        /// `None`: all texts and all dynamic strings.
        field: Option<String>,
        /// The pattern.
        pattern: Pattern,
    },
    /// Documents with a value in the field.
    Exists {
        /// The field.
        field: String,
    },
    /// Documents by their ids.
    Ids(Vec<String>),
}

/// Clauses that belong together: all of `must` and `filter`, none of `must_not`, and of `should` at least `minimum`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bool {
    /// Each has to match, and counts.
    pub must: Children,
    /// Those that match count.
    pub should: Children,
    /// None may match.
    pub must_not: Children,
    /// Each has to match; they do not count.
    pub filter: Children,
    /// How many of `should` have to match; `None`: one if there is neither `must` nor `filter`, else none.
    pub minimum: Option<Minimum>,
}

/// How many of several have to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Minimum {
    /// So many; if negative, all but so many.
    Count(i32),
    /// So many of a hundred, rounded down; if negative, so many may be missing.
    Percent(i32),
}

impl Minimum {
    /// Each one.
    pub const ALL: Self = Self::Percent(100);

    /// How many of `total`; more than `total` if that cannot be met.
    pub fn of(self, total: usize) -> usize {
        let signed = i64::try_from(total).unwrap_or(i64::MAX);
        let wanted = match self {
            Self::Count(count) if count >= 0 => i64::from(count),
            Self::Count(count) => signed.saturating_add(i64::from(count)),
            Self::Percent(percent) => {
                let part = signed.saturating_mul(i64::from(percent).abs()) / 100;
                if percent >= 0 { part } else { signed - part }
            }
        };
        usize::try_from(wanted).unwrap_or(0)
    }
}

/// How far two words may be apart, in letters that are wrong, missing, too many, or swapped with their neighbour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fuzziness {
    /// Not at all.
    #[default]
    Exact,
    /// By the length of the word: up to 2 letters 0, up to 5 letters 1, else 2.
    Auto,
    /// Up to so many, at most [`MAX_FUZZINESS`].
    Edits(u8),
}

impl Fuzziness {
    /// Reads `auto`, `0`, `1` or `2`.
    pub fn read(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(0) => Some(Self::Exact),
            Ok(edits) => (edits <= MAX_FUZZINESS).then_some(Self::Edits(edits)),
            Err(_) => text.eq_ignore_ascii_case("auto").then_some(Self::Auto),
        }
    }

    /// The distance for a word.
    pub fn of(self, word: &str) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Edits(edits) => edits.min(MAX_FUZZINESS),
            Self::Auto => match word.chars().count() {
                0..=2 => 0,
                3..=5 => 1,
                _ => 2,
            },
        }
    }
}

/// Many words at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// Those that begin so.
    Prefix(String),
    /// `*` stands for any characters, `?` for one; behind a backslash each stands for itself.
    Wildcard(String),
    /// A regular expression for the whole word.
    Regex(String),
    /// Those that are near.
    Fuzzy {
        /// The word.
        word: String,
        /// How near.
        fuzziness: Fuzziness,
        /// How many characters at the beginning have to be the same.
        prefix_chars: u32,
    },
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// None.
    Unbounded,
    /// The value belongs to the range.
    Included(String),
    /// It does not.
    Excluded(String),
}

impl Query {
    /// All documents.
    pub fn all() -> Self {
        Self { root: Kind::All.into() }
    }

    /// Understands what people write: see `docs/queries.md`. Lenient, it never fails: what cannot be understood is taken for words, or left out,
    /// here and in the index.
    pub fn parse(text: &str, lenient: bool) -> Result<Self, QueryError> {
        Self::parse_with(text, &TextOptions { lenient, ..TextOptions::default() })
    }

    /// The same, with other options.
    pub fn parse_with(text: &str, options: &TextOptions) -> Result<Self, QueryError> {
        Ok(Self { root: text::parse(text, options)? })
    }

    /// Understands a tree; errors name the place below `name`, which is the field that the tree stands in, such as `query`.
    pub fn from_json(tree: &Map<String, Value>, name: &str) -> Result<Self, QueryError> {
        Ok(Self { root: tree::parse(tree, name)? })
    }

    /// Whether it matches all documents with one score, so that there is nothing to highlight.
    pub fn is_all(&self) -> bool {
        self.root.kind == Kind::All
    }

    /// The clauses that are scored by statistics of the index, each as a query of its own and once: whatever it stands among, a clause is scored
    /// by the same.
    pub fn scored_by_statistics(&self) -> Vec<Self> {
        let mut found = Vec::new();
        scored_clauses(&self.root, false, &mut found);
        found
    }
}

impl Default for Query {
    fn default() -> Self {
        Self::all()
    }
}

fn scored_clauses(clause: &Clause, lenient: bool, found: &mut Vec<Query>) {
    match &clause.kind {
        Kind::Bool(inner) => inner.must.iter().chain(inner.should.iter()).for_each(|each| scored_clauses(each, lenient, found)),
        Kind::Lenient(inner) => inner.iter().for_each(|each| scored_clauses(each, true, found)),
        Kind::Match { .. } | Kind::Phrase { .. } | Kind::Terms { .. } => {
            let clause = Clause::from(clause.kind.clone());
            let root = if lenient { Kind::Lenient(clause.into()).into() } else { clause };
            if found.iter().all(|other| other.root != root) {
                found.push(Query { root });
            }
        }
        // One score for all that match, or none.
        Kind::All
        | Kind::Nothing
        | Kind::Constant(_)
        | Kind::Range { .. }
        | Kind::Pattern { .. }
        | Kind::Exists { .. }
        | Kind::Ids(_) => {}
    }
}

impl From<Kind> for Clause {
    fn from(kind: Kind) -> Self {
        Self { boost: 1.0, kind }
    }
}

impl Clause {
    /// The same, counting `boost` times as much.
    #[must_use]
    pub fn boosted(mut self, boost: f32) -> Self {
        self.boost = (self.boost * boost).clamp(0.0, MAX_BOOST);
        self
    }

    /// How many clauses there are, this one included.
    fn size(&self) -> usize {
        let of = |clauses: &Children| clauses.iter().map(Self::size).sum::<usize>();
        1 + match &self.kind {
            Kind::Bool(group) => of(&group.must) + of(&group.should) + of(&group.must_not) + of(&group.filter),
            Kind::Constant(inner) | Kind::Lenient(inner) => of(inner),
            _ => 0,
        }
    }

    /// What any of these match.
    pub fn any(mut clauses: Vec<Self>) -> Self {
        match clauses.pop() {
            None => Kind::Nothing.into(),
            Some(only) if clauses.is_empty() => only,
            Some(last) => {
                clauses.push(last);
                Kind::Bool(Bool { should: clauses.into(), ..Bool::default() }).into()
            }
        }
    }
}

/// A query as a client sends it: a text, or a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a query is a string, or a tree such as {\"match\":{\"title\":\"web server\"}}")]
pub enum QueryInput {
    /// In the language for people: words, `"a phrase"`, `field:word`, `+must`, `-not`, `AND`, `OR`, `field:[1 TO 5]`, `begin*`, `near~`.
    Text(String),
    /// In the shapes of Elasticsearch's query DSL.
    #[schema(value_type = Object)]
    Tree(Map<String, Value>),
}

impl Default for QueryInput {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for QueryInput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl QueryInput {
    /// Understands it; `name` is the field of the request that it stands in. Leniency concerns texts: whoever sends a tree is a program.
    pub fn parse(&self, name: &str, lenient: bool) -> Result<Query, Problem> {
        self.parse_with(name, &TextOptions { lenient, ..TextOptions::default() })
    }

    /// The same, with other options for texts.
    pub fn parse_with(&self, name: &str, options: &TextOptions) -> Result<Query, Problem> {
        let parsed = match self {
            Self::Text(text) => Query::parse_with(text, options),
            Self::Tree(tree) => Query::from_json(tree, name),
        };
        parsed.map_err(|error| error.into_problem(name))
    }
}
