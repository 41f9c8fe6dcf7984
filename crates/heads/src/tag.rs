//! Token classification: a label for every token (NER, slot filling).

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack};
use serde::{Deserialize, Serialize};

use crate::backward::through_stack;
use crate::batch::{by_place, classification_loss};
use crate::transform::Transform;
use crate::{Crf, GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, TaskBatch, Trainable};

/// How the scores of words become labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagDecoding {
    /// The best label of each word, whatever stands beside it.
    Independent,
    /// The best sequence in which no tag contradicts the one before it.
    #[default]
    WellFormed,
    /// Likewise, with learned scores of each label after each other: a [`Crf`].
    Crf,
}

/// An encoder with a linear layer on every token.
#[derive(Module, Debug)]
pub struct TokenClassifier<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// What stands between the encoder and the classifier.
    pub transform: Option<Transform<B>>,
    /// `[d_model, n_labels]`.
    pub classifier: Linear<B>,
    /// The scores of steps from label to label, where they are learned.
    pub crf: Option<Crf<B>>,
    /// How labels are decoded.
    #[module(skip)]
    pub decoding: TagDecoding,
    pub(crate) vocab_size: usize,
    pub(crate) dropout: f64,
    #[module(skip)]
    pub(crate) loss: LossOptions,
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
    /// let head = HeadConfig::TokenClassification { n_labels: 5, decoding: Default::default(), layers: Default::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::TokenClassifier(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 3, 5]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        let x = self.encoder.forward(&self.batch(tokens)?, None, None, key)?; // [batch, seq, d_model]
        Ok(self.classify(x, key))
    }

    pub(crate) fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        let device = self.classifier.weight.device();
        Ok(TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?)
    }

    /// `[batch, seq, d_model]` → `[batch, seq, n_labels]`.
    pub(crate) fn classify(&self, mut x: Tensor<B, 3>, key: Option<Key>) -> Tensor<B, 3> {
        if let Some(transform) = &self.transform {
            x = transform.forward(x);
        }
        self.classifier.forward(ops::dropout(x, self.dropout, key.map(|key| key.named("head"))))
    }

    /// The loss of the encoder's output, `[batch, seq, d_model]`.
    fn loss_of(&self, x: Tensor<B, 3>, labels: &Labels, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let Labels::PerToken(labels) = labels else {
            let (expected, found) = (Labels::PerToken(Vec::new()).kind(), labels.kind());
            return Err(HeadError::WrongLabels { head: "token classification", expected, found });
        };
        let logits = self.classify(x, key); // [batch, seq, n_labels]
        match &self.crf {
            Some(crf) => crf.loss(logits, labels),
            None => classification_loss(by_place(logits), labels, self.loss.with(key)),
        }
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for TokenClassifier<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let x = self.encoder.forward(&self.batch(&batch.tokens)?, None, None, key)?;
        self.loss_of(x, &batch.labels, key)
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
        let loss_of = |x| self.loss_of(x, &batch.labels, key);
        through_stack(self, &self.encoder, &tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}

pub(crate) fn count_tokens(batch: &TaskBatch) -> usize {
    let count = |tokens: &Tokens| tokens.keep.iter().filter(|keep| **keep).count();
    count(&batch.tokens) + if let Labels::Target { tokens, .. } = &batch.labels { count(tokens) } else { 0 }
}
