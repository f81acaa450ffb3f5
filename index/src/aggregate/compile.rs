//! The request as tantivy takes it. Each aggregation is named by its place among its neighbours, and by its part where it has several.

use std::sync::Arc;

use tantivy::aggregation::agg_req::{Aggregation as Compiled, AggregationVariants, Aggregations as CompiledAll};
use tantivy::aggregation::bucket::{CustomOrder, HistogramAggregation, Order as BucketOrder, OrderTarget, TermsAggregation};
use tantivy::aggregation::metric::{CardinalityAggregationReq, PercentilesAggregationReq, StatsAggregation};
use tantivy::aggregation::{Key as TantivyKey, ValueSourceRegistry};
use warren_protocol::aggregations::{Aggregation, Aggregations, Cut, DateInterval, Kind, Part, Source};
use warren_protocol::definition::FieldType;

use super::source::{Form, Values};
use crate::schema::{ID, VALUES};

/// What tantivy gives documents without a value; no value begins with a control character of its own.
pub(super) const MISSING: &str = "\u{0}missing";

struct Compiler {
    sources: ValueSourceRegistry,
    registered: usize,
    /// How many buckets of terms a segment may give.
    terms: u32,
}

/// The request, and the sources of values that it names.
pub(super) fn compile(request: &Aggregations) -> (CompiledAll, Arc<ValueSourceRegistry>) {
    let terms = u32::try_from(request.share()).unwrap_or(u32::MAX);
    let mut compiler = Compiler { sources: ValueSourceRegistry::default(), registered: 0, terms };
    let compiled = compiler.all(&request.nodes);
    (compiled, Arc::new(compiler.sources))
}

/// The name of an aggregation that is one for tantivy.
pub(super) fn name(place: usize) -> String {
    place.to_string()
}

/// The name of a part of one that is several.
pub(super) fn part_name(place: usize, part: usize) -> String {
    format!("{place}.{part}")
}

/// The field that holds the values of a source.
fn field(source: &Source) -> String {
    match source {
        Source::Id => ID.to_owned(),
        Source::Defined { name, .. } => name.clone(),
        Source::Dynamic { path } => format!("{VALUES}.{path}"),
    }
}

impl Compiler {
    fn all(&mut self, nodes: &[Aggregation]) -> CompiledAll {
        let mut compiled = CompiledAll::default();
        for (place, node) in nodes.iter().enumerate() {
            self.add(place, node, &mut compiled);
        }
        compiled
    }

    fn add(&mut self, place: usize, node: &Aggregation, into: &mut CompiledAll) {
        let mut one = |name: String, agg, sub_aggregation| drop(into.insert(name, Compiled { agg, sub_aggregation }));
        match &node.kind {
            Kind::Terms(request) => {
                let field = match &request.source {
                    Source::Defined { name, kind: FieldType::Date } if request.missing.is_none() => {
                        self.source(name.clone(), Part::Dates, Form::Nanos)
                    }
                    source => field(source),
                };
                let order = match request.cut() {
                    Some(Cut::Key { descending }) => {
                        let order = if descending { BucketOrder::Desc } else { BucketOrder::Asc };
                        Some(CustomOrder { target: OrderTarget::Key, order })
                    }
                    _ => None,
                };
                let terms = TermsAggregation {
                    order,
                    field,
                    size: Some(self.terms),
                    segment_size: Some(self.terms),
                    missing: request.missing.as_ref().map(|_| TantivyKey::Str(MISSING.to_owned())),
                    ..TermsAggregation::default()
                };
                one(name(place), AggregationVariants::Terms(terms), self.all(&node.subs));
            }
            Kind::Histogram { source, interval, offset, .. } => {
                let field = self.source(field(source), Part::Numbers, Form::Number);
                one(name(place), histogram(field, *interval, *offset), self.all(&node.subs));
            }
            Kind::DateHistogram { source, interval, .. } => {
                let (form, length, offset) = match *interval {
                    DateInterval::Fixed { millis, offset } => (Form::Number, millis as f64, offset as f64),
                    DateInterval::Months(months) => (Form::Month, months as f64, 0.0),
                };
                let field = self.source(field(source), Part::Dates, form);
                one(name(place), histogram(field, length, offset), self.all(&node.subs));
            }
            Kind::Range { source, dates, ranges, .. } => {
                let part = if *dates { Part::Dates } else { Part::Numbers };
                for (number, range) in ranges.iter().enumerate() {
                    let field = self.source(field(source), part, Form::InRange(range.from, range.to));
                    one(part_name(place, number), histogram(field, 1.0, 0.0), self.all(&node.subs));
                }
            }
            Kind::Metric { source, missing, .. } => {
                for (number, part) in node.parts().into_iter().enumerate() {
                    let field = self.source(field(source), part, Form::Number);
                    let stats = StatsAggregation { field, missing: *missing };
                    one(part_name(place, number), AggregationVariants::Stats(stats), CompiledAll::default());
                }
            }
            Kind::Percentiles { source, .. } => {
                for (number, part) in node.parts().into_iter().enumerate() {
                    let percentiles = PercentilesAggregationReq::from_field_name(self.source(field(source), part, Form::Number));
                    one(part_name(place, number), AggregationVariants::Percentiles(percentiles), CompiledAll::default());
                }
            }
            Kind::Cardinality { source } => {
                for (number, part) in node.parts().into_iter().enumerate() {
                    let field = self.source(field(source), part, Form::Raw);
                    let cardinality = CardinalityAggregationReq { field, missing: None };
                    one(part_name(place, number), AggregationVariants::Cardinality(cardinality), CompiledAll::default());
                }
            }
        }
    }

    /// Names these values, for tantivy.
    fn source(&mut self, field: String, part: Part, form: Form) -> String {
        self.registered += 1;
        let name = format!("\u{0}{}", self.registered);
        self.sources.register(&name, Arc::new(Values { field, part, form }));
        name
    }
}

fn histogram(field: String, interval: f64, offset: f64) -> AggregationVariants {
    AggregationVariants::Histogram(HistogramAggregation {
        field,
        interval,
        offset: Some(offset),
        min_doc_count: Some(1),
        ..HistogramAggregation::default()
    })
}
