//! Pairs as search: each source must find its target among all targets.

use std::collections::HashMap;
use std::hash::Hash;

use burn::tensor::backend::Backend;
use locus_data::{Item, ItemLabels};
use locus_embedding::position::PositionScheme;
use locus_heads::SentenceEmbedder;

use crate::embed::embed;
use crate::{Codec, PipelineError};

/// How deep lists are read.
const DEPTH: usize = 10;
/// Where recall is told.
const CUTOFFS: [usize; 3] = [1, 5, DEPTH];

/// The scores of a search, summed over queries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retrieval {
    /// The reciprocal rank of the first right document of each query; 0 below the depth.
    pub(crate) reciprocal_ranks: Vec<f64>,
    recalls: [f64; CUTOFFS.len()],
    ndcg: f64,
}

impl Retrieval {
    /// Adds a query: whether each document of its list is right, the best first, and how many there are.
    fn add(&mut self, ranked: &[bool], n_right: usize) {
        let found = ranked.iter().take(DEPTH);
        let ranks: Vec<usize> = (1..).zip(found).filter(|(_, right)| **right).map(|(rank, _)| rank).collect();
        self.reciprocal_ranks.push(ranks.first().map_or(0.0, |&rank| 1.0 / rank as f64));
        for (recall, cutoff) in self.recalls.iter_mut().zip(CUTOFFS) {
            let n = ranks.iter().filter(|&&rank| rank <= cutoff).count();
            *recall += n as f64 / n_right.max(1) as f64;
        }
        let gain = |rank: usize| 1.0 / ((rank + 1) as f64).log2();
        let best: f64 = (1..=n_right.min(DEPTH)).map(gain).sum();
        self.ndcg += if best > 0.0 { ranks.iter().map(|&rank| gain(rank)).sum::<f64>() / best } else { 0.0 };
    }

    /// The means, by name.
    pub(crate) fn metrics(&self) -> Vec<(String, f64)> {
        let n = self.reciprocal_ranks.len().max(1) as f64;
        let mut metrics = vec![
            (format!("mrr@{DEPTH}"), self.reciprocal_ranks.iter().sum::<f64>() / n),
            (format!("ndcg@{DEPTH}"), self.ndcg / n),
        ];
        let recalls = CUTOFFS.iter().zip(self.recalls);
        metrics.extend(recalls.map(|(cutoff, recall)| (format!("recall@{cutoff}"), recall / n)));
        metrics
    }
}

/// Searches for the target of every source, by the cosines of their vectors. Where several pairs have the same source, each of
/// their targets is right.
pub(crate) fn search<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Retrieval, PipelineError> {
    let text = |ids: &[u32]| Item { ids: ids.to_vec(), ..Item::default() };
    let (sources, source_of) = distinct(items.iter().map(|item| item.ids.as_slice()));
    let (targets, target_of) = distinct(items.iter().map(target_ids));
    let vectors = |texts: &[&[u32]]| {
        let items: Vec<Item> = texts.iter().map(|ids| text(ids)).collect();
        let mut vectors = embed(model, codec, &items, 0, batch_size)?;
        vectors.iter_mut().for_each(|vector| normalise(vector));
        Ok::<_, PipelineError>(vectors)
    };
    let (queries, documents) = (vectors(&sources)?, vectors(&targets)?);
    let mut right: Vec<Vec<usize>> = vec![Vec::new(); sources.len()];
    for (&source, &target) in source_of.iter().zip(&target_of) {
        if !right[source].contains(&target) {
            right[source].push(target);
        }
    }
    let lists: Vec<Vec<usize>> = queries.iter().map(|query| best(query, &documents)).collect();
    let mut retrieval = Retrieval::default();
    // One query per pair, so that a source counts as often as it stands there.
    for &source in &source_of {
        let ranked: Vec<bool> = lists[source].iter().map(|target| right[source].contains(target)).collect();
        retrieval.add(&ranked, right[source].len());
    }
    // A score that is no number has no rank.
    if queries.iter().chain(&documents).flatten().any(|x| !x.is_finite()) {
        retrieval.reciprocal_ranks.fill(f64::NAN);
        (retrieval.recalls, retrieval.ndcg) = ([f64::NAN; CUTOFFS.len()], f64::NAN);
    }
    Ok(retrieval)
}

/// The documents that are nearest to a query, the nearest first; of equal ones the first.
fn best(query: &[f32], documents: &[Vec<f32>]) -> Vec<usize> {
    let score = |document: &Vec<f32>| query.iter().zip(document).map(|(a, b)| a * b).sum::<f32>();
    let mut scored: Vec<(usize, f32)> = documents.iter().map(score).enumerate().collect();
    let by_score = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if scored.len() > DEPTH {
        scored.select_nth_unstable_by(DEPTH - 1, by_score);
        scored.truncate(DEPTH);
    }
    scored.sort_by(by_score);
    scored.into_iter().map(|(document, _)| document).collect()
}

/// Each text once, in the order in which they come, and for each place the number of its text.
fn distinct<T: Copy + Eq + Hash>(texts: impl Iterator<Item = T>) -> (Vec<T>, Vec<usize>) {
    let (mut list, mut numbers) = (Vec::new(), HashMap::new());
    let number = |text: T| {
        *numbers.entry(text).or_insert_with(|| {
            list.push(text);
            list.len() - 1
        })
    };
    let of_place = texts.map(number).collect();
    (list, of_place)
}

fn target_ids(item: &Item) -> &[u32] {
    match &item.labels {
        ItemLabels::Target { ids, .. } => ids,
        _ => unreachable!("the codec gives pairs a target"),
    }
}

fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length.max(1e-12));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_scored_by_where_the_right_documents_stand() {
        let mut retrieval = Retrieval::default();
        retrieval.add(&[false, true, false, false, false, true], 2);
        retrieval.add(&[false; 10], 1);
        let metrics = retrieval.metrics();
        let of = |name: &str| metrics.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, x)| *x);
        // Worked by hand: ranks 2 and 6 of two; best would be ranks 1 and 2.
        let dcg = 1.0 / 3.0_f64.log2() + 1.0 / 7.0_f64.log2();
        let ndcg = dcg / (1.0 + 1.0 / 3.0_f64.log2());
        for (name, want) in [
            ("mrr@10", 0.25),
            ("ndcg@10", ndcg / 2.0),
            ("recall@1", 0.0),
            ("recall@5", 0.25),
            ("recall@10", 0.5),
        ] {
            let found = of(name);
            assert!((found - want).abs() < 1e-12, "{name}: {found}, expected {want}");
        }
    }

    #[test]
    fn the_nearest_come_first() {
        let documents: Vec<Vec<f32>> = (0..23_u8).map(|n| vec![f32::from(n % 7), 1.0]).collect();
        let list = best(&[1.0, 0.0], &documents);
        assert_eq!(list, [6, 13, 20, 5, 12, 19, 4, 11, 18, 3]);
        assert_eq!(best(&[1.0, 0.0], &documents[..3]), [2, 1, 0]);
        assert_eq!(distinct("abca".chars()), (vec!['a', 'b', 'c'], vec![0, 1, 2, 0]));
    }
}
