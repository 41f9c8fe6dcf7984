//! Token classification: a label for every token (NER, slot filling).

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack};

use crate::batch::{classification_loss, smoothing};
use crate::{HeadError, Labels, LossSum, TaskBatch, Trainable};

/// An encoder with a linear layer on every token.
#[derive(Module, Debug)]
pub struct TokenClassifier<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// `[d_model, n_labels]`.
    pub classifier: Linear<B>,
    pub(crate) vocab_size: usize,
    pub(crate) dropout: f64,
    pub(crate) label_smoothing: f64,
}

impl<B: Backend, P: PositionScheme<B>> TokenClassifier<B, P> {
    /// The scores of all labels for every token.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, seq, n_labels]`
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
    /// let head = HeadConfig::TokenClassification { n_labels: 5 };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, 0.0, Key::new(1), &Default::default());
    /// let TaskModel::TokenClassifier(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 3, 5]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        let device = self.classifier.weight.device();
        let batch = TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?;
        let x = self.encoder.forward(&batch, None, None, key)?; // [batch, seq, d_model]
        let x = ops::dropout(x, self.dropout, key.map(|key| key.named("head")));
        Ok(self.classifier.forward(x))
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for TokenClassifier<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let Labels::PerToken(labels) = &batch.labels else {
            let (expected, found) = (Labels::PerToken(Vec::new()).kind(), batch.labels.kind());
            return Err(HeadError::WrongLabels { head: "token classification", expected, found });
        };
        let logits = self.logits(&batch.tokens, key)?;
        classification_loss(logits.flatten(0, 1), labels, smoothing(self.label_smoothing, key))
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}

pub(crate) fn count_tokens(batch: &TaskBatch) -> usize {
    let count = |tokens: &Tokens| tokens.keep.iter().filter(|keep| **keep).count();
    count(&batch.tokens) + if let Labels::Target { tokens, .. } = &batch.labels { count(tokens) } else { 0 }
}
