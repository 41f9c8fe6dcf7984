//! Batches on the host, summed losses, and what a training loop needs of a model.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops::{self, BinaryTargets, IGNORE, Targets};
use locus_backend::rng::Key;
use locus_embedding::Tokens;

use crate::backward::whole;
use crate::{Candidates, GradientCheckpointing, HeadError, SpanRow};

/// The score of what must neither win a maximum nor have a share in a softmax, or added to it. Finite, so that no difference of two is
/// not a number.
pub(crate) const NEVER: f32 = -1e9;

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
    /// For every label whether a row has it, 1 or 0, `[batch · n_labels]`.
    MultiHot(Vec<i32>),
    /// A number per row, `[batch]`.
    Values(Vec<f32>),
    /// Where an answer starts and ends, `[batch]`: columns of the row, both inclusive.
    Spans(Vec<[i32; 2]>),
    /// For a generator and a discriminator: the hidden tokens, −100 where nothing is hidden, and for each token the quantile (0
    /// or more, below 1) at which the generator's is drawn; `[batch · seq]` each.
    Replaced {
        /// The hidden tokens.
        labels: Vec<i32>,
        /// Where tokens are drawn.
        quantiles: Vec<f64>,
        /// How many tokens a step has for each hidden one, which makes the generator's mean one over hidden tokens;
        /// [`Trainable::join`] notes it. None: those of this batch.
        tokens_per_hidden: Option<f64>,
    },
    /// The words of each row and the spans among them that have labels, `[batch]`.
    SpansOfWords(Vec<SpanRow>),
    /// Rows that are candidates of queries.
    Ranking(Candidates),
    /// None of their own: row `i` of the first half and row `i` of the second belong together.
    InBatchPairs,
    /// A number per pair of rows, likewise, `[batch / 2]`: the cosine that is wanted, or any that is higher where texts are more alike.
    PairValues(Vec<f32>),
    /// A label per pair of rows, likewise, `[batch / 2]`.
    PairLabels(Vec<i32>),
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
            Self::MultiHot(_) => "a yes or no per row and label",
            Self::Values(_) => "a number per row",
            Self::Spans(_) => "a start and an end per row",
            Self::Replaced { .. } => "hidden tokens with quantiles",
            Self::SpansOfWords(_) => "spans of words per row",
            Self::Ranking(_) => "candidates of queries",
            Self::InBatchPairs => "pairs of texts",
            Self::PairValues(_) => "a number per pair of texts",
            Self::PairLabels(_) => "a label per pair of texts",
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

impl<B: AutodiffBackend> LossSum<B> {
    /// The value, without the graph.
    #[must_use]
    pub fn inner(self) -> LossSum<B::InnerBackend> {
        LossSum { sum: self.sum.inner(), weight: self.weight }
    }
}

/// A model that a training loop can train.
pub trait Trainable<B: Backend>: Module<B> {
    /// What it is trained on.
    type Batch: Send + 'static;

    /// The loss of a batch. With a `key` it is the loss to train on: dropout is drawn from the key, and the model's
    /// [`LossOptions`] hold. Without, it is the plain loss to evaluate by.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    fn loss(&self, batch: &Self::Batch, key: Option<Key>) -> Result<LossSum<B>, HeadError>;

    /// The loss of a batch, whose gradients are added to `sums`.
    ///
    /// Unless a model says otherwise, it holds everything, whatever `checkpointing` asks for.
    ///
    /// # Errors
    /// As [`Trainable::loss`]; then `sums` are as they were.
    fn backward(
        &self,
        batch: &Self::Batch,
        key: Option<Key>,
        _checkpointing: GradientCheckpointing,
        sums: &mut GradientsParams,
    ) -> Result<LossSum<B::InnerBackend>, HeadError>
    where
        B: AutodiffBackend,
    {
        Ok(whole(self, self.loss(batch, key)?, sums))
    }

    /// Notes in each batch of a step what the loss needs to know of the others, so that the sums of the batches make the mean
    /// of the whole step.
    ///
    /// Where the loss of a batch is a plain sum, there is nothing to note.
    fn join(_batches: &mut [Self::Batch]) {}

    /// The number of tokens in a batch that are not padding: what throughput is counted in.
    fn n_tokens(batch: &Self::Batch) -> usize;
}

