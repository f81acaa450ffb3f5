//! The house rules that a compiler does not know: who may depend on whom, on what terms, and what a file looks like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

/// What each crate may name of the house; see ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 9] = [
    ("warren-protocol", &[]),
    ("warren-broker", &["warren-protocol"]),
    ("warren-index", &["warren-protocol"]),
    ("warren-snapshot", &["warren-protocol"]),
    ("warren-service", &["warren-protocol", "warren-broker", "warren-snapshot"]),
    ("warren-producer", &["warren-protocol", "warren-broker", "warren-service"]),
    ("warren-worker", &["warren-protocol", "warren-broker", "warren-index", "warren-snapshot", "warren-service"]),
    ("warren-query-service", &["warren-protocol", "warren-broker", "warren-service"]),
    (
        "warren",
        &[
            "warren-protocol",
            "warren-broker",
            "warren-snapshot",
            "warren-service",
            "warren-producer",
            "warren-worker",
            "warren-query-service",
        ],
    ),
];
/// May name any crate of the house; none may name them, but that what is measured uses the harness of the tests.
const LEAVES: [&str; 2] = ["bench", "warren-tests"];

/// Crates that a crate of the house exists to fence in, and who may name them.
const FENCES: [(&str, &[&str]); 6] = [
    ("lapin", &["warren-broker"]),
    ("deadpool-lapin", &["warren-broker"]),
    ("fjall", &["warren-broker"]),
    ("object_store", &["warren-snapshot"]),
    ("tantivy", &["warren-index", "bench"]),
    ("axum", &["warren-service", "warren-producer", "warren-query-service"]),
];

/// What would let `warren-protocol` open a file or a socket, or wait for one.
const IO_CRATES: [&str; 14] = [
    "async-compression",
    "axum",
    "deadpool-lapin",
    "fjall",
    "hyper",
    "indicatif",
    "lapin",
    "mio",
    "object_store",
    "reqwest",
    "socket2",
    "tantivy",
    "tokio",
    "tower-http",
];

const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What `cargo metadata` says. (Through the crate of that name, serde_json would get another feature here than in
/// `cargo run`, and all that stands on it would be built twice.)
struct Metadata(Value);

impl Metadata {
    fn read() -> Result<Self> {
        let arguments = ["metadata", "--format-version=1", "--locked"];
        let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output()?;
        anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self(serde_json::from_slice(&output.stdout)?))
    }

    /// All packages of the lock file that some target needs.
    fn packages(&self) -> impl Iterator<Item = &Value> {
        list(&self.0["packages"])
    }

    /// The packages of the house.
    fn members(&self) -> impl Iterator<Item = &Value> {
        self.packages().filter(|package| list(&self.0["workspace_members"]).any(|member| *member == package["id"]))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name(package: &Value) -> &str {
    text(&package["name"])
}

fn toml_file(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

fn none(violations: Vec<String>) -> Result<()> {
    anyhow::ensure!(violations.is_empty(), "\n  {}", violations.join("\n  "));
    Ok(())
}

#[test]
fn crates_depend_on_each_other_along_the_arrows_only() -> Result<()> {
    let metadata = Metadata::read()?;
    let names: BTreeSet<&str> = metadata.members().map(name).collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).chain(LEAVES).collect();
    assert_eq!(names, known, "a crate of the workspace has no place in ARROWS or LEAVES");

    let mut violations = Vec::new();
    for package in metadata.members() {
        let allowed = ARROWS.iter().find(|(crate_name, _)| *crate_name == name(package)).map(|(_, allowed)| *allowed);
        // Dependencies for tests are no exception: what spans crates is tested in warren-tests.
        for dependency in list(&package["dependencies"]).map(name) {
            let wrong = match allowed {
                Some(allowed) => names.contains(dependency) && !allowed.contains(&dependency),
                None => LEAVES.contains(&dependency) && (name(package), dependency) != ("bench", "warren-tests"),
            };
            if wrong {
                violations.push(format!("{} depends on {dependency}", name(package)));
            }
        }
    }
    none(violations)
}

#[test]
fn fenced_crates_are_named_by_their_keepers_only() -> Result<()> {
    let metadata = Metadata::read()?;
    let mut violations = Vec::new();
    for (fenced, keepers) in FENCES {
        let names_it = |package: &&Value| list(&package["dependencies"]).any(|dependency| name(dependency) == fenced);
        let namers: BTreeSet<&str> = metadata.members().filter(names_it).map(name).collect();
        // Without the keeper that it was built for, the fence would guard nothing.
        if !namers.contains(keepers[0]) {
            violations.push(format!("{} does not name {fenced}: is the fence still right?", keepers[0]));
        }
        violations.extend(namers.iter().filter(|namer| !keepers.contains(namer)).map(|namer| format!("{namer} names {fenced}")));
    }
    none(violations)
}

#[test]
fn the_protocol_is_pure() -> Result<()> {
    let metadata = Metadata::read()?;
    let protocol =
        metadata.members().find(|package| name(package) == "warren-protocol").context("there is no warren-protocol")?;
    let mut open = vec![text(&protocol["id"])];
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        let node = list(&metadata.0["resolve"]["nodes"]).find(|node| node["id"] == id);
        if reached.insert(id)
            && let Some(node) = node
        {
            // The kind null is what runs; the others only build or test.
            let runs = |needed: &&Value| list(&needed["dep_kinds"]).any(|kind| kind["kind"].is_null());
            open.extend(list(&node["deps"]).filter(runs).map(|needed| text(&needed["pkg"])));
        }
    }
    assert!(reached.len() > 10, "only {} packages were reached: the walk is broken", reached.len());
    let impure =
        metadata.packages().filter(|package| reached.contains(text(&package["id"])) && IO_CRATES.contains(&name(package)));
    none(impure.map(|package| format!("warren-protocol reaches {}", name(package))).collect())
}

#[test]
fn every_package_has_an_allowed_licence_and_comes_from_the_registry() -> Result<()> {
    let deny = toml_file(&root().join("deny.toml"))?;
    let allowed = list(&deny["licenses"]["allow"])
        .map(|licence| spdx::Licensee::parse(text(licence)).with_context(|| format!("deny.toml: {licence}")))
        .collect::<Result<Vec<_>>>()?;
    let banned: Vec<&str> = list(&deny["bans"]["deny"]).map(name).collect();
    assert!(!banned.is_empty() && !banned.contains(&""), "deny.toml: bans.deny is not a list of names");

    let mut violations = Vec::new();
    for package in Metadata::read()?.packages() {
        let title = format!("{} {}", name(package), text(&package["version"]));
        if !may_be_used(text(&package["license"]), &allowed) {
            violations.push(format!("{title}: licence {}", package["license"]));
        }
        if banned.contains(&name(package)) {
            violations.push(format!("{title}: banned by deny.toml"));
        }
        // Only the house itself has no source.
        if !package["source"].is_null() && package["source"] != "registry+https://github.com/rust-lang/crates.io-index" {
            violations.push(format!("{title}: from {}", package["source"]));
        }
    }
    none(violations)
}

/// Whether one of the choices that the SPDX expression leaves is allowed.
fn may_be_used(expression: &str, allowed: &[spdx::Licensee]) -> bool {
    // "MIT/Apache-2.0" is how crates used to say OR.
    spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX)
        .is_ok_and(|expression| expression.evaluate(|required| allowed.iter().any(|licence| licence.satisfies(required))))
}

