//! Losses of candidates in groups: which of the texts that belong to a query is to stand above which.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use locus_backend::ops::{self, IGNORE};
use serde::{Deserialize, Serialize};

use crate::batch::{NEVER, multi_label_loss};
use crate::{HeadError, LossOptions, LossSum};

/// What the scores of a group's candidates are trained with. `s` are scores, `y` gains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankingLoss {
    /// The cross-entropy of `softmax(s)` against `y / Σy`: with one right candidate, that of a choice.
    #[default]
    Softmax,
    /// The cross-entropy of `softmax(s)` against `softmax(y)`: ListNet's of the top candidate (Cao et al. 2007,
    /// doi:10.1145/1273496.1273513, eq. 8 with φ = exp).
    Listnet,
    /// `ln(1 + exp(sⱼ − sᵢ))` of every two with `yᵢ > yⱼ`: RankNet's (Burges et al. 2005, doi:10.1145/1102351.1102363, §3).
    Pairwise,
    /// The binary cross-entropy of each candidate on its own: a gain above 0 is a yes.
    Pointwise,
}

/// By which score rankings are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankingScore {
    /// nDCG of the first ten.
    #[default]
    Ndcg,
    /// How often the first candidate is a right one: multiple choice.
    Accuracy,
}

/// Where a numeric feature lies in training: models see `(x − mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureScale {
    /// The mean over the training candidates.
    pub mean: f64,
    /// Their standard deviation; 1 where all are the same.
    pub std: f64,
}

/// The rows of a batch as the candidates of queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidates {
    /// How many rows each query has, `[groups]`: they stand one after another.
    pub sizes: Vec<usize>,
    /// How much each is worth, `[batch]`: 0 or more.
    pub gains: Vec<f32>,
    /// Their features, standardised, `[batch · n_features]`.
    pub features: Vec<f32>,
}

impl Candidates {
    /// That there is a gain for each row, and a row for each place in a group.
    fn check(&self, rows: usize) -> Result<(), HeadError> {
        let in_groups: usize = self.sizes.iter().sum();
        for found in [self.gains.len(), in_groups] {
            if found != rows {
                return Err(HeadError::WrongLabelCount { expected: rows, found });
            }
        }
        match self.gains.iter().position(|gain| !(gain.is_finite() && *gain >= 0.0)) {
            Some(idx) => Err(HeadError::Gain { idx, gain: self.gains[idx] }),
            None => Ok(()),
        }
    }

    /// The rows of each group.
    fn groups(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.sizes.iter().scan(0, |start, size| {
            *start += size;
            Some(*start - size..*start)
        })
    }
}

impl RankingLoss {
    /// The summed loss of scores. Its weight counts groups, of pairs the pairs, of single candidates these.
    ///
    /// # Shapes
    /// - scores: `[batch, 1]`
    ///
    /// # Errors
    /// If sizes or gains do not fit the rows, or a gain is negative or not finite.
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// use locus_heads::{Candidates, RankingLoss};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let candidates = Candidates { sizes: vec![4], gains: vec![0.0, 1.0, 0.0, 0.0], ..Default::default() };
    /// let scores = Tensor::<NdArray, 2>::zeros([4, 1], &Default::default());
    /// let loss = RankingLoss::Softmax.of(scores, &candidates)?.sum.into_scalar();
    /// assert!((loss - 4.0_f32.ln()).abs() < 1e-6);
    /// # Ok(()) }
    /// ```
    pub fn of<B: Backend>(
        self,
        scores: Tensor<B, 2>,
        candidates: &Candidates,
    ) -> Result<LossSum<B>, HeadError> {
        let [rows, _] = scores.dims();
        candidates.check(rows)?;
        match self {
            Self::Softmax | Self::Listnet => Ok(listwise(scores, candidates, self)),
            Self::Pairwise => {
                let across = ops::reshape(scores.clone(), [1, rows]);
                let differences = scores - across; // [rows, rows]
                multi_label_loss(differences, &pairs(candidates, rows), LossOptions::default())
            }
            Self::Pointwise => {
                let cells: Vec<i32> = candidates.gains.iter().map(|gain| i32::from(*gain > 0.0)).collect();
                multi_label_loss(scores, &cells, LossOptions::default())
            }
        }
    }
}

