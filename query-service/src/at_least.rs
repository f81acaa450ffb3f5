//! What a search must have seen: the furthest position of each partition that its request names.

use std::collections::BTreeMap;

use warren_protocol::Problem;
use warren_protocol::catalog::Entry;
use warren_protocol::ports::Position;
use warren_protocol::receipt::WrittenAt;

/// The positions, by partition; none: whatever a replica has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AtLeast(BTreeMap<u32, Position>);

impl AtLeast {
    /// The positions that a request names; they must be of this index, in this life of it.
    pub(crate) fn new(index: &Entry, positions: &[String]) -> Result<Self, Problem> {
        let (name, life) = (&index.index.name, index.index.generation);
        let mut furthest = BTreeMap::new();
        for (number, text) in positions.iter().enumerate() {
            let refuse = |why: String| Err(Problem::invalid("at_least", format!("at_least[{number}]: {why}")));
            let WrittenAt { generation, partition, position } = match text.parse::<WrittenAt>() {
                Ok(written) => written,
                Err(error) => return refuse(error.to_string()),
            };
            if generation != life {
                return refuse(format!("{text:?} is of another index, or of index \"{name}\" before it was created again"));
            }
            if partition >= index.definition.partitions.get() {
                let partitions = index.definition.partitions;
                return refuse(format!("{text:?} names partition {partition}: index \"{name}\" has {partitions}, from 0 on"));
            }
            let known = furthest.entry(partition).or_insert(position);
            *known = position.max(*known);
        }
        Ok(Self(furthest))
    }

    /// What the partition must have seen.
    pub(crate) fn of(&self, partition: u32) -> Option<Position> {
        self.0.get(&partition).copied()
    }
}

#[cfg(test)]
mod tests {
    use warren_protocol::{Generation, IndexDefinition, IndexName, IndexRef};

    use super::*;

    fn entry() -> Entry {
        let index = IndexRef { name: IndexName::new("a").unwrap(), generation: Generation(17) };
        let (definition, creation) = (IndexDefinition::default(), uuid::Uuid::nil());
        Entry { index, definition, creation, ready: true, automatic: false, restored_from: None }
    }

    #[test]
    fn the_furthest_position_of_each_partition_counts() {
        let positions = ["17.1.5", "17.0.9", "17.1.7", "17.1.6"].map(str::to_owned);
        let at_least = AtLeast::new(&entry(), &positions).unwrap();
        assert_eq!((at_least.of(0), at_least.of(1), at_least.of(2)), (Some(Position(9)), Some(Position(7)), None));
    }

    #[test]
    fn what_is_no_position_of_this_index_is_refused_by_name() {
        for (wrong, why) in [("nonsense", "no position"), ("16.0.1", "another index"), ("17.99.1", "partition 99")] {
            let problem = AtLeast::new(&entry(), &["17.0.1".to_owned(), wrong.to_owned()]).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, Some("at_least")));
            assert!(problem.detail.starts_with("at_least[1]") && problem.detail.contains(why), "{}", problem.detail);
        }
    }
}
