//! Which replicas this worker holds: of the partitions in its share, each whose slot it can claim.
//!
//! The share is fixed by configuration (`worker.share`, such as `1/2`); with the whole (`1/1`) on several workers, those
//! that find every slot taken stand by, and take over what becomes free.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_protocol::PartitionId;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::{HeldSlot, Slot};

use crate::Shared;
use crate::replica::Replica;

/// The replicas that are held now.
struct Assignment {
    shared: Arc<Shared>,
    held: HashMap<PartitionId, CancellationToken>,
    replicas: JoinSet<PartitionId>,
}

/// Claims and gives back until the worker stops; returns when everything is committed and given back.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut catalog = shared.catalog.watch();
    let mut assignment = Assignment { shared: shared.clone(), held: HashMap::new(), replicas: JoinSet::new() };
    let interval = Duration::from_millis(shared.config.claim_interval_ms.get());
    let mut swept = false;
    while !shared.stop.is_requested() {
        // Asked before the list is read: what is swept away must not be what the catalog has yet to say.
        let ready = shared.catalog.is_ready();
        let entries = shared.catalog.list();
        if ready {
            assignment.give_back_what_is_gone(&entries).await;
            if !std::mem::replace(&mut swept, true) {
                shared.cache.remove_all_but(&entries);
            }
        }
        tokio::select! {
            () = assignment.claim_what_is_free(&entries) => {}
            () = shared.stop.requested() => {}
        }
        tokio::select! {
            () = shared.stop.requested() => {}
            () = tokio::time::sleep(interval) => {}
            changed = catalog.changed() => if changed.is_err() { break },
            Some(ended) = assignment.replicas.join_next() => assignment.ended(ended),
        }
    }
    assignment.give_back_all().await;
}

impl Assignment {
    async fn claim_what_is_free(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            for partition in 0..entry.definition.partitions.get() {
                let partition = PartitionId { index: entry.index.clone(), partition };
                if self.held.contains_key(&partition) || self.shared.stop.is_requested() {
                    continue;
                }
                if let Some(slot) = self.claim(&partition, entry.definition.replicas.get()).await {
                    self.hold(partition, entry.clone(), slot);
                }
            }
        }
    }

    /// The first free slot of a partition; never two, since a second replica here would protect from nothing.
    async fn claim(&self, partition: &PartitionId, replicas: u32) -> Option<Box<dyn HeldSlot>> {
        for replica in 0..replicas {
            let slot = Slot { partition: partition.clone(), replica };
            match self.shared.ports.claims.try_claim(&slot).await {
                Ok(Some(held)) => return Some(held),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%slot, %error, "cannot claim");
                    return None;
                }
            }
        }
        None
    }

    fn hold(&mut self, partition: PartitionId, entry: Arc<Entry>, slot: Box<dyn HeldSlot>) {
        tracing::info!(%partition, "this worker holds the partition");
        let released = CancellationToken::new();
        self.held.insert(partition.clone(), released.clone());
        let replica = Replica { shared: self.shared.clone(), partition: partition.clone(), entry, released };
        self.replicas.spawn(async move {
            replica.hold(slot).await;
            partition
        });
    }

    async fn give_back_what_is_gone(&mut self, entries: &[Arc<Entry>]) {
        let is_there = |partition: &PartitionId| entries.iter().any(|entry| entry.index == partition.index);
        let gone: Vec<_> = self.held.keys().filter(|partition| !is_there(partition)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        for partition in &gone {
            if let Some(released) = self.held.get(partition) {
                released.cancel();
            }
        }
        while gone.iter().any(|partition| self.held.contains_key(partition)) {
            match self.replicas.join_next().await {
                Some(ended) => self.ended(ended),
                None => break,
            }
        }
        self.shared.cache.remove_all_but(entries);
    }

    async fn give_back_all(&mut self) {
        for released in self.held.values() {
            released.cancel();
        }
        while let Some(ended) = self.replicas.join_next().await {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<PartitionId, tokio::task::JoinError>) {
        match ended {
            Ok(partition) => {
                self.held.remove(&partition);
            }
            // A replica catches what panics inside it; this is a defect of its own, and its slot is gone with it.
            Err(error) => {
                tracing::error!(%error, "a replica panicked, all replicas start again");
                self.held.values().for_each(CancellationToken::cancel);
                self.held.clear();
            }
        }
    }
}
