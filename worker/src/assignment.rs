//! Which replicas this worker holds: its fair share of all slots, by the plan of [`balance`](crate::balance).
//!
//! A slot that is given back, or lost with its connection, does not end its replica: it serves on until another worker
//! holds the slot and serves. So a partition moves without a gap, and a broker that restarts moves nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_protocol::PartitionId;
use warren_protocol::announcement::{INTERVAL_MS, LIFETIME_MS, ReplicaState};
use warren_protocol::catalog::Entry;
use warren_protocol::ports::Slot;
use warren_service::roster::WorkerView;

use crate::Shared;
use crate::balance::{Hold, Member, Plan, plan};
use crate::holdings::Holding;
use crate::replica::Replica;
use crate::slot::{Freed, Grip, Slots};

/// How long a worker listens to the others before it claims anything: they greet a newcomer at once.
const LISTEN: Duration = Duration::from_millis(200);
/// Who has not heard even itself for so long hears nobody: the broker, or this process, stood still.
const DEAF: Duration = Duration::from_millis(INTERVAL_MS * 5 / 2);
/// After that, how long it takes until all who are alive are heard again.
const HEAR_AGAIN: Duration = Duration::from_millis(LIFETIME_MS);
/// Announcements come in flocks: one look at all of them.
const TOGETHER: Duration = Duration::from_millis(30);
/// A free slot that the one it is meant for has not claimed for so long, anybody claims who can.
const LEFT_FREE: Duration = Duration::from_secs(3);
/// A slot that was given back for another and that nobody has claimed for so long is claimed again.
const NOT_WANTED: Duration = Duration::from_secs(6);
/// What a stop needs after the hand-over: to commit, and to close.
const AFTER_HAND_OVER: Duration = Duration::from_millis(1500);

/// The replicas that are held now.
struct Assignment {
    shared: Arc<Shared>,
    started: Instant,
    held: HashMap<PartitionId, Held>,
    replicas: JoinSet<PartitionId>,
    slots: Slots,
    /// Since when slots have been seen free that are meant for others.
    left_free: HashMap<Slot, Instant>,
    /// Whether the folders of indexes that went while this worker was away are removed.
    swept: bool,
    /// Until when others may be alive that this worker has not heard yet.
    deaf_until: Option<Instant>,
}

struct Held {
    replica: u32,
    slot: SlotState,
    holding: Arc<Holding>,
    /// Cancelled to end the replica.
    released: CancellationToken,
    /// Cancelled by the replica when it has taken the snapshot that a stop asks for.
    last_snapshot: CancellationToken,
}

enum SlotState {
    Held(Grip),
    /// Another may hold it; this worker serves on until the other serves.
    Freed {
        since: Instant,
        given_back: bool,
    },
}

/// Claims and gives back until the worker stops; returns when everything is committed and given back.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut catalog = shared.catalog.watch();
    let mut roster = shared.roster.changes();
    let mut assignment = Assignment {
        shared: shared.clone(),
        started: Instant::now(),
        held: HashMap::new(),
        replicas: JoinSet::new(),
        slots: Slots::default(),
        left_free: HashMap::new(),
        swept: false,
        deaf_until: None,
    };
    let interval = Duration::from_millis(shared.config.claim_interval_ms.get());
    let mut greeted = Vec::new();
    tokio::select! {
        () = tokio::time::sleep(LISTEN) => {}
        () = shared.stop.requested() => {}
    }
    while !shared.stop.is_requested() {
        assignment.greet(&mut greeted);
        tokio::select! {
            () = assignment.round() => {}
            () = shared.stop.requested() => {}
        }
        tokio::select! {
            () = shared.stop.requested() => {}
            () = tokio::time::sleep(interval) => {}
            changed = catalog.changed() => if changed.is_err() { break },
            _ = roster.changed() => {
                tokio::time::sleep(TOGETHER).await;
                roster.mark_unchanged();
            }
            freed = assignment.slots.freed() => assignment.freed(freed),
            Some(ended) = assignment.replicas.join_next() => assignment.ended(ended),
        }
    }
    assignment.hand_over_all().await;
    assignment.end_all().await;
}

impl Assignment {
    /// Lets a newcomer know at once who is here.
    fn greet(&self, greeted: &mut Vec<warren_protocol::ports::WorkerId>) {
        let workers: Vec<_> = self.shared.roster.workers().into_iter().map(|worker| worker.id).collect();
        if workers.iter().any(|worker| !greeted.contains(worker)) {
            self.shared.news.notify_one();
        }
        *greeted = workers;
    }

    async fn round(&mut self) {
        // Asked before the list is read: what is given up must not be what the catalog has yet to say.
        if !self.shared.catalog.is_ready() {
            return;
        }
        let entries = self.shared.catalog.list();
        self.give_up_what_is_gone(&entries).await;
        let workers = self.shared.roster.workers();
        self.step_back(&workers);
        self.claim_again(&workers).await;
        if self.is_deaf(&workers) {
            return;
        }
        let plan = self.plan(&entries, &workers);
        for partition in &plan.give_back {
            self.give_back(partition);
        }
        self.claim(plan, &entries).await;
    }

