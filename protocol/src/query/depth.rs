//! The clauses within a clause.

use std::ops::{Deref, DerefMut};

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use super::{Clause, MAX_DEPTH};
use crate::depth::deeper;

/// The deepest that a message may nest: a text in a tree, where each parenthesis may stand for two levels, with what is wrapped around.
const MAX_MESSAGE_DEPTH: usize = 4 * MAX_DEPTH;

/// Clauses within a clause.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Children(Vec<Clause>);

impl From<Vec<Clause>> for Children {
    fn from(clauses: Vec<Clause>) -> Self {
        Self(clauses)
    }
}

impl From<Clause> for Children {
    fn from(clause: Clause) -> Self {
        Self(vec![clause])
    }
}

impl Deref for Children {
    type Target = Vec<Clause>;

    fn deref(&self) -> &Vec<Clause> {
        &self.0
    }
}

impl DerefMut for Children {
    fn deref_mut(&mut self) -> &mut Vec<Clause> {
        &mut self.0
    }
}

impl<'de> Deserialize<'de> for Children {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deeper(deserializer, MAX_MESSAGE_DEPTH).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Kind, Query};

    fn nested(depth: usize) -> Query {
        let mut root = Clause::from(Kind::All);
        for _ in 0..depth {
            root = Kind::Constant(root.into()).into();
        }
        Query { root }
    }

    #[test]
    fn a_message_that_nests_too_deep_is_refused_and_the_next_one_is_read() {
        for (depth, read) in [(MAX_MESSAGE_DEPTH, true), (MAX_MESSAGE_DEPTH + 1, false), (MAX_MESSAGE_DEPTH, true)] {
            let bytes = postcard::to_stdvec(&nested(depth)).unwrap();
            assert_eq!(postcard::from_bytes::<Query>(&bytes).ok(), read.then(|| nested(depth)), "{depth}");
        }
        // Each level: boost, kind, and a list of one.
        let level = [0, 0, 0, 0, 3, 1];
        assert!(postcard::from_bytes::<Query>(&level.repeat(1_000_000)).is_err());
    }
}
