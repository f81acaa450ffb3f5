//! The documents of these tests: the sample that ships with Warren.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

/// The sample's file.
pub fn file() -> PathBuf {
    folder().join("packages.ndjson.zst")
}

/// The file with the definition of its index.
pub fn definition_file() -> PathBuf {
    folder().join("packages.index.json")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sample")
}

/// The definition of its index, with so many partitions.
pub fn definition(partitions: u32) -> Result<Value> {
    let mut definition: Value = serde_json::from_slice(&std::fs::read(definition_file())?)?;
    definition["partitions"] = partitions.into();
    Ok(definition)
}

/// All documents.
pub fn documents() -> Result<Vec<Value>> {
    let output = std::process::Command::new("zstd").arg("-dcq").arg(file()).output().context("zstd: ./test installs it")?;
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The id of a document.
pub fn id(document: &Value) -> &str {
    document["id"].as_str().expect("each document of the sample has an id")
}

/// Queries as people type them, over all fields and forms.
pub const QUERIES: [&str; 50] = [
    "web server",
    "text editor",
    "database",
    "python",
    "compiler",
    "image viewer",
    "mail",
    "game",
    "terminal emulator",
    "file manager",
    "music player",
    "video",
    "password",
    "backup",
    "network monitoring",
    "dns server",
    "chess",
    "fonts",
    "spell checker",
    "git",
    "archive",
    "compression",
    "debugger",
    "scientific plotting",
    "spreadsheet",
    "office",
    "bluetooth",
    "printer",
    "kernel",
    "shell",
    "ssh client",
    "proxy",
    "firewall",
    "calendar",
    "library for parsing xml",
    "json",
    "http client",
    "+web -server",
    "\"web server\"",
    "title:editor",
    "section:games",
    "section:web server",
    "+apache +module",
    "emacs OR vim",
    "installed_size:[1 TO 100]",
    "server AND mail",
    "nginx",
    "*",
    "architecture:all",
    "zzzznothing",
];
