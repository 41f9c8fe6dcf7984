//! What a sentence embedder is trained with: losses of pairs, from the vectors of both texts.

use std::collections::HashMap;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use locus_backend::ops;
use locus_embedding::Tokens;
use locus_encoder::ConfigProblem;
use serde::{Deserialize, Serialize};

use crate::batch::{NEVER, check_count, classification_loss};
use crate::{HeadError, Labels, LossOptions, LossSum};

/// What pairs of texts are trained with, and so what they come with. `u` and `v` are the vectors of both texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PairLoss {
    /// Nothing but each other: the targets of other pairs are negatives, see [`InBatchNegatives`].
    #[default]
    InBatchNegatives,
    /// A number: the squared error of the cosine of `u` and `v` (`CosineSimilarityLoss` of `sentence-transformers`).
    Cosine(CosineBounds),
    /// A number, of which only the order counts: [`Cosent`].
    Cosent(Cosent),
    /// A label: the cross-entropy of a linear layer on `(u, v, |u − v|)` (Reimers & Gurevych 2019, arXiv:1908.10084, §3, the
    /// classification objective).
    Softmax {
        /// Number of labels.
        n_labels: usize,
    },
}

/// The loss of pairs in which the targets of other pairs are negatives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InBatchNegatives {
    /// What cosines are multiplied with before the softmax: the inverse of a temperature.
    pub scale: f64,
    /// Whether targets look for their sources too; the loss is the mean of both ways.
    pub symmetric: bool,
}

impl Default for InBatchNegatives {
    fn default() -> Self {
        Self { scale: 20.0, symmetric: false }
    }
}

/// Which cosine a number stands for: the one that lies between `cosines` where the number lies between `scores`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineBounds {
    /// The lowest and the highest number.
    pub scores: [f64; 2],
    /// The cosines that these stand for.
    pub cosines: [f64; 2],
}

impl Default for CosineBounds {
    /// Numbers that are cosines, from 0 to 1.
    fn default() -> Self {
        Self { scores: [0.0, 1.0], cosines: [0.0, 1.0] }
    }
}

impl CosineBounds {
    /// The cosine that a number stands for; none where it lies outside the bounds.
    ///
    /// ```
    /// use locus_heads::CosineBounds;
    /// let bounds = CosineBounds { scores: [0.0, 5.0], cosines: [-1.0, 1.0] };
    /// assert_eq!(bounds.cosine(5.0), Some(1.0));
    /// assert_eq!(bounds.cosine(2.5), Some(0.0));
    /// assert_eq!(bounds.cosine(5.1), None);
    /// ```
    pub fn cosine(&self, score: f64) -> Option<f64> {
        let ([low, high], [least, most]) = (self.scores, self.cosines);
        let share = (score - low) / (high - low);
        (low..=high).contains(&score).then_some(least + share * (most - least))
    }
}

/// The loss of pairs with a number: `ln(1 + Σ exp(scale · (cos i − cos j)))` over every two pairs `i` and `j` of a batch of which `j`
/// has the higher number (Su 2022, CoSENT; `CoSENTLoss` of `sentence-transformers`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosent {
    /// What cosines are multiplied with: the inverse of a temperature.
    pub scale: f64,
}

impl Default for Cosent {
    fn default() -> Self {
        Self { scale: 20.0 }
    }
}

impl PairLoss {
    /// The number of labels, where pairs have one.
    pub fn n_labels(&self) -> Option<usize> {
        if let Self::Softmax { n_labels } = *self { Some(n_labels) } else { None }
    }

    /// What pairs must come with.
    pub(crate) fn labels(self) -> Labels {
        match self {
            Self::InBatchNegatives => Labels::InBatchPairs,
            Self::Cosine(_) | Self::Cosent(_) => Labels::PairValues(Vec::new()),
            Self::Softmax { .. } => Labels::PairLabels(Vec::new()),
        }
    }

    /// Everything that is wrong with it.
    pub(crate) fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: &str, found: String, allowed: &str| {
            if !fits {
                let key = format!("pair_loss.{key}");
                problems.push(ConfigProblem { key, found, allowed: allowed.to_owned() });
            }
        };
        match *self {
            Self::Cosine(CosineBounds { scores, cosines }) => {
                let ascends = |[low, high]: [f64; 2]| low.is_finite() && high.is_finite() && low < high;
                let allowed = "the lowest and the highest number of the data, such as [0.0, 5.0]";
                unless(ascends(scores), "cosine.scores", format!("{scores:?}"), allowed);
                let is_inside = ascends(cosines) && cosines[0] >= -1.0 && cosines[1] <= 1.0;
                let allowed = "two cosines from -1 to 1, the lower first: [0.0, 1.0] or [-1.0, 1.0]";
                unless(is_inside, "cosine.cosines", format!("{cosines:?}"), allowed);
            }
            Self::Cosent(Cosent { scale }) => {
                let allowed = "a finite number above 0; 20 is usual";
                unless(scale.is_finite() && scale > 0.0, "cosent.scale", scale.to_string(), allowed);
            }
            Self::InBatchNegatives | Self::Softmax { .. } => {}
        }
        problems
    }
}

