//! Pairs as search: each source must find its target among all targets, by vectors and, as the baseline, by words.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use burn::tensor::backend::Backend;
use locus_data::{Item, ItemLabels, Pair};
use locus_embedding::position::PositionScheme;
use locus_heads::SentenceEmbedder;
use locus_metrics::retrieval::RetrievalScorer;

use crate::embed::embed;
use crate::{Bm25, Codec, PipelineError};

/// How deep lists are read.
const DEPTH: usize = 10;
/// Where lists are cut for scores.
const CUTOFFS: [usize; 3] = [1, 5, DEPTH];
/// The score that decides.
pub(crate) const SCORE: &str = "mrr@10";
/// The scores that are told.
pub(crate) const METRICS: [&str; 5] = [SCORE, "ndcg@10", "recall@1", "recall@5", "recall@10"];

/// Searches for the target of every source, by the cosines of their vectors. Where several pairs have the same source, each of
/// their targets is right. None where a vector has a number that is not finite: it has no rank.
pub(crate) fn search<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Option<RetrievalScorer>, PipelineError> {
    let text = |ids: &[u32]| Item { ids: ids.to_vec(), ..Item::default() };
    let (sources, source_of) = distinct(items.iter().map(|item| item.ids.as_slice()));
    let (targets, target_of) = distinct(items.iter().map(target_ids));
    let n_prompt_tokens = codec.n_default_prompt_tokens()?;
    let vectors = |texts: &[&[u32]]| {
        let items: Vec<Item> = texts.iter().map(|ids| text(ids)).collect();
        let mut vectors = embed(model, codec, &items, n_prompt_tokens, batch_size)?;
        vectors.iter_mut().for_each(|vector| normalise(vector));
        Ok::<_, PipelineError>(vectors)
    };
    let (queries, documents) = (vectors(&sources)?, vectors(&targets)?);
    if queries.iter().chain(&documents).flatten().any(|x| !x.is_finite()) {
        return Ok(None);
    }
    let lists: Vec<Vec<usize>> = queries.iter().map(|query| best(query, &documents)).collect();
    scored(&lists, &source_of, &target_of).map(Some)
}

/// The scores of the same search by BM25. Behind the targets that have a word of the source stand the others, in their order.
pub(crate) fn by_words(pairs: &[Pair]) -> Result<BTreeMap<String, f64>, PipelineError> {
    let (sources, source_of) = distinct(pairs.iter().map(|pair| pair.source.trim()));
    let (targets, target_of) = distinct(pairs.iter().map(|pair| pair.target.trim()));
    let index = Bm25::new(targets.iter().map(|text| Bm25::words(text)));
    let list = |source: &&str| {
        let found = index.search(&Bm25::words(source), DEPTH).into_iter();
        let mut list: Vec<usize> = found.map(|(target, _)| target).collect();
        let others: Vec<usize> =
            (0..targets.len()).filter(|target| !list.contains(target)).take(DEPTH).collect();
        list.extend(others);
        list.truncate(DEPTH);
        list
    };
    let lists: Vec<Vec<usize>> = sources.iter().map(list).collect();
    let report = scored(&lists, &source_of, &target_of)?.report();
    Ok(METRICS.into_iter().map(|name| (name.to_owned(), report[name])).collect())
}

/// How far up the right targets stand in the list of each source: all those that the source has in any pair.
fn scored(
    lists: &[Vec<usize>],
    source_of: &[usize],
    target_of: &[usize],
) -> Result<RetrievalScorer, PipelineError> {
    let mut right: Vec<Vec<usize>> = vec![Vec::new(); lists.len()];
    for (&source, &target) in source_of.iter().zip(target_of) {
        if !right[source].contains(&target) {
            right[source].push(target);
        }
    }
    let mut scorer = RetrievalScorer::new(&CUTOFFS)?;
    // One query per pair, so that a source counts as often as it stands there.
    for &source in source_of {
        let ranked: Vec<bool> = lists[source].iter().map(|target| right[source].contains(target)).collect();
        scorer.add_binary(&ranked, right[source].len())?;
    }
    Ok(scorer)
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
pub(crate) fn distinct<T: Copy + Eq + Hash>(texts: impl Iterator<Item = T>) -> (Vec<T>, Vec<usize>) {
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

/// The tokens of the second text of a pair; of a decoder's target behind the token that it starts with.
pub(crate) fn target_ids(item: &Item) -> &[u32] {
    match &item.labels {
        ItemLabels::Target { ids, .. } | ItemLabels::Pair { ids, .. } => ids,
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
    fn the_nearest_come_first() {
        let documents: Vec<Vec<f32>> = (0..23_u8).map(|n| vec![f32::from(n % 7), 1.0]).collect();
        let list = best(&[1.0, 0.0], &documents);
        assert_eq!(list, [6, 13, 20, 5, 12, 19, 4, 11, 18, 3]);
        assert_eq!(best(&[1.0, 0.0], &documents[..3]), [2, 1, 0]);
        assert_eq!(distinct("abca".chars()), (vec!['a', 'b', 'c'], vec![0, 1, 2, 0]));
    }

    #[test]
    fn words_find_what_has_them() {
        let pair =
            |source: &str, target: &str| Pair { source: source.into(), target: target.into(), line: 1 };
        // The third has no word of its target, which stands third of the three.
        let pairs =
            [pair("red boat", "A red boat!"), pair("鸟唱歌 ", "一只鸟唱歌"), pair("tea", "hot water")];
        let scores = by_words(&pairs).unwrap();
        assert_eq!(scores.len(), METRICS.len());
        assert!((scores["mrr@10"] - (1.0 + 1.0 + 1.0 / 3.0) / 3.0).abs() < 1e-12, "{scores:?}");
        assert!((scores["recall@1"] - 2.0 / 3.0).abs() < 1e-12, "{scores:?}");
    }
}
