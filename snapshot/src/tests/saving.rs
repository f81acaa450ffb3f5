//! Snapshots go into the store: only what is new, the manifest last, two at once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::faulty::Faulty;
use super::{Bench, age, content, head, names, of};
use crate::save::{FILES_AT_ONCE, PART_BYTES};
use crate::{Hashes, StoreError};

/// More than two parts, and no two of them alike.
fn large(seed: u8) -> Vec<u8> {
    (0..2 * PART_BYTES + 4711).map(|number| (number % 251) as u8 ^ (number >> 20) as u8 ^ seed).collect()
}

#[tokio::test]
async fn the_second_snapshot_uploads_only_what_is_new() {
    let mut bench = Bench::new().await;
    let large = large(0);
    let first = bench.save(100, &[("a.idx", b"one"), ("b.store", &large), ("c.del", b"")]).await.unwrap();
    assert_eq!((first.uploaded_bytes, first.reused_bytes), (3 + large.len() as u64, 0));
    let files: [(&str, &[u8]); 3] = [("b.store", &large), ("c.del", b""), ("d.idx", b"four")];
    let second = bench.save(200, &files).await.unwrap();
    assert_eq!((second.uploaded_bytes, second.reused_bytes), (4, large.len() as u64));
    assert_eq!(second.manifest.bytes(), 4 + large.len() as u64);
    assert_eq!(bench.partition.manifests().await.unwrap(), [second.manifest.name(), first.manifest.name()]);
    assert_eq!(bench.restore().await.unwrap(), Some(second.manifest));
    assert_eq!(content(&bench.target()), of(&files));
    assert_eq!(names(&bench.stored("files")).len(), 4, "no more than there are different files");
}

#[tokio::test]
async fn what_lacks_in_the_store_is_uploaded_again() {
    let mut bench = Bench::new().await;
    let first = bench.save(100, &[("a", b"one"), ("b", b"two")]).await.unwrap();
    fs::remove_file(bench.stored_file(&first.manifest, "a")).unwrap();
    fs::write(bench.stored_file(&first.manifest, "b"), "torn off").unwrap();
    let second = bench.save(200, &[("a", b"one"), ("b", b"two")]).await.unwrap();
    assert_eq!(second.uploaded_bytes, 6);
    assert_eq!(bench.restore().await.unwrap(), Some(second.manifest));
}

#[tokio::test]
async fn only_the_manifest_before_vouches_for_files() {
    let mut bench = Bench::new().await;
    let first = bench.save(100, &[("a", b"one")]).await.unwrap();
    let names = ["a".to_owned()];
    let second = bench.partition.save(head(200), &bench.index(), &names, None, &mut Hashes::new()).await.unwrap();
    assert_eq!((second.uploaded_bytes, second.reused_bytes), (3, 0));
    assert_eq!(second.manifest.files, first.manifest.files);
}

#[tokio::test]
async fn a_file_is_hashed_once() {
    let mut bench = Bench::new().await;
    bench.write(&[("a", b"one")]);
    age(&bench.index().join("a"), 60);
    let modified = fs::metadata(bench.index().join("a")).unwrap().modified().unwrap();
    let names = ["a".to_owned()];
    let mut hashes = Hashes::new();
    let first = hashes.of(&bench.index(), &names).await.unwrap();
    let rewrite = |content: &str| {
        fs::write(bench.index().join("a"), content).unwrap();
        let file = fs::File::options().append(true).open(bench.index().join("a")).unwrap();
        file.set_modified(modified).unwrap();
    };
    rewrite("two");
    assert_eq!(hashes.of(&bench.index(), &names).await.unwrap(), first, "it was read again");
    rewrite("three");
    assert_ne!(hashes.of(&bench.index(), &names).await.unwrap(), first, "another size is another file");
    rewrite("two");
    hashes.of(&bench.index(), &[]).await.unwrap();
    assert_ne!(hashes.of(&bench.index(), &names).await.unwrap(), first, "what was in no snapshot is forgotten");
    bench.save(100, &[("a", b"one")]).await.unwrap();
}

