//! Batches on the host, summed losses, and what a training loop needs of a model.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops::{self, IGNORE, Targets};
use locus_backend::rng::Key;
use locus_embedding::Tokens;

use crate::HeadError;

/// Tokens with what should be predicted for them, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskBatch {
    /// The input.
    pub tokens: Tokens,
    /// What should be predicted.
    pub labels: Labels,
}

/// What should be predicted. `-100` marks positions without a label, as in PyTorch.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Labels {
    /// Nothing: the batch is for prediction.
    #[default]
    None,
    /// A label per token, `[batch · seq]`. For a language model, the next token.
    PerToken(Vec<i32>),
    /// A label per row, `[batch]`.
    PerRow(Vec<i32>),
    /// A target text: what the decoder reads, and what it should say next, `[batch · target seq]`.
    Target {
        /// The decoder's input.
        tokens: Tokens,
        /// The next token of each.
        labels: Vec<i32>,
    },
}

impl Labels {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "no labels",
            Self::PerToken(_) => "a label per token",
            Self::PerRow(_) => "a label per row",
            Self::Target { .. } => "a target text",
        }
    }
}

/// The summed loss of a batch, and what to divide it by.
///
/// Sums, not means: under gradient accumulation and data parallelism the mean of a whole step is the sum of all sums
/// over the sum of all weights.
#[derive(Clone, Debug)]
pub struct LossSum<B: Backend> {
    /// The sum, in nats, `[1]`.
    pub sum: Tensor<B, 1>,
    /// The weight: the number of labels where none is weighted.
    pub weight: f64,
}

/// A model that a training loop can train.
pub trait Trainable<B: Backend>: Module<B> {
    /// What it is trained on.
    type Batch: Send + 'static;

    /// The loss of a batch. With a `key` it is the loss to train on: dropout is drawn from the key, and labels are smoothed
    /// where the model says so. Without, it is the plain loss to evaluate by.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    fn loss(&self, batch: &Self::Batch, key: Option<Key>) -> Result<LossSum<B>, HeadError>;

    /// The number of tokens in a batch that are not padding: what throughput is counted in.
    fn n_tokens(batch: &Self::Batch) -> usize;
}

/// Labels are smoothed in training only: a smoothed loss is no perplexity.
pub(crate) fn smoothing(label_smoothing: f64, key: Option<Key>) -> f64 {
    if key.is_some() { label_smoothing } else { 0.0 }
}

/// The cross-entropy of logits `[rows, classes]`, with the labels checked.
pub(crate) fn classification_loss<B: Backend>(
    logits: Tensor<B, 2>,
    labels: &[i32],
    smoothing: f64,
) -> Result<LossSum<B>, HeadError> {
    let [rows, n_labels] = logits.dims();
    if labels.len() != rows {
        return Err(HeadError::WrongLabelCount { expected: rows, found: labels.len() });
    }
    if let Some(idx) = labels.iter().position(|&l| l != IGNORE && !(0..n_labels as i32).contains(&l)) {
        return Err(HeadError::LabelOutOfRange { label: labels[idx], idx, n_labels });
    }
    let targets = Targets { smoothing: smoothing as f32, ..Targets::new(labels.to_vec()) };
    let weight = targets.weight();
    Ok(LossSum { sum: ops::cross_entropy(logits, targets), weight })
}
