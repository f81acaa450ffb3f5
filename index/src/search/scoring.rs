//! Scores that do not depend on how an index is cut into segments and partitions.
//!
//! tantivy sums the scores of a document's words as 32-bit floats, in an order that follows from the segment: equal documents
//! differ in the last bits, and where a difference falls on the edge of a rounding step, in the last of the five digits too. So what tantivy
//! says selects candidates, with a margin for its error, and their scores are summed again here: in the order of the query, in 64 bits.

use tantivy::query::{Bm25StatisticsProvider, EnableScoring, Occur, Scorer, Weight};
use tantivy::{DocId, Searcher, SegmentReader, TantivyError};
use warren_protocol::search::round_score;

use crate::query::{Node, Plan};

/// How the documents of one query are scored.
pub(crate) struct Scoring {
    shape: Shape,
    weights: Vec<Box<dyn Weight>>,
}

/// The tree of the query; a leaf is a place among the weights.
enum Shape {
    Leaf(usize),
    Bool(Vec<(Occur, Shape)>),
    AtLeast(usize, Vec<Shape>),
}

impl Scoring {
    /// `None` for a query that matches nothing.
    pub(crate) fn new(
        plan: &Plan,
        searcher: &Searcher,
        statistics: &dyn Bm25StatisticsProvider,
    ) -> Result<Option<Self>, TantivyError> {
        let Some(root) = plan.root() else {
            return Ok(None);
        };
        let mut weights = Vec::new();
        let enabled = EnableScoring::enabled_from_statistics_provider(statistics, searcher);
        let shape = shape(root, enabled, &mut weights)?;
        Ok(Some(Self { shape, weights }))
    }

    /// The largest relative difference between a score of tantivy and the exact one.
    ///
    /// A sum of n floats is off by n half units in the last place (2^-24) at most. Four times that covers the bounds by which tantivy
    /// prunes, and the rounding of the exact sum to 32 bits.
    pub(crate) fn margin(&self) -> f64 {
        (self.weights.len() + 2) as f64 / f64::from(1 << 22)
    }

    pub(crate) fn in_segment(&self, segment: &SegmentReader) -> Result<SegmentScoring<'_>, TantivyError> {
        let scorers = self.weights.iter().map(|weight| weight.scorer(segment, 1.0)).collect::<Result<_, _>>()?;
        Ok(SegmentScoring { scoring: self, scorers })
    }
}

fn shape(node: &Node, scoring: EnableScoring<'_>, weights: &mut Vec<Box<dyn Weight>>) -> Result<Shape, TantivyError> {
    Ok(match node {
        Node::Leaf(query) => {
            weights.push(query.weight(scoring)?);
            Shape::Leaf(weights.len() - 1)
        }
        Node::Bool(children) => {
            let children = children.iter().map(|(occur, child)| Ok((*occur, shape(child, scoring, weights)?)));
            Shape::Bool(children.collect::<Result<_, TantivyError>>()?)
        }
        Node::AtLeast(minimum, children) => {
            let children = children.iter().map(|child| shape(child, scoring, weights));
            Shape::AtLeast(*minimum, children.collect::<Result<_, TantivyError>>()?)
        }
    })
}

/// Exact scores in one segment.
pub(crate) struct SegmentScoring<'a> {
    scoring: &'a Scoring,
    scorers: Vec<Box<dyn Scorer>>,
}

impl SegmentScoring<'_> {
    /// The rounded score of a document that tantivy scored `approximate`. Documents must come in ascending order.
    pub(crate) fn rounded(&mut self, document: DocId, approximate: f32) -> f32 {
        if self.scorers.len() == 1 {
            return round_score(approximate);
        }
        let exact = score(&self.scoring.shape, &mut self.scorers, document);
        round_score(exact.map_or(approximate, |exact| exact as f32))
    }
}

/// The score of a document; `None` if it does not match.
fn score(shape: &Shape, scorers: &mut [Box<dyn Scorer>], document: DocId) -> Option<f64> {
    let children = match shape {
        Shape::Leaf(leaf) => {
            let scorer = &mut scorers[*leaf];
            let at = if scorer.doc() < document { scorer.seek(document) } else { scorer.doc() };
            return (at == document).then(|| f64::from(scorer.score()));
        }
        Shape::AtLeast(minimum, children) => {
            let scores: Vec<f64> = children.iter().filter_map(|child| score(child, scorers, document)).collect();
            return (scores.len() >= *minimum).then(|| scores.iter().sum());
        }
        Shape::Bool(children) => children,
    };
    let (mut sum, mut matches, mut required) = (0.0, false, false);
    for (occur, child) in children {
        let child = score(child, scorers, document);
        match (occur, child) {
            (Occur::MustNot, Some(_)) | (Occur::Must, None) => return None,
            (Occur::Must, Some(_)) => required = true,
            (Occur::Should, Some(_)) => matches = true,
            (Occur::Should | Occur::MustNot, None) => {}
        }
        sum += child.unwrap_or(0.0);
    }
    (required || matches).then_some(sum)
}
