//! Facets: the short form of terms aggregations.

use super::parse::{fields::Fields, refuse};
use super::request::{Aggregation, Aggregations, Kind, Order, OrderBy, TermsRequest};
use crate::definition::IndexDefinition;
use crate::problem::Problem;

/// How many values of a facet are answered.
const SIZE: u32 = 10;
const MAX_FACETS: usize = 50;

impl Aggregations {
    /// Adds, for each of these fields, a terms aggregation of that name: its 10 most frequent values.
    pub fn add_facets(&mut self, facets: &[String], definition: &IndexDefinition) -> Result<(), Problem> {
        if facets.len() > MAX_FACETS {
            return Err(refuse("facets", format!("there are {} facets: at most {MAX_FACETS}", facets.len())));
        }
        for field in facets {
            if self.nodes.iter().any(|node| node.name == *field) {
                let detail = format!("{field:?} is asked for twice, as a facet or as an aggregation of that name: leave one out");
                return Err(refuse("facets", detail));
            }
            let source = Fields { definition }.any(field).map_err(|detail| refuse("facets", detail))?;
            let order = vec![Order { by: OrderBy::Count, descending: true }];
            let size = SIZE.min(self.max_buckets);
            let kind = Kind::Terms(TermsRequest { source, size, min_doc_count: 1, order, missing: None });
            self.nodes.push(Aggregation { name: field.clone(), kind, subs: Vec::new() });
        }
        self.check_size()
    }
}
