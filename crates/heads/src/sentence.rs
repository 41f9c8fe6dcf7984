//! Sentence embeddings: one vector per text, as `sentence-transformers` makes it (Reimers & Gurevych 2019, arXiv:1908.10084).

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack};

use crate::backward::through_stack;
use crate::batch::{NEVER, classification_loss, regression_loss};
use crate::pair_loss::{PairLoss, concatenated, cosent, in_batch};
use crate::sentence_config::{DenseActivation, EmbeddingLayer, SentenceEmbeddingConfig, TokenPooling};
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{Bare, GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, TaskBatch, Trainable};

/// The smallest square of a length that a vector is divided by: PyTorch's `normalize` has its root, 1e-12.
const SMALLEST_SQUARE: f64 = 1e-24;

/// A stack whose vectors of a text become one, through pooling and further layers.
///
/// It is trained on pairs of texts ([`PairLoss`]): that belong together, with the other texts of the batch as negatives, which is the
/// cross-entropy of scaled cosines (Henderson et al. 2017, arXiv:1705.00652, §4.4); or that have a number or a label.
#[derive(Module, Debug)]
pub struct SentenceEmbedder<B: Backend, P = Position<B>> {
    /// The stack.
    pub encoder: Stack<B, P>,
    /// The pooler of the checkpoint that the stack comes from. Nothing reads it; it is kept so that the checkpoint can be written
    /// back whole.
    pub transform: Option<Transform<B>>,
    /// The projections among the layers behind the pooling, in order.
    pub dense: Vec<Linear<B>>,
    /// What scores the labels of pairs, where pairs have labels: `[3 · d_embedding, n_labels]`.
    pub classifier: Option<Linear<B>>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) config: SentenceEmbeddingConfig,
}

impl<B: Backend, P> SentenceEmbedder<B, P> {
    /// Puts pooling and further layers on a stack. `dense` are the projections that the configuration names, in order; the
    /// classifier is there where pairs have labels.
    ///
    /// # Panics
    /// If there are more or fewer projections than that, or the classifier is missing or not asked for.
    pub fn on(
        bare: Bare<B, P>,
        config: SentenceEmbeddingConfig,
        dense: Vec<Linear<B>>,
        classifier: Option<Linear<B>>,
    ) -> Self {
        assert_eq!(dense.len(), config.n_dense(), "one projection for each dense layer");
        assert_eq!(classifier.is_some(), config.pair_loss.n_labels().is_some(), "a classifier of labels");
        let Bare { encoder, transform, vocab_size } = bare;
        Self { encoder, transform, dense, classifier, vocab_size, config }
    }

    /// The stack alone.
    pub fn into_bare(self) -> Bare<B, P> {
        Bare { encoder: self.encoder, transform: self.transform, vocab_size: self.vocab_size }
    }
}

impl<B: Backend, P: PositionScheme<B>> SentenceEmbedder<B, P> {
    /// The vectors of texts. `n_prompt_tokens` is how many tokens each begins with that are those of a prompt; they are left out
    /// of the pooling where the configuration says so.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, d_embedding]`
    ///
    /// # Errors
    /// If an id or a position is out of range.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::Tokens;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, TaskModel};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::SentenceEmbedding(Default::default());
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::SentenceEmbedder(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.embed(&tokens, 0, None)?.dims(), [1, 8]);
    /// # Ok(()) }
    /// ```
    pub fn embed(
        &self,
        tokens: &Tokens,
        n_prompt_tokens: usize,
        key: Option<Key>,
    ) -> Result<Tensor<B, 2>, HeadError> {
        let x = self.encoder.forward(&self.batch(tokens)?, None, None, key)?; // [batch, seq, d_model]
        Ok(self.apply(x, tokens, n_prompt_tokens))
    }

