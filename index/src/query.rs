//! From the text of a query to what tantivy runs.
//!
//! The grammar is tantivy's (its lenient parser, whose errors strict mode reports); the meaning of fields and values is ours, because names
//! that users write must not reach the inner fields, and because tantivy's own parser turns some of them into queries that panic.

mod fields;

use tantivy::query::{AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, Query};
use tantivy::query_grammar::{UserInputAst, UserInputLeaf, parse_query_lenient};
use tantivy::tokenizer::TokenizerManager;

use crate::error::SearchError;
use crate::highlight::Sought;
use crate::schema::Fields;

/// The most terms of one query, each word counted once for each field that it is sought in.
const MAX_TERMS: usize = 8192;
/// The parser recurses for each open parenthesis and each NOT.
const MAX_NESTING: usize = 50;
/// At each slash the parser may look ahead to the end.
const MAX_SLASHES: usize = 200;
/// Boosts are multiplied, and scores summed; so both stay finite.
const MAX_BOOST: f32 = 1e9;

/// A query that can be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `None`: it matches nothing, such as a query of nothing but punctuation.
    root: Option<Node>,
    /// Which words to highlight, and where.
    pub(crate) sought: Sought,
}

/// A part of a query.
#[derive(Debug)]
pub(crate) enum Node {
    /// Scored by itself; its boost is inside.
    Leaf(Box<dyn Query>),
    /// Documents that match all `Must`, no `MustNot`, and if there is no `Must`, at least one `Should`; scored by the sum.
    Bool(Vec<(Occur, Node)>),
}

impl Plan {
    /// Understands `text`; leniently, it leaves out what it cannot understand.
    pub(crate) fn new(text: &str, lenient: bool, fields: &Fields, analyzers: &TokenizerManager) -> Result<Self, SearchError> {
        // The parser looks ahead to the next blank, and takes other white space for a part of names.
        let mut text: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
        if text.trim().is_empty() {
            return Ok(Self { root: Some(all(1.0)), sought: Sought::default() });
        }
        if nesting(&text) > MAX_NESTING {
            if !lenient {
                return Err(invalid(format!("parentheses and NOT go deeper than {MAX_NESTING} levels")));
            }
            text = text.replace(['(', ')'], " ").replace("NOT ", " ");
        }
        if text.matches('/').count() > MAX_SLASHES {
            if !lenient {
                return Err(invalid(format!("the query has more than {MAX_SLASHES} slashes")));
            }
            text = text.replace('/', " ");
        }
        let (tree, errors) = parse_query_lenient(&text);
        if let Some(error) = errors.first().filter(|_| !lenient) {
            return Err(invalid(format!("the query cannot be understood at byte {}: {}", error.pos, error.message)));
        }
        let mut planner = Planner { fields, analyzers, lenient, terms: 0, excluded: 0, sought: Sought::default() };
        let root = planner.node(tree, 1.0)?;
        Ok(Self { root, sought: planner.sought })
    }

    /// What matches nothing.
    pub(crate) fn nothing() -> Self {
        Self { root: None, sought: Sought::default() }
    }

    /// The same, of those that match another query, too; which counts for no score.
    pub(crate) fn filtered(self, by: Self) -> Self {
        let root = match (self.root, by.root) {
            (Some(root), Some(filter)) => {
                let filter = Node::Leaf(Box::new(ConstScoreQuery::new(filter.query(), 0.0)));
                Some(Node::Bool(vec![(Occur::Must, root), (Occur::Must, filter)]))
            }
            _ => None,
        };
        Self { root, sought: self.sought }
    }

    pub(crate) fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// The query for tantivy. Always a boolean one: only those prune by block maxima, and only where the block maxima are usable.
    pub(crate) fn query(&self) -> Box<dyn Query> {
        match &self.root {
            None => Box::new(EmptyQuery),
            Some(Node::Leaf(query)) => Box::new(BooleanQuery::new(vec![(Occur::Should, query.box_clone())])),
            Some(node) => node.query(),
        }
    }
}

impl Node {
    fn query(&self) -> Box<dyn Query> {
        match self {
            Self::Leaf(query) => query.box_clone(),
            Self::Bool(children) => {
                Box::new(BooleanQuery::new(children.iter().map(|(occur, child)| (*occur, child.query())).collect()))
            }
        }
    }

    /// A choice between nodes; `None` if there is none.
    fn any(mut nodes: Vec<Self>) -> Option<Self> {
        if nodes.len() > 1 {
            return Some(Self::Bool(nodes.into_iter().map(|node| (Occur::Should, node)).collect()));
        }
        nodes.pop()
    }

