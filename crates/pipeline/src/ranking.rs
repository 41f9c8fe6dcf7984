//! Queries with candidates: each candidate is read together with its query, and gets a score.

use std::collections::HashMap;

use burn::tensor::backend::Backend;
use locus_data::{Candidate, CandidateItem, Item, ItemLabels, Ranking};
use locus_embedding::position::PositionScheme;
use locus_heads::{FeatureScale, HeadConfig, SequenceClassifier, TaskModel};

use crate::{Codec, Encoded, Pipeline, PipelineError};

/// Queries with the tokens of their candidates, and the features in units of the training candidates.
pub(crate) fn encode(
    codec: &Codec,
    rankings: &[Ranking],
    scales: &[FeatureScale],
) -> Result<Encoded, PipelineError> {
    let mut known: HashMap<&str, Vec<u32>> = HashMap::new();
    let (mut encoded, room) = (Encoded::default(), codec.room(true));
    for ranking in rankings {
        let query = codec.tokenizer.encode(&ranking.query)?.ids;
        let mut candidates = Vec::with_capacity(ranking.candidates.len());
        for candidate in &ranking.candidates {
            let found = candidate.features.len();
            if found != scales.len() {
                let (expected, line) = (scales.len(), ranking.line);
                return Err(PipelineError::Features { expected, found, line });
            }
            // A film or a document stands under many queries.
            let ids = match known.get(candidate.text.as_str()) {
                Some(ids) => ids.clone(),
                None => {
                    let ids = codec.tokenizer.encode(&candidate.text)?.ids;
                    known.insert(&candidate.text, ids.clone());
                    ids
                }
            };
            let scaled = candidate.features.iter().zip(scales).map(|(x, scale)| (x - scale.mean) / scale.std);
            let features = scaled.map(|x| x as f32).collect();
            candidates.push(CandidateItem { ids, gain: candidate.gain as f32, features });
        }
        let longest = candidates.iter().map(|candidate| candidate.ids.len()).max().unwrap_or(0);
        encoded.n_truncated += usize::from(query.len() + longest > room);
        encoded.items.push(Item {
            ids: query,
            labels: ItemLabels::Candidates(candidates),
            ..Item::default()
        });
    }
    Ok(encoded)
}

/// The candidates of a query; none of an item that is no query.
pub(crate) fn candidates(item: &Item) -> &[CandidateItem] {
    match &item.labels {
        ItemLabels::Candidates(candidates) => candidates,
        _ => &[],
    }
}

/// The scores of all candidates of every query, in their order.
pub(crate) fn scores<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    queries: &[Item],
    batch_size: usize,
) -> Result<Vec<Vec<f32>>, PipelineError> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (at, query) in queries.iter().enumerate() {
        places.extend((0..candidates(query).len()).map(|candidate| (at, candidate)));
    }
    let length =
        |&(at, idx): &(usize, usize)| queries[at].ids.len() + candidates(&queries[at])[idx].ids.len();
    places.sort_by_key(length);
    let mut scores: Vec<Vec<f32>> = queries.iter().map(|query| vec![0.0; candidates(query).len()]).collect();
    for chunk in places.chunks(batch_size.max(1)) {
        let mut features = Vec::new();
        let rows: Vec<Item> = chunk
            .iter()
            .map(|&(at, idx)| {
                let candidate = &candidates(&queries[at])[idx];
                features.extend_from_slice(&candidate.features);
                codec.cut(queries[at].ids.clone(), Some(candidate.ids.clone())).0
            })
            .collect();
        let tokens = codec.batch(&rows.iter().collect::<Vec<_>>())?.tokens;
        let found = model.scores(&tokens, &features, None)?; // [batch, 1]
        for (&(at, idx), score) in chunk.iter().zip(found.into_data().iter::<f32>()) {
            scores[at][idx] = score;
        }
    }
    Ok(scores)
}

/// The candidates with the highest scores first; of equal ones the first.
pub(crate) fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

impl<B: Backend> Pipeline<B> {
    /// The score of each candidate for a query, in their order: the higher, the better. A candidate is a text with as many
    /// features as the model was trained with. Only scores for one query can be compared.
    ///
    /// # Errors
    /// If the model does not rank, features are missing or too many, or a text cannot be tokenised.
    pub fn rank<S: AsRef<str>>(
        &self,
        query: &str,
        candidates: &[(S, Vec<f64>)],
    ) -> Result<Vec<f32>, PipelineError> {
        let (TaskModel::SequenceClassifier(model), HeadConfig::Ranking { features, .. }) =
            (&self.model, &self.config.head)
        else {
            return Err(PipelineError::WrongTask { task: self.codec.task(), asked: "rank candidates" });
        };
        let candidate = |(text, features): &(S, Vec<f64>)| Candidate {
            text: text.as_ref().to_owned(),
            gain: 0.0,
            features: features.clone(),
        };
        let ranking = Ranking {
            id: String::new(),
            query: query.to_owned(),
            candidates: candidates.iter().map(candidate).collect(),
            time: None,
            line: 0,
        };
        let items = encode(&self.codec, &[ranking], features)?.items;
        Ok(scores(model, &self.codec, &items, self.batch_size)?.swap_remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn the_highest_score_comes_first() {
        assert_eq!(order(&[0.5, 2.0, -1.0, 2.0]), [1, 3, 0, 2]);
    }
}
