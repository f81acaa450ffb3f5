//! What was heard, and when: bounded by who was alive within a lifetime, and by the partitions that they named lately.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use warren_protocol::PartitionId;
use warren_protocol::announcement::{Announcement, LIFETIME_MS, PartitionReport, ProducerId, ReplicaState, SnapshotReport};
use warren_protocol::ports::WorkerId;

use super::{PartitionView, ProducerView, Replica, WorkerView};

/// How long a process's last word counts.
const LIFETIME: Duration = Duration::from_millis(LIFETIME_MS);
/// How long the broker may take to find out that a process is frozen, or that its network is gone; until then it gives it questions.
const LINGERING: Duration = Duration::from_secs(60);
/// A partition that nobody named for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// How many ends of a log are remembered, one a second at most: lag is measured up to ten minutes.
const REMEMBERED_ENDS: usize = 600;

pub(super) struct Table {
    started: Instant,
    workers: HashMap<WorkerId, WorkerView>,
    producers: HashMap<ProducerId, ProducerView>,
    partitions: HashMap<PartitionId, Past>,
}

/// What was heard of a partition over time.
#[derive(Default)]
struct Past {
    named: Option<Instant>,
    served: Option<Instant>,
    end_bytes: u64,
    /// When the log's end, in operations, was first heard to be there; growing.
    ends: VecDeque<(Instant, u64)>,
}

impl Past {
    fn end(&mut self, bytes: u64, operations: u64, now: Instant) {
        self.named = Some(now);
        self.end_bytes = self.end_bytes.max(bytes);
        if self.ends.back().is_some_and(|(_, last)| *last >= operations) {
            return;
        }
        // Several who write at a time announce several ends a second: the first moment of the second stands for it.
        match self.ends.back_mut() {
            Some((heard, last)) if now.duration_since(*heard) < Duration::from_secs(1) => *last = operations,
            _ => self.ends.push_back((now, operations)),
        }
        if self.ends.len() > REMEMBERED_ENDS {
            self.ends.pop_front();
        }
    }

    fn end_operations(&self) -> u64 {
        self.ends.back().map_or(0, |(_, operations)| *operations)
    }

    fn lag(&self, operations: u64, now: Instant) -> Duration {
        let first_behind = self.ends.iter().find(|(_, end)| *end > operations);
        first_behind.map_or(Duration::ZERO, |(heard, _)| now.duration_since(*heard))
    }
}

fn serves(worker: &WorkerView, partition: &PartitionId) -> bool {
    let serves = |report: &PartitionReport| {
        report.index == partition.index && report.partition == partition.partition && report.state != ReplicaState::CatchingUp
    };
    worker.partitions.iter().any(serves)
}

fn partition_of(report: &PartitionReport) -> PartitionId {
    PartitionId { index: report.index.clone(), partition: report.partition }
}

