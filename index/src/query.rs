//! From a query to what tantivy runs.
//!
//! The protocol crate understands what was written; here it gets its meaning in the fields of one index. What a clause means in which kind of
//! field stands in `fields`, `words`, `values` and `patterns`; `matcher` and `selection` are what tantivy lacks: patterns that are bounded
//! in memory and time.

mod fields;
mod matcher;
mod patterns;
mod selection;
mod values;
mod words;

use std::collections::BTreeSet;

use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur};
use tantivy::tokenizer::TokenizerManager;
use warren_protocol::Query;
use warren_protocol::query::{Bool, Clause, Kind, MAX_BOOST, Minimum};

use crate::error::SearchError;
use crate::highlight::Sought;
use crate::schema::Fields;
pub(crate) use matcher::Matcher;
use patterns::Patterns;
pub(crate) use selection::TOO_MUCH;

/// The most terms of one query, each word counted once for each field that it is sought in.
const MAX_TERMS: usize = 8192;
/// The most values and ranges that are sought in columns, each of which looks at all documents in the worst case.
const MAX_SCANS: usize = 256;

/// A query that can be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `None`: it matches nothing, such as a query of nothing but punctuation.
    root: Option<Node>,
    /// Which words to highlight, and where.
    pub(crate) sought: Sought,
    scored: BTreeSet<Term>,
}

/// A part of a query.
#[derive(Debug)]
pub(crate) enum Node {
    /// Scored by itself; its boost is inside.
    Leaf(Box<dyn tantivy::query::Query>),
    /// Documents that match all `Must`, no `MustNot`, and if there is no `Must`, at least one `Should`; scored by the sum.
    Bool(Vec<(Occur, Node)>),
    /// Documents that match so many of the nodes, 2 or more; scored by the sum.
    AtLeast(usize, Vec<Node>),
}

impl Plan {
    /// Plans a query, and a filter that all hits have to match and that does not count.
    pub(crate) fn new(
        query: &Query,
        filter: Option<&Query>,
        fields: &Fields,
        analyzers: &TokenizerManager,
    ) -> Result<Self, SearchError> {
        let mut planner = Planner::new(fields, analyzers);
        let mut root = planner.node(&query.root, 1.0)?;
        if let Some(filter) = filter {
            let filter = planner.silently(|planner| planner.node(&filter.root, 1.0))?;
            let filter = filter.map(Node::unscored);
            root = root.and_then(|root| Node::of_clauses([Some(root), filter].into_iter().flatten().map(must).collect()));
        }
        Ok(Self { root, sought: planner.sought, scored: planner.scored })
    }

    pub(crate) fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// The terms whose rarity and whose fields' lengths make up the scores.
    pub(crate) fn scored_terms(&self) -> impl Iterator<Item = &Term> {
        self.scored.iter()
    }

    /// The query for tantivy. Always a boolean one: only those prune by block maxima, and only where the block maxima are usable.
    pub(crate) fn query(&self) -> Box<dyn tantivy::query::Query> {
        match &self.root {
            None => Box::new(EmptyQuery),
            Some(Node::Leaf(query)) => Box::new(BooleanQuery::new(vec![(Occur::Should, query.box_clone())])),
            Some(node) => node.query(),
        }
    }
}

fn must(node: Node) -> (Occur, Node) {
    (Occur::Must, node)
}

impl Node {
    fn query(&self) -> Box<dyn tantivy::query::Query> {
        match self {
            Self::Leaf(query) => query.box_clone(),
            Self::Bool(children) => {
                Box::new(BooleanQuery::new(children.iter().map(|(occur, child)| (*occur, child.query())).collect()))
            }
            Self::AtLeast(minimum, children) => {
                let children = children.iter().map(|child| (Occur::Should, child.query())).collect();
                Box::new(BooleanQuery::with_minimum_required_clauses(children, *minimum))
            }
        }
    }

    /// The same documents, with nothing added to their scores.
    fn unscored(self) -> Self {
        self.constant(0.0)
    }

    /// The same documents, with one score for all.
    fn constant(self, score: f32) -> Self {
        Self::Leaf(Box::new(ConstScoreQuery::new(self.query(), score)))
    }

    /// A choice between nodes; `None` if there is none.
    fn any(mut nodes: Vec<Self>) -> Option<Self> {
        if nodes.len() > 1 {
            return Self::of_clauses(nodes.into_iter().map(|node| (Occur::Should, node)).collect());
        }
        nodes.pop()
    }

