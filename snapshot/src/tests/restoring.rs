//! Snapshots come back whole and verified, else the next older one does; a store that fails says nothing.

use std::fs;
use std::sync::Arc;

use super::faulty::Faulty;
use super::{Bench, CREATION, Log, books, content, flip, of};
use crate::{Manifest, StoreError};

const OLD: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
const NEW: [(&str, &[u8]); 2] = [("b", b"two"), ("c", b"three")];

/// A store with two snapshots.
async fn bench() -> (Bench, Manifest, Manifest) {
    let mut bench = Bench::new().await;
    let old = bench.save(100, &OLD).await.unwrap().manifest;
    let new = bench.save(200, &NEW).await.unwrap().manifest;
    (bench, old, new)
}

#[tokio::test]
async fn damage_to_a_file_leads_to_the_older_snapshot() {
    for damage in ["flipped", "missing", "short", "long"] {
        let (bench, old, new) = bench().await;
        let file = bench.stored_file(&new, "c");
        match damage {
            "flipped" => flip(&file, 2),
            "missing" => fs::remove_file(&file).unwrap(),
            "short" => fs::write(&file, "thre").unwrap(),
            _ => fs::write(&file, "three!").unwrap(),
        }
        let (log, _guard) = Log::listen();
        assert_eq!(bench.restore().await.unwrap(), Some(old), "{damage}");
        assert_eq!(content(&bench.target()), of(&OLD), "{damage}");
        let object = format!("files/{}", new.files[1].sha256);
        assert!(log.has(&["WARN", &object, "older"]), "{damage}: {}", log.text());
        assert!(!bench.folder.path().join("restored.restoring").exists());
    }
}

#[tokio::test]
async fn any_flipped_byte_of_a_manifest_leads_to_the_older_snapshot() {
    let (bench, old, new) = bench().await;
    let file = bench.stored_manifest(&new);
    let bytes = fs::read(&file).unwrap();
    let (log, _guard) = Log::listen();
    for at in 0..bytes.len() {
        flip(&file, at);
        assert_eq!(bench.partition.newest().await.unwrap().as_ref(), Some(&old), "byte {at}");
        fs::write(&file, &bytes).unwrap();
    }
    assert!(log.has(&["WARN", &new.name().to_string(), "checksum"]), "{}", log.text());
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(bench.restore().await.unwrap().as_ref(), Some(&old));
    fs::write(&file, &bytes).unwrap();
    assert_eq!(bench.restore().await.unwrap(), Some(new));
}

#[tokio::test]
async fn a_manifest_that_belongs_elsewhere_is_none() {
    let (bench, old, new) = bench().await;
    fs::copy(bench.stored_manifest(&old), bench.stored_manifest(&new)).unwrap();
    assert_eq!(bench.partition.newest().await.unwrap(), Some(old.clone()));
    let other = bench.store.partition(&books(), CREATION, 4);
    let manifests = bench.folder.path().join(format!("store/indexes/books.{}/4/manifests", CREATION.simple()));
    fs::create_dir_all(&manifests).unwrap();
    fs::copy(bench.stored_manifest(&old), manifests.join(old.name().to_string())).unwrap();
    assert_eq!(other.newest().await.unwrap(), None);
}

#[tokio::test]
async fn without_a_good_snapshot_nothing_changes() {
    let (bench, old, new) = bench().await;
    fs::create_dir(bench.target()).unwrap();
    fs::write(bench.target().join("here"), "before").unwrap();
    flip(&bench.stored_file(&new, "b"), 0);
    assert!(new.files.iter().any(|file| old.files.contains(file)), "both need it");
    assert_eq!(bench.restore().await.unwrap(), None);
    assert_eq!(content(&bench.target()), of(&[("here", b"before")]));
    fs::remove_dir_all(bench.stored("manifests")).unwrap();
    assert_eq!(bench.restore().await.unwrap(), None);
    assert_eq!(content(&bench.target()), of(&[("here", b"before")]));
}

