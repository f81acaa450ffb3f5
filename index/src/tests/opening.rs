//! What is found in a folder: the index as it was, or nothing of it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{checkpoint, definition, matching, open};
use crate::{IndexError, Options, PartitionIndex};

/// What is done to a folder, or to its origin.
type Case<'a, T> = (&'a str, &'a dyn Fn(&mut T));

/// A folder with one committed document.
fn folder() -> TempDir {
    let directory = TempDir::new().unwrap();
    let (index, none) = open(directory.path(), &definition("{}"));
    assert_eq!(none, None);
    let mut writer = index.writer().unwrap();
    writer.put("a", br#"{"text":"kept"}"#).unwrap();
    writer.commit(&checkpoint(5)).unwrap();
    directory
}

fn file_of_kind(directory: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
}

#[test]
fn an_index_opens_at_its_last_commit_with_its_checkpoint() {
    let directory = folder();
    let (index, found) = open(directory.path(), &definition("{}"));
    assert_eq!(found, Some(checkpoint(5)));
    assert_eq!(matching(&index, "kept"), ["a"]);
    let mut writer = index.writer().unwrap();
    assert!(matches!(index.writer(), Err(IndexError::Busy(_))));
    writer.put("b", br#"{"text":"kept"}"#).unwrap();
    drop(writer);
    let mut writer = index.writer().unwrap();
    writer.commit(&checkpoint(6)).unwrap();
    assert_eq!(matching(&index, "kept"), ["a"], "what was not committed is gone");
    drop((writer, index));
    let (index, found) = open(directory.path(), &definition("{}"));
    assert_eq!((found, index.documents()), (Some(checkpoint(6)), 1));
}

#[test]
fn a_folder_of_another_boot_definition_or_format_is_discarded() {
    let changes: [Case<serde_json::Value>; 3] = [
        ("boot", &|origin| origin["boot"] = "another".into()),
        ("definition", &|origin| origin["definition"]["id_field"] = "key".into()),
        ("format", &|origin| origin["format"] = 0.into()),
    ];
    for (what, change) in changes {
        let directory = folder();
        let file = directory.path().join("warren.json");
        let mut origin = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut origin);
        fs::write(&file, origin.to_string()).unwrap();
        let (index, found) = open(directory.path(), &definition("{}"));
        assert_eq!((found, index.documents()), (None, 0), "{what}");
        drop(index);
        assert!(open(directory.path(), &definition("{}")).1.is_none(), "{what}: the new one is there to stay");
    }
    let directory = folder();
    let other = definition(r#"{"fields":{"text":{"type":"keyword"}}}"#);
    assert_eq!(open(directory.path(), &other).1, None);
}

#[test]
fn a_damaged_folder_is_discarded_and_usable_again() {
    let damages: [Case<PathBuf>; 6] = [
        ("no meta.json", &|folder| fs::remove_file(folder.join("meta.json")).unwrap()),
        ("garbage", &|folder| fs::write(folder.join("meta.json"), "{").unwrap()),
        ("no origin", &|folder| fs::remove_file(folder.join("warren.json")).unwrap()),
        ("a missing file", &|folder| fs::remove_file(file_of_kind(folder, "term")).unwrap()),
        ("a short file", &|folder| {
            let file = file_of_kind(folder, "idx");
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() - 10]).unwrap();
        }),
        ("a strange checkpoint", &|folder| {
            let meta = fs::read_to_string(folder.join("meta.json")).unwrap();
            fs::write(folder.join("meta.json"), meta.replace("digest", "digestion")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let directory = folder();
        damage(&mut directory.path().to_owned());
        let (index, found) = open(directory.path(), &definition("{}"));
        assert_eq!((found, index.documents()), (None, 0), "{what}");
        let mut writer = index.writer().unwrap();
        writer.put("b", br#"{"text":"new"}"#).unwrap();
        writer.commit(&checkpoint(1)).unwrap();
        assert_eq!(matching(&index, "new"), ["b"], "{what}");
    }
}

#[test]
fn any_damage_to_any_file_of_a_segment_is_noticed() {
    let pristine = folder();
    let (index, _) = open(pristine.path(), &definition("{}"));
    let mut writer = index.writer().unwrap();
    // Enough that one deletion is no reason to merge, which would leave files that no segment needs.
    for number in 0..10 {
        writer.put(&format!("b{number}"), br#"{"text":"kept"}"#).unwrap();
    }
    writer.commit(&checkpoint(6)).unwrap();
    writer.delete("b3");
    writer.commit(&checkpoint(7)).unwrap();
    drop((writer, index));
    for kind in ["idx", "pos", "term", "store", "fast", "fieldnorm", "del"] {
        let file = file_of_kind(pristine.path(), kind);
        let good = fs::read(&file).unwrap();
        // The content, then what tantivy says about it in some 100 bytes, then the length of that and a number that is always the same.
        let end = good.len();
        let note = u32::from_le_bytes(good[end - 8..end - 4].try_into().unwrap()) as usize;
        let content = end - 8 - note;
        assert!(content > 0 && good[content] == b'{', "{kind}: {content} of {end} bytes");
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            Some(bytes)
        };
        let mut damages: Vec<_> = [0, content / 2, content - 1, content, end - 8, end - 4, end - 1].map(flipped).to_vec();
        damages.extend([
            None,
            Some(Vec::new()),
            Some(good[..end - 1].to_vec()),
            Some(good[..content].to_vec()),
            Some(vec![0; end]),
        ]);
        for (number, damage) in damages.into_iter().enumerate() {
            let directory = TempDir::new().unwrap();
            for entry in fs::read_dir(pristine.path()).unwrap().map(Result::unwrap) {
                fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
            }
            assert!(number > 0 || open(directory.path(), &definition("{}")).1.is_some(), "{kind}: the copy is good");
            let file = directory.path().join(file.file_name().unwrap());
            match damage {
                Some(bytes) => fs::write(file, bytes).unwrap(),
                None => fs::remove_file(file).unwrap(),
            }
            let (index, found) = open(directory.path(), &definition("{}"));
            assert_eq!((found, index.documents()), (None, 0), "{kind}: damage {number}");
        }
    }
}

#[test]
fn what_a_killed_process_left_behind_is_cleared_away() {
    let directory = folder();
    for name in ["0123456789abcdef0123456789abcdef.idx", "meta.json.new-3"] {
        fs::write(directory.path().join(name), "torn").unwrap();
    }
    let (index, _) = open(directory.path(), &definition("{}"));
    let mut writer = index.writer().unwrap();
    for number in 6..40 {
        writer.put("a", br#"{"text":"kept"}"#).unwrap();
        writer.commit(&checkpoint(number)).unwrap();
    }
    drop((writer, index));
    let names = || fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names().any(|name| name.starts_with("0123456789") || name.ends_with(".new-3")));
    assert!(names().count() < 100, "{} files", names().count());
    assert_eq!(open(directory.path(), &definition("{}")).1, Some(checkpoint(39)));
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let directory = folder();
    let file = directory.path().join("meta.json").join("inner");
    let error = PartitionIndex::open(&file, &definition("{}"), &Options::default()).unwrap_err();
    assert!(matches!(error, IndexError::Directory { .. }), "{error}");
}
