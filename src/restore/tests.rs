//! A store of a lost Warren, and a new embedded broker.

use std::num::NonZeroU32;
use std::path::Path;

use tempfile::TempDir;
use uuid::Uuid;
use warren_broker::Broker;
use warren_protocol::IndexDefinition;
use warren_protocol::ports::Position;
use warren_snapshot::{Hashes, Head, Settings, StoredIndex};

use super::lives::Snapshot;
use super::*;

const LOST: Uuid = Uuid::from_u128(1);

/// A broker and a store in one folder.
struct World {
    folder: TempDir,
    broker: Broker,
    store: Store,
}

fn name(text: &str) -> IndexName {
    IndexName::new(text).unwrap()
}

fn definition(partitions: u32) -> IndexDefinition {
    IndexDefinition { partitions: NonZeroU32::new(partitions).unwrap(), ..IndexDefinition::default() }
}

async fn connect(folder: &Path) -> Broker {
    warren_broker::connect(&warren_broker::Settings::default(), "test", folder).await.unwrap()
}

impl World {
    /// With a store of the lost Warren.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Settings::default(), folder.path()).unwrap();
        store.claim(LOST).await.unwrap();
        Self { broker: connect(folder.path()).await, store, folder }
    }

    async fn catalog(&self) -> CatalogHandle {
        let catalog = CatalogHandle::start(&self.broker.ports).await.unwrap();
        catalog.ready(Instant::now() + LIMIT).await.unwrap();
        catalog
    }

    /// Takes a snapshot as a worker does.
    async fn save(&self, index: &str, creation: u128, definition: &IndexDefinition, partition: u32, documents: u64) {
        let folder = self.folder.path().join("index");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("segment"), format!("{documents} documents")).unwrap();
        let head = Head {
            definition: definition.clone(),
            position: Some(Position(documents)),
            digest: Some(7),
            log_bytes: documents,
            operations: documents,
            documents,
            meta: String::new(),
        };
        let partition = self.store.partition(&name(index), Uuid::from_u128(creation), partition);
        partition.save(head, &folder, &["segment".to_owned()], None, &mut Hashes::new()).await.unwrap();
    }

    async fn restore(&self) -> anyhow::Result<BTreeMap<IndexName, Outcome>> {
        let found = lives::read(&self.store).await?;
        restore(&self.broker.ports, &self.store, &found).await
    }
}

fn life(creation: u128, taken_ms: u64) -> Life {
    Life {
        index: StoredIndex { name: name("a"), creation: Uuid::from_u128(creation) },
        definition: definition(1),
        partitions: vec![Some(Snapshot { documents: 1, taken_ms })],
    }
}

#[test]
fn of_several_lives_the_one_with_the_newest_snapshot_is_taken() {
    let mut found = Found::default();
    for (creation, taken_ms) in [(1, 50), (2, 70), (3, 60)] {
        found.add(life(creation, taken_ms));
    }
    assert_eq!(found.newest, Some(life(2, 70)));
    assert_eq!(found.older, [life(1, 50), life(3, 60)]);
    assert!(found.has(Uuid::from_u128(3)) && !found.has(Uuid::from_u128(4)));
}

#[tokio::test]
async fn indexes_come_back_with_their_definitions_and_the_store_is_theirs() {
    let world = World::new().await;
    world.save("a", 10, &definition(3), 0, 5).await;
    world.save("a", 10, &definition(3), 2, 6).await;
    world.save("b", 11, &definition(1), 0, 7).await;
    let found = lives::read(&world.store).await.unwrap();
    let newest = found[&name("a")].newest.as_ref().unwrap();
    let documents: Vec<_> = newest.partitions.iter().map(|snapshot| snapshot.map(|snapshot| snapshot.documents)).collect();
    assert_eq!(documents, [Some(5), None, Some(6)]);

    let outcomes = world.restore().await.unwrap();
    assert!(outcomes.len() == 2 && outcomes.values().all(|outcome| matches!(outcome, Outcome::Restored)));
    let catalog = world.catalog().await;
    let entries = catalog.list();
    let restored: Vec<_> = entries.iter().map(|entry| (entry.definition.partitions.get(), entry.restored_from)).collect();
    assert_eq!(restored, [(3, Some(Uuid::from_u128(10))), (1, Some(Uuid::from_u128(11)))]);
    let identity = catalog.identity(Instant::now() + LIMIT).await.unwrap();
    world.store.claim(identity).await.unwrap();
    assert!(matches!(world.store.claim(LOST).await, Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn what_an_interrupted_restore_has_made_counts_as_done() {
    let world = World::new().await;
    world.save("a", 10, &definition(1), 0, 5).await;
    world.save("b", 11, &definition(1), 0, 7).await;
    world.catalog().await.restore(&name("a"), definition(1), Uuid::from_u128(10)).await.unwrap();
    let outcomes = world.restore().await.unwrap();
    assert!(matches!(outcomes[&name("a")], Outcome::WasThere));
    assert!(matches!(outcomes[&name("b")], Outcome::Restored));
    // Again, when the restored index has snapshots of its own.
    let creation = world.catalog().await.get(&name("a")).unwrap().creation;
    world.save("a", creation.as_u128(), &definition(1), 0, 6).await;
    let outcomes = world.restore().await.unwrap();
    assert!(outcomes.values().all(|outcome| matches!(outcome, Outcome::WasThere)));
}

#[tokio::test]
async fn a_broker_with_other_indexes_is_refused_and_the_store_left_alone() {
    let world = World::new().await;
    world.save("a", 10, &definition(1), 0, 5).await;
    let catalog = world.catalog().await;
    for other in ["a", "z"] {
        catalog.create(&name(other), definition(1), false).await.unwrap();
    }
    let refused = world.restore().await.err().unwrap().to_string();
    assert!(refused.contains("not from this store: a, z."), "{refused}");
    world.store.claim(LOST).await.unwrap();
}

#[tokio::test]
async fn an_index_that_cannot_be_read_is_told_and_holds_up_nothing() {
    let world = World::new().await;
    world.save("a", 10, &definition(1), 0, 5).await;
    world.save("b", 11, &definition(1), 0, 7).await;
    let damaged = StoredIndex { name: name("b"), creation: Uuid::from_u128(11) };
    let manifests = world.folder.path().join("store/indexes").join(damaged.to_string()).join("0/manifests");
    for manifest in std::fs::read_dir(manifests).unwrap() {
        std::fs::write(manifest.unwrap().path(), "{").unwrap();
    }
    let found = lives::read(&world.store).await.unwrap();
    assert_eq!(found[&name("b")], Found { newest: None, older: Vec::new(), unreadable: vec![damaged] });
    let outcomes = world.restore().await.unwrap();
    assert!(outcomes.len() == 1 && matches!(outcomes[&name("a")], Outcome::Restored));
}

#[tokio::test]
async fn a_folder_that_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    let refused = open(&config).unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(ConfigError::Rule { key, .. }) if key == "store.url"), "{refused}");
    std::fs::create_dir(folder.path().join("store")).unwrap();
    let store = open(&config).unwrap();
    assert!(is_a_store(&store).await.is_err());
    store.claim(LOST).await.unwrap();
    is_a_store(&store).await.unwrap();
}
