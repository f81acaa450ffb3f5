//! The values of one sort key in one segment, as numbers that are in the order of the sort.

use std::cmp::Ordering;

use tantivy::columnar::{Column, ColumnType, DynamicColumn, StrColumn};
use tantivy::{DocId, SegmentReader, TantivyError, f64_to_u64, u64_to_f64, u64_to_i64};
use warren_protocol::search::{Missing, SortBy, SortKey, SortValue};

use super::super::ids::first_number;
use crate::error::SearchError;
use crate::schema::{Fields, ID, Kind, MAX_PATH_BYTES, VALUES};

/// A value of one segment, smaller where it comes first: missing values before or behind all others, then the rank of its type,
/// then the number that the column has for it.
pub(super) type Local = u128;

const PRESENT: Local = 1 << 72;
const MISSING_LAST: Local = 2 << 72;
const MASK: Local = PRESENT - 1;
/// Types are in the order of [`SortValue`].
const NUMBERS: u8 = 2;

/// Where the values of a key are.
#[derive(Debug)]
pub(super) enum Source {
    Score,
    Column(String),
    /// A name that no document can have.
    Nowhere,
}

impl Source {
    pub(super) fn of(key: &SortKey, fields: &Fields) -> Result<Self, SearchError> {
        let name = match &key.by {
            SortBy::Score => return Ok(Self::Score),
            SortBy::Id => return Ok(Self::Column(ID.to_owned())),
            SortBy::Field(name) => name.as_str(),
        };
        let refuse = |detail: String| Err(SearchError::InvalidRequest { field: "sort", detail });
        if name == fields.id_field {
            return Ok(Self::Column(ID.to_owned()));
        }
        match fields.defined.get(name).map(|field| field.kind) {
            Some(Kind::Text(_)) => {
                refuse(format!("{name} is a text and has no order: sort by a field of type keyword, or by a number or a date"))
            }
            Some(Kind::Object) => refuse(format!("{name} is an object: name one of its fields, as in {name}.field")),
            Some(_) => Ok(Self::Column(name.to_owned())),
            None if fields.dynamic_at(name).is_none() => {
                refuse(format!("there is no field {name:?} in this index: sort by one of its definition, by _score, or by id"))
            }
            None if name.len() > MAX_PATH_BYTES || !Fields::is_path_key(name) => Ok(Self::Nowhere),
            None => Ok(Self::Column(format!("{VALUES}.{name}"))),
        }
    }
}

/// One key in one segment.
pub(super) struct KeyColumn<'a> {
    key: &'a SortKey,
    values: Values,
    /// From where on values are equal to the cursor's, and from where on they are behind it.
    cursor: Option<(Local, Local)>,
}

enum Values {
    Score,
    /// At most one of each rank.
    Columns(Vec<Typed>),
}

struct Typed {
    rank: u8,
    kind: ColumnType,
    numbers: Column<u64>,
    texts: Option<StrColumn>,
}

impl<'a> KeyColumn<'a> {
    pub(super) fn open(
        segment: &SegmentReader,
        key: &'a SortKey,
        source: &Source,
        after: Option<&SortValue>,
    ) -> Result<Self, TantivyError> {
        let values = match source {
            Source::Score => Values::Score,
            Source::Nowhere => Values::Columns(Vec::new()),
            Source::Column(name) => {
                let handles = segment.fast_fields().dynamic_column_handles(name)?;
                let columns = handles.iter().filter_map(|handle| Typed::open(handle).transpose());
                Values::Columns(columns.collect::<Result<_, TantivyError>>()?)
            }
        };
        let mut column = Self { key, values, cursor: None };
        column.cursor = after.map(|value| column.cursor_at(value)).transpose()?;
        Ok(column)
    }

    /// Where a document stands.
    pub(super) fn local(&self, document: DocId, score: f32) -> Local {
        let columns = match &self.values {
            Values::Score => return self.present(NUMBERS, f64_to_u64(score.into()).into()),
            Values::Columns(columns) => columns,
        };
        let values = columns.iter().flat_map(|column| {
            column.numbers.values_for_doc(document).map(|number| self.present(column.rank, column.plain(number).into()))
        });
        // Of several, the one that comes first.
        values.min().unwrap_or_else(|| self.missing())
    }

    fn present(&self, rank: u8, number: Local) -> Local {
        let ascending = (Local::from(rank) << 64) + number;
        PRESENT + if self.key.descending { MASK - ascending } else { ascending }
    }

    fn missing(&self) -> Local {
        match self.key.missing {
            Missing::First => 0,
            Missing::Last => MISSING_LAST,
        }
    }

    /// Whether a value comes before the cursor's, with it, or behind it.
    pub(super) fn against_cursor(&self, local: Local) -> Ordering {
        match self.cursor {
            Some((from, _)) if local < from => Ordering::Less,
            Some((_, behind)) if local < behind => Ordering::Equal,
            _ => Ordering::Greater,
        }
    }

