//! The first documents in an order by fields, score and id.
//!
//! Every match is looked at. Within a segment, values are compared as numbers: those of columns, and the ordinals of texts. What a segment
//! finds is compared with what others find by the values themselves, which mean the same everywhere.

mod column;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tantivy::query::{EnableScoring, Query};
use tantivy::{DocAddress, DocId, SegmentReader, TantivyError};
use warren_protocol::rpc::{MAX_REPLY_BYTES, Place, Ranking, Search, by_score, key_bytes};
use warren_protocol::search::SortKey;

use super::Ranked;
use super::ids::IdColumn;
use super::occurrences::Occurrences;
use super::scoring::Scoring;
use super::statistics::Basis;
use crate::error::SearchError;
use crate::query::Plan;
use crate::schema::Fields;
use column::{KeyColumn, Local, Source};

/// The first `search.hits` documents of a plan, in the order of `search.sort`.
pub(super) fn first(
    plan: &Plan,
    query: &dyn Query,
    basis: &Basis<'_>,
    fields: &Fields,
    search: &Search,
) -> Result<Vec<Ranked>, SearchError> {
    let sources = search.sort.iter().map(|key| Source::of(key, fields)).collect::<Result<Vec<_>, _>>()?;
    let after = search.after.as_ref();
    if after.is_some_and(|place| place.values.len() != search.sort.len()) {
        return Err(SearchError::InvalidRequest { field: "after", detail: "the cursor belongs to another sort".to_owned() });
    }
    let wanted = (search.hits as usize).min(usize::try_from(basis.searcher.num_docs()).unwrap_or(usize::MAX));
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let scores = Scores::of(plan, basis, search)?;
    let enabled = match scores {
        Scores::Relevance(_) => EnableScoring::enabled_from_statistics_provider(basis, basis.searcher),
        Scores::Counts(_) | Scores::None => EnableScoring::disabled_from_searcher(basis.searcher),
    };
    let weight = query.weight(enabled)?;
    let mut ranked = Vec::new();
    for (number, segment) in (0..).zip(basis.searcher.segment_readers()) {
        let mut best = Segment::new(segment, &search.sort, &sources, after, wanted)?;
        match &scores {
            Scores::Relevance(scoring) => {
                let mut scores = scoring.in_segment(segment)?;
                weight.for_each(segment, &mut |document, score| {
                    if !segment.is_deleted(document) {
                        best.offer(document, scores.rounded(document, score));
                    }
                })?;
            }
            Scores::Counts(occurrences) => {
                let mut counts = occurrences.in_segment(segment)?;
                weight.for_each_no_score(segment, &mut |documents| {
                    for document in documents.iter().filter(|document| !segment.is_deleted(**document)) {
                        best.offer(*document, counts.count(*document));
                    }
                })?;
            }
            Scores::None => weight.for_each_no_score(segment, &mut |documents| {
                for document in documents.iter().filter(|document| !segment.is_deleted(**document)) {
                    best.offer(*document, 0.0);
                }
            })?,
        }
        best.finish(number, !matches!(scores, Scores::None), &mut ranked)?;
        ranked.sort_unstable_by(|left, right| order(&search.sort, left, right));
        ranked.truncate(wanted);
    }
    Ok(ranked)
}

/// What the scores of matches are.
enum Scores {
    Relevance(Scoring),
    Counts(Occurrences),
    /// The order does not depend on them.
    None,
}

impl Scores {
    fn of(plan: &Plan, basis: &Basis<'_>, search: &Search) -> Result<Self, TantivyError> {
        if !by_score(&search.sort) {
            return Ok(Self::None);
        }
        if search.ranking == Ranking::Occurrences {
            return Ok(Self::Counts(Occurrences::new(&plan.sought)));
        }
        Ok(Scoring::new(plan, basis.searcher, basis)?.map_or(Self::None, Self::Relevance))
    }
}

fn order(keys: &[SortKey], left: &Ranked, right: &Ranked) -> Ordering {
    let values = keys.iter().zip(left.values.iter().zip(&right.values));
    let mut orders = values.map(|(key, (left, right))| key.compare(left, right));
    orders.find(|order| order.is_ne()).unwrap_or_else(|| left.id.cmp(&right.id))
}

/// The first documents of one segment.
struct Segment<'a> {
    keys: Vec<KeyColumn<'a>>,
    ids: IdColumn,
    /// The ordinal of the first id behind that of the cursor.
    after: Option<u64>,
    wanted: usize,
    /// The last of them on top.
    heap: BinaryHeap<(Box<[Local]>, u64, DocId)>,
    current: Vec<Local>,
}

impl<'a> Segment<'a> {
    fn new(
        segment: &SegmentReader,
        keys: &'a [SortKey],
        sources: &[Source],
        after: Option<&Place>,
        wanted: usize,
    ) -> Result<Self, TantivyError> {
        let ids = IdColumn::open(segment)?;
        let columns = keys
            .iter()
            .zip(sources)
            .enumerate()
            .map(|(number, (key, source))| KeyColumn::open(segment, key, source, after.map(|place| &place.values[number])));
        Ok(Self {
            keys: columns.collect::<Result<_, _>>()?,
            after: after.map(|place| ids.first_behind(&place.id)).transpose()?,
            ids,
            wanted,
            heap: BinaryHeap::new(),
            current: Vec::with_capacity(keys.len()),
        })
    }

    fn offer(&mut self, document: DocId, score: f32) {
        let full = self.heap.len() == self.wanted;
        let worst = self.heap.peek().filter(|_| full);
        self.current.clear();
        let mut behind = self.after.is_none();
        let mut better = worst.is_none();
        for (number, key) in self.keys.iter().enumerate() {
            let local = key.local(document, score);
            if !behind {
                match key.against_cursor(local) {
                    Ordering::Less => return,
                    Ordering::Equal => {}
                    Ordering::Greater => behind = true,
                }
            }
            if !better && let Some((locals, ..)) = worst {
                match local.cmp(&locals[number]) {
                    Ordering::Less => better = true,
                    Ordering::Equal => {}
                    Ordering::Greater => return,
                }
            }
            self.current.push(local);
        }
        let id = self.ids.ordinal(document);
        if !behind && self.after.is_some_and(|first| id < first) {
            return;
        }
        if !better && worst.is_some_and(|(_, worst, _)| id >= *worst) {
            return;
        }
        if full {
            self.heap.pop();
        }
        self.heap.push((self.current.as_slice().into(), id, document));
    }

    fn finish(self, number: u32, scored: bool, ranked: &mut Vec<Ranked>) -> Result<(), SearchError> {
        let mut bytes = 0;
        for (locals, id, document) in self.heap {
            let values =
                self.keys.iter().zip(&locals).map(|(key, local)| key.value(*local)).collect::<Result<Vec<_>, TantivyError>>()?;
            let score = if scored { self.keys.iter().zip(&locals).find_map(|(key, local)| key.score(*local)) } else { None };
            let id = self.ids.text(id)?;
            bytes += key_bytes(&id, &values);
            if bytes > MAX_REPLY_BYTES {
                let detail = format!(
                    "the values that these hits are sorted by have more than {MAX_REPLY_BYTES} bytes: ask for fewer hits \
                     (limit and offset), or sort by shorter values"
                );
                return Err(SearchError::InvalidRequest { field: "limit", detail });
            }
            ranked.push(Ranked { id, score, values, address: DocAddress::new(number, document) });
        }
        Ok(())
    }
}