#[test]
fn licence_expressions_are_understood() -> Result<()> {
    let allowed = [spdx::Licensee::parse("MIT")?, spdx::Licensee::parse("ISC")?];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND ISC", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR GPL-3.0-only) AND Zlib", false),
        ("GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(may_be_used(expression, &allowed), expected, "{expression}");
    }
    Ok(())
}

#[test]
fn every_crate_inherits_from_the_workspace() -> Result<()> {
    let mut violations = Vec::new();
    for package in Metadata::read()?.members() {
        let manifest = toml_file(Path::new(text(&package["manifest_path"])))?;
        let mut check = |key: String, inherited: &Value| {
            if *inherited != true {
                violations.push(format!("{}: {key} is not the workspace's", name(package)));
            }
        };
        check("lints".to_owned(), &manifest["lints"]["workspace"]);
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            check(format!("package.{key}"), &manifest["package"][key]["workspace"]);
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (dependency, value) in manifest[table].as_object().into_iter().flatten() {
                check(format!("{table}.{dependency}"), &value["workspace"]);
            }
        }
    }
    none(violations)
}

#[test]
fn every_source_file_says_why_it_exists_and_is_short() -> Result<()> {
    let mut files = Vec::new();
    for package in Metadata::read()?.members() {
        let folder = Path::new(text(&package["manifest_path"])).parent().context("a manifest without a folder")?;
        // The root's folder is the whole repository.
        let sources = if name(package) == "warren" { folder.join("src") } else { folder.to_owned() };
        rust_files(&sources, &mut files)?;
    }
    assert!(files.len() > 20, "only {} source files were found", files.len());
    let mut violations = Vec::new();
    for file in files {
        let content = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let title = file.display();
        if !content.starts_with("//! ") {
            violations.push(format!("{title}: the first line does not say why the file exists"));
        }
        let lines = content.lines().count();
        if lines > MAX_LINES {
            violations.push(format!("{title}: {lines} lines, more than {MAX_LINES}"));
        }
        if file.ends_with("mod.rs") {
            violations.push(format!("{title}: foo.rs and foo/, never foo/mod.rs"));
        }
    }
    none(violations)
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            rust_files(&entry.path(), files)?;
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            files.push(entry.path());
        }
    }
    Ok(())
}
