//! Who should hold what: a fair share of the slots for every worker, never two replicas of a partition on one.
//!
//! Every worker computes the same plan from the same announcements and carries out its own part of it, so nobody has to
//! lead. Views differ for a second now and then; the slots themselves then decide, and the next plan repairs what came out.

use std::collections::{BTreeMap, HashMap};

use warren_protocol::PartitionId;
use warren_protocol::ports::{Slot, WorkerId};

/// A worker that takes part, with its replicas.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub id: WorkerId,
    pub replicas: BTreeMap<PartitionId, Hold>,
}

/// One replica of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub replica: u32,
    /// Whether it holds the slot; if not, it only serves on until another has caught up.
    pub held: bool,
    pub serving: bool,
}

/// What one worker has to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The free slots that it should claim.
    pub claim: Vec<Slot>,
    /// The free slots that another should claim, and that it can claim itself if the other does not.
    pub stand_by: Vec<Slot>,
    /// The partitions whose slots it should give back, for others.
    pub give_back: Vec<PartitionId>,
}

/// The plan for `me`, who is one of the members. `partitions` says how many replicas each one is to have.
pub(crate) fn plan(me: &WorkerId, members: &[Member], partitions: &[(PartitionId, u32)]) -> Plan {
    let mut board = Board::new(members);
    let mut plan = Plan::default();
    let Some(my_place) = board.members.iter().position(|member| member.id == me) else { return plan };
    for slot in free_slots(members, partitions) {
        // More replicas than workers: it waits for another worker.
        let Some(place) = board.least_loaded_without(&slot.partition) else { continue };
        board.take(place, &slot.partition);
        if place == my_place {
            plan.claim.push(slot);
        } else if !members[board.members[my_place].index].replicas.contains_key(&slot.partition) {
            plan.stand_by.push(slot);
        }
    }
    while let Some((from, partition)) = board.next_move() {
        if from == my_place {
            plan.give_back.push(partition);
        }
    }
    plan
}

/// The slots that nobody holds; those of partitions that nobody serves come first.
fn free_slots(members: &[Member], partitions: &[(PartitionId, u32)]) -> Vec<Slot> {
    let mut held: HashMap<&PartitionId, Vec<u32>> = HashMap::new();
    let mut served: HashMap<&PartitionId, bool> = HashMap::new();
    for (partition, hold) in members.iter().flat_map(|member| &member.replicas) {
        if hold.held {
            held.entry(partition).or_default().push(hold.replica);
        }
        *served.entry(partition).or_default() |= hold.serving;
    }
    let is_held = |partition, replica| held.get(partition).is_some_and(|replicas| replicas.contains(&replica));
    let mut free: Vec<Slot> = partitions
        .iter()
        .flat_map(|(partition, replicas)| (0..*replicas).map(move |replica| (partition, replica)))
        .filter(|(partition, replica)| !is_held(*partition, *replica))
        .map(|(partition, replica)| Slot { partition: partition.clone(), replica })
        .collect();
    free.sort_by_key(|slot| (served.get(&slot.partition).copied().unwrap_or(false), slot.replica));
    free
}

/// The members as the plan changes them, in the order of their names.
struct Board<'a> {
    members: Vec<Place<'a>>,
}

struct Place<'a> {
    id: &'a WorkerId,
    index: usize,
    load: usize,
    /// What it has, and whether its slot can be given back: not what it only serves on, or should claim itself.
    has: BTreeMap<&'a PartitionId, Movable>,
    taken: Vec<PartitionId>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Movable {
    /// It has not caught up: moving it costs nothing.
    Gladly,
    Yes,
    No,
}