    /// The node of these clauses, as flat as can be: block-max pruning needs all words of a choice side by side.
    fn of_clauses(clauses: Vec<(Occur, Self)>) -> Option<Self> {
        let mut flat = Vec::with_capacity(clauses.len());
        for (occur, node) in clauses {
            match node {
                Self::Bool(inner) if occur != Occur::MustNot && inner.iter().all(|(each, _)| *each == occur) => {
                    flat.extend(inner);
                }
                node => flat.push((occur, node)),
            }
        }
        if flat.is_empty() {
            return None;
        }
        if flat.iter().all(|(occur, _)| *occur == Occur::MustNot) {
            flat.push((Occur::Must, all(1.0)));
        }
        if flat.len() > 1 { Some(Self::Bool(flat)) } else { flat.pop().map(|(_, only)| only) }
    }
}

/// Matches with one score for all. Never bare: tantivy drops the score of a clause that happens to match a whole segment.
fn constant(query: impl Query, boost: f32) -> Node {
    Node::Leaf(Box::new(ConstScoreQuery::new(Box::new(query), boost)))
}

fn all(boost: f32) -> Node {
    constant(AllQuery, boost)
}

fn invalid(text: impl Into<String>) -> SearchError {
    SearchError::InvalidQuery(text.into())
}

fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest + text.matches("NOT ").count()
}

/// The state of turning one parsed query into nodes.
struct Planner<'a> {
    fields: &'a Fields,
    analyzers: &'a TokenizerManager,
    lenient: bool,
    terms: usize,
    /// How many exclusions surround the current node: what must not be there is not highlighted.
    excluded: usize,
    sought: Sought,
}

impl Planner<'_> {
    fn node(&mut self, tree: UserInputAst, boost: f32) -> Result<Option<Node>, SearchError> {
        match tree {
            UserInputAst::Clause(clauses) => {
                let mut nodes = Vec::with_capacity(clauses.len());
                for (occur, clause) in clauses {
                    let occur = occur.unwrap_or(Occur::Should);
                    let excludes = usize::from(occur == Occur::MustNot);
                    self.excluded += excludes;
                    let node = self.node(clause, boost)?;
                    self.excluded -= excludes;
                    nodes.extend(node.map(|node| (occur, node)));
                }
                Ok(Node::of_clauses(nodes))
            }
            UserInputAst::Boost(inner, factor) => {
                let product = f64::from(boost) * factor.into_inner();
                self.node(*inner, if product < 1e-9 { 0.0 } else { (product as f32).min(MAX_BOOST) })
            }
            UserInputAst::Leaf(leaf) => match self.leaf(*leaf, boost) {
                Err(SearchError::InvalidQuery(_)) if self.lenient => Ok(None),
                result => result,
            },
        }
    }

    fn leaf(&mut self, leaf: UserInputLeaf, boost: f32) -> Result<Option<Node>, SearchError> {
        match leaf {
            UserInputLeaf::All => Ok(Some(all(boost))),
            UserInputLeaf::Literal(literal) => {
                if literal.prefix && !self.lenient {
                    return Err(invalid(format!("{:?}*: the beginnings of phrases cannot be searched", literal.phrase)));
                }
                match literal.field_name {
                    Some(name) => self.in_field(&name, &literal.phrase, literal.slop, boost),
                    None => self.in_all_texts(&literal.phrase, literal.slop, boost),
                }
            }
            UserInputLeaf::Range { field, lower, upper } => {
                let name = field.ok_or_else(|| invalid("a range needs a field: field:[1 TO 5]"))?;
                self.range(&name, &lower, &upper, boost)
            }
            UserInputLeaf::Set { field, elements } => {
                let name = field.ok_or_else(|| invalid("IN needs a field: field: IN [a b]"))?;
                let mut nodes = Vec::new();
                for element in elements {
                    nodes.extend(self.in_field(&name, &element, 0, boost)?);
                }
                Ok(Node::any(nodes))
            }
            UserInputLeaf::Exists { field } => self.exists(&field, boost),
            UserInputLeaf::Regex { .. } => Err(invalid("regular expressions cannot be searched; quote a text with slashes")),
        }
    }

    /// Counts the terms of the query, which bound the memory that it takes.
    fn count_terms(&mut self, terms: usize) -> Result<(), SearchError> {
        self.terms += terms;
        if self.terms > MAX_TERMS {
            return Err(invalid(format!("the query has more than {MAX_TERMS} terms, counting each word once for each field")));
        }
        Ok(())
    }
}