/// A group without a gain teaches a softmax nothing and does not count.
fn listwise<B: Backend>(scores: Tensor<B, 2>, candidates: &Candidates, loss: RankingLoss) -> LossSum<B> {
    let [rows, _] = scores.dims();
    let (mut outside, mut targets, mut n_groups) = (Vec::new(), Vec::new(), 0);
    for group in candidates.groups() {
        let Some(shares) = shares(&candidates.gains[group.clone()], loss) else { continue };
        let start = n_groups * rows;
        outside.resize(start + rows, NEVER);
        targets.resize(start + rows, 0.0);
        outside[start + group.start..start + group.end].fill(0.0);
        targets[start + group.start..start + group.end].copy_from_slice(&shares);
        n_groups += 1;
    }
    if n_groups == 0 {
        return LossSum { sum: ops::reshape((scores * 0.0).sum_dim(0), [1]), weight: 0.0 };
    }
    let device = scores.device();
    let table =
        |cells: Vec<f32>| Tensor::<B, 2>::from_data(TensorData::new(cells, [n_groups, rows]), &device);
    let scores = ops::reshape(scores, [1, rows]) + table(outside); // [groups, rows]
    let log_weights = ops::log_softmax(scores);
    let sum = (log_weights * table(targets)).sum().neg();
    LossSum { sum, weight: n_groups as f64 }
}

/// What the softmax of a group's scores should be; none where no candidate is worth anything.
fn shares(gains: &[f32], loss: RankingLoss) -> Option<Vec<f32>> {
    let largest = gains.iter().copied().fold(0.0, f32::max);
    if largest == 0.0 {
        return None;
    }
    let weight = |gain: &f32| match loss {
        RankingLoss::Listnet => f64::from(gain - largest).exp(),
        _ => f64::from(*gain),
    };
    let total: f64 = gains.iter().map(weight).sum();
    Some(gains.iter().map(|gain| (weight(gain) / total) as f32).collect())
}

/// For every two rows a yes where the first is to stand above the second, `[rows · rows]`.
fn pairs(candidates: &Candidates, rows: usize) -> Vec<i32> {
    let mut cells = vec![IGNORE; rows * rows];
    for group in candidates.groups() {
        for i in group.clone() {
            for j in group.clone().filter(|&j| candidates.gains[i] > candidates.gains[j]) {
                cells[i * rows + j] = 1;
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_stay_inside_their_group() {
        let candidates =
            Candidates { sizes: vec![2, 1, 2], gains: vec![1.0, 0.0, 3.0, 2.0, 2.0], features: Vec::new() };
        let cells = pairs(&candidates, 5);
        assert_eq!(cells.iter().filter(|cell| **cell == 1).count(), 1);
        assert_eq!(cells[1], 1);
        assert_eq!(candidates.groups().collect::<Vec<_>>(), [0..2, 2..3, 3..5]);
    }

    #[test]
    fn shares_are_those_of_gains_or_of_their_softmax() {
        assert_eq!(shares(&[3.0, 1.0, 0.0], RankingLoss::Softmax), Some(vec![0.75, 0.25, 0.0]));
        assert_eq!(shares(&[0.0, 0.0], RankingLoss::Listnet), None);
        let close = |found: Vec<f32>| {
            let e = std::f32::consts::E;
            found.iter().zip([e / (e + 1.0), 1.0 / (e + 1.0)]).all(|(x, y)| (x - y).abs() < 1e-6)
        };
        assert!(shares(&[1.0, 0.0], RankingLoss::Listnet).is_some_and(close));
        // Gains of any size stay finite.
        assert!(shares(&[1e4, 0.0], RankingLoss::Listnet).is_some_and(|s| s == [1.0, 0.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let with = |sizes: &[usize], gains: &[f32]| {
            Candidates { sizes: sizes.to_vec(), gains: gains.to_vec(), features: Vec::new() }.check(2)
        };
        assert_eq!(with(&[2], &[1.0, 0.0]), Ok(()));
        assert_eq!(with(&[1], &[1.0, 0.0]), Err(HeadError::WrongLabelCount { expected: 2, found: 1 }));
        assert_eq!(with(&[2], &[1.0]), Err(HeadError::WrongLabelCount { expected: 2, found: 1 }));
        assert_eq!(with(&[2], &[1.0, -2.0]), Err(HeadError::Gain { idx: 1, gain: -2.0 }));
    }
}