/// Each source should choose its own target among all of them.
///
/// # Shapes
/// - sources, targets: `[n, d_embedding]`, of length 1; tokens: `[2n, seq]`, those of the sources first
pub(crate) fn in_batch<B: Backend>(
    sources: Tensor<B, 2>,
    targets: Tensor<B, 2>,
    tokens: &Tokens,
    config: InBatchNegatives,
) -> Result<LossSum<B>, HeadError> {
    let [n, _] = sources.dims();
    let no_negatives = TensorData::new(no_negatives(tokens, n), [n, n]);
    let no_negatives = Tensor::<B, 2>::from_data(no_negatives, &sources.device());
    let right: Vec<i32> = (0..n as i32).collect();
    let side = |a: Tensor<B, 2>, b: Tensor<B, 2>| {
        let scores = a.matmul(b.transpose()) * config.scale + no_negatives.clone(); // [n, n]
        classification_loss(scores, &right, LossOptions::default())
    };
    let forth = side(sources.clone(), targets.clone())?;
    if !config.symmetric {
        return Ok(forth);
    }
    let back = side(targets, sources)?;
    Ok(LossSum { sum: (forth.sum + back.sum) * 0.5, weight: forth.weight })
}

/// [`Cosent`] of a batch, which counts as one.
///
/// # Shapes
/// - cosines: `[n, 1]`
pub(crate) fn cosent<B: Backend>(
    cosines: Tensor<B, 2>,
    scores: &[f32],
    config: Cosent,
) -> Result<LossSum<B>, HeadError> {
    let [n, _] = cosines.dims();
    check_count(n, scores.len())?;
    let cosines = cosines * config.scale;
    let differences = cosines.clone() - ops::reshape(cosines, [1, n]); // [n, n]
    let device = differences.device();
    let outside = scores
        .iter()
        .flat_map(|of_row| scores.iter().map(move |of_column| if of_row < of_column { 0.0 } else { NEVER }));
    let outside = TensorData::new(outside.collect::<Vec<f32>>(), [n, n]);
    let differences = differences + Tensor::<B, 2>::from_data(outside, &device);
    let zero = Tensor::<B, 2>::zeros([1, 1], &device);
    // The cross-entropy of a choice of the 0 among all of these.
    let choices = Tensor::cat(vec![zero, ops::reshape(differences, [1, n * n])], 1); // [1, 1 + n · n]
    classification_loss(choices, &[0], LossOptions::default())
}

/// `(u, v, |u − v|)`, `[n, 3 · d_embedding]`.
pub(crate) fn concatenated<B: Backend>(u: Tensor<B, 2>, v: Tensor<B, 2>) -> Tensor<B, 2> {
    let difference = (u.clone() - v.clone()).abs();
    Tensor::cat(vec![u, v, difference], 1)
}

/// For each source and target what is added to their score, `[n · n]`: a pair is no negative where its source or its target is the
/// same text as the right one.
fn no_negatives(tokens: &Tokens, n: usize) -> Vec<f32> {
    let mut numbers: HashMap<Vec<u32>, usize> = HashMap::new();
    let seq = tokens.seq.max(1);
    let rows = tokens.ids.chunks(seq).zip(tokens.keep.chunks(seq)).map(|(ids, keep)| {
        let text: Vec<u32> = ids.iter().zip(keep).filter(|(_, keep)| **keep).map(|(id, _)| *id).collect();
        let next = numbers.len();
        *numbers.entry(text).or_insert(next)
    });
    let text_of: Vec<usize> = rows.collect();
    let (sources, targets) = text_of.split_at(n);
    let same = |i: usize, j: usize| sources[i] == sources[j] || targets[i] == targets[j];
    let cell = |i: usize, j: usize| if i != j && same(i, j) { NEVER } else { 0.0 };
    (0..n).flat_map(|i| (0..n).map(move |j| cell(i, j))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_no_negative() {
        // Two sources are the same text, and so are two targets.
        let ids = vec![5, 6, 5, 7, 8, 8];
        let tokens = Tokens::new([6, 1], ids, vec![true; 6], None);
        let cells = tokens.map(|tokens| no_negatives(&tokens, 3));
        let (n, o) = (NEVER, 0.0);
        assert_eq!(cells, Ok(vec![o, o, n, o, o, n, n, n, o]));
    }

    #[test]
    fn bounds_that_are_none_are_refused() {
        let keys = |loss: PairLoss| loss.check().into_iter().map(|p| p.key).collect::<Vec<_>>();
        assert!(keys(PairLoss::Cosine(CosineBounds::default())).is_empty());
        let wrong = CosineBounds { scores: [5.0, 0.0], cosines: [0.0, f64::NAN] };
        assert_eq!(keys(PairLoss::Cosine(wrong)), ["pair_loss.cosine.scores", "pair_loss.cosine.cosines"]);
        let outside = CosineBounds { cosines: [-1.0, 1.5], ..CosineBounds::default() };
        assert_eq!(keys(PairLoss::Cosine(outside)), ["pair_loss.cosine.cosines"]);
        assert_eq!(keys(PairLoss::Cosent(Cosent { scale: 0.0 })), ["pair_loss.cosent.scale"]);
    }

    #[test]
    fn json_says_which_loss() {
        let json = |loss: PairLoss| serde_json::to_string(&loss).unwrap();
        assert_eq!(json(PairLoss::default()), "\"in_batch_negatives\"");
        assert_eq!(json(PairLoss::Softmax { n_labels: 3 }), "{\"softmax\":{\"n_labels\":3}}");
        let loss = PairLoss::Cosine(CosineBounds { scores: [0.0, 5.0], ..CosineBounds::default() });
        assert_eq!(serde_json::from_str::<PairLoss>("{\"cosine\":{\"scores\":[0,5]}}").unwrap(), loss);
        assert_eq!(serde_json::from_str::<PairLoss>(&json(loss)).unwrap(), loss);
        assert!(serde_json::from_str::<PairLoss>("{\"cosine\":{\"score\":[0,5]}}").is_err());
    }
}