#[tokio::test]
async fn two_savers_of_one_place_agree() {
    let mut bench = Bench::new().await;
    bench.save(100, &[("s.idx", b"segment")]).await.unwrap();
    let previous = bench.partition.newest().await.unwrap();
    // The same segment, and another file of deletions by the same name.
    let other = bench.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("s.idx"), "segment").unwrap();
    fs::write(other.join("s.1.del"), "mine").unwrap();
    bench.write(&[("s.1.del", b"theirs")]);
    let names = ["s.idx".to_owned(), "s.1.del".to_owned()];
    let (mut left, mut right) = (Hashes::new(), Hashes::new());
    let index = bench.index();
    let (left, right) = tokio::join!(
        bench.partition.save(head(200), &index, &names, previous.as_ref(), &mut left),
        bench.partition.save(head(200), &other, &names, previous.as_ref(), &mut right),
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(left.manifest, right.manifest);
    assert_eq!(bench.partition.manifests().await.unwrap().len(), 2);
    let restored = bench.restore().await.unwrap().unwrap();
    assert_eq!(restored, left.manifest);
    let deletions = fs::read(bench.target().join("s.1.del")).unwrap();
    assert!(deletions == b"mine" || deletions == b"theirs");
}

#[tokio::test]
async fn a_snapshot_of_the_same_place_is_taken_once() {
    let mut bench = Bench::new().await;
    let first = bench.save(100, &[("a", b"one")]).await.unwrap();
    let again = bench.save(100, &[("b", b"two")]).await.unwrap();
    assert_eq!((again.manifest, again.uploaded_bytes), (first.manifest.clone(), 0));
    assert_eq!(names(&bench.stored("files")).len(), 1);
    // Unless what is there is of no use.
    super::flip(&bench.stored_manifest(&first.manifest), 200);
    let again = bench.save(100, &[("b", b"two")]).await.unwrap();
    assert_eq!(again.manifest.files[0].name, "b");
    assert_eq!(bench.restore().await.unwrap(), Some(again.manifest));
}

#[tokio::test]
async fn a_failed_save_leaves_no_snapshot() {
    let objects = Arc::new(Faulty::default());
    let mut bench = Bench::over(objects.clone()).await;
    let large = large(1);
    for refused in ["/files", "/manifests/"] {
        objects.refuse(Some(refused));
        let names = ["a".to_owned(), "b".to_owned()];
        bench.write(&[("a", b"one"), ("b", &large)]);
        let saved = bench.partition.save(head(100), &bench.index(), &names, None, &mut bench.hashes).await;
        assert!(matches!(saved, Err(StoreError::Unavailable { .. })), "{refused}: {saved:?}");
        objects.refuse(None);
        assert_eq!(bench.partition.manifests().await.unwrap(), [], "{refused}");
    }
    let saved = bench.save(100, &[("a", b"one"), ("b", &large)]).await.unwrap();
    assert_eq!(bench.restore().await.unwrap(), Some(saved.manifest));
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused() {
    let mut bench = Bench::new().await;
    fs::write(bench.folder.path().join("secret"), "s").unwrap();
    for name in ["../secret", "", ".hidden", "a/b", "/etc/hostname"] {
        let saved = bench.partition.save(head(1), &bench.index(), &[name.to_owned()], None, &mut bench.hashes).await;
        assert!(matches!(saved, Err(StoreError::Local { .. })), "{name}: {saved:?}");
    }
}

#[tokio::test]
async fn files_pass_through_memory_in_parts() {
    let objects = Arc::new(Faulty::default());
    let mut bench = Bench::over(objects.clone()).await;
    let contents: Vec<Vec<u8>> = (0..5).map(large).collect();
    let names: Vec<String> = (0..5).map(|number| format!("{number}.store")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    bench.save(100, &files).await.unwrap();
    let restored = bench.restore().await.unwrap();
    assert!(restored.is_some() && content(&bench.target()) == of(&files));
    let (largest, most) = (&objects.traffic().largest, &objects.traffic().most);
    assert_eq!(largest.load(Ordering::Relaxed) as u64, PART_BYTES);
    assert!(most.load(Ordering::Relaxed) as u64 <= FILES_AT_ONCE as u64 * PART_BYTES, "{most:?}");
}
