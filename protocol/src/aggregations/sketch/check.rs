//! Whether bytes are a sketch as its maker writes it. The readers of both makers believe what they read: counts that overflow, registers that
//! cannot be, tables without a free place; they panic, and a message is not to be trusted that far.

use super::{LOG2_OF_REGISTERS, Mismatch};

fn damaged(what: &str) -> Mismatch {
    Mismatch(format!("a sketch is damaged: {what}"))
}

/// Bytes that are read from their beginning.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Mismatch> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(|| damaged("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Mismatch> {
        self.take(N)?.try_into().map_err(|_| damaged("it ends early"))
    }

    fn byte(&mut self) -> Result<u8, Mismatch> {
        self.array().map(|[byte]| byte)
    }

    fn word(&mut self) -> Result<u32, Mismatch> {
        self.array().map(u32::from_le_bytes)
    }

    fn finite(&mut self) -> Result<f64, Mismatch> {
        let number = self.array().map(f64::from_le_bytes)?;
        number.is_finite().then_some(number).ok_or_else(|| damaged("a number is none"))
    }

    /// 7 bits in each byte, the lowest first; the ninth has 8.
    fn whole(&mut self) -> Result<u64, Mismatch> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if byte < 0x80 || shift == 56 {
                return Ok(value | u64::from(byte) << shift);
            }
            value |= u64::from(byte & 0x7f) << shift;
        }
        Ok(value)
    }

    /// A count as a float, without the bits that small ones do not need; 7 bits in each byte, the highest first.
    fn count(&mut self) -> Result<f64, Mismatch> {
        let mut bits = 0;
        for shift in (1..=57).rev().step_by(7) {
            let byte = self.byte()?;
            if byte < 0x80 || shift == 1 {
                bits |= if shift == 1 { u64::from(byte) } else { u64::from(byte) << shift };
                break;
            }
            bits |= u64::from(byte & 0x7f) << shift;
        }
        let count = f64::from_bits(bits.rotate_right(6).wrapping_add(1_f64.to_bits())) - 1.0;
        let plausible = (0.0..=MAX_COUNT).contains(&count) && count.fract() == 0.0;
        plausible.then_some(count).ok_or_else(|| damaged("a count is none"))
    }
}

/// Floats count exactly up to here.
const MAX_COUNT: f64 = 9e15;
/// No float is in a bin farther out.
const MAX_BIN: i64 = 40_000;
/// As many as a sketch has.
const MAX_BINS: u64 = 2048;

/// A DDSketch in the form of its maker's Java library: parts, each behind a byte that says which.
pub(super) fn quantiles(bytes: &[u8]) -> Result<(), Mismatch> {
    let mut reader = Reader(bytes);
    let (mut total, mut seen) = (0.0, Vec::new());
    while !reader.0.is_empty() {
        let part = reader.byte()?;
        if seen.contains(&part) {
            return Err(damaged("a part comes twice"));
        }
        seen.push(part);
        match part {
            // How many values, their sum, the least, the greatest.
            0xa0 => drop(reader.count()?),
            0x84 => drop(reader.take(8)?),
            0x88 | 0x8c => drop(reader.finite()?),
            // How wide the bins are, and where they begin.
            0x02 => {
                let gamma = sketches_ddsketch::Config::defaults().gamma;
                if (reader.finite()?, reader.finite()?) != (gamma, 0.0) {
                    return Err(damaged("its bins are others"));
                }
            }
            0x04 => total += reader.count()?,
            // The bins of positive and of negative values: places, each from the one before, and counts.
            0x05 | 0x07 => {
                let (bins, mut at) = (reader.whole()?, 0_i64);
                if bins > MAX_BINS {
                    return Err(damaged("it has too many bins"));
                }
                for _ in 0..bins {
                    let step = reader.whole()?;
                    at = at.saturating_add((step >> 1) as i64 ^ -((step & 1) as i64));
                    if !(-MAX_BIN..=MAX_BIN).contains(&at) {
                        return Err(damaged("a bin is none"));
                    }
                    total += reader.count()?;
                }
            }
            _ => return Err(damaged("it has another part")),
        }
    }
    (total <= MAX_COUNT).then_some(()).ok_or_else(|| damaged("it counts too much"))
}