    fn cursor_at(&self, value: &SortValue) -> Result<(Local, Local), TantivyError> {
        let rank = match value {
            SortValue::Missing => return Ok((self.missing(), self.missing() + 1)),
            value => rank(value),
        };
        // The first number whose value is not below that of the cursor, and the first whose value is above it.
        let (mut from, mut above): (Local, Local) = (0, 0);
        match &self.values {
            Values::Score => {
                from = first_number(u64::MAX, |number| Ok(SortValue::F64(u64_to_f64(number)) >= *value))?.into();
                above = first_number(u64::MAX, |number| Ok(SortValue::F64(u64_to_f64(number)) > *value))?.into();
            }
            Values::Columns(columns) => {
                if let Some(column) = columns.iter().find(|column| column.rank == rank) {
                    let end = column.end();
                    from = first_number(end, |number| Ok(column.value(number)? >= *value))?.into();
                    above = first_number(end, |number| Ok(column.value(number)? > *value))?.into();
                    // The largest number of all is below no other that could be looked at.
                    if above == Local::from(u64::MAX) && end == u64::MAX && column.value(u64::MAX)? <= *value {
                        above += 1;
                    }
                }
            }
        }
        Ok(if self.key.descending {
            (self.present(rank, above) + 1, self.present(rank, from) + 1)
        } else {
            (self.present(rank, from), self.present(rank, above))
        })
    }

    /// The value itself.
    pub(super) fn value(&self, local: Local) -> Result<SortValue, TantivyError> {
        if !(PRESENT..MISSING_LAST).contains(&local) {
            return Ok(SortValue::Missing);
        }
        let (rank, number) = self.parts(local);
        match &self.values {
            Values::Score => Ok(SortValue::F64(u64_to_f64(number))),
            Values::Columns(columns) => match columns.iter().find(|column| column.rank == rank) {
                Some(column) => column.value(number),
                None => Ok(SortValue::Missing),
            },
        }
    }

    /// The score, if this is the key for it.
    pub(super) fn score(&self, local: Local) -> Option<f32> {
        matches!(self.values, Values::Score).then(|| u64_to_f64(self.parts(local).1) as f32)
    }

    fn parts(&self, local: Local) -> (u8, u64) {
        let raw = local - PRESENT;
        let ascending = if self.key.descending { MASK - raw } else { raw };
        ((ascending >> 64) as u8, ascending as u64)
    }
}

impl Typed {
    fn open(handle: &tantivy::columnar::DynamicColumnHandle) -> Result<Option<Self>, TantivyError> {
        let kind = handle.column_type();
        let rank = match kind {
            ColumnType::Bool => 1,
            ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => NUMBERS,
            ColumnType::DateTime => 3,
            ColumnType::Str => 4,
            ColumnType::Bytes | ColumnType::IpAddr => return Ok(None),
        };
        let texts = match kind {
            ColumnType::Str => match handle.open()? {
                DynamicColumn::Str(texts) => Some(texts),
                _ => None,
            },
            _ => None,
        };
        Ok(handle.open_u64_lenient()?.map(|numbers| Self { rank, kind, numbers, texts }))
    }

    /// 0 for -0, which is equal to it and has another number.
    fn plain(&self, number: u64) -> u64 {
        if self.kind == ColumnType::F64 && number == f64_to_u64(-0.0) { f64_to_u64(0.0) } else { number }
    }

    /// Beyond the largest number of the column.
    fn end(&self) -> u64 {
        match &self.texts {
            Some(texts) => texts.num_terms() as u64,
            None if self.kind == ColumnType::Bool => 2,
            None => u64::MAX,
        }
    }

    fn value(&self, number: u64) -> Result<SortValue, TantivyError> {
        Ok(match self.kind {
            ColumnType::Bool => SortValue::Bool(number > 0),
            ColumnType::I64 => SortValue::I64(u64_to_i64(number)),
            ColumnType::U64 => SortValue::U64(number),
            ColumnType::F64 => SortValue::F64(u64_to_f64(number)),
            ColumnType::DateTime => SortValue::Date(u64_to_i64(number)),
            ColumnType::Str | ColumnType::Bytes | ColumnType::IpAddr => {
                let mut text = String::new();
                let known = self.texts.as_ref().map(|texts| texts.ord_to_str(number, &mut text)).transpose()?;
                if known != Some(true) {
                    return Err(TantivyError::InternalError(format!("a column has no text {number}")));
                }
                SortValue::Str(text)
            }
        })
    }
}

fn rank(value: &SortValue) -> u8 {
    match value {
        SortValue::Missing => 0,
        SortValue::Bool(_) => 1,
        SortValue::I64(_) | SortValue::U64(_) | SortValue::F64(_) => NUMBERS,
        SortValue::Date(_) => 3,
        SortValue::Str(_) => 4,
    }
}
