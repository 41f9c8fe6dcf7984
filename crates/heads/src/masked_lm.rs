//! Masked language modelling: the words behind masks, from both sides (Devlin et al. 2018, arXiv:1810.04805, §3.1).

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use locus_backend::packed::Packed;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack};

use crate::backward::through_stack;
use crate::batch::by_place;
use crate::output::{Output, OutputConfig};
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, TaskBatch, Trainable};

/// An encoder with scores for every token of the vocabulary at every place.
#[derive(Module, Debug)]
pub struct MaskedLm<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// To the width of token vectors.
    pub transform: Transform<B>,
    /// `[width, vocab_size]`; absent where the token table serves as output too.
    pub lm_head: Option<Linear<B>>,
    /// `[vocab_size]`; of the token table as output.
    pub output_bias: Option<Param<Tensor<B, 1>>>,
    /// The token table as output, packed.
    #[module(skip)]
    pub(crate) tied: Option<Packed>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) loss: LossOptions,
}

impl<B: Backend, P: PositionScheme<B>> MaskedLm<B, P> {
    /// The scores of all tokens at every place.
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
    /// use locus_heads::{HeadConfig, TaskModel, TransformConfig};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::MaskedLm { tied: true, bias: true, transform: TransformConfig::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::MaskedLm(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 3, 9]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        let hidden = self.encoder.forward(&self.batch(tokens)?, None, None, key)?; // [batch, seq, d_model]
        Ok(self.output().scores(self.transform.forward(hidden)))
    }

    /// The scores of all tokens at some places, counted through the rows: `row · seq + column`.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[places, vocab_size]`
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    ///
    /// # Panics
    /// If there is no place, or one is not below `batch · seq`.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::Tokens;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, TaskModel, TransformConfig};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::MaskedLm { tied: true, bias: true, transform: TransformConfig::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::MaskedLm(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits_at(&tokens, &[1])?.dims(), [1, 9]);
    /// # Ok(()) }
    /// ```
    pub fn logits_at(&self, tokens: &Tokens, places: &[usize]) -> Result<Tensor<B, 2>, HeadError> {
        let hidden = self.encoder.forward(&self.batch(tokens)?, None, None, None)?; // [batch, seq, d_model]
        let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
        let places = Tensor::<B, 1, Int>::from_data(TensorData::from(&places[..]), &hidden.device());
        let hidden = by_place(hidden).select(0, places).unsqueeze_dim(0); // [1, places, d_model]
        Ok(self.output().scores(self.transform.forward(hidden)).squeeze_dim(0))
    }

    pub(crate) fn output(&self) -> Output<'_, B> {
        Output {
            table: self.encoder.embeddings.tokens.as_ref(),
            lm_head: self.lm_head.as_ref(),
            packed: self.tied.as_ref(),
            bias: self.output_bias.as_ref(),
            products: self.encoder.products(),
            config: OutputConfig::default(),
        }
    }

    pub(crate) fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        let device = self.transform.dense.weight.device();
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
            return Err(HeadError::WrongLabels { head: "masked language modelling", expected, found });
        };
        self.output().loss(self.transform.forward(hidden), labels, self.loss.with(key))
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for MaskedLm<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let hidden = self.encoder.forward(&self.batch(&batch.tokens)?, None, None, key)?;
        self.loss_of(hidden, &batch.labels, key)
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
        through_stack(self, &self.encoder, &tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
