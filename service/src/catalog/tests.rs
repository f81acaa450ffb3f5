//! The catalog on the embedded broker: several processes are several handles on the same ports.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use warren_broker::{Broker, Settings};
use warren_protocol::batch::WriterId;
use warren_protocol::catalog::{Event, Record};
use warren_protocol::ports::{FollowFrom, LogError, LogName, RpcError, RpcTarget};
use warren_protocol::{IndexDefinition, IndexName, PartitionId};

use super::*;
use crate::config::IndexesConfig;

async fn broker(folder: &tempfile::TempDir) -> Broker {
    warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap()
}

async fn started(broker: &Broker) -> CatalogHandle {
    let catalog = CatalogHandle::start(&broker.ports).await.unwrap();
    catalog.ready(soon()).await.unwrap();
    catalog
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn name(text: &str) -> IndexName {
    IndexName::new(text).unwrap()
}

fn definition(partitions: u32) -> IndexDefinition {
    IndexDefinition { partitions: NonZeroU32::new(partitions).unwrap(), ..IndexDefinition::default() }
}

fn first_partition(entry: &Entry) -> PartitionId {
    PartitionId { index: entry.index.clone(), partition: 0 }
}

async fn log_exists(broker: &Broker, entry: &Entry) -> bool {
    let log = LogName::Partition(first_partition(entry));
    !matches!(broker.ports.log.follow(&log, FollowFrom::Start).await, Err(LogError::NotFound(_)))
}

#[tokio::test]
async fn an_index_is_created_found_compared_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let (here, there) = (started(&broker).await, started(&broker).await);
    let Creation::Created(entry) = here.create(&name("a"), definition(3), false).await.unwrap() else { panic!() };
    assert!(log_exists(&broker, &entry).await);
    assert_eq!(there.create(&name("a"), definition(3), false).await.unwrap(), Creation::Exists(entry.clone()));
    let Creation::Differs { differences, .. } = there.create(&name("a"), definition(5), false).await.unwrap() else { panic!() };
    assert_eq!(differences, ["partitions: 3 here, 5 asked"]);
    assert_eq!((here.list(), there.get(&name("a"))), (vec![entry.clone()], Some(entry.clone())));

    assert_eq!(there.delete(&name("a")).await.unwrap(), Some(entry.clone()));
    assert_eq!(there.delete(&name("a")).await.unwrap(), None);
    assert!(!log_exists(&broker, &entry).await);
    let target = RpcTarget::Partition(first_partition(&entry));
    let call = broker.ports.rpc.call(&target, Bytes::new(), soon()).await;
    assert!(matches!(call, Err(RpcError::NotFound(_))), "{call:?}");

    let Creation::Created(again) = there.create(&name("a"), definition(3), false).await.unwrap() else { panic!() };
    assert!(again.index.generation > entry.index.generation);
}

#[tokio::test]
async fn of_many_creators_one_wins_and_all_agree() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let handles = [started(&broker).await, started(&broker).await, started(&broker).await];
    let wishes = (0..12).map(|wish| {
        let catalog = handles[wish % 3].clone();
        async move { catalog.create(&name("a"), definition(2), false).await.unwrap() }
    });
    let creations = futures_util::future::join_all(wishes).await;
    assert_eq!(creations.iter().filter(|creation| matches!(creation, Creation::Created(_))).count(), 1);
    let first = creations[0].clone().into_entry();
    assert!(creations.into_iter().all(|creation| creation.into_entry() == first));
}

#[tokio::test]
async fn whoever_finds_a_name_reserved_by_the_dead_completes_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let catalog = started(&broker).await;
    let event = Event::Create {
        name: name("a"),
        definition: definition(2),
        request: uuid::Uuid::new_v4(),
        automatic: false,
        restored_from: None,
    };
    let record = Record::new(event).encode().unwrap();
    broker.ports.log.append(&LogName::Catalog, record).await.unwrap().await.unwrap();
    let mut changes = catalog.watch();
    changes.wait_for(|catalog| catalog.get(&name("a")).is_some()).await.unwrap();
    assert_eq!(catalog.get(&name("a")), None, "it has no logs yet");
    let Creation::Exists(entry) = catalog.create(&name("a"), definition(2), false).await.unwrap() else { panic!() };
    assert!(log_exists(&broker, &entry).await);
}

#[tokio::test]
async fn documents_create_indexes_as_far_as_the_configuration_lets_them() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let catalog = started(&broker).await;
    let config = IndexesConfig { auto_create: true, auto_create_limit: 1 };
    let entry = catalog.get_or_create(&name("a"), &config).await.unwrap();
    assert!(entry.automatic && entry.definition == IndexDefinition::default());
    assert_eq!(catalog.get_or_create(&name("a"), &config).await.unwrap(), entry);
    let refused = catalog.get_or_create(&name("b"), &config).await;
    assert_eq!(refused, Err(CatalogError::AutomaticLimit { name: name("b"), limit: 1 }));
    let never = IndexesConfig { auto_create: false, auto_create_limit: 9 };
    assert_eq!(catalog.get_or_create(&name("b"), &never).await, Err(CatalogError::NotAutomatic(name("b"))));
    let bad = catalog.create(&name("b"), definition(999), false).await;
    assert!(matches!(bad, Err(CatalogError::Definition(_))), "{bad:?}");
}

