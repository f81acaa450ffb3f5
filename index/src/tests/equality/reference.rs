//! The judge: one plain index of tantivy with the same schema, in one segment, that scores, counts and collects by itself. Values to sort by
//! and to aggregate are read from the documents.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tantivy::collector::{Count, TopDocs};
use tantivy::{Index, Searcher, TantivyDocument};
use warren_protocol::IndexDefinition;
use warren_protocol::aggregations::Key;
use warren_protocol::definition::FieldType;
use warren_protocol::document::{date_from_millis, date_from_text};
use warren_protocol::rpc::{Hits, Search, by_score, keys_or_best};
use warren_protocol::search::{SortBy, SortKey, SortValue, round_score};

use crate::analysis;
use crate::document::convert;
use crate::query::Plan;
use crate::schema::Fields;

/// By what part two sums of the same floats in different orders may differ.
const SUMS: f64 = 2e-6;

pub(super) struct Reference {
    definition: IndexDefinition,
    fields: Fields,
    index: Index,
    searcher: Searcher,
    /// In the order of their numbers.
    pub(super) documents: Vec<Document>,
}

pub(super) struct Document {
    pub(super) id: String,
    pub(super) json: Map<String, Value>,
    source: String,
}

/// A document that matches.
struct Match<'a> {
    document: &'a Document,
    /// Two where it lies at the edge between them.
    scores: [f32; 2],
    /// By what it is ordered, with each of the scores.
    places: [Vec<SortValue>; 2],
}

impl Reference {
    pub(super) fn new(definition: &IndexDefinition, documents: &BTreeMap<String, String>) -> Self {
        let fields = Fields::new(definition);
        let index = Index::builder()
            .schema(fields.schema.clone())
            .tokenizers(analysis::manager(definition.fields.values().filter_map(|field| field.analyzer)))
            .create_in_ram()
            .unwrap();
        let mut writer = index.writer_with_num_threads(1, 100_000_000).unwrap();
        for (id, source) in documents {
            let mut document = TantivyDocument::new();
            for (field, value) in convert(&fields, id, source.as_bytes()).unwrap() {
                document.add_field_value(field, &value);
            }
            writer.add_document(document).unwrap();
        }
        writer.commit().unwrap();
        let searcher = index.reader().unwrap().searcher();
        assert_eq!((searcher.segment_readers().len(), searcher.num_docs()), (1, documents.len() as u64));
        let document = |(id, source): (&String, &String)| Document {
            id: id.clone(),
            json: serde_json::from_str(source).unwrap(),
            source: source.clone(),
        };
        let documents = documents.iter().map(document).collect();
        Self { definition: definition.clone(), fields, index, searcher, documents }
    }

    /// All that matches, and its scores as tantivy sums them.
    fn matches(&self, search: &Search) -> Vec<(&Document, f32)> {
        let plan = Plan::new(&search.query, search.filter.as_ref(), &self.fields, self.index.tokenizers()).unwrap();
        let all = TopDocs::with_limit(self.documents.len()).order_by_score();
        let (count, found) = self.searcher.search(&*plan.query(), &(Count, all)).unwrap();
        assert_eq!(count, found.len());
        found.into_iter().map(|(score, address)| (&self.documents[address.doc_id as usize], score)).collect()
    }

    pub(super) fn matching(&self, search: &Search) -> Vec<&Document> {
        let mut matching: Vec<_> = self.matches(search).into_iter().map(|(document, _)| document).collect();
        matching.sort_by_key(|document| &document.id);
        matching
    }