    /// At least so many of the nodes, and at least one.
    fn at_least(minimum: Option<Minimum>, nodes: Vec<Self>) -> Option<Self> {
        let count = nodes.len();
        match minimum.map_or(1, |minimum| minimum.of(count)) {
            _ if count == 0 => None,
            0 | 1 => Self::any(nodes),
            minimum if minimum > count => Some(nothing()),
            minimum if minimum == count => Self::of_clauses(nodes.into_iter().map(must).collect()),
            minimum => Some(Self::AtLeast(minimum, nodes)),
        }
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
fn constant(query: impl tantivy::query::Query, boost: f32) -> Node {
    Node::Leaf(Box::new(ConstScoreQuery::new(Box::new(query), boost)))
}

fn all(boost: f32) -> Node {
    constant(AllQuery, boost)
}

fn nothing() -> Node {
    Node::Leaf(Box::new(EmptyQuery))
}

fn invalid(text: impl Into<String>) -> SearchError {
    SearchError::InvalidQuery(text.into())
}

/// The state of turning one query into nodes.
struct Planner<'a> {
    fields: &'a Fields,
    analyzers: &'a TokenizerManager,
    /// Whether what makes no sense in this index is left out.
    lenient: bool,
    terms: usize,
    scans: usize,
    patterns: Patterns,
    /// How many exclusions and filters surround the current node: what must not be there, and what only narrows, is neither highlighted nor
    /// scored.
    silent: usize,
    /// How many clauses with a constant score do.
    constant: usize,
    sought: Sought,
    scored: BTreeSet<Term>,
}

impl<'a> Planner<'a> {
    fn new(fields: &'a Fields, analyzers: &'a TokenizerManager) -> Self {
        Self {
            fields,
            analyzers,
            lenient: false,
            terms: 0,
            scans: 0,
            patterns: Patterns::default(),
            silent: 0,
            constant: 0,
            sought: Sought::default(),
            scored: BTreeSet::new(),
        }
    }

    fn silently<T>(&mut self, plan: impl FnOnce(&mut Self) -> T) -> T {
        self.silent += 1;
        let result = plan(self);
        self.silent -= 1;
        result
    }

    fn node(&mut self, clause: &Clause, boost: f32) -> Result<Option<Node>, SearchError> {
        let product = boost * clause.boost;
        let boost = if product < 1e-9 { 0.0 } else { product.min(MAX_BOOST) };
        match &clause.kind {
            Kind::Bool(group) => self.group(group, boost),
            Kind::Constant(inner) => {
                self.constant += 1;
                let nodes = self.nodes(inner, 1.0);
                self.constant -= 1;
                Ok(Node::any(nodes?).map(|node| node.constant(boost)))
            }
            Kind::Lenient(inner) => {
                let outer = std::mem::replace(&mut self.lenient, true);
                let nodes = self.nodes(inner, boost);
                self.lenient = outer;
                Ok(Node::any(nodes?))
            }
            leaf => match self.leaf(leaf, boost) {
                Err(SearchError::InvalidQuery(_)) if self.lenient => Ok(None),
                result => result,
            },
        }
    }

    fn nodes(&mut self, clauses: &[Clause], boost: f32) -> Result<Vec<Node>, SearchError> {
        let mut nodes = Vec::with_capacity(clauses.len());
        for clause in clauses {
            nodes.extend(self.node(clause, boost)?);
        }
        Ok(nodes)
    }

    fn group(&mut self, group: &Bool, boost: f32) -> Result<Option<Node>, SearchError> {
        let must_nodes = self.nodes(&group.must, boost)?;
        let filters = self.silently(|planner| planner.nodes(&group.filter, boost))?;
        let excluded = self.silently(|planner| planner.nodes(&group.must_not, boost))?;
        let should = self.nodes(&group.should, boost)?;
        let mut clauses: Vec<(Occur, Node)> = must_nodes.into_iter().map(must).collect();
        clauses.extend(filters.into_iter().map(Node::unscored).map(must));
        clauses.extend(excluded.into_iter().map(|node| (Occur::MustNot, node)));
        match group.minimum {
            Some(minimum) if minimum.of(should.len()) > 0 => clauses.extend(Node::at_least(Some(minimum), should).map(must)),
            // Without a required clause beside them, one has to match anyway.
            _ => clauses.extend(should.into_iter().map(|node| (Occur::Should, node))),
        }
        Ok(Node::of_clauses(clauses))
    }

    /// Counts the terms of the query, which bound the memory that it takes.
    fn count_terms(&mut self, terms: usize) -> Result<(), SearchError> {
        self.terms += terms;
        if self.terms > MAX_TERMS {
            return Err(invalid(format!("the query has more than {MAX_TERMS} terms, counting each word once for each field")));
        }
        Ok(())
    }

    /// Counts what is sought in columns, which bounds the time that it takes.
    fn count_scan(&mut self) -> Result<(), SearchError> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(invalid(format!(
                "the query has more than {MAX_SCANS} ranges, tests for values, and values of dates or dynamic fields"
            )));
        }
        Ok(())
    }

    /// Notes that the term counts for scores.
    fn score_by(&mut self, terms: impl IntoIterator<Item = Term>) {
        if self.silent == 0 && self.constant == 0 {
            self.scored.extend(terms);
        }
    }
}
