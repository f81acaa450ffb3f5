//! Aggregations over one partition: tantivy collects each segment, and what it finds becomes partials, merged segment by segment.
//!
//! `source` says where the values of a field are, `compile` turns the request into tantivy's, `convert` turns tantivy's results into
//! partials, whose keys do not depend on the types in which segments keep numbers.

mod compile;
mod convert;
mod source;

use tantivy::aggregation::{AggContextParams, AggregationError, AggregationLimitsGuard, DistributedAggregationCollector};
use tantivy::collector::Collector;
use tantivy::query::{EnableScoring, Query};
use tantivy::{Searcher, TantivyError};
use warren_protocol::aggregations::{Aggregation, Aggregations, Kind, Partial, Refusal, Reply};

use crate::error::SearchError;

/// What a sketch takes at most, about: the percentiles and cardinalities inside buckets are counted before they are made.
const SKETCH_BYTES: u64 = 8 << 10;

/// Why there are no partials.
enum Failed {
    Refused(Refusal),
    Broken(SearchError),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The aggregations over the documents that match; `memory_bytes` bounds what collecting a segment may take.
pub(crate) fn aggregate(
    searcher: &Searcher,
    query: &dyn Query,
    request: &Aggregations,
    memory_bytes: u64,
) -> Result<Reply, SearchError> {
    let run = || {
        let sketches = sketches_in_buckets(&request.nodes, false);
        if sketches > 0 {
            let counted = Aggregations { nodes: without_sketches(&request.nodes), ..request.clone() };
            let buckets: usize = collect(searcher, query, &counted, memory_bytes)?.iter().map(Partial::size).sum();
            if (buckets as u64).saturating_mul(sketches).saturating_mul(SKETCH_BYTES) > memory_bytes {
                return Err(Failed::Refused(Refusal::Memory { limit: memory_bytes }));
            }
        }
        collect(searcher, query, request, memory_bytes)
    };
    match run() {
        Ok(partials) => Ok(Reply::Partials(partials)),
        Err(Failed::Refused(refusal)) => Ok(Reply::Refused(refusal)),
        Err(Failed::Broken(error)) => Err(error),
    }
}

fn collect(searcher: &Searcher, query: &dyn Query, request: &Aggregations, memory_bytes: u64) -> Result<Vec<Partial>, Failed> {
    let broken = |error: TantivyError| match error {
        TantivyError::AggregationError(AggregationError::MemoryExceeded { .. }) => {
            Failed::Refused(Refusal::Memory { limit: memory_bytes })
        }
        error => Failed::Broken(error.into()),
    };
    let (compiled, sources) = compile::compile(request);
    // Its limit of buckets is for final results, which are not made here.
    let limits = AggregationLimitsGuard::new(Some(memory_bytes), None);
    let context = AggContextParams { limits, value_sources: sources, ..AggContextParams::default() };
    let collector = DistributedAggregationCollector::from_aggs(compiled, context);
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher)).map_err(broken)?;
    let mut partials = request.empty();
    for (number, segment) in (0..).zip(searcher.segment_readers()) {
        let found = collector.collect_segment(&*weight, number, segment).and_then(|found| found).map_err(broken)?;
        let found = convert::convert(&request.nodes, found)?;
        request.merge(&mut partials, found).map_err(|error| broken(TantivyError::InternalError(error.to_string())))?;
        request.shrink(&mut partials)?;
    }
    Ok(partials)
}

fn is_sketch(node: &Aggregation) -> bool {
    matches!(node.kind, Kind::Percentiles { .. } | Kind::Cardinality { .. })
}

/// How many sketches each bucket may need at most.
fn sketches_in_buckets(nodes: &[Aggregation], inside: bool) -> u64 {
    let of = |node: &Aggregation| match is_sketch(node) {
        true => u64::from(inside) * node.parts().len() as u64,
        false => sketches_in_buckets(&node.subs, true),
    };
    nodes.iter().map(of).sum()
}

fn without_sketches(nodes: &[Aggregation]) -> Vec<Aggregation> {
    let kept = nodes.iter().filter(|node| !is_sketch(node));
    kept.map(|node| Aggregation { subs: without_sketches(&node.subs), ..node.clone() }).collect()
}
