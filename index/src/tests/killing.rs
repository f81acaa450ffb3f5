//! A process that dies by SIGKILL in the middle of its writes leaves one commit: the one that was saved last, or a later one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Random, checkpoint, definition, matching, open};

const FOLDER: &str = "WARREN_INDEX_TEST_FOLDER";
const DOCUMENTS_PER_COMMIT: u64 = 50;

/// Not a test by itself: the process that is killed. It goes on from its checkpoint, and replaces a tenth of the documents.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "the way in which the test tells its child what to do")]
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (index, found) = open(Path::new(&folder), &definition("{}"));
    let mut writer = index.writer().unwrap();
    let mut commits = found.map_or(0, |checkpoint| checkpoint.operations);
    loop {
        for number in 0..DOCUMENTS_PER_COMMIT {
            let id = commits * DOCUMENTS_PER_COMMIT + number;
            writer.put(&format!("new-{id}"), format!(r#"{{"text":"word {id}","commit":{commits}}}"#).as_bytes()).unwrap();
        }
        for number in 0..5 {
            writer.put(&format!("same-{number}"), format!(r#"{{"text":"same","commit":{commits}}}"#).as_bytes()).unwrap();
        }
        commits += 1;
        writer.commit(&checkpoint(commits)).unwrap();
        if commits % 5 == 0 {
            index.save().unwrap();
            println!("saved {commits}");
        }
    }
}

#[test]
fn a_killed_writer_leaves_exactly_what_its_checkpoint_says() {
    let directory = TempDir::new().unwrap();
    let mut random = Random(42);
    let mut last = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::killing::child", "--nocapture"])
            .env(FOLDER, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut saved = lines.map(Result::unwrap).filter(|line| line.starts_with("saved "));
        // Enough commits that merges run; the kill hits whatever comes next.
        let said = saved.nth(2 + random.below(4)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let said: u64 = said.trim_start_matches("saved ").parse().unwrap();

        let (index, found) = open(directory.path(), &definition("{}"));
        let position = found.expect("an index that was committed opens").operations;
        assert!(position >= said && position > last, "round {round}: {position} after {said}");
        last = position;
        assert_eq!(index.documents(), position * DOCUMENTS_PER_COMMIT + 5, "round {round}");
        assert_eq!(matching(&index, &format!("+same +commit:{}", position - 1)).len(), 5);
        assert_eq!(matching(&index, &format!("id:new-{}", position * DOCUMENTS_PER_COMMIT - 1)).len(), 1);
        assert!(index.writer().is_ok(), "the lock died with its holder");
    }
}
