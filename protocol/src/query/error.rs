//! Why a query is not understood.

use crate::Problem;
use crate::problem::Code;

/// Why a query is not understood: where, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A text is at fault at one place.
    #[error("the query cannot be understood at character {position}: {reason}")]
    Text {
        /// How many characters stand before the place.
        position: usize,
        /// What is wrong there, and how to write it.
        reason: String,
    },
    /// A tree is at fault at one place.
    #[error("{path}: {reason}")]
    Tree {
        /// The place, such as `query.bool.must[2].match`.
        path: String,
        /// What is wrong there, and how to write it.
        reason: String,
    },
    /// The query asks for more than a query may.
    #[error("the query has {what}: at most {most}, ask less at once")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// How much there may be.
        most: usize,
    },
}

impl QueryError {
    /// As clients get it; `name` is the field of the request that the query stands in.
    pub fn into_problem(self, name: &str) -> Problem {
        let field = match &self {
            Self::Tree { path, .. } => path.clone(),
            Self::Text { .. } | Self::TooLarge { .. } => name.to_owned(),
        };
        Problem::new(Code::InvalidQuery, self.to_string()).with_field(field)
    }
}
