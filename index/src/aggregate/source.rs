//! Where the values of a field are, and in which form an aggregation gets them.
//!
//! Dynamic fields have a column for each type of value, and a segment may keep the same numbers as integers or as floats. So every aggregation of
//! numbers says which type it means, and gets them in one form: dates in milliseconds, which floats hold exactly.

use tantivy::aggregation::{ValueSource, ValueSourceProvider};
use tantivy::columnar::{Cardinality, Column, ColumnType, DynamicColumn, MonotonicallyMappableToU64, RowId, StrColumn};
use tantivy::{DocId, SegmentReader, TantivyError};
use warren_protocol::aggregations::{Part, month_of};

const NANOS_PER_MILLI: i64 = 1_000_000;

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// Texts by their numbers in the segment, others as they are: to be counted, or told apart.
    Raw,
    /// As they are, but dates in nanoseconds.
    Nanos,
    /// A number; dates in milliseconds.
    Number,
    /// The number of its month.
    Month,
    /// 1 for what lies between these bounds, the first of which belongs to it; else 0.
    InRange(Option<f64>, Option<f64>),
}

/// The values of one type in one field.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Its name for tantivy.
    pub(super) field: String,
    pub(super) part: Part,
    pub(super) form: Form,
}

impl ValueSourceProvider for Values {
    fn for_segment(
        &self,
        reader: &SegmentReader,
        _allowed: Option<&[ColumnType]>,
    ) -> tantivy::Result<Option<Box<dyn ValueSource>>> {
        for handle in reader.fast_fields().dynamic_column_handles(&self.field)? {
            if part_of(handle.column_type()) != Some(self.part) {
                continue;
            }
            if let (Form::Raw, DynamicColumn::Str(texts)) = (self.form, handle.open()?) {
                return Ok(Some(Box::new(texts)));
            }
            if let Some(column) = handle.open_u64_lenient()? {
                return Ok(Some(self.shaped(column, handle.column_type())));
            }
        }
        let nothing = Column::build_empty_column(reader.max_doc());
        Ok(Some(match self.part {
            Part::Texts if self.form == Form::Raw => {
                Box::new(StrColumn::wrap(tantivy::columnar::BytesColumn::empty(reader.max_doc())))
            }
            _ => self.shaped(nothing, ColumnType::F64),
        }))
    }
}

fn part_of(kind: ColumnType) -> Option<Part> {
    match kind {
        ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => Some(Part::Numbers),
        ColumnType::DateTime => Some(Part::Dates),
        ColumnType::Bool => Some(Part::Booleans),
        ColumnType::Str => Some(Part::Texts),
        ColumnType::Bytes | ColumnType::IpAddr => None,
    }
}

impl Values {
    fn shaped(&self, column: Column<u64>, kind: ColumnType) -> Box<dyn ValueSource> {
        match (self.form, kind) {
            // The same bits, read as what they are.
            (Form::Nanos, ColumnType::DateTime) => Box::new((column, ColumnType::I64)),
            (Form::Raw, ColumnType::Bool | ColumnType::DateTime) | (Form::Nanos, _) => Box::new((column, kind)),
            (Form::Number, ColumnType::I64 | ColumnType::U64 | ColumnType::F64) => Box::new((column, kind)),
            (form, _) => Box::new(Shaped { column, kind, form }),
        }
    }
}

/// Values as floats.
#[derive(Debug)]
struct Shaped {
    column: Column<u64>,
    kind: ColumnType,
    form: Form,
}

impl Shaped {
    fn shape(&self, value: u64) -> u64 {
        let number = match self.kind {
            ColumnType::I64 => i64::from_u64(value) as f64,
            ColumnType::F64 => f64::from_u64(value),
            ColumnType::DateTime => i64::from_u64(value).div_euclid(NANOS_PER_MILLI) as f64,
            _ => value as f64,
        };
        let shaped = match self.form {
            Form::Raw | Form::Nanos | Form::Number => number,
            Form::Month => month_of(number as i64) as f64,
            Form::InRange(from, to) => {
                let inside = from.is_none_or(|from| number >= from) && to.is_none_or(|to| number < to);
                f64::from(u8::from(inside))
            }
        };
        shaped.to_u64()
    }
}

impl ValueSource for Shaped {
    fn column_type(&self) -> ColumnType {
        ColumnType::F64
    }

    fn load_block(
        &mut self,
        docs: &[DocId],
        values: &mut Vec<u64>,
        docids: &mut Vec<DocId>,
        row_ids: &mut Vec<RowId>,
    ) -> Cardinality {
        let cardinality = (&self.column, self.kind).load_block(docs, values, docids, row_ids);
        for value in values.iter_mut() {
            *value = self.shape(*value);
        }
        cardinality
    }

    fn to_f64(self: Box<Self>) -> Box<dyn ValueSource> {
        self
    }
}

/// For callers that have an error of tantivy to give.
pub(super) fn unexpected(what: &str) -> TantivyError {
    TantivyError::InternalError(format!("an aggregation gave {what}"))
}
