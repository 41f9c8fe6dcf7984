//! Causal language modelling: the next token from those before it.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops;
use locus_backend::packed::Packed;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{KvCache, Linear, Stack};

use crate::backward::through_stack;
use crate::batch::{by_place, targets};
use crate::tag::count_tokens;
use crate::{GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, TaskBatch, Trainable};

/// A decoder with scores for every token of the vocabulary.
#[derive(Module, Debug)]
pub struct CausalLm<B: Backend, P = Position<B>> {
    /// The decoder.
    pub decoder: Stack<B, P>,
    /// `[d_model, vocab_size]`; absent where the token table serves as output too (Press and Wolf, arXiv:1608.05859).
    pub lm_head: Option<Linear<B>>,
    /// The token table as output, packed.
    #[module(skip)]
    pub(crate) tied: Option<Packed>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) loss: LossOptions,
}

impl<B: Backend, P: PositionScheme<B>> CausalLm<B, P> {
    /// The scores of all tokens after every token.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, seq, vocab_size]`
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
    /// let head = HeadConfig::CausalLm { tied: true };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::CausalLm(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None, None)?.dims(), [1, 3, 9]);
    /// # Ok(()) }
    /// ```
    pub fn logits(
        &self,
        tokens: &Tokens,
        cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, HeadError> {
        Ok(self.output().scores(self.hidden(tokens, cache, key)?))
    }

    /// The scores of all tokens after the last token, `[batch, vocab_size]`.
    ///
    /// # Errors
    /// If an id or a position is out of range.
    pub fn next_logits(
        &self,
        tokens: &Tokens,
        cache: Option<&mut KvCache<B>>,
    ) -> Result<Tensor<B, 2>, HeadError> {
        Ok(self.output().last_scores(self.hidden(tokens, cache, None)?))
    }

    fn output(&self) -> Output<'_, B, P> {
        Output { decoder: &self.decoder, lm_head: self.lm_head.as_ref(), tied: self.tied.as_ref() }
    }

    fn hidden(
        &self,
        tokens: &Tokens,
        cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, HeadError> {
        Ok(self.decoder.forward(&self.batch(tokens)?, None, cache, key)?)
    }

    fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        let device = self.decoder.embeddings.tokens.device();
        Ok(TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?)
    }

    /// The loss of hidden states `[batch, seq, d_model]`.
    fn loss_of(
        &self,
        hidden: Tensor<B, 3>,
        labels: &Labels,
        key: Option<Key>,
    ) -> Result<LossSum<B>, HeadError> {
        let Labels::PerToken(labels) = labels else {
            let (expected, found) = (Labels::PerToken(Vec::new()).kind(), labels.kind());
            return Err(HeadError::WrongLabels { head: "language modelling", expected, found });
        };
        self.output().loss(hidden, labels, self.loss.with(key))
    }
}

/// What gives scores over the vocabulary: a layer, or the token table as it is or packed.
pub(crate) struct Output<'a, B: Backend, P> {
    pub(crate) decoder: &'a Stack<B, P>,
    pub(crate) lm_head: Option<&'a Linear<B>>,
    pub(crate) tied: Option<&'a Packed>,
}

impl<B: Backend, P> Output<'_, B, P> {
    /// Hidden states `[batch, seq, d_model]` → `[batch, seq, vocab_size]`.
    pub(crate) fn scores(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        match (self.lm_head, self.tied) {
            (Some(lm_head), _) => lm_head.forward(hidden),
            (None, Some(table)) => ops::packed_linear(hidden, table, None),
            (None, None) => {
                let table = self.decoder.embeddings.tokens.val().transpose();
                ops::linear_in(hidden, table, None, self.decoder.products())
            }
        }
    }

    /// The loss of hidden states `[batch, seq, d_model]`.
    pub(crate) fn loss(
        &self,
        hidden: Tensor<B, 3>,
        labels: &[i32],
        options: LossOptions,
    ) -> Result<LossSum<B>, HeadError> {
        let table = self.decoder.embeddings.tokens.val();
        let [vocab_size, _] = table.dims();
        let hidden = by_place(hidden);
        let targets = targets([hidden.dims()[0], vocab_size], labels, options)?;
        let weight = targets.weight();
        let sum = match (self.lm_head, self.tied) {
            (Some(lm_head), _) => lm_head.cross_entropy(hidden, targets),
            (None, Some(packed)) => ops::cross_entropy(ops::packed_linear(hidden, packed, None), targets),
            (None, None) => {
                let products = self.decoder.products();
                ops::linear_cross_entropy(hidden, table.transpose(), None, targets, products)
            }
        };
        Ok(LossSum { sum, weight })
    }

    /// Hidden states `[batch, seq, d_model]` → `[batch, vocab_size]` for the last token.
    pub(crate) fn last_scores(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        let [_, seq, _] = hidden.dims();
        self.scores(hidden.narrow(1, seq - 1, 1)).squeeze_dim(1)
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for CausalLm<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        self.loss_of(self.hidden(&batch.tokens, None, key)?, &batch.labels, key)
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
        let loss_of = |hidden| self.loss_of(hidden, &batch.labels, key);
        through_stack(self, &self.decoder, &tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