impl<'a> Board<'a> {
    fn new(members: &'a [Member]) -> Self {
        let mut places: Vec<Place<'a>> = members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let movable = |hold: &Hold| match (hold.held, hold.serving) {
                    (true, false) => Movable::Gladly,
                    (true, true) => Movable::Yes,
                    (false, _) => Movable::No,
                };
                let has = member.replicas.iter().map(|(partition, hold)| (partition, movable(hold))).collect();
                let load = member.replicas.values().filter(|hold| hold.held).count();
                Place { id: &member.id, index, load, has, taken: Vec::new() }
            })
            .collect();
        places.sort_by_key(|place| place.id);
        Self { members: places }
    }

    fn least_loaded_without(&self, partition: &PartitionId) -> Option<usize> {
        (0..self.members.len()).filter(|place| !self.has(*place, partition)).min_by_key(|place| self.members[*place].load)
    }

    fn has(&self, place: usize, partition: &PartitionId) -> bool {
        self.members[place].has.contains_key(partition) || self.members[place].taken.contains(partition)
    }

    fn take(&mut self, place: usize, partition: &PartitionId) {
        self.members[place].taken.push(partition.clone());
        self.members[place].load += 1;
    }

    /// The next slot to be given back, by the fullest to the emptiest; `None` once all are at most one apart.
    fn next_move(&mut self) -> Option<(usize, PartitionId)> {
        let mut by_load: Vec<usize> = (0..self.members.len()).collect();
        by_load.sort_by_key(|place| self.members[*place].load);
        for from in by_load.iter().rev().copied() {
            for to in by_load.iter().copied() {
                if self.members[from].load <= self.members[to].load + 1 {
                    break;
                }
                let movable = self.members[from]
                    .has
                    .iter()
                    .filter(|(partition, movable)| **movable != Movable::No && !self.has(to, partition));
                let Some(partition) = movable.min_by_key(|(_, movable)| **movable).map(|(partition, _)| (*partition).clone())
                else {
                    continue;
                };
                self.members[from].has.remove(&partition);
                self.members[from].load -= 1;
                self.take(to, &partition);
                return Some((from, partition));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::{Generation, IndexName, IndexRef};

    fn partitions(number: u32, replicas: u32) -> Vec<(PartitionId, u32)> {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(1) };
        (0..number).map(|partition| (PartitionId { index: index.clone(), partition }, replicas)).collect()
    }

    /// A cluster whose workers see each other's state at once, and hand over within a round.
    struct Cluster {
        members: Vec<Member>,
        partitions: Vec<(PartitionId, u32)>,
    }

    impl Cluster {
        fn new(partitions: Vec<(PartitionId, u32)>) -> Self {
            Self { members: Vec::new(), partitions }
        }

        fn join(&mut self, name: &str) {
            self.members.push(Member { id: WorkerId(name.to_owned()), replicas: BTreeMap::new() });
        }

        fn die(&mut self, name: &str) {
            self.members.retain(|member| member.id.0 != name);
        }

        /// All plan on the same view, then all act; a slot goes to the first who claims it.
        fn round(&mut self) -> bool {
            let plans: Vec<Plan> = self.members.iter().map(|member| plan(&member.id, &self.members, &self.partitions)).collect();
            let mut changed = false;
            let free = free_slots(&self.members, &self.partitions);
            for (place, plan) in plans.iter().enumerate() {
                for slot in &plan.claim {
                    assert!(free.contains(slot) && !plan.stand_by.contains(slot));
                    let hold = Hold { replica: slot.replica, held: true, serving: true };
                    let before = self.members[place].replicas.insert(slot.partition.clone(), hold);
                    assert_eq!(before, None, "two replicas of a partition on one worker");
                    changed = true;
                }
            }
            // Nobody gives up serving before another serves.
            for place in 0..self.members.len() {
                let done: Vec<_> = self.members[place]
                    .replicas
                    .iter()
                    .filter(|(partition, hold)| {
                        !hold.held
                            && self.members.iter().enumerate().any(|(other, member)| {
                                other != place
                                    && member
                                        .replicas
                                        .get(*partition)
                                        .is_some_and(|other| other.held && other.replica == hold.replica)
                            })
                    })
                    .map(|(partition, _)| partition.clone())
                    .collect();
                for partition in done {
                    self.members[place].replicas.remove(&partition);
                    changed = true;
                }
            }
            for (place, plan) in plans.iter().enumerate() {
                for partition in &plan.give_back {
                    self.members[place].replicas.get_mut(partition).unwrap().held = false;
                    changed = true;
                }
            }
            changed
        }

        fn settle(&mut self) {
            for _ in 0..50 {
                if !self.round() {
                    return self.check();
                }
            }
            panic!("it never settles");
        }

        fn check(&self) {
            let loads: Vec<usize> = self.members.iter().map(|member| member.replicas.len()).collect();
            let (min, max) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            assert!(max - min <= 1, "{loads:?}");
            let wanted: usize = self.partitions.iter().map(|(_, replicas)| (*replicas as usize).min(self.members.len())).sum();
            assert_eq!(loads.iter().sum::<usize>(), wanted, "{loads:?}");
        }
    }

    #[test]
    fn workers_come_and_go_and_every_slot_finds_its_place() {
        for (number, replicas) in [(8, 2), (4, 1), (7, 3), (1, 1), (256, 2), (3, 8)] {
            let mut cluster = Cluster::new(partitions(number, replicas));
            for name in ["c", "a", "d", "b"] {
                cluster.join(name);
                cluster.settle();
            }
            cluster.die("a");
            cluster.settle();
            cluster.die("d");
            cluster.join("e");
            cluster.join("f");
            cluster.settle();
            cluster.die("e");
            cluster.die("f");
            cluster.settle();
        }
    }

    #[test]
    fn nothing_moves_without_need() {
        let mut cluster = Cluster::new(partitions(8, 2));
        for name in ["a", "b", "c"] {
            cluster.join(name);
        }
        cluster.settle();
        let held = |cluster: &Cluster| cluster.members.iter().map(|member| member.replicas.clone()).collect::<Vec<_>>();
        let before = held(&cluster);
        assert!(!cluster.round());
        assert_eq!(held(&cluster), before);
    }

    #[test]
    fn what_has_not_caught_up_is_moved_first() {
        let partitions = partitions(4, 1);
        let hold = |partition: usize| (partitions[partition].0.clone(), Hold { replica: 0, held: true, serving: partition != 2 });
        let full = Member { id: WorkerId("a".into()), replicas: (0..4).map(hold).collect() };
        let empty = Member { id: WorkerId("b".into()), replicas: BTreeMap::new() };
        let plan = plan(&full.id.clone(), &[full, empty], &partitions);
        assert_eq!(plan.give_back, [partitions[2].0.clone(), partitions[0].0.clone()]);
    }
}
