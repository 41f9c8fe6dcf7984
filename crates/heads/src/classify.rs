//! Sequence classification: a label for every row (sentiment, intent, topic).

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack};
use serde::{Deserialize, Serialize};

use crate::batch::{classification_loss, smoothing};
use crate::tag::count_tokens;
use crate::{HeadError, Labels, LossSum, TaskBatch, Trainable};

/// How the vectors of a row become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over its real tokens.
    #[default]
    Mean,
    /// Its first real token, `[CLS]` in BERT.
    First,
    /// Its last real token.
    Last,
}

/// An encoder with a linear layer on the pooled row.
#[derive(Module, Debug)]
pub struct SequenceClassifier<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// `[d_model, n_labels]`.
    pub classifier: Linear<B>,
    pub(crate) vocab_size: usize,
    pub(crate) pooling: usize,
    pub(crate) dropout: f64,
    pub(crate) label_smoothing: f64,
}

impl<B: Backend, P: PositionScheme<B>> SequenceClassifier<B, P> {
    /// The scores of all labels for every row.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, n_labels]`
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
    /// let head = HeadConfig::SequenceClassification { n_labels: 5, pooling: Default::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, 0.0, Key::new(1), &Default::default());
    /// let TaskModel::SequenceClassifier(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 5]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 2>, HeadError> {
        let device = self.classifier.weight.device();
        let batch = TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?;
        let x = self.encoder.forward(&batch, None, None, key)?; // [batch, seq, d_model]
        let x = self.pool(x, tokens); // [batch, d_model]
        let x = ops::dropout(x, self.dropout, key.map(|key| key.named("head")));
        Ok(self.classifier.forward(x))
    }

    /// `[batch, seq, d_model]` → `[batch, d_model]`, as a weighted sum over each row.
    fn pool(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 2> {
        let [batch, seq, d_model] = x.dims();
        let weights = tokens.keep.chunks(seq).flat_map(|keep| {
            let real: Vec<usize> = (0..seq).filter(|&i| keep[i]).collect();
            let n = real.len().max(1) as f32;
            let only = |idx: Option<&usize>| (0..seq).map(|i| f32::from(Some(&i) == idx)).collect::<Vec<_>>();
            if self.pooling == Pooling::Mean as usize {
                keep.iter().map(|&keep| if keep { 1.0 / n } else { 0.0 }).collect()
            } else if self.pooling == Pooling::First as usize {
                only(real.first())
            } else {
                only(real.last())
            }
        });
        let weights = TensorData::new(weights.collect::<Vec<f32>>(), [batch, 1, seq]);
        Tensor::<B, 3>::from_data(weights, &x.device()).matmul(x).reshape([batch, d_model])
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for SequenceClassifier<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let Labels::PerRow(labels) = &batch.labels else {
            let (expected, found) = (Labels::PerRow(Vec::new()).kind(), batch.labels.kind());
            return Err(HeadError::WrongLabels { head: "sequence classification", expected, found });
        };
        classification_loss(self.logits(&batch.tokens, key)?, labels, smoothing(self.label_smoothing, key))
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
