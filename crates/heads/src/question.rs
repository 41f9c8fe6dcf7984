//! Extractive question answering: where in a text an answer starts and ends (Devlin et al. 2018, arXiv:1810.04805, §4.2).

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Position, PositionScheme};
use locus_encoder::{Linear, Stack};

use crate::batch::{check_count, classification_loss};
use crate::reread::Trunk;
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{
    GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, RereadConfig, TaskBatch, Trainable,
};

/// An encoder, or an encoder and a decoder after it, with two scores for every token: that an answer starts there, and that it
/// ends there.
#[derive(Module, Debug)]
pub struct QuestionAnswerer<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// What reads the text once more, after the encoder.
    pub decoder: Option<Stack<B, P>>,
    /// What stands between the stacks and the scores.
    pub transform: Option<Transform<B>>,
    /// `[d_model, 2]`.
    pub classifier: Linear<B>,
    /// How the decoder reads, where there is one.
    #[module(skip)]
    pub(crate) reread: Option<RereadConfig>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) loss: LossOptions,
}

impl<B: Backend, P: PositionScheme<B>> QuestionAnswerer<B, P> {
    /// The scores of a start and of an end at every token.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, seq, 2]`
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
    /// let head = HeadConfig::QuestionAnswering { layers: Default::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::QuestionAnswerer(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 3, 2]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        let x = self.hidden(tokens, key)?; // [batch, seq, d_model]
        Ok(self.classify(x))
    }

    /// The vectors of tokens, `[batch, seq, d_model]`.
    pub(crate) fn hidden(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        self.trunk().forward(tokens, key)
    }

    fn trunk(&self) -> Trunk<'_, B, P> {
        let decoder = self.decoder.as_ref().zip(self.reread);
        Trunk { encoder: &self.encoder, decoder, vocab_size: self.vocab_size }
    }

    /// `[batch, seq, d_model]` → `[batch, seq, 2]`.
    pub(crate) fn classify(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = match &self.transform {
            Some(transform) => transform.forward(x),
            None => x,
        };
        self.classifier.forward(x)
    }

    /// The mean of the losses of starts and ends, each over the tokens of its row.
    ///
    /// Padding is no place for an answer, so that the loss of a row does not depend on what it is batched with. Differs from
    /// `transformers`, which counts padded columns among the places.
    fn loss_of(
        &self,
        x: Tensor<B, 3>,
        TaskBatch { tokens, labels }: &TaskBatch,
        key: Option<Key>,
    ) -> Result<LossSum<B>, HeadError> {
        let Labels::Spans(spans) = labels else {
            let (expected, found) = (Labels::Spans(Vec::new()).kind(), labels.kind());
            return Err(HeadError::WrongLabels { head: "question answering", expected, found });
        };
        let [batch, seq, _] = x.dims();
        check_count(batch, spans.len())?;
        let logits = self.classify(x);
        let mut total = LossSum { sum: Tensor::zeros([1], &logits.device()), weight: 0.0 };
        for (row, span) in spans.iter().enumerate() {
            // Rows are padded on the right.
            let keep = &tokens.keep[row * seq..(row + 1) * seq];
            let len = keep.iter().rposition(|&keep| keep).map_or(seq, |last| last + 1);
            let own = logits.clone().narrow(0, row, 1).narrow(1, 0, len); // [1, len, 2]
            for (side, &label) in span.iter().enumerate() {
                let scores = ops::reshape(own.clone().narrow(2, side, 1), [1, len]);
                let loss = classification_loss(scores, &[label], self.loss.with(key))?;
                total = LossSum { sum: total.sum + loss.sum, weight: total.weight + loss.weight };
            }
        }
        Ok(LossSum { sum: total.sum * 0.5, weight: total.weight * 0.5 })
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for QuestionAnswerer<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        self.loss_of(self.hidden(&batch.tokens, key)?, batch, key)
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
        let loss_of = |x| self.loss_of(x, batch, key);
        self.trunk().backward(self, &batch.tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