    /// Whether the others are only not heard: then what they hold is not for this worker to take.
    fn is_deaf(&mut self, workers: &[WorkerView]) -> bool {
        let now = Instant::now();
        let myself = workers.iter().find(|worker| worker.id == self.shared.id);
        if now - self.started > DEAF && myself.is_none_or(|myself| now - Instant::from_std(myself.heard) > DEAF) {
            self.deaf_until = Some(now + HEAR_AGAIN);
        }
        self.deaf_until.is_some_and(|until| now < until)
    }

    fn plan(&self, entries: &[Arc<Entry>], workers: &[WorkerView]) -> Plan {
        let partitions: Vec<_> = entries
            .iter()
            .flat_map(|entry| {
                let partitions = 0..entry.definition.partitions.get();
                partitions
                    .map(|partition| (PartitionId { index: entry.index.clone(), partition }, entry.definition.replicas.get()))
            })
            .collect();
        let others = workers.iter().filter(|worker| worker.id != self.shared.id && !worker.stopping);
        let mut members: Vec<Member> = others
            .map(|worker| {
                let replicas = worker.partitions.iter().map(|report| {
                    let partition = PartitionId { index: report.index.clone(), partition: report.partition };
                    let serving = report.state == ReplicaState::Serving;
                    (partition, Hold { replica: report.replica, held: report.held, serving })
                });
                Member { id: worker.id.clone(), replicas: replicas.collect() }
            })
            .collect();
        let mine = self.held.iter().map(|(partition, held)| {
            let serving = held.holding.report().state == ReplicaState::Serving;
            (partition.clone(), Hold { replica: held.replica, held: matches!(held.slot, SlotState::Held(_)), serving })
        });
        members.push(Member { id: self.shared.id.clone(), replicas: mine.collect() });
        plan(&self.shared.id, &members, &partitions)
    }

    /// Claims what is meant for this worker, what it has a copy of already, and what others leave free.
    async fn claim(&mut self, plan: Plan, entries: &[Arc<Entry>]) {
        let mut room = plan.claim.len();
        let entry_of = |slot: &Slot| entries.iter().find(|entry| entry.index == slot.partition.index);
        let kept = |slot: &Slot| entry_of(slot).is_some_and(|entry| self.shared.cache.has(&slot.partition, entry));
        // A worker that was started again takes what it knows first, and leaves as much of the rest to others.
        let (mut mine, others): (Vec<Slot>, Vec<Slot>) = plan.claim.into_iter().partition(kept);
        mine.extend(plan.stand_by.iter().filter(|slot| kept(slot)).cloned());
        mine.extend(others);
        for slot in mine {
            if room == 0 {
                break;
            }
            if let Some(entry) = entry_of(&slot)
                && self.try_claim(&slot, entry).await
            {
                room -= 1;
            }
        }
        let now = Instant::now();
        self.left_free.retain(|slot, _| plan.stand_by.contains(slot));
        for slot in plan.stand_by {
            let since = *self.left_free.entry(slot.clone()).or_insert(now);
            if now - since >= LEFT_FREE
                && let Some(entry) = entry_of(&slot)
            {
                self.try_claim(&slot, entry).await;
            }
        }
    }

