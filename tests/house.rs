//! The house rules that a compiler does not know: who may depend on whom, on what terms, and what a file looks like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use serde_json::Value;

/// What each crate may name of the house; see ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 8] = [
    ("warren-protocol", &[]),
    ("warren-broker", &["warren-protocol"]),
    ("warren-index", &["warren-protocol"]),
    ("warren-service", &["warren-protocol", "warren-broker"]),
    ("warren-producer", &["warren-protocol", "warren-broker", "warren-service"]),
    ("warren-worker", &["warren-protocol", "warren-broker", "warren-index", "warren-service"]),
    ("warren-query-service", &["warren-protocol", "warren-broker", "warren-service"]),
    (
        "warren",
        &["warren-protocol", "warren-broker", "warren-service", "warren-producer", "warren-worker", "warren-query-service"],
    ),
];
/// May name any crate of the house; none may name them.
const LEAVES: [&str; 2] = ["warren-bench", "warren-tests"];

/// Crates that a crate of the house exists to fence in, and who may name them.
const FENCES: [(&str, &[&str]); 5] = [
    ("lapin", &["warren-broker"]),
    ("deadpool-lapin", &["warren-broker"]),
    ("fjall", &["warren-broker"]),
    ("tantivy", &["warren-index", "warren-bench"]),
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

fn metadata() -> Result<Metadata> {
    let options = vec!["--locked".to_owned(), "--offline".to_owned()];
    Ok(MetadataCommand::new().manifest_path(root().join("Cargo.toml")).other_options(options).exec()?)
}

fn toml_file(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// The names of what a package needs, to run or to be built; for tests it may take more.
fn needs(package: &Package) -> BTreeSet<&str> {
    let needed = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    needed.map(|dependency| dependency.name.as_str()).collect()
}

fn none(violations: Vec<String>) -> Result<()> {
    anyhow::ensure!(violations.is_empty(), "\n  {}", violations.join("\n  "));
    Ok(())
}

#[test]
fn crates_depend_on_each_other_along_the_arrows_only() -> Result<()> {
    let metadata = metadata()?;
    let members = metadata.workspace_packages();
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).chain(LEAVES).collect();
    assert_eq!(names, known, "a crate of the workspace has no place in ARROWS or LEAVES");

    let mut violations = Vec::new();
    for package in members {
        let allowed = ARROWS.iter().find(|(name, _)| *name == package.name.as_str()).map(|(_, allowed)| *allowed);
        // Arrows hold for tests inside of a crate too: what spans crates is tested in warren-tests.
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let wrong = match allowed {
                Some(allowed) => names.contains(name) && !allowed.contains(&name),
                None => LEAVES.contains(&name),
            };
            if wrong {
                violations.push(format!("{} depends on {name}", package.name));
            }
        }
    }
    none(violations)
}

#[test]
fn fenced_crates_are_named_by_their_keepers_only() -> Result<()> {
    let metadata = metadata()?;
    let mut violations = Vec::new();
    for (fenced, keepers) in FENCES {
        let namers: BTreeSet<&str> = metadata
            .workspace_packages()
            .into_iter()
            .filter(|package| needs(package).contains(fenced))
            .map(|package| package.name.as_str())
            .collect();
        // Without a keeper that uses it, the fence would guard nothing.
        if !namers.contains(keepers[0]) {
            violations.push(format!("{} does not name {fenced}: is the fence still right?", keepers[0]));
        }
        violations.extend(namers.iter().filter(|name| !keepers.contains(name)).map(|name| format!("{name} names {fenced}")));
    }
    none(violations)
}

#[test]
fn the_protocol_is_pure() -> Result<()> {
    let metadata = metadata()?;
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
    let protocol = metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == "warren-protocol");
    let mut open = vec![&protocol.context("there is no warren-protocol")?.id];
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if reached.insert(id)
            && let Some(node) = resolve.nodes.iter().find(|node| node.id == *id)
        {
            let normal = |kind: &cargo_metadata::DepKindInfo| kind.kind == DependencyKind::Normal;
            open.extend(
                node.deps.iter().filter(|dependency| dependency.dep_kinds.iter().any(normal)).map(|dependency| &dependency.pkg),
            );
        }
    }
    assert!(reached.len() > 10, "only {} packages were reached: the walk is broken", reached.len());
    let impure =
        metadata.packages.iter().filter(|package| reached.contains(&package.id) && IO_CRATES.contains(&package.name.as_str()));
    none(impure.map(|package| format!("warren-protocol reaches {}", package.name)).collect())
}

#[test]
fn every_package_has_an_allowed_licence_and_comes_from_the_registry() -> Result<()> {
    let deny = toml_file(&root().join("deny.toml"))?;
    let allowed = deny["licenses"]["allow"].as_array().context("deny.toml: licenses.allow is no list")?;
    let allowed = allowed
        .iter()
        .map(|name| spdx::Licensee::parse(name.as_str().unwrap_or_default()).with_context(|| format!("deny.toml: {name}")))
        .collect::<Result<Vec<_>>>()?;
    let banned: Vec<&str> =
        deny["bans"]["deny"].as_array().into_iter().flatten().filter_map(|ban| ban["name"].as_str()).collect();
    assert!(!banned.is_empty(), "deny.toml: bans.deny is empty");

    let mut violations = Vec::new();
    for package in metadata()?.packages {
        let name = format!("{} {}", package.name, package.version);
        if !may_be_used(package.license.as_deref().unwrap_or_default(), &allowed) {
            violations.push(format!("{name}: licence {:?}", package.license));
        }
        if banned.contains(&package.name.as_str()) {
            violations.push(format!("{name}: banned by deny.toml"));
        }
        if package.source.as_ref().is_some_and(|source| !source.is_crates_io()) {
            violations.push(format!("{name}: from {:?}", package.source));
        }
    }
    none(violations)
}

/// Whether some choice that the SPDX expression leaves is allowed.
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
fn every_crate_inherits_version_licence_and_lints() -> Result<()> {
    let mut violations = Vec::new();
    for package in metadata()?.workspace_packages() {
        let manifest = toml_file(package.manifest_path.as_std_path())?;
        for (table, key) in [("lints", "workspace"), ("package", "version"), ("package", "license"), ("package", "rust-version")]
        {
            let value = &manifest[table][key];
            if value != true && value["workspace"] != true {
                violations.push(format!("{}: {table}.{key} is not the workspace's", package.name));
            }
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, dependency) in manifest[table].as_object().into_iter().flatten() {
                if dependency["workspace"] != true {
                    violations.push(format!("{}: {table}.{name} is not the workspace's", package.name));
                }
            }
        }
    }
    none(violations)
}

#[test]
fn every_source_file_says_why_it_exists_and_is_short() -> Result<()> {
    let mut files = Vec::new();
    for package in metadata()?.workspace_packages() {
        let folder = package.manifest_path.as_std_path().parent().context("a manifest without a folder")?;
        let is_root = package.name.as_str() == "warren";
        rust_files(&if is_root { folder.join("src") } else { folder.to_owned() }, &mut files)?;
    }
    assert!(files.len() > 20, "only {} source files were found", files.len());
    let mut violations = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root().canonicalize()?).unwrap_or(&file).display();
        if !text.starts_with("//!") {
            violations.push(format!("{name}: does not begin with a //! line that says why it exists"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            violations.push(format!("{name}: {lines} lines, more than {MAX_LINES}"));
        }
        if file.ends_with("mod.rs") {
            violations.push(format!("{name}: foo.rs and foo/, never foo/mod.rs"));
        }
    }
    none(violations)
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
