//! Aggregations: from the JSON of a request to the JSON of its answer, over any number of partitions.
//!
//! [`Aggregations`] is the checked request, its fields looked up in the index's definition; `parse` reads it. Each partition answers one
//! [`Partial`] for each of its aggregations; partials are merged, in any order, and `finish` makes the answer of them. All of this is pure:
//! a worker merges the partials of its segments by the same rules by which a query service merges those of partitions.
//!
//! Names and shapes are those of Elasticsearch. What is exact and what is estimated, see ADR 17.

mod facets;
mod finish;
mod interval;
mod key;
mod parse;
mod partial;
mod request;
mod shrink;
mod sketch;
#[cfg(test)]
mod tests;

pub use finish::FinishError;
pub use interval::{CalendarUnit, DateInterval, month_of, start_of_month};
pub use key::Key;
pub use partial::{Bucket, Mismatch, Partial, Reply, Stats, Terms};
pub use request::{Aggregation, Aggregations, Kind, Metric, Order, OrderBy, Part, Property, Range, Source, TermsRequest};
pub use shrink::{Cut, Refusal};
