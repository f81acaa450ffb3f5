//! The measures, as trec_eval defines them; every query with a relevant document counts.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};

use super::Rankings;

/// Which documents are relevant to which query, and how much.
pub(super) struct Judgements(BTreeMap<String, HashMap<String, u32>>);

/// Averages over the queries.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Measures {
    pub ndcg_10: f64,
    pub map: f64,
    pub precision_10: f64,
    pub recall_100: f64,
    pub mrr_10: f64,
}

impl Judgements {
    /// Reads lines of query, document and relevance.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut judged = BTreeMap::<String, HashMap<String, u32>>::new();
        for line in text.lines() {
            let mut columns = line.split('\t');
            let mut next = || columns.next().with_context(|| format!("{line:?} has no three columns"));
            let (query, document, relevance) = (next()?, next()?, next()?);
            let relevance = relevance.trim().parse().with_context(|| format!("{line:?}: the relevance is no number"))?;
            if relevance > 0 {
                judged.entry(query.to_owned()).or_default().insert(document.to_owned(), relevance);
            }
        }
        Ok(Self(judged))
    }

    /// Whether a query has a relevant document.
    pub(super) fn has(&self, query: &str) -> bool {
        self.0.contains_key(query)
    }

    /// Measures rankings.
    pub(super) fn measure(&self, rankings: &Rankings) -> Measures {
        let mut sum = Measures::default();
        for (query, relevant) in &self.0 {
            let ranking = rankings.get(query).map(Vec::as_slice).unwrap_or_default();
            add(&mut sum, relevant, ranking);
        }
        let queries = self.0.len().max(1) as f64;
        Measures {
            ndcg_10: sum.ndcg_10 / queries,
            map: sum.map / queries,
            precision_10: sum.precision_10 / queries,
            recall_100: sum.recall_100 / queries,
            mrr_10: sum.mrr_10 / queries,
        }
    }
}

fn add(sum: &mut Measures, relevant: &HashMap<String, u32>, ranking: &[(String, f64)]) {
    let discounted = |(place, relevance): (usize, u32)| f64::from(relevance) / (place as f64 + 2.0).log2();
    let mut ideal: Vec<u32> = relevant.values().copied().collect();
    ideal.sort_unstable_by(|left, right| right.cmp(left));
    let ideal: f64 = ideal.into_iter().take(10).enumerate().map(discounted).sum();
    let all = relevant.len() as f64;
    let (mut gain, mut found, mut precisions) = (0.0, 0.0, 0.0);
    for (place, (document, _)) in ranking.iter().enumerate() {
        let Some(relevance) = relevant.get(document) else { continue };
        found += 1.0;
        precisions += found / (place as f64 + 1.0);
        if place < 10 {
            gain += discounted((place, *relevance));
            sum.precision_10 += 0.1;
            if found == 1.0 {
                sum.mrr_10 += 1.0 / (place as f64 + 1.0);
            }
        }
        if place < 100 {
            sum.recall_100 += 1.0 / all;
        }
    }
    sum.ndcg_10 += gain / ideal;
    sum.map += precisions / all;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_the_definitions() {
        let judgements = Judgements::parse("q1\ta\t1\nq1\tb\t1\nq1\tx\t0\nq2\tc\t2\n").unwrap();
        let ranking = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), 1.0)).collect::<Vec<_>>();
        let rankings = Rankings::from([("q1".to_owned(), ranking(&["x", "a", "y", "b"])), ("q2".to_owned(), ranking(&["c"]))]);
        let measures = judgements.measure(&rankings);
        let dcg = (1.0 / 3f64.log2() + 1.0 / 5f64.log2()) / (1.0 + 1.0 / 3f64.log2());
        let close = |left: f64, right: f64| (left - right).abs() < 1e-12;
        assert!(close(measures.ndcg_10, (dcg + 1.0) / 2.0), "{measures:?}");
        assert!(close(measures.map, ((0.5 + 0.5) / 2.0 + 1.0) / 2.0), "{measures:?}");
        assert!(close(measures.precision_10, (0.2 + 0.1) / 2.0) && close(measures.recall_100, 1.0), "{measures:?}");
        assert!(close(measures.mrr_10, (0.5 + 1.0) / 2.0), "{measures:?}");
        assert_eq!(judgements.measure(&Rankings::new()), Measures::default());
        assert!(judgements.has("q1") && !judgements.has("q3") && Judgements::parse("q1 a 1").is_err());
    }
}
