//! Sentence embeddings: one vector per text, as `sentence-transformers` makes it (Reimers & Gurevych 2019, arXiv:1908.10084).

use std::collections::HashMap;

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
use crate::batch::classification_loss;
use crate::sentence_config::{DenseActivation, EmbeddingLayer, SentenceEmbeddingConfig, TokenPooling};
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{Bare, GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, TaskBatch, Trainable};

/// Added to what must not win a maximum or have a share in a softmax.
const NEVER: f32 = -1e9;

/// The smallest square of a length that a vector is divided by: PyTorch's `normalize` has its root, 1e-12.
const SMALLEST_SQUARE: f64 = 1e-24;

/// A stack whose vectors of a text become one, through pooling and further layers.
///
/// It is trained on pairs of texts that belong together, with the other texts of the batch as negatives: the cross-entropy of
/// scaled cosines (Henderson et al. 2017, arXiv:1705.00652, §4.4).
#[derive(Module, Debug)]
pub struct SentenceEmbedder<B: Backend, P = Position<B>> {
    /// The stack.
    pub encoder: Stack<B, P>,
    /// The pooler of the checkpoint that the stack comes from. Nothing reads it; it is kept so that the checkpoint can be written
    /// back whole.
    pub transform: Option<Transform<B>>,
    /// The projections among the layers behind the pooling, in order.
    pub dense: Vec<Linear<B>>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) config: SentenceEmbeddingConfig,
}

impl<B: Backend, P> SentenceEmbedder<B, P> {
    /// Puts pooling and further layers on a stack. `dense` are the projections that the configuration names, in order.
    ///
    /// # Panics
    /// If there are more or fewer projections than that.
    pub fn on(bare: Bare<B, P>, config: SentenceEmbeddingConfig, dense: Vec<Linear<B>>) -> Self {
        assert_eq!(dense.len(), config.n_dense(), "one projection for each dense layer");
        let Bare { encoder, transform, vocab_size } = bare;
        Self { encoder, transform, dense, vocab_size, config }
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
        if batch.labels != Labels::InBatchPairs {
            let (expected, found) = (Labels::InBatchPairs.kind(), batch.labels.kind());
            return Err(HeadError::WrongLabels { head: "sentence embedding", expected, found });
        }
        let [rows, _, _] = x.dims();
        if rows % 2 == 1 {
            return Err(HeadError::OddPairs { rows });
        }
        let n = rows / 2;
        let embeddings = normalised(self.apply(x, &batch.tokens, 0)); // [2n, d_embedding]
        let sources = embeddings.clone().narrow(0, 0, n);
        let targets = embeddings.narrow(0, n, n);
        let no_negatives = TensorData::new(no_negatives(&batch.tokens, n), [n, n]);
        let no_negatives = Tensor::<B, 2>::from_data(no_negatives, &sources.device());
        let right: Vec<i32> = (0..n as i32).collect();
        let side = |a: Tensor<B, 2>, b: Tensor<B, 2>| {
            let scores = a.matmul(b.transpose()) * self.config.loss.scale + no_negatives.clone(); // [n, n]
            classification_loss(scores, &right, LossOptions::default())
        };
        let forth = side(sources.clone(), targets.clone())?;
        if !self.config.loss.symmetric {
            return Ok(forth);
        }
        let back = side(targets, sources)?;
        Ok(LossSum { sum: (forth.sum + back.sum) * 0.5, weight: forth.weight })
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

    #[test]
    fn the_same_text_is_no_negative() {
        // Two sources are the same text, and so are two targets.
        let ids = vec![5, 6, 5, 7, 8, 8];
        let tokens = Tokens::new([6, 1], ids, vec![true; 6], None);
        let cells = tokens.map(|tokens| no_negatives(&tokens, 3));
        let (n, o) = (NEVER, 0.0);
        assert_eq!(cells, Ok(vec![o, o, n, o, o, n, n, n, o]));
    }
}
