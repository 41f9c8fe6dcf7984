//! How far up a ranking has what was looked for.
//!
//! Of each query, with r relevant documents and gains g₁, g₂, … of the documents in the order ranked:
//!
//! | score | definition |
//! |---|---|
//! | `hit_rate@k` | 1 if any of the first k is relevant |
//! | `precision@k` | relevant ones of the first k, over k |
//! | `recall@k` | relevant ones of the first k, over r |
//! | `mrr@k`, `mrr` | 1 over the rank of the first relevant one, 0 if it is not in the first k |
//! | `map@k`, `map` | Σ over the relevant ones of the first k of the precision at their rank, over r |
//! | `ndcg@k`, `ndcg` | Σ gᵢ / log₂(i + 1) over the first k, over that of the best order (Järvelin and Kekäläinen 2002, doi:10.1145/582415.582418) |
//!
//! A set's score is the mean over its queries; a query without relevant documents counts as 0. Gains enter nDCG as they
//! are; for the form with 2ᵍ − 1 hand those numbers in.
//! Source: trec_eval 9 by pytrec_eval, `success_k`, `P_k`, `recall_k`, `recip_rank`, `map_cut_k`, `map`, `ndcg_cut_k`,
//! `ndcg`; scikit-learn `ndcg_score`.

use std::collections::BTreeMap;

use crate::{
    error::MetricsError,
    numbers::finite,
    samples::{Formula, Samples},
};