impl Table {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, workers: HashMap::new(), producers: HashMap::new(), partitions: HashMap::new() }
    }

    pub(super) fn hear(&mut self, announcement: Announcement, now: Instant) {
        self.workers.retain(|_, worker| now.duration_since(worker.heard) < LINGERING);
        self.producers.retain(|_, producer| now.duration_since(producer.heard) < LIFETIME);
        self.partitions.retain(|_, past| past.named.is_some_and(|named| now.duration_since(named) < FORGET_AFTER));
        match announcement {
            Announcement::Worker(said) if said.leaving => {
                self.workers.remove(&said.worker);
            }
            Announcement::Worker(said) => {
                for report in &said.partitions {
                    let past = self.partitions.entry(partition_of(report)).or_default();
                    past.end(report.log_bytes, report.operations, now);
                    if report.state != ReplicaState::CatchingUp {
                        past.served = Some(now);
                    }
                }
                let view = WorkerView {
                    id: said.worker.clone(),
                    stopping: said.stopping,
                    cpu_percent: said.cpu_percent,
                    store: said.store,
                    heard: now,
                    partitions: Arc::new(said.partitions),
                };
                self.workers.insert(said.worker, view);
            }
            Announcement::Producer(said) => {
                for log in &said.logs {
                    let partition = PartitionId { index: log.index.clone(), partition: log.partition };
                    self.partitions.entry(partition).or_default().end(log.end_bytes, log.end_operations, now);
                }
                let (logs, intakes) = (Arc::new(said.logs), Arc::new(said.intakes));
                let view = ProducerView { id: said.producer.clone(), leaving: said.leaving, heard: now, logs, intakes };
                self.producers.insert(said.producer, view);
            }
        }
    }

    pub(super) fn forget(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
    }

    pub(super) fn overdue(&self, now: Instant, after: Duration) -> Vec<WorkerId> {
        let overdue = |worker: &&WorkerView| (after..LIFETIME).contains(&now.duration_since(worker.heard));
        self.workers.values().filter(overdue).map(|worker| worker.id.clone()).collect()
    }

    pub(super) fn workers(&self, now: Instant) -> Vec<WorkerView> {
        let mut alive: Vec<_> = self.alive(now).cloned().collect();
        alive.sort_by(|a, b| a.id.cmp(&b.id));
        alive
    }

    pub(super) fn producers(&self, now: Instant) -> Vec<ProducerView> {
        let alive = |producer: &&ProducerView| now.duration_since(producer.heard) < LIFETIME;
        let mut alive: Vec<_> = self.producers.values().filter(alive).cloned().collect();
        alive.sort_by(|a, b| a.id.cmp(&b.id));
        alive
    }

    pub(super) fn partition(&self, partition: &PartitionId, now: Instant) -> PartitionView {
        let nothing = Past::default();
        let past = self.partitions.get(partition).unwrap_or(&nothing);
        let end_operations = past.end_operations();
        let holds = |report: &&PartitionReport| report.index == partition.index && report.partition == partition.partition;
        let mut replicas: Vec<Replica> = self
            .alive(now)
            .flat_map(|worker| worker.partitions.iter().filter(holds).map(move |report| (worker, report)))
            .map(|(worker, report)| Replica {
                worker: worker.id.clone(),
                report: report.clone(),
                heard: worker.heard,
                lag_operations: end_operations.saturating_sub(report.operations),
                lag: past.lag(report.operations, now),
            })
            .collect();
        replicas.sort_by(|a, b| (a.report.replica, &a.worker).cmp(&(b.report.replica, &b.worker)));
        let snapshots = replicas.iter().filter_map(|replica| replica.report.snapshot);
        let snapshot: Option<SnapshotReport> = snapshots.max_by_key(|snapshot| snapshot.log_bytes);
        let snapshot = if self.stores_differ(now) { None } else { snapshot };
        PartitionView { replicas, snapshot, end_bytes: past.end_bytes, end_operations }
    }

    pub(super) fn servers(&self, partition: &PartitionId, now: Instant) -> usize {
        let lingers = |worker: &&WorkerView| now.duration_since(worker.heard) < LINGERING;
        self.workers.values().filter(lingers).filter(|worker| serves(worker, partition)).count()
    }

    pub(super) fn unserved(&self, partition: &PartitionId, now: Instant) -> Option<Duration> {
        if self.alive(now).any(|worker| serves(worker, partition)) {
            return None;
        }
        let since = self.partitions.get(partition).and_then(|past| past.served).unwrap_or(self.started);
        let unserved = now.duration_since(since.max(self.started));
        (now.duration_since(self.started) >= LIFETIME).then_some(unserved)
    }

    pub(super) fn stores_differ(&self, now: Instant) -> bool {
        let mut stores: Vec<_> = self.alive(now).filter_map(|worker| worker.store).collect();
        stores.sort_unstable();
        stores.dedup();
        stores.len() > 1
    }

    fn alive(&self, now: Instant) -> impl Iterator<Item = &WorkerView> {
        self.workers.values().filter(move |worker| now.duration_since(worker.heard) < LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::announcement::{AppendReport, ProducerAnnouncement, WorkerAnnouncement};
    use warren_protocol::ports::Position;
    use warren_protocol::{Generation, IndexName, IndexRef};

    fn index() -> IndexRef {
        IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) }
    }

    fn report(partition: u32, operations: u64) -> PartitionReport {
        PartitionReport {
            index: index(),
            partition,
            replica: 0,
            held: true,
            state: ReplicaState::Serving,
            position: None,
            documents: 0,
            log_bytes: operations * 10,
            operations,
            segments: 1,
            bytes: 1,
            snapshot: None,
            lost: None,
            error: None,
        }
    }

    fn worker(name: &str, partitions: Vec<PartitionReport>) -> WorkerAnnouncement {
        let worker = WorkerId(name.to_owned());
        WorkerAnnouncement { worker, leaving: false, stopping: false, cpu_percent: 0, store: None, partitions }
    }

    fn hear(table: &mut Table, said: WorkerAnnouncement, now: Instant) {
        table.hear(Announcement::Worker(said), now);
    }

    fn partition(partition: u32) -> PartitionId {
        PartitionId { index: index(), partition }
    }

    #[test]
    fn the_silent_and_the_leaving_are_gone() {
        let start = Instant::now();
        let mut table = Table::new(start);
        hear(&mut table, worker("b", vec![report(0, 0)]), start);
        hear(&mut table, worker("a", vec![report(0, 0)]), start + LIFETIME / 2);
        let names = |table: &Table, now| table.workers(now).into_iter().map(|worker| worker.id.0).collect::<Vec<_>>();
        assert_eq!(names(&table, start + LIFETIME / 2), ["a", "b"]);
        assert_eq!(table.overdue(start + LIFETIME / 2, OVERDUE), [WorkerId("b".to_owned())]);
        assert_eq!(names(&table, start + LIFETIME), ["a"]);
        let servers = |table: &Table, now| table.servers(&partition(0), now);
        assert_eq!(servers(&table, start + LIFETIME), 2, "the broker may not know that b is silent");
        assert_eq!(servers(&table, start + LINGERING), 1);
        hear(&mut table, WorkerAnnouncement { leaving: true, ..worker("a", Vec::new()) }, start + LIFETIME);
        assert_eq!(names(&table, start + LIFETIME), [""; 0]);
        assert_eq!(servers(&table, start + LIFETIME), 1, "who has left has given back what it had");
    }

    const OVERDUE: Duration = Duration::from_secs(2);

    #[test]
    fn lag_counts_from_when_the_end_was_announced() {
        let start = Instant::now();
        let mut table = Table::new(start);
        hear(&mut table, worker("w", vec![report(0, 100)]), start);
        let log = |end_operations| AppendReport {
            index: index(),
            partition: 0,
            appended_bytes: 0,
            appended_operations: 0,
            end_bytes: end_operations * 10,
            end_operations,
        };
        let producer = |end| {
            Announcement::Producer(ProducerAnnouncement {
                producer: ProducerId("p".to_owned()),
                leaving: false,
                logs: vec![log(end)],
                intakes: Vec::new(),
            })
        };
        let second = Duration::from_secs(1);
        table.hear(producer(150), start + second);
        table.hear(producer(190), start + second * 2);
        let view = table.partition(&partition(0), start + second * 3);
        assert_eq!((view.end_operations, view.end_bytes), (190, 1900));
        assert_eq!((view.replicas[0].lag_operations, view.replicas[0].lag), (90, second * 2));
        hear(&mut table, worker("w", vec![report(0, 160)]), start + second * 3);
        let view = table.partition(&partition(0), start + second * 3);
        assert_eq!((view.replicas[0].lag_operations, view.replicas[0].lag), (30, second));
        hear(&mut table, worker("w", vec![report(0, 190)]), start + second * 4);
        let view = table.partition(&partition(0), start + second * 4);
        assert_eq!((view.replicas[0].lag_operations, view.replicas[0].lag), (0, Duration::ZERO));
    }

    #[test]
    fn a_partition_is_unserved_since_its_last_server() {
        let start = Instant::now();
        let mut table = Table::new(start);
        hear(&mut table, worker("w", vec![report(0, 0)]), start);
        assert_eq!(table.unserved(&partition(0), start), None);
        assert_eq!(table.unserved(&partition(1), start + LIFETIME / 2), None, "too young to know");
        assert_eq!(table.unserved(&partition(1), start + LIFETIME), Some(LIFETIME));
        assert_eq!(table.unserved(&partition(0), start + LIFETIME), Some(LIFETIME));
        let catching_up = PartitionReport { state: ReplicaState::CatchingUp, ..report(0, 0) };
        hear(&mut table, worker("v", vec![catching_up]), start + LIFETIME);
        assert_eq!(table.unserved(&partition(0), start + LIFETIME), Some(LIFETIME));
        hear(&mut table, worker("v", vec![report(0, 0)]), start + LIFETIME);
        assert_eq!(table.unserved(&partition(0), start + LIFETIME), None);
    }

    #[test]
    fn a_snapshot_counts_where_all_use_one_store() {
        let start = Instant::now();
        let mut table = Table::new(start);
        let snapshot = |log_bytes| Some(SnapshotReport { position: Position(1), log_bytes, taken_ms: 1 });
        let said = |name, store: u128, log_bytes| {
            let partitions = vec![PartitionReport { snapshot: snapshot(log_bytes), ..report(0, 0) }];
            WorkerAnnouncement { store: Some(uuid::Uuid::from_u128(store)), ..worker(name, partitions) }
        };
        hear(&mut table, said("a", 1, 5), start);
        hear(&mut table, said("b", 1, 7), start);
        assert_eq!(table.partition(&partition(0), start).snapshot, snapshot(7));
        hear(&mut table, said("b", 2, 7), start);
        assert!(table.stores_differ(start));
        assert_eq!(table.partition(&partition(0), start).snapshot, None);
    }
}