#[tokio::test]
async fn a_restore_takes_the_place_of_what_is_there() {
    let (bench, _, new) = bench().await;
    fs::create_dir(bench.target()).unwrap();
    fs::write(bench.target().join("here"), "before").unwrap();
    // As somebody who was killed left it.
    let half = bench.folder.path().join("restored.restoring");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("b"), "half").unwrap();
    assert_eq!(bench.restore().await.unwrap(), Some(new));
    assert_eq!(content(&bench.target()), of(&NEW));
    assert!(!half.exists());
}

#[tokio::test]
async fn a_caller_can_ask_for_older_ones() {
    let (bench, old, new) = bench().await;
    let older = bench.partition.restore_newest(&bench.target(), ..new.log_bytes).await.unwrap().unwrap();
    assert_eq!(older.manifest, old);
    assert_eq!(bench.partition.restore_newest(&bench.target(), ..old.log_bytes).await.unwrap(), None);
    assert_eq!(bench.partition.restore_newest(&bench.target(), 201..).await.unwrap(), None);
    bench.partition.restore(&new, &bench.target()).await.unwrap();
    assert_eq!(content(&bench.target()), of(&NEW));
    fs::remove_file(bench.stored_file(&new, "c")).unwrap();
    let error = bench.partition.restore(&new, &bench.target()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_store_that_fails_is_no_store_without_snapshots() {
    let objects = Arc::new(Faulty::default());
    let mut bench = Bench::over(objects.clone()).await;
    bench.save(100, &OLD).await.unwrap();
    let new = bench.save(200, &NEW).await.unwrap().manifest;
    for refused in ["/manifests", "/manifests/", "/files", "/files/"] {
        objects.refuse(Some(refused));
        let restored = bench.restore().await;
        assert!(matches!(restored, Err(StoreError::Unavailable { .. })), "{refused}: {restored:?}");
        assert_eq!(content(&bench.target()), None, "{refused}");
    }
    objects.refuse(None);
    assert_eq!(bench.restore().await.unwrap(), Some(new));
    // A partition without any needs the marker to say so.
    let empty = bench.store.partition(&books(), CREATION, 9);
    assert_eq!(empty.newest().await.unwrap(), None);
    objects.refuse(Some("warren.json"));
    assert!(matches!(empty.newest().await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn an_empty_folder_in_the_place_of_the_store_is_unavailable() {
    let (bench, _, new) = bench().await;
    let (store, away) = (bench.folder.path().join("store"), bench.folder.path().join("away"));
    fs::rename(&store, &away).unwrap();
    for _ in 0..2 {
        let restored = bench.restore().await;
        assert!(matches!(restored, Err(StoreError::Unavailable { .. })), "{restored:?}");
        // As if it were not mounted.
        let _ = fs::create_dir(&store);
    }
    fs::remove_dir(&store).unwrap();
    fs::rename(&away, &store).unwrap();
    assert_eq!(bench.restore().await.unwrap(), Some(new));
}

#[tokio::test]
async fn a_newer_programs_snapshot_is_never_passed_over_silently() {
    let (bench, old, new) = bench().await;
    let rewrite = |manifest: &Manifest| {
        let text = fs::read_to_string(bench.stored_manifest(manifest)).unwrap();
        fs::write(bench.stored_manifest(manifest), text.replace("\"version\":1", "\"version\":2")).unwrap();
    };
    rewrite(&new);
    let (log, _guard) = Log::listen();
    assert_eq!(bench.restore().await.unwrap().as_ref(), Some(&old));
    assert!(log.has(&["WARN", "newer program", &new.name().to_string()]), "{}", log.text());
    rewrite(&old);
    for error in [bench.restore().await.unwrap_err(), bench.partition.newest().await.unwrap_err()] {
        assert!(matches!(error, StoreError::Version { version: 2, .. }), "{error}");
        assert!(error.to_string().contains("update"), "{error}");
    }
}
