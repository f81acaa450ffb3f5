//! tantivy alone: the same documents, fields and words, without Warren, a broker, or ids that replace each other.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::{DateTime, Index, TantivyDocument};
use warren_protocol::definition::{Analyzer, FieldType, IndexDefinition};
use warren_protocol::document::date_from_text;
use warren_tests::memory;

use crate::{Input, lines, process, report};

/// tantivy's memory for all threads; that of a worker.
const MEMORY: usize = 256 << 20;

struct Fields {
    schema: Schema,
    id: Field,
    source: Field,
    by_name: Vec<(String, FieldType, Field)>,
}

impl Fields {
    fn new(definition: &IndexDefinition) -> Self {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("_id", STRING | FAST);
        let source = schema.add_bytes_field("_source", STORED);
        let by_name = definition
            .fields
            .iter()
            .map(|(name, field)| {
                let added = match field.kind {
                    FieldType::Text => {
                        let tokenizer = if field.analyzer == Some(Analyzer::English) { "en_stem" } else { "default" };
                        let indexing = TextFieldIndexing::default()
                            .set_tokenizer(tokenizer)
                            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
                        schema.add_text_field(name, TextOptions::default().set_indexing_options(indexing))
                    }
                    FieldType::Keyword | FieldType::Object => schema.add_text_field(name, STRING | FAST),
                    FieldType::Integer => schema.add_i64_field(name, INDEXED | FAST),
                    FieldType::Float => schema.add_f64_field(name, INDEXED | FAST),
                    FieldType::Boolean => schema.add_bool_field(name, INDEXED | FAST),
                    FieldType::Date => schema.add_date_field(name, INDEXED | FAST),
                };
                (name.clone(), field.kind, added)
            })
            .collect();
        Self { schema: schema.build(), id, source, by_name }
    }

    fn document(&self, line: &str) -> Result<TantivyDocument> {
        let value: Value = serde_json::from_str(line)?;
        let mut document = TantivyDocument::new();
        document.add_text(self.id, value["id"].as_str().context("a document without an id")?);
        document.add_bytes(self.source, line.as_bytes());
        for (name, kind, field) in &self.by_name {
            match &value[name.as_str()] {
                Value::Array(values) => values.iter().for_each(|value| add(&mut document, *kind, *field, value)),
                value => add(&mut document, *kind, *field, value),
            }
        }
        Ok(document)
    }
}

fn add(document: &mut TantivyDocument, kind: FieldType, field: Field, value: &Value) {
    match (kind, value) {
        (FieldType::Date, Value::String(text)) => {
            if let Some(date) = date_from_text(text) {
                document.add_date(field, DateTime::from_utc(date));
            }
        }
        (_, Value::String(text)) => document.add_text(field, text),
        (_, Value::Bool(value)) => document.add_bool(field, *value),
        (FieldType::Integer, Value::Number(number)) => document.add_i64(field, number.as_i64().unwrap_or_default()),
        (_, Value::Number(number)) => document.add_f64(field, number.as_f64().unwrap_or_default()),
        _ => {}
    }
}

/// Indexes the file and prints what it took; reading and parsing count, as they do for Warren.
pub(crate) fn run(input: &Input, threads: usize) -> Result<()> {
    let fields = Fields::new(&input.definition()?);
    let folder = tempfile::tempdir()?;
    let index = Index::create_in_dir(folder.path(), fields.schema.clone())?;
    let (began, cpu) = (Instant::now(), process::cpu(std::process::id())?);
    let mut writer = index.writer_with_num_threads(threads, MEMORY)?;
    let mut documents = 0;
    for line in lines(&input.documents)? {
        writer.add_document(fields.document(&line?)?)?;
        documents += 1;
    }
    writer.commit()?;
    let wall = began.elapsed();
    report(&format!("raw tantivy, {threads} threads"), documents, wall, process::cpu(std::process::id())? - cpu);
    let peak = memory(std::process::id())?.peak;
    println!("  peak memory {peak} MiB");
    Ok(())
}
