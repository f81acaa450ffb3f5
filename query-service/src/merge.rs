//! Puts the answers of partitions together, so that the whole is what one index over all documents would answer.

use warren_protocol::rpc::PartialHit;
use warren_protocol::search::{Relation, SortKey, Total};

use crate::fan_out::PartitionHits;

/// A hit, and the partition that has its document.
#[derive(Debug, PartialEq)]
pub(crate) struct MergedHit {
    /// The partition.
    pub partition: u32,
    /// The hit.
    pub hit: PartialHit,
}

/// The first hits of all, in the order of these keys: `limit` of them behind the first `offset`.
pub(crate) fn merge(answers: &mut [PartitionHits], sort: &[SortKey], offset: u32, limit: u32) -> Vec<MergedHit> {
    let merged = |answer: &mut PartitionHits| {
        let partition = answer.partition;
        std::mem::take(&mut answer.found.hits).into_iter().map(move |hit| MergedHit { partition, hit })
    };
    let mut hits: Vec<MergedHit> = answers.iter_mut().flat_map(merged).collect();
    hits.sort_unstable_by(|left, right| PartialHit::compare(sort, &left.hit, &right.hit));
    hits.into_iter().skip(offset as usize).take(limit as usize).collect()
}

/// How many documents match: at least the sum where partitions are missing, and `None` where nobody counted.
pub(crate) fn total(answers: &[PartitionHits], missing: bool) -> Option<Total> {
    let counted = answers.iter().try_fold(0_u64, |sum, answer| Some(sum.saturating_add(answer.found.total?)));
    let relation = if missing { Relation::Gte } else { Relation::Eq };
    counted.map(|value| Total { value, relation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::ports::WorkerId;
    use warren_protocol::rpc::Hits;
    use warren_protocol::search::SortValue;

    fn answer(partition: u32, total: Option<u64>, hits: &[(&str, f32)]) -> PartitionHits {
        let hit = |(id, score): &(&str, f32)| PartialHit {
            id: (*id).to_owned(),
            score: Some(*score),
            sort: vec![SortValue::F64((*score).into())],
            found: None,
        };
        let found = Hits { total, hits: hits.iter().map(hit).collect(), ..Hits::default() };
        PartitionHits { partition, worker: WorkerId("w".to_owned()), found }
    }

    fn merged(mut answers: Vec<PartitionHits>, sort: &[SortKey], offset: u32, limit: u32) -> Vec<(u32, String)> {
        merge(&mut answers, sort, offset, limit).into_iter().map(|merged| (merged.partition, merged.hit.id)).collect()
    }

    #[test]
    fn the_best_come_first_and_equal_scores_by_id() {
        let answers = || {
            vec![
                answer(2, Some(3), &[("c", 2.0), ("a", 1.0), ("e", 1.0)]),
                answer(0, Some(2), &[("x", 3.0), ("b", 1.0)]),
                answer(1, Some(0), &[]),
            ]
        };
        let all: Vec<(u32, String)> = [(0, "x"), (2, "c"), (2, "a"), (0, "b"), (2, "e")].map(|(p, id)| (p, id.to_owned())).into();
        for sort in [vec![], vec![SortKey::BEST], vec![SortKey::parse("-size").unwrap()]] {
            assert_eq!(merged(answers(), &sort, 0, 10), all);
            assert_eq!(merged(answers(), &sort, 1, 2), all[1..3]);
            assert_eq!(merged(answers(), &sort, 4, 2), all[4..]);
            assert_eq!(merged(answers(), &sort, 9, 2), []);
            assert_eq!(merged(answers(), &sort, 0, 0), []);
        }
        let ascending = merged(answers(), &[SortKey::parse("size").unwrap()], 0, 10);
        assert_eq!(ascending.into_iter().map(|(_, id)| id).collect::<String>(), "abecx");
    }

    #[test]
    fn pages_are_pieces_of_the_whole() {
        let answers = || (0..4).map(|p| answer(p, None, &[("a", 4.0 - p as f32), ("b", 0.5)])).collect::<Vec<_>>();
        let whole = merged(answers(), &[], 0, 8);
        let pages: Vec<_> = (0..4).flat_map(|page| merged(answers(), &[], page * 2, 2)).collect();
        assert_eq!(pages, whole);
    }

    #[test]
    fn totals_are_sums_and_say_when_a_part_is_missing() {
        let answers = [answer(0, Some(3), &[]), answer(1, Some(4), &[])];
        assert_eq!(total(&answers, false), Some(Total { value: 7, relation: Relation::Eq }));
        assert_eq!(total(&answers, true), Some(Total { value: 7, relation: Relation::Gte }));
        assert_eq!(total(&[answer(0, Some(3), &[]), answer(1, None, &[])], false), None);
    }
}
