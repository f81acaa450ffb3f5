//! Whose store it is, what it has, and which settings name one.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use futures_util::future::join_all;
use object_store::memory::InMemory;
use tempfile::TempDir;
use uuid::Uuid;
use warren_protocol::IndexName;

use super::{Bench, CATALOG, CREATION, books};
use crate::backend::Backend;
use crate::{Settings, Store, StoreError, StoredIndex};

const OTHER: Uuid = Uuid::from_u128(0x07);

fn open(folder: &TempDir) -> Store {
    Store::open(&Settings::default(), folder.path()).unwrap()
}

#[tokio::test]
async fn a_store_belongs_to_one_catalog() {
    let folder = TempDir::new().unwrap();
    let (store, other) = (open(&folder), open(&folder));
    let id = store.claim(CATALOG).await.unwrap();
    assert_eq!(store.claim(CATALOG).await.unwrap(), id);
    store.check().await.unwrap();
    let error = other.claim(OTHER).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { found: CATALOG, expected: OTHER }), "{error}");
    assert!(error.to_string().contains("store.url") && error.to_string().contains("warren restore"), "{error}");

    assert_eq!(other.take_over(OTHER).await.unwrap(), id, "the store stays the same");
    other.check().await.unwrap();
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { found: OTHER, expected: CATALOG }), "{error}");
    assert!(matches!(store.claim(CATALOG).await, Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn the_first_of_many_has_it() {
    let folder = TempDir::new().unwrap();
    let objects = Arc::new(InMemory::new());
    let on_disk: Vec<Store> = (0..8).map(|_| open(&folder)).collect();
    let in_memory: Vec<Store> = (0..8).map(|_| Store::new(Backend::with(objects.clone()))).collect();
    for stores in [on_disk, in_memory] {
        let claims = join_all(stores.iter().enumerate().map(|(at, store)| store.claim(Uuid::from_u128(at as u128 % 2)))).await;
        let ids: Vec<_> = claims.iter().filter_map(|claim| claim.as_ref().ok()).collect();
        assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0]), "{claims:?}");
        assert!(claims.iter().flat_map(|claim| claim.as_ref().err()).all(|error| matches!(error, StoreError::Foreign { .. })));
    }
}

#[tokio::test]
async fn a_marker_that_is_gone_or_another_is_noticed() {
    let bench = Bench::new().await;
    let marker = bench.folder.path().join("store/warren.json");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("\"version\":1", "\"version\":2")).unwrap();
    assert!(matches!(bench.store.check().await, Err(StoreError::Version { version: 2, .. })));
    assert!(matches!(bench.store.take_over(OTHER).await, Err(StoreError::Version { .. })));
    fs::write(&marker, "{").unwrap();
    assert!(matches!(bench.store.check().await, Err(StoreError::Damaged { .. })));
    assert!(matches!(bench.store.claim(CATALOG).await, Err(StoreError::Damaged { .. })));
    fs::write(&marker, format!("{{\"version\":1,\"catalog\":\"{CATALOG}\",\"store\":\"{OTHER}\"}}")).unwrap();
    let error = bench.store.check().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { detail, .. } if detail.contains(&OTHER.to_string())), "{error}");
    fs::remove_file(&marker).unwrap();
    let error = bench.store.check().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { detail, .. } if detail.contains("mounted")), "{error}");
    fs::write(&marker, "{").unwrap();
    bench.store.take_over(CATALOG).await.unwrap();
    bench.store.check().await.unwrap();
    // Who has claimed nothing, such as a restore, takes any.
    open(&bench.folder).check().await.unwrap();
}

