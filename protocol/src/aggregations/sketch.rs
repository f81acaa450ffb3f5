//! The two estimates: percentiles by a DDSketch, which is off by 1 % of the value at most, and cardinality by a HyperLogLog of 2,048
//! registers, which counts some hundred values exactly and is off by 2.3 % (one standard deviation) beyond.
//!
//! Both travel in the forms that their makers publish for all languages.

mod check;

use datasketches::hll::{HllSketch, HllType, HllUnion};
use sketches_ddsketch::DDSketch;

use super::partial::Mismatch;

/// As tantivy makes them.
const LOG2_OF_REGISTERS: u8 = 11;

fn damaged(error: impl std::fmt::Display) -> Mismatch {
    Mismatch(format!("a sketch is damaged: {error}"))
}

fn quantiles(bytes: &[u8]) -> Result<DDSketch, Mismatch> {
    check::quantiles(bytes)?;
    DDSketch::from_java_bytes(bytes).map_err(damaged)
}

pub(super) fn merge_quantiles(into: &[u8], from: &[u8]) -> Result<Vec<u8>, Mismatch> {
    let mut sketch = quantiles(into)?;
    sketch.merge(&quantiles(from)?).map_err(damaged)?;
    Ok(sketch.to_java_bytes())
}

/// The values below which these percents of all are; `None` without any value.
pub(super) fn percentiles(bytes: &[u8], percents: &[f64]) -> Result<Option<Vec<f64>>, Mismatch> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let sketch = quantiles(bytes)?;
    percents.iter().map(|percent| sketch.quantile(percent / 100.0).map_err(damaged)).collect()
}

fn hyper_log_log(bytes: &[u8]) -> Result<HllSketch, Mismatch> {
    check::distinct(bytes)?;
    HllSketch::deserialize(bytes).map_err(damaged)
}

pub(super) fn merge_distinct(into: &[u8], from: &[u8]) -> Result<Vec<u8>, Mismatch> {
    let mut union = HllUnion::new(LOG2_OF_REGISTERS).map_err(damaged)?;
    for bytes in [into, from] {
        union.update(&hyper_log_log(bytes)?);
    }
    Ok(union.to_sketch(HllType::Hll8).serialize())
}

/// How many different values there are.
pub(super) fn distinct(bytes: &[u8]) -> Result<u64, Mismatch> {
    if bytes.is_empty() {
        return Ok(0);
    }
    Ok(hyper_log_log(bytes)?.estimate() as u64)
}
