//! Sequence to sequence: a target text from a source text.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::packed::Packed;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{EncoderDecoder, KvCache, Linear, Memory};

use crate::backward::{check_own_table, through_both, whole};
use crate::output::{Output, OutputConfig};
use crate::tag::count_tokens;
use crate::{GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, TaskBatch, Trainable};

/// An encoder–decoder with scores for every token of the vocabulary.
#[derive(Module, Debug)]
pub struct Seq2Seq<B: Backend, P = Position<B>> {
    /// Both stacks.
    pub body: EncoderDecoder<B, P>,
    /// `[d_model, vocab_size]`; absent where the decoder's token table serves as output too.
    pub lm_head: Option<Linear<B>>,
    /// `[vocab_size]`; of the token table as output.
    pub output_bias: Option<Param<Tensor<B, 1>>>,
    /// The token table as output, packed.
    #[module(skip)]
    pub(crate) tied: Option<Packed>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) output: OutputConfig,
    #[module(skip)]
    pub(crate) loss: LossOptions,
}

impl<B: Backend, P: PositionScheme<B>> Seq2Seq<B, P> {
    /// Encodes the source.
    ///
    /// # Errors
    /// If an id or a position is out of range.
    pub fn encode(&self, source: &Tokens, key: Option<Key>) -> Result<Memory<B>, HeadError> {
        Ok(self.body.encode(&self.batch(source)?, key)?)
    }

    /// The scores of all tokens after every target token.
    ///
    /// # Shapes
    /// - target: `[batch, seq]`; output: `[batch, seq, vocab_size]`
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
    /// let head = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::Seq2Seq(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, &model.encode(&tokens, None)?, None, None)?.dims(), [1, 3, 9]);
    /// # Ok(()) }
    /// ```
    pub fn logits(
        &self,
        target: &Tokens,
        memory: &Memory<B>,
        cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, HeadError> {
        let hidden = self.body.decode(&self.batch(target)?, memory, cache, key)?;
        Ok(self.output().scores(hidden))
    }

    /// The scores of all tokens after the last target token, `[batch, vocab_size]`.
    ///
    /// # Errors
    /// If an id or a position is out of range.
    pub fn next_logits(
        &self,
        target: &Tokens,
        memory: &Memory<B>,
        cache: Option<&mut KvCache<B>>,
    ) -> Result<Tensor<B, 2>, HeadError> {
        let hidden = self.body.decode(&self.batch(target)?, memory, cache, None)?;
        Ok(self.output().last_scores(hidden))
    }

    pub(crate) fn output(&self) -> Output<'_, B> {
        let EncoderDecoder { encoder, decoder } = &self.body;
        Output {
            table: decoder.embeddings.tokens.as_ref().or(encoder.embeddings.tokens.as_ref()),
            lm_head: self.lm_head.as_ref(),
            packed: self.tied.as_ref(),
            bias: self.output_bias.as_ref(),
            products: decoder.products(),
            config: self.output,
        }
    }

    pub(crate) fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        let device = self.body.decoder.device();
        Ok(TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?)
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for Seq2Seq<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let (target, labels) = target(batch)?;
        let memory = self.encode(&batch.tokens, key)?;
        let hidden = self.body.decode(&self.batch(target)?, &memory, None, key)?;
        self.output().loss(hidden, labels, self.loss.with(key))
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
        if checkpointing == GradientCheckpointing::None {
            return Ok(whole(self, self.loss(batch, key)?, sums));
        }
        check_own_table(&self.body.decoder)?;
        let (target, labels) = target(batch)?;
        let (source, target) = (self.batch(&batch.tokens)?, self.batch(target)?);
        let encoder = self.body.encode_segments(&source, key)?;
        let memory = self.body.memory(encoder.output(), &source);
        let decoder = self.body.decode_segments(&target, &memory, key)?;
        let loss_of = |hidden| self.output().loss(hidden, labels, self.loss.with(key));
        through_both(self, encoder, decoder, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}

/// The target text and its labels.
fn target(batch: &TaskBatch) -> Result<(&Tokens, &[i32]), HeadError> {
    match &batch.labels {
        Labels::Target { tokens, labels } => Ok((tokens, labels)),
        other => Err(HeadError::WrongLabels {
            head: "sequence to sequence",
            expected: "a target text",
            found: other.kind(),
        }),
    }
}