#[tokio::test]
async fn the_store_knows_what_it_has() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.store.indexes().await.unwrap(), []);
    bench.save(100, &[("a", b"one")]).await.unwrap();
    let zoo = IndexName::new("zoo").unwrap();
    for (name, creation, partition) in [(&books(), OTHER, 0), (&books(), OTHER, 11), (&books(), OTHER, 2), (&zoo, OTHER, 0)] {
        bench.partition = bench.store.partition(name, creation, partition);
        bench.save(100, &[("a", b"one")]).await.unwrap();
    }
    fs::create_dir_all(bench.folder.path().join("store/indexes/no index")).unwrap();
    let stored = |name: &IndexName, creation| StoredIndex { name: name.clone(), creation };
    let all = [stored(&books(), OTHER), stored(&books(), CREATION), stored(&zoo, OTHER)];
    assert_eq!(bench.store.indexes().await.unwrap(), all);
    assert_eq!(bench.store.partitions(&books(), OTHER).await.unwrap(), [0, 2, 11]);
    assert_eq!(bench.store.partitions(&zoo, CREATION).await.unwrap(), Vec::<u32>::new());

    let folder = bench.folder.path().join(format!("store/{}", all[0].folder()));
    // As a killed upload leaves it.
    fs::write(folder.join("2/files/torn#1"), "torn").unwrap();
    bench.store.remove_index(&books(), OTHER).await.unwrap();
    bench.store.remove_index(&books(), OTHER).await.unwrap();
    assert_eq!(bench.store.indexes().await.unwrap(), all[1..]);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_folder_can_be_named_by_a_url() {
    let folder = TempDir::new().unwrap();
    let url = Some(format!("file://{}/with%20space/store", folder.path().display()));
    let store = Store::open(&Settings { url, ..Settings::default() }, folder.path()).unwrap();
    store.claim(CATALOG).await.unwrap();
    assert!(folder.path().join("with space/store/warren.json").exists());
}

#[test]
fn settings_that_name_no_store_say_what_to_write() {
    let folder = TempDir::new().unwrap();
    let open = |url: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
        Store::open(&Settings { url: Some(url.to_owned()), options, ..Settings::default() }, folder.path())
    };
    for (url, options, words) in [
        ("snapshots", &[][..], &["store.url", "file:///folder"][..]),
        ("ftp://host/folder", &[], &["store.url", "s3://bucket/prefix"]),
        ("http://host/folder", &[], &["store.url", "s3://bucket/prefix"]),
        ("memory:///", &[], &["store.url", "file:///folder"]),
        ("file://folder", &[], &["store.url", "file:///folder"]),
        ("s3://bucket/prefix?region=x", &[], &["store.url", "store.options"]),
        ("s3://key:secret@bucket/prefix", &[], &["store.url", "store.options"]),
        ("s3://bucket", &[("aws_endpont", "x")], &["store.options.aws_endpont"]),
        ("gs://bucket", &[("aws_endpoint", "x")], &["store.options.aws_endpoint"]),
        ("az://container", &[], &["store.options", "ccount"]),
        ("s3://bucket", &[("aws_allow_http", "perhaps")], &["store.options", "perhaps"]),
        ("file:///tmp", &[("aws_endpoint", "x")], &["store.options.aws_endpoint", "remove"]),
    ] {
        let error = open(url, options).unwrap_err();
        let StoreError::BadUrl(text) = &error else { panic!("{url}: {error}") };
        assert!(words.iter().all(|word| text.contains(word)), "{url}: {text}");
    }
    let keys = [("aws_endpoint", "http://localhost:9000"), ("aws_access_key_id", "a"), ("aws_secret_access_key", "b")];
    let more = [("aws_allow_http", "true"), ("aws_region", "eu"), ("timeout", "60 seconds")];
    assert_eq!(open("s3://bucket/prefix", &[keys, more].concat()).unwrap().url(), "s3://bucket/prefix");
    open("gs://bucket/prefix", &[("google_skip_signature", "true")]).unwrap();
    open("az://container/prefix", &[("azure_storage_account_name", "a"), ("azure_storage_use_emulator", "true")]).unwrap();
}

#[tokio::test]
async fn a_store_that_nobody_serves_is_unavailable_and_says_why() {
    let folder = TempDir::new().unwrap();
    // Taken, and closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = [
        ("aws_endpoint", format!("http://127.0.0.1:{port}")),
        ("aws_access_key_id", "a".to_owned()),
        ("aws_secret_access_key", "b".to_owned()),
        ("aws_allow_http", "true".to_owned()),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value)).into();
    let settings = Settings { url: Some("s3://bucket/prefix".to_owned()), options, ..Settings::default() };
    let error = Store::open(&settings, folder.path()).unwrap().claim(CATALOG).await.unwrap_err();
    let StoreError::Unavailable { url, detail } = &error else { panic!("{error}") };
    assert_eq!(url, "s3://bucket/prefix");
    assert!(detail.contains("warren.json") && detail.contains("refused"), "{detail}");
}