/// A HyperLogLog of DataSketches, in one of its three states: a list of some coupons, a table of more, registers.
pub(super) fn distinct(bytes: &[u8]) -> Result<(), Mismatch> {
    const COMPACT: u8 = 8;
    let mut reader = Reader(bytes);
    let [_, _, _, registers, log2, flags, listed, state] = reader.array()?;
    if registers != LOG2_OF_REGISTERS {
        return Err(damaged("it has other registers"));
    }
    let coupons = match state {
        0x08 if flags & COMPACT > 0 => u32::from(listed),
        0x09 if flags & COMPACT > 0 && (5..=8).contains(&log2) => {
            let coupons = reader.word()?;
            // A fuller one would have grown.
            if coupons > 3 << (log2 - 2) {
                return Err(damaged("it is too full"));
            }
            coupons
        }
        0x0a => {
            for _ in 0..3 {
                reader.finite()?;
            }
            let (zeros, _) = (reader.word()?, reader.word()?);
            let values = reader.take(1 << LOG2_OF_REGISTERS)?;
            let same = values.iter().filter(|value| **value == 0).count() == zeros as usize;
            return (same && values.iter().all(|value| *value < 64)).then_some(()).ok_or_else(|| damaged("a register is none"));
        }
        _ => return Err(damaged("it is in another state")),
    };
    // The upper 6 bits are a register's value, which is not 0.
    let none = |coupon: u32| coupon >> 26 == 0;
    for _ in 0..coupons {
        if none(reader.word()?) {
            return Err(damaged("a coupon is none"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datasketches::hll::{HllSketch, HllType};
    use sketches_ddsketch::DDSketch;

    use super::*;
    use crate::aggregations::sketch;

    fn of_values(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
        let mut sketch = DDSketch::default();
        values.into_iter().for_each(|value| sketch.add(value));
        sketch.to_java_bytes()
    }

    fn of_different(count: u32) -> Vec<u8> {
        let mut sketch = HllSketch::new(LOG2_OF_REGISTERS, HllType::Hll8).unwrap();
        (0..count).for_each(|number| sketch.update(number));
        sketch.serialize()
    }

    #[test]
    fn what_makers_write_is_read_and_merged_at_any_size() {
        let extremes = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.0, -0.0, 1e-9, -1e-9];
        let many = (0..100_000).map(|number| f64::from(number - 30_000) * 1.7);
        let all = [
            of_values([]),
            of_values([1.0]),
            of_values(extremes),
            of_values(many),
            of_values((0..400).map(|n| 10_f64.powi(n - 200))),
        ];
        for left in &all {
            quantiles(left).unwrap();
            all.iter().for_each(|right| quantiles(&sketch::merge_quantiles(left, right).unwrap()).unwrap());
        }
        let all = [0, 1, 7, 8, 9, 23, 24, 25, 100, 191, 192, 193, 5000, 1_000_000].map(of_different);
        for left in &all {
            distinct(left).unwrap();
            all.iter().for_each(|right| distinct(&sketch::merge_distinct(left, right).unwrap()).unwrap());
        }
    }

    /// Each bit flipped, and each cut: an answer or an error, no panic.
    fn mistreat(bytes: &[u8], read: impl Fn(&[u8])) {
        for at in 0..bytes.len().min(200) {
            read(&bytes[..at]);
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                read(&flipped);
            }
        }
    }

    #[test]
    fn damaged_sketches_are_errors() {
        let whole = of_values([1.0, 2.0, -3.0, 0.0]);
        mistreat(&whole, |bytes| {
            let _ = (sketch::percentiles(bytes, &[0.0, 50.0, 100.0]), sketch::merge_quantiles(bytes, &whole));
        });
        // Of another width; counts beyond all; a bin that no float is in; more bins than there are.
        let store = |rest: &[u8]| [&[0x05][..], rest].concat();
        let huge = [0xff; 8];
        for bytes in [store(&[1, 0]), store(&[1, 0, 0xff, 0xff]), store(&[&[1][..], &huge].concat()), store(&huge)] {
            assert!(quantiles(&bytes).is_err(), "{bytes:?}");
        }
        let mut other = DDSketch::new(sketches_ddsketch::Config::new(0.05, 2048, 1e-9));
        other.add(1.0);
        assert!(quantiles(&other.to_java_bytes()).is_err());

        for count in [3, 20, 5000] {
            let whole = of_different(count);
            mistreat(&whole, |bytes| {
                let _ = (sketch::distinct(bytes), sketch::merge_distinct(bytes, &whole), sketch::merge_distinct(&whole, bytes));
            });
        }
        let registers = of_different(5000);
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = registers.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            bytes
        };
        let zero = 40 + registers[40..].iter().position(|register| *register == 0).unwrap();
        // Of another size; of another form; a sum that is none; a register more; one that no hash has.
        for (at, with) in [(3, &[12][..]), (7, &[2]), (8, &f64::NAN.to_le_bytes()), (zero, &[1]), (50, &[64])] {
            assert!(distinct(&changed(at, with)).is_err(), "{at}");
        }
    }
}
