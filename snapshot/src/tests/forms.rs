//! The forms of the objects, which every later program has to read.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;
use warren_protocol::IndexDefinition;
use warren_protocol::ports::Position;

use super::{CATALOG, CREATION, books};
use crate::manifest::{Checksum, Manifest, ManifestName, StoredFile, is_plain};
use crate::marker::Marker;

/// Pins a form to the last byte. `WARREN_GOLDEN=write` makes a new file.
fn check(name: &str, now: &[u8]) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "golden", name].iter().collect();
    #[expect(clippy::disallowed_methods, reason = "a switch for whoever changes a form on purpose, not a setting")]
    if std::env::var("WARREN_GOLDEN").is_ok() {
        fs::write(&path, now).unwrap();
    }
    let kept = fs::read(&path).unwrap_or_else(|error| panic!("golden/{name}: {error}"));
    assert_eq!(String::from_utf8_lossy(now), String::from_utf8_lossy(&kept), "golden/{name}: a new form needs a new version");
    kept
}

fn manifest() -> Manifest {
    let definition = r#"{"partitions":4,"fields":{"title":{"type":"text","analyzer":"english","boost":2.5}}}"#;
    Manifest {
        index: books(),
        creation: CREATION,
        partition: 3,
        definition: IndexDefinition::from_json(definition.as_bytes()).unwrap(),
        position: Some(Position(41)),
        digest: Some(0xdead_beef),
        log_bytes: 123_456_789,
        operations: 1000,
        documents: 900,
        taken_ms: 1_790_000_000_000,
        meta: r#"{"segments":[],"payload":"{\"last\":null}"}"#.to_owned(),
        files: vec![
            StoredFile { name: "0a.idx".to_owned(), bytes: 3, sha256: Checksum::of(b"one") },
            StoredFile { name: "0a.12.del".to_owned(), bytes: 0, sha256: Checksum::of(b"") },
        ],
    }
}

#[test]
fn golden_files_pin_the_forms() {
    let kept = check("manifest-v1.json", &manifest().encode().unwrap());
    assert_eq!(Manifest::decode("m", &kept).unwrap(), manifest());
    let marker = Marker::new(CATALOG, Uuid::from_u128(0x5e));
    let kept = check("marker-v1.json", marker.encode().as_bytes());
    assert_eq!(Marker::decode(&kept).unwrap(), marker);
}

#[test]
fn a_manifest_names_plain_files_only() {
    for name in ["../a", "a/b", "/a", "", ".", "..", ".managed.json", "a\\b", "a\0", &"a".repeat(256)] {
        let mut manifest = manifest();
        manifest.files[0].name = name.to_owned();
        assert!(Manifest::decode("m", &manifest.encode().unwrap()).is_err(), "{name:?}");
    }
    let mut twice = manifest();
    twice.files[0].name = twice.files[1].name.clone();
    assert!(Manifest::decode("m", &twice.encode().unwrap()).is_err());
    assert!(is_plain("0123456789abcdef0123456789abcdef.17.del"));
    for text in ["", "ABC", &"A".repeat(64), &"g".repeat(64), &"../".repeat(22)[..64]] {
        assert!(Checksum::try_from(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn names_of_manifests_are_in_the_order_of_what_they_hold() {
    let name = |log_bytes, position: Option<u64>| ManifestName { log_bytes, position: position.map(Position) };
    let ordered = [name(5, None), name(5, Some(0)), name(5, Some(3)), name(40, Some(1)), name(u64::MAX, Some(u64::MAX))];
    assert!(ordered.is_sorted());
    for name in ordered {
        assert_eq!(ManifestName::parse(&name.to_string()), Some(name));
    }
    assert_eq!(ordered[2].to_string(), "00000000000000000005-00000000000000000003.json");
    for text in ["5-3.json", "00000000000000000005-00000000000000000003", "x", "00000000000000000005-.json", "-none.json"] {
        assert_eq!(ManifestName::parse(text), None, "{text}");
    }
}
