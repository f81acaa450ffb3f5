//! Which object store, and how often it gets a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

/// The section `store` of the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`, the same for all workers;
    /// without it, the folder `store` in `data_dir`.
    pub url: Option<String>,
    /// Milliseconds between two snapshots of a partition that is being written to.
    pub snapshot_interval_ms: NonZeroU64,
    /// A snapshot is taken earlier once so many bytes of the log are in none; at the latest at an eighth of the log's limit.
    pub snapshot_log_bytes: NonZeroU64,
    /// How many snapshots of a partition are kept.
    pub keep: NonZeroU32,
    /// Milliseconds for which what no kept snapshot needs stays all the same: for those who are reading it.
    pub grace_ms: NonZeroU64,
    /// What the store wants to know besides, by name, such as `aws_endpoint` and `aws_access_key_id`; never shown.
    pub options: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            snapshot_interval_ms: NonZeroU64::MIN.saturating_add(299_999),
            snapshot_log_bytes: NonZeroU64::MIN.saturating_add((256 << 20) - 1),
            keep: NonZeroU32::MIN.saturating_add(1),
            grace_ms: NonZeroU64::MIN.saturating_add(599_999),
            options: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// The settings with the values of `options` hidden.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let options = self.options.keys().map(|name| (name.clone(), "[hidden]".to_owned())).collect();
        Self { options, ..self.clone() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, snapshot_interval_ms, snapshot_log_bytes, keep, grace_ms, options } = self;
        f.debug_struct("Settings")
            .field("url", url)
            .field("snapshot_interval_ms", snapshot_interval_ms)
            .field("snapshot_log_bytes", snapshot_log_bytes)
            .field("keep", keep)
            .field("grace_ms", grace_ms)
            .field("options", &options.keys().collect::<Vec<_>>())
            .finish()
    }
}
