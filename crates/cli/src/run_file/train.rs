//! `[train]`: the training.

use locus_backend::ops::Products;
use locus_heads::{AdapterConfig, InBatchNegatives};
use locus_train::FitConfig;
use serde::{Deserialize, Serialize};

use super::section::section;
use super::{Problem, RankingSection, is_usual};
use crate::class_weights::ClassWeights;

section! {
    /// The training.
    pub(crate) struct TrainSection {
        /// Items in a batch.
        pub(crate) batch_size: usize,
        /// Items computed together in evaluation.
        pub(crate) eval_batch_size: usize,
        /// Open texts of the search by which targets are written for the scores at the end; in training none, for speed.
        pub(crate) eval_beams: usize,
        /// Label smoothing.
        pub(crate) label_smoothing: f64,
        /// How much less counts what is predicted well.
        pub(crate) focal_gamma: f64,
        /// How much each label counts; all the same where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) class_weights: Option<ClassWeights>,
        /// In what the factors of matrix products are held.
        pub(crate) precision: Precision,
        /// The loss of pairs.
        #[serde(skip_serializing_if = "is_usual")]
        pub(crate) in_batch_negatives: InBatchNegatives,
        /// How candidates are trained.
        #[serde(skip_serializing_if = "is_usual")]
        pub(crate) ranking: RankingSection,
        /// What is trained instead of the weights of `model.from`; the weights themselves where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) adapter: Option<AdapterConfig>,
        flattened("epochs")
        /// Schedule, optimizer, checkpoints.
        pub(crate) fit: FitConfig,
    }
}

/// In what the factors of matrix products are held in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16, with weights and sums in f32.
    Bf16,
}

impl From<Precision> for Products {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

impl Default for TrainSection {
    fn default() -> Self {
        Self {
            batch_size: 16,
            eval_batch_size: 32,
            eval_beams: 1,
            label_smoothing: 0.0,
            focal_gamma: 0.0,
            class_weights: None,
            precision: Precision::F32,
            in_batch_negatives: InBatchNegatives::default(),
            ranking: RankingSection::default(),
            adapter: None,
            fit: FitConfig::default(),
        }
    }
}

impl TrainSection {
    /// Sizes that are out of range.
    pub(super) fn check_sizes(&self) -> Vec<Problem> {
        let (batch, eval, beams) = (self.batch_size, self.eval_batch_size, self.eval_beams);
        let checks = [
            Problem::unless(batch > 0, "train.batch_size", batch, "at least 1"),
            Problem::unless(eval > 0, "train.eval_batch_size", eval, "at least 1"),
            Problem::unless((1..=1000).contains(&beams), "train.eval_beams", beams, "1 to 1000"),
        ];
        checks.into_iter().flatten().collect()
    }
}