    /// The scores of all labels for pairs of vectors, as [`embed`](Self::embed) gives them; none where pairs have no labels.
    ///
    /// # Shapes
    /// - sources, targets: `[n, d_embedding]`; output: `[n, n_labels]`
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, PairLoss, SentenceEmbeddingConfig, TaskModel};
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let pair_loss = PairLoss::Softmax { n_labels: 3 };
    /// let head = HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig { pair_loss, ..Default::default() });
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::SentenceEmbedder(model) = model else { unreachable!() };
    /// let vectors = Tensor::ones([5, 8], &Default::default());
    /// assert_eq!(model.pair_logits(vectors.clone(), vectors).map(|x| x.dims()), Some([5, 3]));
    /// ```
    pub fn pair_logits(&self, sources: Tensor<B, 2>, targets: Tensor<B, 2>) -> Option<Tensor<B, 2>> {
        let classifier = self.classifier.as_ref()?;
        Some(classifier.forward(concatenated(sources, targets)))
    }

    pub(crate) fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        Ok(TokenBatch::from_host(tokens.clone(), self.vocab_size, &self.encoder.device())?)
    }

    /// `[batch, seq, d_model]` → `[batch, d_embedding]`.
    fn apply(&self, x: Tensor<B, 3>, tokens: &Tokens, n_prompt_tokens: usize) -> Tensor<B, 2> {
        let n_left_out = if self.config.include_prompt { 0 } else { n_prompt_tokens };
        let modes = self.config.pooling.iter();
        let pooled: Vec<Tensor<B, 2>> =
            modes.map(|mode| pool(x.clone(), tokens, *mode, n_left_out)).collect();
        let mut x = Tensor::cat(pooled, 1); // [batch, modes · d_model]
        let mut dense = self.dense.iter();
        for layer in &self.config.layers {
            x = match layer {
                EmbeddingLayer::Normalize => normalised(x),
                EmbeddingLayer::Dense { activation, .. } => match dense.next() {
                    Some(linear) => activated(linear.forward(x), *activation),
                    None => unreachable!("as many projections as dense layers"),
                },
            };
        }
        x
    }

    /// The loss of pairs: the first half of the rows are sources, the second half their targets in the same order.
    fn loss_of(&self, x: Tensor<B, 3>, batch: &TaskBatch) -> Result<LossSum<B>, HeadError> {
        let expected = self.config.pair_loss.labels();
        if std::mem::discriminant(&expected) != std::mem::discriminant(&batch.labels) {
            let (expected, found) = (expected.kind(), batch.labels.kind());
            return Err(HeadError::WrongLabels { head: "sentence embedding", expected, found });
        }
        let [rows, _, _] = x.dims();
        if rows % 2 == 1 {
            return Err(HeadError::OddPairs { rows });
        }
        let n = rows / 2;
        let embeddings = self.apply(x, &batch.tokens, 0); // [2n, d_embedding]
        let halves = |x: Tensor<B, 2>| (x.clone().narrow(0, 0, n), x.narrow(0, n, n));
        if let (Labels::PairLabels(labels), Some(classifier)) = (&batch.labels, &self.classifier) {
            let (sources, targets) = halves(embeddings);
            let logits = classifier.forward(concatenated(sources, targets)); // [n, n_labels]
            return classification_loss(logits, labels, LossOptions::default());
        }
        let (sources, targets) = halves(normalised(embeddings));
        let cosines = || (sources.clone() * targets.clone()).sum_dim(1); // [n, 1]
        match (self.config.pair_loss, &batch.labels) {
            (PairLoss::Cosent(config), Labels::PairValues(scores)) => cosent(cosines(), scores, config),
            (_, Labels::PairValues(wanted)) => regression_loss(cosines().squeeze_dim(1), wanted),
            _ => in_batch(sources, targets, &batch.tokens, self.config.loss),
        }
    }
}

/// `[batch, seq, d_model]` → `[batch, d_model]`.
fn pool<B: Backend>(x: Tensor<B, 3>, tokens: &Tokens, mode: TokenPooling, n_left_out: usize) -> Tensor<B, 2> {
    let [batch, seq, d_model] = x.dims();
    let weights = tokens.keep.chunks(seq.max(1)).flat_map(|keep| weights(mode, keep, n_left_out));
    let weights: Vec<f32> = weights.collect();
    let pooled = if mode == TokenPooling::Max {
        let below = TensorData::new(weights, [batch, seq, 1]);
        (x.clone() + Tensor::<B, 3>::from_data(below, &x.device())).max_dim(1)
    } else {
        let weights = TensorData::new(weights, [batch, 1, seq]);
        Tensor::<B, 3>::from_data(weights, &x.device()).matmul(x)
    };
    ops::reshape(pooled, [batch, d_model])
}

