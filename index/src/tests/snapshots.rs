//! An index in another place is the same index.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::{Random, checkpoint, definition, filled, hits, matching, open};
use crate::{Checkpoint, Frozen, IndexError, PartitionIndex};

/// The folder as a restore brings it: the files, and nothing else.
fn moved(frozen: &Frozen) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in &frozen.files {
        fs::copy(frozen.folder.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_frozen_index_answers_alike_wherever_it_is_adopted() {
    let definition = definition(r#"{"fields":{"title":{"type":"text","analyzer":"english"},"size":{"type":"integer"}}}"#);
    let documents: Vec<(String, String)> = (0..500)
        .map(|number| {
            (format!("d{number}"), format!(r#"{{"title":"word{} walks","size":{number},"more":"m{number}"}}"#, number % 7))
        })
        .collect();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(id, body)| (id.as_str(), body.as_str())).collect();
    let (directory, index) = filled(&definition, &documents);
    let mut writer = index.writer().unwrap();
    writer.delete("d3");
    writer.put("d4", br#"{"title":"other"}"#).unwrap();
    writer.commit(&checkpoint(2)).unwrap();

    let into = directory.path().with_extension("frozen");
    fs::create_dir(&into).unwrap();
    fs::write(into.join("left behind"), "by somebody").unwrap();
    let frozen = index.freeze(&into).unwrap();
    assert_eq!((frozen.documents, &frozen.checkpoint), (499, &checkpoint(2)));
    assert_eq!(names(&into), frozen.files, "the files of the commit, nothing else");
    assert!(frozen.files.iter().any(|name| name.ends_with(".del")));
    // The writer goes on, which changes nothing in what is frozen.
    writer.delete("d5");
    writer.commit(&checkpoint(3)).unwrap();

    let folder = moved(&frozen);
    PartitionIndex::adopt(folder.path(), &definition, &frozen.meta, None).unwrap();
    let (adopted, found) = open(folder.path(), &definition);
    assert_eq!((found, adopted.documents()), (Some(checkpoint(2)), 499));
    assert_eq!(adopted.size().segments, 2);
    assert_eq!(matching(&adopted, "size:5"), ["d5"]);
    let mut writer = adopted.writer().unwrap();
    writer.delete("d5");
    writer.commit(&checkpoint(3)).unwrap();
    for query in ["walk", "word3", "+walks -word1 size:>20", "m77", "size:[10 TO 20]", "more:m5", "title:other"] {
        let found = |index: &PartitionIndex| {
            hits(index, query, 30).into_iter().map(|hit| (hit.id, hit.score.map(f32::to_bits))).collect::<Vec<_>>()
        };
        assert_eq!(found(&adopted), found(&index), "{query}");
    }
    fs::remove_dir_all(into).unwrap();
}

#[test]
fn an_adopted_index_can_begin_at_another_checkpoint() {
    let definition = definition("{}");
    let (directory, index) = filled(&definition, &[("a", r#"{"text":"kept"}"#)]);
    let frozen = index.freeze(&directory.path().with_extension("frozen")).unwrap();
    let folder = moved(&frozen);
    let mut begin = Checkpoint { last: None, lost: Some("nothing".to_owned()), ..frozen.checkpoint.clone() };
    PartitionIndex::adopt(folder.path(), &definition, &frozen.meta, Some(&begin)).unwrap();
    let (adopted, found) = open(folder.path(), &definition);
    assert_eq!((found.as_ref(), matching(&adopted, "kept")), (Some(&begin), vec!["a".to_owned()]));
    // It is in a snapshot of it, too, before anything is written.
    let again = adopted.freeze(&directory.path().with_extension("again")).unwrap();
    assert_eq!((again.checkpoint, again.files, again.documents), (begin.clone(), frozen.files, 1));
    begin.last = checkpoint(9).last;
    let mut writer = adopted.writer().unwrap();
    writer.commit(&begin).unwrap();
    drop((writer, adopted));
    assert_eq!(open(folder.path(), &definition).1, Some(begin));
    for extension in ["frozen", "again"] {
        fs::remove_dir_all(directory.path().with_extension(extension)).unwrap();
    }
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused_or_discarded() {
    let fields = definition(r#"{"fields":{"text":{"type":"text"}}}"#);
    let (directory, index) = filled(&fields, &[("a", r#"{"text":"kept"}"#)]);
    let frozen = index.freeze(&directory.path().with_extension("frozen")).unwrap();
    let other_format = frozen.meta.replace("\"warren_format\":", "\"warren_format\":9");
    for meta in ["", "{}", "[]", &frozen.meta[..frozen.meta.len() / 2], &other_format] {
        let error = PartitionIndex::adopt(moved(&frozen).path(), &fields, meta, None).unwrap_err();
        assert!(matches!(error, IndexError::Snapshot(_)), "{error}");
    }
    let missing = moved(&frozen);
    fs::remove_file(missing.path().join(&frozen.files[0])).unwrap();
    PartitionIndex::adopt(missing.path(), &fields, &frozen.meta, None).unwrap();
    assert_eq!(open(missing.path(), &fields).1, None, "a file is missing");
    let other = moved(&frozen);
    let definition = definition(r#"{"fields":{"text":{"type":"keyword"}}}"#);
    PartitionIndex::adopt(other.path(), &definition, &frozen.meta, None).unwrap();
    assert_eq!(open(other.path(), &definition).1, None, "the files have another schema");
    fs::remove_dir_all(frozen.folder).unwrap();
}

#[test]
fn without_a_commit_there_is_nothing_to_freeze() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition("{}"));
    let into = directory.path().with_extension("frozen");
    assert!(matches!(index.freeze(&into), Err(IndexError::Uncommitted(_))));
    assert!(!into.exists());
    let mut writer = index.writer().unwrap();
    writer.commit(&checkpoint(4)).unwrap();
    let frozen = index.freeze(&into).unwrap();
    assert_eq!((frozen.files.len(), frozen.documents, &frozen.checkpoint), (0, 0, &checkpoint(4)));
    let folder = moved(&frozen);
    PartitionIndex::adopt(folder.path(), &definition("{}"), &frozen.meta, None).unwrap();
    assert_eq!(open(folder.path(), &definition("{}")).1, Some(checkpoint(4)), "empty, and so far in the log");
    fs::remove_dir_all(into).unwrap();
}

#[test]
fn a_writer_may_commit_and_merge_meanwhile() {
    let definition = definition("{}");
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition);
    let beside = TempDir::new().unwrap();
    let stop = AtomicBool::new(false);
    let frozen = std::thread::scope(|scope| {
        let (writing, stop) = (index.clone(), &stop);
        let writer = scope.spawn(move || {
            let mut writer = writing.writer().unwrap();
            let mut random = Random(99);
            let mut number = 0;
            // Every commit adds ten and replaces some, so that there is always a merge, and a new file of deletions.
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                for _ in 0..random.below(20) {
                    let id = format!("d{}", random.below(number as usize * 10 - 9));
                    writer.put(&id, br#"{"text":"replaced"}"#).unwrap();
                }
                for id in (number - 1) * 10..number * 10 {
                    writer.put(&format!("d{id}"), br#"{"text":"added"}"#).unwrap();
                }
                writer.commit(&checkpoint(number)).unwrap();
            }
            number
        });
        let mut frozen = Vec::new();
        while frozen.len() < 40 {
            match index.freeze(&beside.path().join(frozen.len().to_string())) {
                Ok(one) => frozen.push(one),
                Err(IndexError::Uncommitted(_)) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
            if frozen.len() == 20 {
                // Half of them in a row, half of them between many commits.
                let seen = index.documents();
                while index.documents() < seen + 1000 {
                    std::thread::yield_now();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 100);
        frozen
    });
    let (mut with_deletions, mut last) = (0, 0);
    for one in frozen {
        PartitionIndex::adopt(&one.folder, &definition, &one.meta, None).unwrap();
        let (adopted, found) = open(&one.folder, &definition);
        let number = found.expect("what is frozen opens").operations;
        assert!(number >= last);
        assert_eq!((one.documents, adopted.documents()), (number * 10, number * 10));
        assert_eq!(matching(&adopted, &format!("id:d{}", number * 10 - 1)).len(), 1);
        with_deletions += usize::from(one.files.iter().any(|name| name.ends_with(".del")));
        last = number;
    }
    assert!(with_deletions > 10, "{with_deletions}");
}

#[test]
fn the_size_is_that_of_the_last_commit() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition("{}"));
    assert_eq!(index.size(), crate::Size::default());
    let mut writer = index.writer().unwrap();
    let mut last = 0;
    for number in 1..4 {
        writer.put(&format!("d{number}"), br#"{"text":"some words"}"#).unwrap();
        writer.commit(&checkpoint(number)).unwrap();
        let size = index.size();
        assert_eq!(u64::from(size.segments), number);
        assert!(size.bytes > last && size.bytes < 100_000, "{size:?}");
        last = size.bytes;
        index.save().unwrap();
        assert_eq!(index.size(), size);
        let files = names(directory.path()).into_iter().filter(|name| !name.starts_with('.') && !name.ends_with(".json"));
        let on_disk: u64 = files.map(|name| fs::metadata(directory.path().join(name)).unwrap().len()).sum();
        assert_eq!(size.bytes, on_disk);
    }
}
