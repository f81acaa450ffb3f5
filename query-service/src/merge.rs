//! Puts the answers of partitions together, so that the whole is what one index over all documents would answer.

use warren_protocol::rpc::PartialHit;
use warren_protocol::search::{Relation, Total};

use crate::fan_out::PartitionHits;

/// A hit, and the partition that has its document.
#[derive(Debug, PartialEq)]
pub(crate) struct MergedHit {
    /// The partition.
    pub partition: u32,
    /// The hit.
    pub hit: PartialHit,
}

/// The best hits of all: by score, equal scores by id; `limit` of them behind the first `offset`. The total is at
/// least the sum where partitions are missing, and absent where nobody counted.
pub(crate) fn merge(answers: Vec<PartitionHits>, offset: u32, limit: u32, missing: bool) -> (Option<Total>, Vec<MergedHit>) {
    let counted: Option<u64> = answers.iter().map(|answer| answer.total).sum();
    let relation = if missing { Relation::Gte } else { Relation::Eq };
    let total = counted.map(|value| Total { value, relation });

    let merged = |answer: PartitionHits| {
        let partition = answer.partition;
        answer.hits.into_iter().map(move |hit| MergedHit { partition, hit })
    };
    let mut hits: Vec<MergedHit> = answers.into_iter().flat_map(merged).collect();
    hits.sort_unstable_by(|a, b| b.hit.score.total_cmp(&a.hit.score).then_with(|| a.hit.id.cmp(&b.hit.id)));
    (total, hits.into_iter().skip(offset as usize).take(limit as usize).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::ports::WorkerId;

    fn answer(partition: u32, total: Option<u64>, hits: &[(&str, f32)]) -> PartitionHits {
        let hits = hits.iter().map(|(id, score)| PartialHit { id: (*id).to_owned(), score: *score, found: None }).collect();
        PartitionHits { partition, worker: WorkerId("w".to_owned()), total, hits }
    }

    fn merged(answers: Vec<PartitionHits>, offset: u32, limit: u32) -> Vec<(u32, String)> {
        merge(answers, offset, limit, false).1.into_iter().map(|merged| (merged.partition, merged.hit.id)).collect()
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
        assert_eq!(merged(answers(), 0, 10), all);
        assert_eq!(merged(answers(), 1, 2), all[1..3]);
        assert_eq!(merged(answers(), 4, 2), all[4..]);
        assert_eq!(merged(answers(), 9, 2), []);
        assert_eq!(merged(answers(), 0, 0), []);
    }

    #[test]
    fn pages_are_pieces_of_the_whole() {
        let answers = || (0..4).map(|p| answer(p, None, &[("a", 4.0 - p as f32), ("b", 0.5)])).collect::<Vec<_>>();
        let whole = merged(answers(), 0, 8);
        let pages: Vec<_> = (0..4).flat_map(|page| merged(answers(), page * 2, 2)).collect();
        assert_eq!(pages, whole);
    }

    #[test]
    fn totals_are_sums_and_say_when_a_part_is_missing() {
        let answers = || vec![answer(0, Some(3), &[]), answer(1, Some(4), &[])];
        assert_eq!(merge(answers(), 0, 1, false).0, Some(Total { value: 7, relation: Relation::Eq }));
        assert_eq!(merge(answers(), 0, 1, true).0, Some(Total { value: 7, relation: Relation::Gte }));
        assert_eq!(merge(vec![answer(0, Some(3), &[]), answer(1, None, &[])], 0, 1, false).0, None);
    }
}
