//! Pairs of texts that are read apart: how alike they are by the cosine of their vectors, and which label they have.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use locus_data::{Item, ItemLabels, PairLabel, Row};
use locus_embedding::position::PositionScheme;
use locus_heads::{Labels, SentenceEmbedder};

use crate::embed::embed;
use crate::retrieval::{distinct, target_ids};
use crate::tagging::best;
use crate::{Codec, Encoded, Pipeline, PipelineError, Prediction};

/// Pairs with what `label` makes of their labels.
pub(crate) fn encode<L>(
    codec: &Codec,
    rows: &[Row<L>],
    label: impl Fn(&Row<L>) -> Result<PairLabel, PipelineError>,
) -> Result<Encoded, PipelineError> {
    let mut encoded = Encoded::default();
    for row in rows {
        let Some(pair) = &row.pair else { return Err(PipelineError::NoSecondText { line: row.line }) };
        let (mut item, cut) = codec.embedded(&row.text)?;
        let (second, second_cut) = codec.embedded(pair)?;
        item.labels = ItemLabels::Pair { ids: second.ids, label: label(row)? };
        encoded.n_truncated += usize::from(cut || second_cut);
        encoded.items.push(item);
    }
    Ok(encoded)
}

/// What a batch of pairs is trained with: numbers or labels where all have them, else each other.
pub(crate) fn labels(items: &[&Item]) -> Labels {
    let score = |item: &&Item| match item.labels {
        ItemLabels::Pair { label: PairLabel::Score(score), .. } => Some(score),
        _ => None,
    };
    let class = |item: &&Item| match item.labels {
        ItemLabels::Pair { label: PairLabel::Class(class), .. } => Some(class),
        _ => None,
    };
    if let Some(scores) = items.iter().map(score).collect::<Option<Vec<f32>>>() {
        return Labels::PairValues(scores);
    }
    items.iter().map(class).collect::<Option<Vec<i32>>>().map_or(Labels::InBatchPairs, Labels::PairLabels)
}

/// The vectors of the first and of the second texts.
pub(crate) type Vectors = [Vec<Vec<f32>>; 2];

/// The vectors of both texts of every pair as [`Pipeline::embed`] makes them, in their order; each text is read once.
pub(crate) fn vectors<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Vectors, PipelineError> {
    let first = items.iter().map(|item| item.ids.as_slice());
    let (texts, places) = distinct(first.chain(items.iter().map(target_ids)));
    let texts: Vec<Item> = texts.iter().map(|ids| Item { ids: ids.to_vec(), ..Item::default() }).collect();
    let vectors = embed(model, codec, &texts, codec.n_default_prompt_tokens()?, batch_size)?;
    let (first, second) = places.split_at(items.len());
    Ok([first, second].map(|places| places.iter().map(|&place| vectors[place].clone()).collect()))
}

/// The cosine of every pair. That with a vector of zeros is 0.
pub(crate) fn cosines([first, second]: &Vectors) -> Vec<f64> {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let lengths = (product(a, a) * product(b, b)).sqrt();
        if lengths == 0.0 { 0.0 } else { product(a, b) / lengths }
    };
    first.iter().zip(second).map(cosine).collect()
}

/// The scores of labels of every pair; none where pairs have no labels.
pub(crate) fn logits<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    [first, second]: &Vectors,
    batch_size: usize,
) -> Option<Vec<Vec<f32>>> {
    let device = model.encoder.device();
    let tensor = |rows: &[Vec<f32>]| {
        let width = rows.first().map_or(0, Vec::len);
        Tensor::<B, 2>::from_data(TensorData::new(rows.concat(), [rows.len(), width]), &device)
    };
    let mut all = Vec::with_capacity(first.len());
    let batch_size = batch_size.max(1);
    for (first, second) in first.chunks(batch_size).zip(second.chunks(batch_size)) {
        let logits = model.pair_logits(tensor(first), tensor(second))?; // [batch, n_labels]
        let [_, n_labels] = logits.dims();
        let numbers: Vec<f32> = logits.into_data().iter::<f32>().collect();
        all.extend(numbers.chunks(n_labels).map(<[f32]>::to_vec));
    }
    Some(all)
}

impl<B: Backend> Pipeline<B> {
    /// How alike the texts of each pair are, and their label where the model has learned labels of pairs.
    pub(crate) fn similarities<S: AsRef<str>>(
        &self,
        model: &SentenceEmbedder<B>,
        pairs: &[(S, S)],
    ) -> Result<Vec<Prediction>, PipelineError> {
        let (first, second): (Vec<&str>, Vec<&str>) =
            pairs.iter().map(|(text, pair)| (text.as_ref(), pair.as_ref())).unzip();
        let vectors = [self.embed(&first)?, self.embed(&second)?];
        let logits = logits(model, &vectors, self.batch_size).unwrap_or_default();
        let labels = logits.iter().map(Some).chain(std::iter::repeat(None));
        let answers = first.iter().zip(second).zip(cosines(&vectors)).zip(labels).map(|(pair, logits)| {
            let ((text, pair), cosine) = pair;
            let best = logits.map(|logits| best(logits));
            let of_label = |p: &f64| p.exp();
            Prediction::Similarity {
                text: (*text).to_owned(),
                pair: pair.to_owned(),
                cosine,
                label: best.as_ref().map(|best| self.codec.label_name(best.label).to_owned()),
                score: best.as_ref().map(|best| best.probability),
                scores: best.map_or_else(Default::default, |best| {
                    self.named(&best.log_probs.iter().map(of_label).collect::<Vec<_>>())
                }),
            }
        });
        Ok(answers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_is_that_of_directions() {
        let first = vec![vec![3.0, 4.0], vec![1.0, 0.0], vec![0.0, 0.0], vec![2.0, 0.0]];
        let second = vec![vec![6.0, 8.0], vec![0.0, 5.0], vec![1.0, 1.0], vec![-1.0, 0.0]];
        assert_eq!(cosines(&[first, second]), [1.0, 0.0, 0.0, -1.0]);
        assert!(cosines(&[vec![vec![f32::NAN]], vec![vec![1.0]]])[0].is_nan());
    }

    #[test]
    fn labels_are_of_one_kind() {
        let pair = |label| Item { labels: ItemLabels::Pair { ids: vec![1], label }, ..Item::default() };
        let (score, class) = (pair(PairLabel::Score(0.5)), pair(PairLabel::Class(2)));
        assert_eq!(labels(&[&score, &score]), Labels::PairValues(vec![0.5, 0.5]));
        assert_eq!(labels(&[&class]), Labels::PairLabels(vec![2]));
        assert_eq!(labels(&[&class, &score]), Labels::InBatchPairs);
    }
}
