//! What no snapshot needs goes, after a while; nothing else does.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::faulty::Faulty;
use super::{Bench, Log, age, flip, names};
use crate::{Collected, Manifest, StoreError};

const GRACE: Duration = Duration::from_secs(600);
const KEEP: NonZeroU32 = NonZeroU32::new(2).unwrap();

impl Bench {
    /// Makes all objects of the partition older.
    fn wait(&self, seconds: u64) {
        for file in ["files", "manifests"].into_iter().flat_map(|kind| fs::read_dir(self.stored(kind)).unwrap()) {
            let file = file.unwrap().path();
            let passed = fs::metadata(&file).unwrap().modified().unwrap().elapsed().unwrap();
            age(&file, passed.as_secs() + seconds);
        }
    }

    async fn collect(&self) -> Collected {
        self.partition.collect(KEEP, GRACE).await.unwrap()
    }

    /// Snapshots at these places, a long time apart, of a file that all have and one that is its own.
    async fn fill(&mut self, places: std::ops::Range<u64>) -> Vec<Manifest> {
        let mut manifests = Vec::new();
        for place in places {
            let own = format!("own {place}");
            let saved = self.save(place * 100, &[("common", b"common"), ("own", own.as_bytes())]).await.unwrap();
            manifests.push(saved.manifest);
            self.wait(1000);
        }
        manifests
    }
}

#[tokio::test]
async fn the_newest_stay_and_what_only_older_ones_named_goes() {
    let mut bench = Bench::new().await;
    let manifests = bench.fill(1..6).await;
    assert_eq!(bench.collect().await, Collected { manifests: 3, files: 3, file_bytes: 15 });
    assert_eq!(bench.partition.manifests().await.unwrap(), [manifests[4].name(), manifests[3].name()]);
    assert_eq!(names(&bench.stored("files")).len(), 3);
    assert_eq!(bench.collect().await, Collected::default());
    for manifest in &manifests[3..] {
        bench.partition.restore(manifest, &bench.target()).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_stays_for_the_grace_time_after_the_next_one() {
    let mut bench = Bench::new().await;
    let old = bench.fill(1..3).await;
    bench.save(300, &[("new", b"new")]).await.unwrap();
    bench.save(400, &[("newer", b"newer")]).await.unwrap();
    assert_eq!(bench.collect().await, Collected { manifests: 1, files: 1, file_bytes: 5 }, "the second was the newest just now");
    bench.partition.restore(&old[1], &bench.target()).await.unwrap();
    bench.wait(700);
    assert_eq!(bench.collect().await, Collected::default(), "the store's clock stands where its newest object is");
    bench.save(500, &[("newest", b"newest")]).await.unwrap();
    assert_eq!(bench.collect().await.manifests, 2);
    assert_eq!(bench.partition.manifests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_without_a_manifest_stays_for_the_grace_time() {
    let mut bench = Bench::new().await;
    bench.fill(1..2).await;
    let orphan = bench.stored("files").join("a".repeat(64));
    fs::write(&orphan, "on its way").unwrap();
    let unfinished = bench.stored("files").join(format!("{}#1", "b".repeat(64)));
    fs::write(&unfinished, "half").unwrap();
    assert_eq!(bench.collect().await, Collected::default());
    assert!(orphan.exists() && unfinished.exists());
    age(&orphan, 700);
    age(&unfinished, 700);
    bench.save(200, &[("common", b"common")]).await.unwrap();
    assert_eq!(bench.collect().await.files, 1);
    assert!(!orphan.exists() && !unfinished.exists());
}

#[tokio::test]
async fn nothing_that_a_remaining_manifest_names_is_ever_deleted() {
    let mut bench = Bench::new().await;
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let mut deleted = Collected::default();
    for place in 1..60 {
        // Files come, go and come again.
        let files: BTreeSet<String> = (0..1 + random(6)).map(|_| format!("f{}", random(12))).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        bench.save(place * 10, &files).await.unwrap();
        bench.wait(random(700));
        let collected = bench.collect().await;
        deleted.files += collected.files;
        deleted.manifests += collected.manifests;
        let remaining = bench.partition.manifests().await.unwrap();
        assert!(remaining.len() >= KEEP.get().min(place as u32) as usize);
        for name in remaining {
            let manifest = bench.partition.manifest(&name).await.unwrap();
            bench.partition.restore(&manifest, &bench.target()).await.unwrap();
        }
    }
    assert!(deleted.files > 20 && deleted.manifests > 40, "{deleted:?}");
}

#[tokio::test]
async fn beside_a_damaged_manifest_nothing_goes_until_newer_ones_are_there() {
    let mut bench = Bench::new().await;
    let manifests = bench.fill(1..5).await;
    flip(&bench.stored_manifest(&manifests[3]), 300);
    age(&bench.stored_manifest(&manifests[3]), 1000);
    let (log, _guard) = Log::listen();
    assert_eq!(bench.collect().await, Collected::default(), "its files may be the ones that matter");
    assert!(log.has(&["WARN", &manifests[3].name().to_string()]), "{}", log.text());
    let more = bench.fill(5..7).await;
    assert_eq!(bench.collect().await, Collected { manifests: 4, files: 4, file_bytes: 20 });
    assert_eq!(bench.partition.manifests().await.unwrap(), [more[1].name(), more[0].name()]);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_stops_it() {
    let objects = Arc::new(Faulty::default());
    let mut bench = Bench::over(objects.clone()).await;
    for place in 1..5 {
        let own = format!("own {place}");
        bench.save(place * 100, &[("own", own.as_bytes())]).await.unwrap();
    }
    for refused in ["/manifests", "/manifests/", "/files"] {
        objects.refuse(Some(refused));
        let collected = bench.partition.collect(KEEP, Duration::ZERO).await;
        assert!(matches!(collected, Err(StoreError::Unavailable { .. })), "{refused}: {collected:?}");
        objects.refuse(None);
        assert_eq!(bench.partition.manifests().await.unwrap().len(), 4);
        assert_eq!(bench.partition.listed_files().await.unwrap().len(), 4);
    }
    assert_eq!(bench.partition.collect(KEEP, Duration::ZERO).await.unwrap().files, 2);

    let mut bench = Bench::new().await;
    let manifests = bench.fill(1..5).await;
    let newest = bench.stored_manifest(&manifests[3]);
    let text = fs::read_to_string(&newest).unwrap().replace("\"version\":1", "\"version\":2");
    fs::write(&newest, text).unwrap();
    let collected = bench.partition.collect(KEEP, GRACE).await;
    assert!(matches!(collected, Err(StoreError::Version { .. })), "what it needs is not known: {collected:?}");
    assert_eq!(names(&bench.stored("files")).len(), 5);
}