/// What each token of a row is weighted with; of a maximum, what is added to it.
fn weights(mode: TokenPooling, keep: &[bool], n_left_out: usize) -> Vec<f32> {
    let real: Vec<usize> = (0..keep.len()).filter(|&i| keep[i]).collect();
    let counted = real.get(n_left_out..).unwrap_or_default();
    let n = counted.len() as f32;
    let mut weights = vec![if mode == TokenPooling::Max { NEVER } else { 0.0 }; keep.len()];
    let mut set = |i: usize, weight: f32| weights[i] = weight;
    match mode {
        // Also where it is one of the prompt.
        TokenPooling::Cls => real.first().into_iter().for_each(|&i| set(i, 1.0)),
        TokenPooling::Last => counted.last().into_iter().for_each(|&i| set(i, 1.0)),
        TokenPooling::Max => counted.iter().for_each(|&i| set(i, 0.0)),
        TokenPooling::Mean => counted.iter().for_each(|&i| set(i, 1.0 / n)),
        TokenPooling::MeanSqrtLen => counted.iter().for_each(|&i| set(i, 1.0 / n.sqrt())),
        TokenPooling::WeightedMean => {
            let total = counted.iter().map(|i| i + 1).sum::<usize>() as f32;
            counted.iter().for_each(|&i| set(i, (i + 1) as f32 / total));
        }
    }
    weights
}

fn activated<B: Backend>(x: Tensor<B, 2>, activation: DenseActivation) -> Tensor<B, 2> {
    match activation {
        DenseActivation::Identity => x,
        DenseActivation::Tanh => tanh(x),
        DenseActivation::Sigmoid => sigmoid(x),
        DenseActivation::Gelu => ops::activation(x, ops::Activation::Gelu),
        DenseActivation::Relu => ops::activation(x, ops::Activation::Relu),
        DenseActivation::Silu => ops::activation(x, ops::Activation::Silu),
    }
}

/// Rows of length 1, `[rows, d]`. A row of zeros stays one, and has no gradient.
fn normalised<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let squares = (x.clone() * x.clone()).sum_dim(1); // [rows, 1]
    x / squares.clamp_min(SMALLEST_SQUARE).sqrt()
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for SentenceEmbedder<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let x = self.encoder.forward(&self.batch(&batch.tokens)?, None, None, key)?;
        self.loss_of(x, batch)
    }

    fn backward(
        &self,
        batch: &TaskBatch,
        key: Option<Key>,
        checkpointing: GradientCheckpointing,
        sums: &mut GradientsParams,
    ) -> Result<LossSum<B::InnerBackend>, HeadError>
    where
        B: AutodiffBackend,
    {
        let tokens = self.batch(&batch.tokens)?;
        let loss_of = |x| self.loss_of(x, batch);
        through_stack(self, &self.encoder, &tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_tokens_that_count() {
        let keep = [true, true, true, false];
        let of = |mode, n| weights(mode, &keep, n);
        assert_eq!(of(TokenPooling::Cls, 2), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(of(TokenPooling::Last, 0), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(of(TokenPooling::Max, 1), [NEVER, 0.0, 0.0, NEVER]);
        assert_eq!(of(TokenPooling::Mean, 1), [0.0, 0.5, 0.5, 0.0]);
        assert_eq!(of(TokenPooling::WeightedMean, 1), [0.0, 0.4, 0.6, 0.0]);
        let root = 1.0 / 3.0_f32.sqrt();
        assert_eq!(of(TokenPooling::MeanSqrtLen, 0), [root, root, root, 0.0]);
        // A prompt that is the whole text leaves nothing.
        assert_eq!(of(TokenPooling::Mean, 7), [0.0; 4]);
    }
}