    async fn try_claim(&mut self, slot: &Slot, entry: &Arc<Entry>) -> bool {
        if self.held.contains_key(&slot.partition) || self.shared.stop.is_requested() {
            return false;
        }
        match self.shared.ports.claims.try_claim(slot).await {
            Ok(Some(held)) => {
                let grip = self.slots.keep(slot.clone(), held);
                self.hold(slot, entry.clone(), grip);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%slot, %error, "cannot claim");
                false
            }
        }
    }

    fn hold(&mut self, slot: &Slot, entry: Arc<Entry>, grip: Grip) {
        let Slot { partition, replica } = slot.clone();
        tracing::info!(%partition, replica, "this worker holds the replica");
        let (released, last_snapshot) = (CancellationToken::new(), CancellationToken::new());
        let holding = self.shared.holdings.add(&partition, replica);
        let life = Replica {
            shared: self.shared.clone(),
            partition: partition.clone(),
            entry,
            holding: holding.clone(),
            released: released.clone(),
            last_snapshot: last_snapshot.clone(),
        };
        self.held.insert(partition.clone(), Held { replica, slot: SlotState::Held(grip), holding, released, last_snapshot });
        self.replicas.spawn(async move {
            life.live().await;
            partition
        });
        self.shared.news.notify_one();
    }

    /// Gives a slot back, and serves on.
    fn give_back(&mut self, partition: &PartitionId) {
        if let Some(Held { slot: SlotState::Held(grip), replica, .. }) = self.held.get(partition) {
            tracing::info!(%partition, replica, "this worker gives the replica to another, and serves on until it serves");
            grip.give_back();
        }
    }

    fn freed(&mut self, Freed { partition, given_back }: Freed) {
        if let Some(held) = self.held.get_mut(&partition) {
            held.slot = SlotState::Freed { since: Instant::now(), given_back };
            held.holding.update(|report| report.held = false);
            self.shared.news.notify_one();
        }
    }

    /// Ends the replicas whose slots others hold, and serve.
    fn step_back(&self, workers: &[WorkerView]) {
        for (partition, held) in &self.held {
            let SlotState::Freed { since, .. } = held.slot else { continue };
            let successor = workers.iter().find(|worker| {
                worker.id != self.shared.id
                    && worker.heard > since.into_std()
                    && worker.partitions.iter().any(|report| {
                        report.index == partition.index
                            && report.partition == partition.partition
                            && report.replica == held.replica
                            && report.held
                            && report.state == ReplicaState::Serving
                    })
            });
            if let Some(successor) = successor
                && !held.released.is_cancelled()
            {
                tracing::info!(%partition, replica = held.replica, successor = %successor.id, "another worker serves the replica");
                held.released.cancel();
            }
        }
    }

    /// Claims slots again that were lost, or that nobody wanted.
    async fn claim_again(&mut self, workers: &[WorkerView]) {
        let taken = |slot: &Slot| {
            workers.iter().filter(|worker| worker.id != self.shared.id).flat_map(|worker| worker.partitions.iter()).any(
                |report| {
                    report.held
                        && report.index == slot.partition.index
                        && report.partition == slot.partition.partition
                        && report.replica == slot.replica
                },
            )
        };
        let mut wanted = Vec::new();
        for (partition, held) in &self.held {
            let SlotState::Freed { since, given_back } = held.slot else { continue };
            let slot = Slot { partition: partition.clone(), replica: held.replica };
            if !held.released.is_cancelled() && (!given_back || since.elapsed() >= NOT_WANTED) && !taken(&slot) {
                wanted.push(slot);
            }
        }
        for slot in wanted {
            match self.shared.ports.claims.try_claim(&slot).await {
                Ok(Some(claimed)) => {
                    tracing::info!(%slot, "this worker holds the replica again");
                    let grip = self.slots.keep(slot.clone(), claimed);
                    if let Some(held) = self.held.get_mut(&slot.partition) {
                        held.slot = SlotState::Held(grip);
                        held.holding.update(|report| report.held = true);
                    }
                    self.shared.news.notify_one();
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%slot, %error, "cannot claim"),
            }
        }
    }

    async fn give_up_what_is_gone(&mut self, entries: &[Arc<Entry>]) {
        let is_there = |partition: &PartitionId| entries.iter().any(|entry| entry.index == partition.index);
        let gone: Vec<_> = self.held.keys().filter(|partition| !is_there(partition)).cloned().collect();
        if gone.is_empty() && std::mem::replace(&mut self.swept, true) {
            return;
        }
        for partition in &gone {
            if let Some(held) = self.held.get(partition) {
                held.released.cancel();
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

    /// Gives all slots back, and serves on until others serve; at most until the deadline of the stop, and not at all
    /// where there are no others.
    async fn hand_over_all(&mut self) {
        let limit = self.shared.stop_timeout.saturating_sub(AFTER_HAND_OVER);
        let deadline = Instant::now() + limit;
        self.shared.news.notify_one();
        // Half of the time at most is for last snapshots: with them, others catch up sooner.
        let snapshots = join_all(self.held.values().map(|held| held.last_snapshot.cancelled()));
        if tokio::time::timeout(limit / 2, snapshots).await.is_err() {
            tracing::warn!("not every partition got its last snapshot: what it misses is in the logs");
        }
        for partition in self.held.keys().cloned().collect::<Vec<_>>() {
            self.give_back(&partition);
        }
        let mut roster = self.shared.roster.changes();
        while !self.held.is_empty() {
            let workers = self.shared.roster.workers();
            if workers.iter().all(|worker| worker.stopping || worker.id == self.shared.id) {
                return;
            }
            self.step_back(&workers);
            tokio::select! {
                _ = roster.changed() => {}
                freed = self.slots.freed() => self.freed(freed),
                Some(ended) = self.replicas.join_next() => self.ended(ended),
                () = tokio::time::sleep_until(deadline) => {
                    return tracing::warn!(replicas = self.held.len(), "stopping, although no other worker serves these yet");
                }
            }
        }
    }

    async fn end_all(&mut self) {
        for held in self.held.values() {
            held.released.cancel();
        }
        while let Some(ended) = self.replicas.join_next().await {
            self.ended(ended);
        }
        self.held.clear();
        self.slots.all_freed().await;
    }

    fn ended(&mut self, ended: Result<PartitionId, tokio::task::JoinError>) {
        match ended {
            Ok(partition) => {
                self.shared.holdings.remove(&partition);
                self.held.remove(&partition);
            }
            // A replica catches what panics inside it; this is a defect of its own.
            Err(error) => {
                tracing::error!(%error, "a replica panicked, all replicas start again");
                self.held.keys().for_each(|partition| self.shared.holdings.remove(partition));
                self.held.values().for_each(|held| held.released.cancel());
                self.held.clear();
            }
        }
        self.shared.news.notify_one();
    }
}