    /// Whether these hits are the first of all that matches, in the order that was asked for, each as it is.
    pub(super) fn check(&self, search: &Search, found: &Hits) -> Result<(), String> {
        let keys = keys_or_best(&search.sort);
        let scored = by_score(&search.sort);
        let mut matches: BTreeMap<&str, Match<'_>> = BTreeMap::new();
        for (document, raw) in self.matches(search) {
            let rounded = |part: f64| round_score((f64::from(raw) * (1.0 + part)) as f32);
            let scores = [rounded(-SUMS), rounded(SUMS)];
            let places = scores.map(|score| keys.iter().map(|key| self.place(document, key, score)).collect());
            matches.insert(&document.id, Match { document, scores, places });
        }
        if found.total != Some(matches.len() as u64) {
            return Err(format!("{:?} match, and it is {}", found.total, matches.len()));
        }
        if found.hits.len() != matches.len().min(search.hits as usize) {
            return Err(format!("there are {} hits", found.hits.len()));
        }
        let mut before: Option<(Vec<SortValue>, &str)> = None;
        for hit in &found.hits {
            let Some(expected) = matches.remove(hit.id.as_str()) else {
                return Err(format!("{} does not match, or comes twice", hit.id));
            };
            let known = expected.scores.map(Some);
            if scored && !known.contains(&hit.score) || !scored && hit.score.is_some() {
                return Err(format!("{} has the score {:?}, and it is {known:?}", hit.id, hit.score));
            }
            let place: Vec<SortValue> =
                keys.iter().map(|key| self.place(expected.document, key, hit.score.unwrap_or(0.0))).collect();
            if !search.sort.is_empty() && hit.sort != place {
                return Err(format!("{} stands at {:?}, and it is {place:?}", hit.id, hit.sort));
            }
            if hit.found.as_ref().map(|found| found.body.as_slice()) != Some(expected.document.source.as_bytes()) {
                return Err(format!("{} is another document", hit.id));
            }
            if let Some((before, id)) = &before
                && compare(keys, (before, id), (&place, &hit.id)).is_ge()
            {
                return Err(format!("{} comes too late", hit.id));
            }
            before = Some((place, &hit.id));
        }
        // What is left comes behind the last one.
        let (Some((last, id)), false) = (&before, search.hits == 0) else { return Ok(()) };
        let late =
            |left: &Match<'_>| left.places.iter().any(|place| compare(keys, (last, id), (place, &left.document.id)).is_lt());
        match matches.values().find(|left| !late(left)) {
            Some(left) => Err(format!("{} is left out", left.document.id)),
            None => Ok(()),
        }
    }

    fn place(&self, document: &Document, key: &SortKey, score: f32) -> SortValue {
        let values = match &key.by {
            SortBy::Score => return SortValue::F64(score.into()),
            SortBy::Id => vec![Key::Text(document.id.clone())],
            SortBy::Field(name) => self.values(document, name),
        };
        let values = values.into_iter().map(|value| match value {
            Key::Boolean(truth) => SortValue::Bool(truth),
            Key::Integer(number) => SortValue::I64(number),
            Key::Unsigned(number) => SortValue::U64(number),
            Key::Float(number) => SortValue::F64(number),
            Key::Date(nanos) => SortValue::Date(nanos),
            Key::Text(text) => SortValue::Str(text),
        });
        values.min_by(|left, right| key.compare(left, right)).unwrap_or(SortValue::Missing)
    }

    /// The values of a field, one for each time that it stands there.
    pub(super) fn values(&self, document: &Document, field: &str) -> Vec<Key> {
        if field == "id" {
            return vec![Key::Text(document.id.clone())];
        }
        let kind = self.definition.fields.get(field).map(|field| field.kind);
        let mut values = Vec::new();
        let json = Value::Object(document.json.clone());
        collect(&json, field, kind, &mut values);
        values
    }
}

fn compare(keys: &[SortKey], left: (&[SortValue], &str), right: (&[SortValue], &str)) -> Ordering {
    let orders = keys.iter().zip(left.0.iter().zip(right.0)).map(|(key, (left, right))| key.compare(left, right));
    orders.fold(Ordering::Equal, Ordering::then).then_with(|| left.1.cmp(right.1))
}

fn collect(json: &Value, path: &str, kind: Option<FieldType>, values: &mut Vec<Key>) {
    let nanos = |date: time::OffsetDateTime| Key::Date(i64::try_from(date.unix_timestamp_nanos()).unwrap());
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, kind, values)),
        Value::Object(object) => {
            let (first, rest) = path.split_once('.').unwrap_or((path, ""));
            object.get(first).into_iter().for_each(|inner| collect(inner, rest, kind, values));
        }
        _ if !path.is_empty() => {}
        Value::Null => {}
        Value::Bool(truth) => values.push(Key::Boolean(*truth)),
        Value::Number(number) if kind == Some(FieldType::Date) => {
            values.push(nanos(date_from_millis(number.as_i64().unwrap()).unwrap()));
        }
        Value::Number(number) => values.push(number.as_i64().map_or_else(|| Key::float(number.as_f64().unwrap()), Key::Integer)),
        Value::String(text) => match date_from_text(text).filter(|_| kind != Some(FieldType::Keyword)) {
            Some(date) => values.push(nanos(date)),
            None => values.push(Key::Text(text.clone())),
        },
    }
}