/// What the loss to train on has beside the plain one. The loss to evaluate by has none of it: a smoothed or weighted
/// loss is no likelihood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossOptions {
    /// Label smoothing: this share of a class's target is spread over all (arXiv:1512.00567, §7); where a row has
    /// several labels, a yes is `1 − s/2` and a no `s/2`.
    pub label_smoothing: f64,
    /// Focusing: what is predicted well counts less, `(1 − p)^γ` (arXiv:1708.02002).
    pub focal_gamma: f64,
    /// A weight per class; where a row has several labels, the weight of each label's yes.
    pub class_weights: Option<Vec<f32>>,
}

impl LossOptions {
    /// Those of the loss that a key asks for.
    pub(crate) fn with(&self, key: Option<Key>) -> Self {
        if key.is_some() { self.clone() } else { Self::default() }
    }

    fn check(&self, n_labels: usize) -> Result<(), HeadError> {
        match self.class_weights.as_ref().map_or(n_labels, Vec::len) {
            found if found != n_labels => Err(HeadError::WrongWeightCount { expected: n_labels, found }),
            _ => Ok(()),
        }
    }
}

/// The cross-entropy of logits `[rows, classes]`, with the labels checked.
pub(crate) fn classification_loss<B: Backend>(
    logits: Tensor<B, 2>,
    labels: &[i32],
    options: LossOptions,
) -> Result<LossSum<B>, HeadError> {
    let targets = targets(logits.dims(), labels, options)?;
    let weight = targets.weight();
    Ok(LossSum { sum: ops::cross_entropy(logits, targets), weight })
}

/// The targets of logits `[rows, classes]`, checked.
pub(crate) fn targets(
    [rows, n_labels]: [usize; 2],
    labels: &[i32],
    options: LossOptions,
) -> Result<Targets, HeadError> {
    check_count(rows, labels.len())?;
    options.check(n_labels)?;
    if let Some(idx) = labels.iter().position(|&l| l != IGNORE && !(0..n_labels as i32).contains(&l)) {
        return Err(HeadError::LabelOutOfRange { label: labels[idx], idx, n_labels });
    }
    Ok(Targets {
        classes: labels.to_vec(),
        smoothing: options.label_smoothing as f32,
        class_weights: options.class_weights,
        focal_gamma: options.focal_gamma as f32,
    })
}

/// `[batch, seq, n_labels]` → `[batch · seq, n_labels]`.
pub(crate) fn by_place<B: Backend>(logits: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, seq, n_labels] = logits.dims();
    ops::reshape(logits, [batch * seq, n_labels])
}

/// The binary cross-entropy of logits `[rows, n_labels]`, with the labels checked.
pub(crate) fn multi_label_loss<B: Backend>(
    logits: Tensor<B, 2>,
    cells: &[i32],
    options: LossOptions,
) -> Result<LossSum<B>, HeadError> {
    let [rows, n_labels] = logits.dims();
    check_count(rows * n_labels, cells.len())?;
    options.check(n_labels)?;
    if let Some(idx) = cells.iter().position(|cell| ![0, 1, IGNORE].contains(cell)) {
        return Err(HeadError::LabelOutOfRange { label: cells[idx], idx, n_labels: 2 });
    }
    let targets = BinaryTargets {
        cells: cells.to_vec(),
        n_labels,
        smoothing: options.label_smoothing as f32,
        pos_weight: options.class_weights,
        focal_gamma: options.focal_gamma as f32,
    };
    Ok(LossSum { sum: ops::binary_cross_entropy(logits, &targets), weight: targets.weight() })
}

/// The squared error of predictions `[rows]`.
pub(crate) fn regression_loss<B: Backend>(
    predictions: Tensor<B, 1>,
    values: &[f32],
) -> Result<LossSum<B>, HeadError> {
    let [rows] = predictions.dims();
    check_count(rows, values.len())?;
    Ok(LossSum { sum: ops::squared_error(predictions, values), weight: rows as f64 })
}

pub(crate) fn check_count(expected: usize, found: usize) -> Result<(), HeadError> {
    if expected == found { Ok(()) } else { Err(HeadError::WrongLabelCount { expected, found }) }
}
