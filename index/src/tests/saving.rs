//! What is in the folder while a writer works, and what is not yet.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tantivy::Directory;
use tantivy::directory::TerminatingWrite;
use tempfile::TempDir;

use super::{Random, checkpoint, definition, matching, open};
use crate::directory::META_FILE;
use crate::{Options, PartitionIndex};

/// What another process would find now.
fn copy(folder: &Path) -> (TempDir, PartitionIndex, Option<u64>) {
    let copy = TempDir::new().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let (index, found) = open(copy.path(), &definition("{}"));
    (copy, index, found.map(|checkpoint| checkpoint.operations))
}

#[test]
fn searches_see_a_commit_at_once_and_the_folder_gets_it_when_it_is_saved() {
    let directory = TempDir::new().unwrap();
    let options = Options { save_interval: Duration::from_secs(3600), ..Options::default() };
    let (index, _) = PartitionIndex::open(directory.path(), &definition("{}"), &options).unwrap();
    let mut writer = index.writer().unwrap();
    writer.merge_by_policy(false);
    let meta = || std::fs::read(directory.path().join(META_FILE)).unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let (empty, few) = (meta(), files());
    for number in 0..3 {
        writer.put(&format!("{number}"), br#"{"text":"word"}"#).unwrap();
        writer.commit(&checkpoint(number + 1)).unwrap();
        assert_eq!(matching(&index, "word").len() as u64, number + 1);
    }
    assert!(index.size().bytes > 0);
    assert_eq!((meta(), files()), (empty, few), "nothing is saved yet");

    index.save().unwrap();
    let (_copy, saved, position) = copy(directory.path());
    assert_eq!((saved.documents(), position), (3, Some(3)));

    // What the folder's commit needs stays there until there is another one, even if no segment needs it any more.
    for number in 0..2 {
        writer.put(&format!("{number}"), br#"{"text":"other"}"#).unwrap();
    }
    writer.commit(&checkpoint(4)).unwrap();
    writer.merge().unwrap().unwrap().wait().unwrap();
    assert_eq!(matching(&index, "word"), ["2"]);
    let (_copy, saved, position) = copy(directory.path());
    assert_eq!((matching(&saved, "word").len(), position), (3, Some(3)));

    drop(writer);
    let (_copy, saved, position) = copy(directory.path());
    assert_eq!((matching(&saved, "other").len(), saved.documents(), position), (2, 3, Some(4)));
    assert_eq!(matching(&index, "other").len(), 2, "readers go on");
}

#[test]
fn many_bytes_are_saved_without_being_asked_for() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition("{}"));
    let mut writer = index.writer().unwrap();
    let mut random = Random(7);
    for number in 0..100 {
        // Some 100 KB, which cannot be packed well.
        let text: String = (0..10_000).map(|_| format!("{:x} ", random.below(1 << 32))).collect();
        writer.put(&format!("{number}"), format!(r#"{{"text":"{text}"}}"#).as_bytes()).unwrap();
        writer.commit(&checkpoint(number + 1)).unwrap();
    }
    let (_copy, saved, position) = copy(directory.path());
    let position = position.unwrap();
    assert!(position > 50, "{position}");
    assert_eq!(saved.documents(), position);
}

#[test]
fn what_a_killed_process_left_is_written_again() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition("{}"));
    let file = Path::new("0123456789abcdef0123456789abcdef.7.del");
    std::fs::write(directory.path().join(file), "torn").unwrap();
    let mut new = index.files().open_write(file).unwrap();
    new.write_all(b"whole").unwrap();
    new.terminate().unwrap();
    assert_eq!(index.files().open_read(file).unwrap().read_bytes().unwrap().as_slice(), b"whole");
    assert!(index.files().open_write(file).is_err());
}

#[test]
fn an_ended_writer_leaves_the_folder_alone_and_the_next_one_goes_on() {
    let directory = TempDir::new().unwrap();
    let (index, _) = open(directory.path(), &definition("{}"));
    let mut writer = index.writer().unwrap();
    writer.put("a", br#"{"text":"word"}"#).unwrap();
    writer.commit(&checkpoint(1)).unwrap();
    drop(writer);
    let meta = std::fs::read(directory.path().join(META_FILE)).unwrap();
    assert!(index.files().atomic_write(Path::new(META_FILE), b"late").is_err());
    let file = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let file = file.into_iter().find(|name| name.to_string_lossy().ends_with(".store")).unwrap();
    index.files().delete(Path::new(&file)).unwrap();
    index.save().unwrap();
    assert_eq!(std::fs::read(directory.path().join(META_FILE)).unwrap(), meta);
    assert!(directory.path().join(&file).exists());

    let mut writer = index.writer().unwrap();
    writer.put("b", br#"{"text":"word"}"#).unwrap();
    writer.commit(&checkpoint(2)).unwrap();
    drop(writer);
    let (_copy, saved, position) = copy(directory.path());
    assert_eq!((saved.documents(), position), (2, Some(2)));
}