#[tokio::test]
async fn epochs_grow_and_the_catalog_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = broker(&folder).await;
    let catalog = started(&first).await;
    let other = started(&first).await;
    let epochs = [
        catalog.next_epoch(WriterId::INTAKE).await.unwrap(),
        other.next_epoch(WriterId::INTAKE).await.unwrap(),
        catalog.next_epoch(WriterId::random()).await.unwrap(),
    ];
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    let entry = catalog.create(&name("a"), definition(1), false).await.unwrap().into_entry();
    drop((catalog, other));
    first.close().await;

    let second = broker(&folder).await;
    let catalog = started(&second).await;
    assert_eq!(catalog.list(), [entry]);
    assert!(catalog.next_epoch(WriterId::INTAKE).await.unwrap() > epochs[2]);
}

#[tokio::test]
async fn a_catalog_has_one_identity_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let first = broker(&folder).await;
    let handles = [started(&first).await, started(&first).await, started(&first).await];
    let identity = handles[0].identity(soon()).await.unwrap();
    for handle in &handles {
        assert_eq!(handle.identity(soon()).await.unwrap(), identity);
    }
    drop(handles);
    first.close().await;
    let second = broker(&folder).await;
    assert_eq!(started(&second).await.identity(soon()).await.unwrap(), identity);
}

#[tokio::test]
async fn the_next_start_finishes_an_interrupted_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let catalog = started(&broker).await;
    let entry = catalog.create(&name("a"), definition(3), false).await.unwrap().into_entry();
    let kept = catalog.create(&name("b"), definition(1), false).await.unwrap().into_entry();
    drop(catalog);
    let record = Record::new(Event::Delete { index: entry.index.clone() }).encode().unwrap();
    broker.ports.log.append(&LogName::Catalog, record).await.unwrap().await.unwrap();
    assert!(log_exists(&broker, &entry).await);

    let catalog = started(&broker).await;
    let mut changes = catalog.watch();
    let finished = changes.wait_for(|catalog| catalog.leftovers().next().is_none());
    tokio::time::timeout_at(soon().into(), finished).await.unwrap().unwrap();
    assert!(!log_exists(&broker, &entry).await);
    let target = RpcTarget::Partition(first_partition(&entry));
    let call = broker.ports.rpc.call(&target, Bytes::new(), soon()).await;
    assert!(matches!(call, Err(RpcError::NotFound(_))), "{call:?}");
    assert!(log_exists(&broker, &kept).await);
}

#[tokio::test]
async fn a_deletion_leaves_nothing_to_finish() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let catalog = started(&broker).await;
    let mut changes = catalog.watch();
    catalog.create(&name("a"), definition(2), false).await.unwrap();
    catalog.delete(&name("a")).await.unwrap().unwrap();
    let finished = changes.wait_for(|catalog| catalog.leftovers().next().is_none());
    tokio::time::timeout_at(soon().into(), finished).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_index_is_restored_once_however_often_one_tries() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let catalog = started(&broker).await;
    let lost = uuid::Uuid::new_v4();
    let entry = catalog.restore(&name("a"), definition(2), lost).await.unwrap();
    assert_eq!((entry.restored_from, entry.ready), (Some(lost), true));
    assert!(log_exists(&broker, &entry).await);
    assert_eq!(catalog.restore(&name("a"), definition(2), lost).await.unwrap(), entry);
    let other = catalog.restore(&name("a"), definition(2), uuid::Uuid::new_v4()).await;
    assert_eq!(other, Err(CatalogError::Taken(name("a"))));
    catalog.create(&name("b"), definition(2), false).await.unwrap();
    assert_eq!(catalog.restore(&name("b"), definition(2), lost).await, Err(CatalogError::Taken(name("b"))));
}

#[tokio::test]
async fn a_record_of_a_newer_version_stops_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let catalog = started(&broker).await;
    let record = Bytes::from_static(br#"{"v":3,"rename":{}}"#);
    broker.ports.log.append(&LogName::Catalog, record).await.unwrap().await.unwrap();
    let deadline = soon();
    while catalog.is_ready() {
        assert!(Instant::now() < deadline, "the record was not noticed");
        tokio::task::yield_now().await;
    }
    let refused = catalog.create(&name("a"), definition(1), false).await;
    assert!(matches!(&refused, Err(CatalogError::Broken(detail)) if detail.contains("version 3")), "{refused:?}");
}
