//! `warren restore`: rebuilds the catalog, and so all indexes, from snapshots, after the broker was lost.
//!
//! It creates each index so that it begins with the snapshots of its former life, and gives the store to the new catalog
//! last of all: until then the workers do not touch the store, and whoever is interrupted can begin again.

mod lives;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use warren_protocol::IndexName;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::Ports;
use warren_service::catalog::{CatalogError, CatalogHandle};
use warren_service::config::{Config, ConfigError};
use warren_service::{program, telemetry};
use warren_snapshot::{Store, StoreError};

use lives::{Found, Life};

/// How long the new catalog may take to be ready.
const LIMIT: Duration = Duration::from_secs(60);

/// Rebuild the indexes from their snapshots, on a broker that has none
///
/// For the day on which the broker and its logs are lost, and the object store is not. Run it once, on the new broker (or,
/// without --broker, in the new --data-dir), before clients write to it: it refuses a broker that has other indexes. Then
/// start Warren with the same store: the workers fetch the snapshots.
///
/// What was written after a snapshot was in the lost logs alone, and has to be published again. An index that was deleted
/// shortly before the loss may come back.
///
/// Of several indexes of one name, the one with the newest snapshot is restored. If it is interrupted, run it again.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 all is restored; 1 something could not be restored; 2 wrong usage; 78 bad configuration.")]
pub(crate) struct RestoreArgs {
    /// The object store: file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix [default: store.url of
    /// the configuration, or the folder `store` in the data folder]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The new RabbitMQ: amqp://user:password@host:5672/vhost; without one, the embedded broker
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The folder of the embedded broker
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Reads settings from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl RestoreArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        let flags = [
            ("store.url", self.store.clone()),
            ("broker.url", self.broker.clone()),
            ("data_dir", self.data_dir.as_ref().map(|folder| folder.display().to_string())),
        ];
        let overrides = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        Config::load(self.config.as_deref(), overrides)
    }
}

/// Runs the command.
pub(crate) fn command(args: &RestoreArgs) -> ExitCode {
    let ended = || -> anyhow::Result<ExitCode> {
        let config = args.load()?;
        telemetry::start(&config.log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
        runtime.block_on(run(&config))
    };
    ended().unwrap_or_else(|error| {
        eprintln!("warren: {error:#}");
        program::exit_code(&error)
    })
}

/// What became of one index.
enum Outcome {
    Restored,
    /// An earlier attempt had done it.
    WasThere,
    Failed(CatalogError),
}

async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let store = open(config)?;
    // First of all: a wrong URL is noticed before anything is made.
    is_a_store(&store).await?;
    let found = lives::read(&store).await?;
    let broker = warren_broker::connect(&config.broker, "restore", &config.data_dir).await?;
    let restored = restore(&broker.ports, &store, &found).await;
    broker.close().await;
    let outcomes = restored?;
    report::print(store.url(), &found, &outcomes);
    let failed = found.values().any(|found| !found.unreadable.is_empty())
        || outcomes.values().any(|outcome| matches!(outcome, Outcome::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The store of the configuration. A folder that is only the default must be there already.
fn open(config: &Config) -> anyhow::Result<Store> {
    let default = config.data_dir.join("store");
    if config.store.url.is_none() && !default.is_dir() {
        let rule = format!(
            "is not set, and there is no folder {}: name the store that has the snapshots, with --store URL",
            default.display()
        );
        return Err(ConfigError::Rule { key: "store.url".to_owned(), rule }.into());
    }
    Ok(Store::open(&config.store, &config.data_dir)?)
}

async fn is_a_store(store: &Store) -> Result<(), StoreError> {
    match store.check().await {
        // It is written anew in the end.
        Err(StoreError::Damaged { .. }) => Ok(()),
        checked => checked,
    }
}

/// Creates the indexes, then takes the store over if all of them are there.
async fn restore(
    ports: &Ports,
    store: &Store,
    found: &BTreeMap<IndexName, Found>,
) -> anyhow::Result<BTreeMap<IndexName, Outcome>> {
    let catalog = CatalogHandle::start(ports).await?;
    catalog.ready(Instant::now() + LIMIT).await?;
    let there: BTreeMap<IndexName, Arc<Entry>> =
        catalog.watch().borrow().entries().map(|entry| (entry.index.name.clone(), entry.clone())).collect();
    refuse_others(&there, found)?;
    let mut outcomes = BTreeMap::new();
    for (name, life) in found.iter().filter_map(|(name, found)| Some((name, found.newest.as_ref()?))) {
        outcomes.insert(name.clone(), create(&catalog, there.get(name), life).await);
    }
    if !outcomes.values().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
        let identity = catalog.identity(Instant::now() + LIMIT).await?;
        store.take_over(identity).await.context("the indexes are there, but the store is not yet theirs: run this again")?;
    }
    Ok(outcomes)
}

/// Only what an earlier attempt has made may be there.
fn refuse_others(there: &BTreeMap<IndexName, Arc<Entry>>, found: &BTreeMap<IndexName, Found>) -> anyhow::Result<()> {
    let is_restored = |entry: &Entry| {
        let creations = [Some(entry.creation), entry.restored_from].into_iter().flatten();
        found.get(&entry.index.name).is_some_and(|found| creations.into_iter().any(|creation| found.has(creation)))
    };
    let others: Vec<_> = there.values().filter(|entry| !is_restored(entry)).map(|entry| entry.index.name.to_string()).collect();
    if !others.is_empty() {
        bail!(
            "the broker has indexes that are not from this store: {}. Restore to a new broker, virtual host or --data-dir, or delete \
             them first: warren index delete NAME",
            others.join(", ")
        );
    }
    Ok(())
}

async fn create(catalog: &CatalogHandle, there: Option<&Arc<Entry>>, life: &Life) -> Outcome {
    // What an earlier attempt has begun goes on with the life that it had chosen.
    let former = match there {
        Some(entry) if entry.ready => return Outcome::WasThere,
        Some(entry) => entry.restored_from.unwrap_or(life.index.creation),
        None => life.index.creation,
    };
    match catalog.restore(&life.index.name, life.definition.clone(), former).await {
        Ok(_) => Outcome::Restored,
        Err(error) => Outcome::Failed(error),
    }
}
