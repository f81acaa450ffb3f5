//! What the catalog answers besides success, shaped by what the caller can do.

use warren_protocol::problem::Code;
use warren_protocol::{IndexName, Problem};

/// Why the catalog could not be asked or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The broker does not answer in time, or the replay has not come far enough: the outcome is unknown, try again.
    #[error("{0}")]
    Unavailable(String),
    /// The catalog's log cannot be read any more: nothing helps but what the text says.
    #[error("the catalog cannot be used: {0}")]
    Broken(String),
    /// The definition breaks a rule.
    #[error("{0}")]
    Definition(Problem),
    /// There is no such index, and documents do not create indexes here.
    #[error("there is no index \"{0}\", and indexes.auto_create is off: create it with PUT /indexes/{0}")]
    NotAutomatic(IndexName),
    /// There is no such index, and documents have created as many as they may.
    #[error(
        "there is no index \"{name}\", and documents have created {limit} already (indexes.auto_create_limit): create it with PUT /indexes/{name}"
    )]
    AutomaticLimit {
        /// The index.
        name: IndexName,
        /// The most that documents create.
        limit: u32,
    },
    /// There is an index of that name, and it is not the one that was to be restored.
    #[error("there is an index \"{0}\" already")]
    Taken(IndexName),
    /// The catalog holds as many sources as it can.
    #[error("there are {limit} sources already, the most that one Warren has: delete one first")]
    TooManySources {
        /// The most.
        limit: usize,
    },
    /// The catalog holds as many indexes as it can.
    #[error("there are {limit} indexes already, the most that one Warren holds: delete one first")]
    Full {
        /// The most.
        limit: usize,
    },
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let detail = error.to_string();
        match error {
            CatalogError::Unavailable(_) | CatalogError::Broken(_) => Self::new(Code::Unavailable, detail),
            CatalogError::Definition(problem) => problem,
            CatalogError::TooManySources { .. } => Self::new(Code::TooManySources, detail),
            CatalogError::Taken(_) => Self::new(Code::IndexExists, detail),
            CatalogError::NotAutomatic(_) => Self::new(Code::UnknownIndex, detail),
            CatalogError::AutomaticLimit { .. } | CatalogError::Full { .. } => Self::new(Code::TooManyIndexes, detail),
        }
    }
}