/// Adds up the scores of queries.
///
/// ```
/// use locus_metrics::retrieval::RetrievalScorer;
///
/// let mut scorer = RetrievalScorer::new(&[1, 3])?;
/// // The second document ranked is relevant, the only one that is.
/// scorer.add_binary(&[false, true, false], 1)?;
/// // Gains of the documents ranked, and of all that are relevant.
/// scorer.add(&[3.0, 0.0, 1.0], &[3.0, 2.0, 1.0])?;
/// let scores = scorer.report();
/// assert_eq!((scores["hit_rate@1"], scores["mrr@3"], scores["recall@3"]), (0.5, 0.75, (1.0 + 2.0 / 3.0) / 2.0));
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RetrievalScorer {
    cutoffs: Vec<usize>,
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl RetrievalScorer {
    /// A scorer without queries, of the first `cutoffs` documents each and of all.
    ///
    /// # Errors
    /// If a cutoff is 0.
    pub fn new(cutoffs: &[usize]) -> Result<Self, MetricsError> {
        if cutoffs.contains(&0) {
            return Err(MetricsError::Setting("a cutoff of 0 leaves no document; 1 is the least".to_owned()));
        }
        let mut cutoffs = cutoffs.to_vec();
        cutoffs.sort_unstable();
        cutoffs.dedup();
        let at = |k: &usize| {
            ["hit_rate", "precision", "recall", "mrr", "map", "ndcg"].map(|name| format!("{name}@{k}"))
        };
        let all = ["mrr", "map", "ndcg"].map(str::to_owned);
        let names = cutoffs.iter().flat_map(at).chain(all).collect();
        Ok(Self { cutoffs, names, rows: Vec::new() })
    }

    /// Adds a query: the gains of the documents in the order ranked, 0 for one that is not relevant, and the gains of all
    /// relevant documents in any order, ranked or not.
    ///
    /// # Errors
    /// If a gain is negative or not finite, or more relevant documents are ranked than there are.
    pub fn add(&mut self, ranked: &[f64], relevant: &[f64]) -> Result<(), MetricsError> {
        let at = self.rows.len();
        let bad = |problem: String| Err(MetricsError::BadExample { at, problem });
        if let Some(gain) = ranked.iter().chain(relevant).find(|gain| !(0.0..f64::INFINITY).contains(*gain)) {
            return bad(format!("a gain from 0 expected, {gain} found"));
        }
        let mut best: Vec<f64> = relevant.iter().copied().filter(|gain| *gain > 0.0).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        let n_found = ranked.iter().filter(|gain| **gain > 0.0).count();
        if n_found > best.len() {
            let n = best.len();
            return bad(format!("{n_found} relevant documents are ranked, but there are {n}"));
        }
        let of_cutoff = |&k: &usize| Ranking::new(ranked, &best, k).of_cutoff(k, best.len());
        let mut row: Vec<f64> = self.cutoffs.iter().flat_map(of_cutoff).collect();
        row.extend(Ranking::new(ranked, &best, usize::MAX).of_order(best.len()));
        finite(&row)?;
        self.rows.push(row);
        Ok(())
    }

    /// Adds a query whose documents are relevant or not: those ranked, and how many are relevant, ranked or not.
    ///
    /// # Errors
    /// If more relevant documents are ranked than there are.
    pub fn add_binary(&mut self, ranked: &[bool], n_relevant: usize) -> Result<(), MetricsError> {
        let gains: Vec<f64> = ranked.iter().map(|&relevant| f64::from(u8::from(relevant))).collect();
        self.add(&gains, &vec![1.0; n_relevant])
    }

    /// The mean scores by name; 0 without queries.
    pub fn report(&self) -> BTreeMap<String, f64> {
        let n = self.rows.len().max(1) as f64;
        let mean = |at: usize| self.rows.iter().map(|row| row[at]).sum::<f64>() / n;
        self.names.iter().enumerate().map(|(at, name)| (name.clone(), mean(at))).collect()
    }

    /// A score of each query, by name.
    pub fn samples(&self, name: &str) -> Option<Samples> {
        let at = self.names.iter().position(|known| known == name)?;
        Some(Samples::new(Formula::Mean, self.rows.iter().map(|row| [row[at], 1.0])))
    }
}

/// What the first documents come to.
struct Ranking {
    n_found: usize,
    first: Option<usize>,
    precisions: f64,
    gain: f64,
    best_gain: f64,
}

impl Ranking {
    fn new(ranked: &[f64], best: &[f64], cutoff: usize) -> Self {
        let (mut n_found, mut first, mut precisions) = (0, None, 0.0);
        for (at, _) in ranked.iter().take(cutoff).enumerate().filter(|(_, gain)| **gain > 0.0) {
            n_found += 1;
            first.get_or_insert(at + 1);
            precisions += n_found as f64 / (at + 1) as f64;
        }
        let discounted = |gains: &[f64]| -> f64 {
            gains.iter().take(cutoff).enumerate().map(|(at, gain)| gain / ((at + 2) as f64).log2()).sum()
        };
        Self { n_found, first, precisions, gain: discounted(ranked), best_gain: discounted(best) }
    }

    /// Hit rate, precision, recall, then those of [`of_order`](Self::of_order).
    fn of_cutoff(&self, k: usize, n_relevant: usize) -> [f64; 6] {
        let hit = if self.n_found > 0 { 1.0 } else { 0.0 };
        let found = self.n_found as f64;
        let [mrr, map, ndcg] = self.of_order(n_relevant);
        [hit, found / k as f64, found / n_relevant.max(1) as f64, mrr, map, ndcg]
    }

    /// Reciprocal rank, average precision, nDCG.
    fn of_order(&self, n_relevant: usize) -> [f64; 3] {
        let ndcg = if self.best_gain > 0.0 { self.gain / self.best_gain } else { 0.0 };
        [self.first.map_or(0.0, |rank| 1.0 / rank as f64), self.precisions / n_relevant.max(1) as f64, ndcg]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn nothing_ranked_and_nothing_relevant_score_nothing() {
        let mut scorer = RetrievalScorer::new(&[3]).unwrap();
        assert!(scorer.report().values().all(|score| *score == 0.0));
        scorer.add(&[], &[]).unwrap();
        scorer.add(&[], &[1.0]).unwrap();
        scorer.add_binary(&[false], 0).unwrap();
        assert!(scorer.report().values().all(|score| *score == 0.0));
        assert!(scorer.samples("ndcg@3").is_some() && scorer.samples("ndcg@5").is_none());
    }

    #[test]
    fn the_best_order_scores_1_and_moving_down_never_helps() {
        let (mut best, mut worse) =
            (RetrievalScorer::new(&[3, 5]).unwrap(), RetrievalScorer::new(&[3, 5]).unwrap());
        best.add(&[3.0, 2.0, 1.0, 0.0, 0.0], &[1.0, 2.0, 3.0]).unwrap();
        worse.add(&[3.0, 1.0, 0.0, 2.0, 0.0], &[1.0, 2.0, 3.0]).unwrap();
        for (name, score) in best.report() {
            assert!(score == 1.0 || name == "precision@5", "{name} {score}");
            assert!(worse.report()[&name] <= score, "{name}");
        }
        assert!(worse.report()["ndcg"] < 1.0);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        assert!(RetrievalScorer::new(&[0]).is_err());
        let mut scorer = RetrievalScorer::new(&[1]).unwrap();
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(scorer.add(&[bad], &[1.0]).is_err() && scorer.add(&[], &[bad]).is_err());
        }
        let error = scorer.add_binary(&[true, true], 1).unwrap_err().to_string();
        assert_eq!(error, "example 0: 2 relevant documents are ranked, but there are 1");
    }
}
