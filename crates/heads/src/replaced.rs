//! Replaced-token detection: a small generator fills hidden tokens in, and the encoder tells for each token whether it was
//! replaced (Clark et al. 2020, arXiv:2003.10555).
//!
//! Both learn at once: the generator as a masked language model, the discriminator from what was drawn from the generator's
//! distributions. No gradient goes through the draw (§2). Token vectors are common to both.
//! Differs: the paper shares the position embeddings too (§3.2); here the generator's are its own, whatever the scheme.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use locus_backend::init::Init;
use locus_backend::ops::{self, IGNORE};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack, StackConfig, StackShape};

use crate::backward::{through_stack, whole};
use crate::batch::{by_place, check_count, classification_loss, multi_label_loss};
use crate::generate::Sampling;
use crate::output::{Output, OutputConfig};
use crate::step::{self, hidden_places};
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{
    GradientCheckpointing, HeadActivation, HeadError, HostArray, Labels, LossOptions, LossSum,
    ReplacedTokensConfig, TaskBatch, Trainable, TransformConfig,
};

/// An encoder with a score at every place that its token was replaced: the discriminator, which tasks begin from, with the
/// generator that it learns beside.
#[derive(Module, Debug)]
pub struct ReplacedTokenDetector<B: Backend, P = Position<B>> {
    /// The discriminator.
    pub encoder: Stack<B, P>,
    /// What stands between the discriminator and its scores.
    pub transform: Transform<B>,
    /// `[d_model, 1]`.
    pub classifier: Linear<B>,
    /// What fills hidden tokens in.
    pub generator: Generator<B, P>,
    pub(crate) vocab_size: usize,
    #[module(skip)]
    pub(crate) config: ReplacedTokensConfig,
}

/// A small masked language model on the token table of another model, which is its output too.
#[derive(Module, Debug)]
pub struct Generator<B: Backend, P = Position<B>> {
    /// The encoder, without a token table.
    pub encoder: Stack<B, P>,
    /// To the width of token vectors.
    pub transform: Transform<B>,
    /// `[vocab_size]`.
    pub output_bias: Param<Tensor<B, 1>>,
}

/// What a generator made of a batch.
#[derive(Clone, Debug)]
pub struct Replaced<B: Backend> {
    /// The hidden places, counted through the rows: `row · seq + column`.
    pub places: Vec<usize>,
    /// The tokens that were hidden there.
    pub originals: Vec<i32>,
    /// The generator's scores, `[places, vocab_size]`; none where nothing is hidden.
    pub scores: Option<Tensor<B, 2>>,
    /// The batch with the drawn tokens in their places.
    pub tokens: Tokens,
    /// Whether each token is another one than it was, 1 or 0, and −100 on padding, `[batch · seq]`.
    pub is_replaced: Vec<i32>,
    /// How many tokens there are for each hidden one, in the step of this batch.
    pub tokens_per_hidden: f64,
}

impl<B: Backend> Generator<B> {
    /// Makes the generator of a discriminator with this stack.
    pub(crate) fn new(
        config: &ReplacedTokensConfig,
        stack: &StackConfig,
        vocab_size: usize,
        key: Key,
        device: &B::Device,
    ) -> Self {
        let own = config.generator(stack);
        let shape = StackShape { vocab_size, form: Form::Bidirectional, cross_attention: false };
        let mut encoder = Stack::<B>::new(&own, shape, key.named("stack"), device);
        encoder.embeddings.tokens = None;
        // As in transformers.
        let transform = TransformConfig { activation: HeadActivation::Gelu, bias: true, norm: true };
        let dims = [own.d_model, own.embedding_width()];
        Self {
            encoder,
            transform: Transform::new(&transform, &own, dims, key.named("transform"), device),
            output_bias: Init::Zeros.param([vocab_size], key, device),
        }
    }
}

impl<B: Backend, P: PositionScheme<B>> ReplacedTokenDetector<B, P> {
    /// The scores of the discriminator: above 0 where a token is more likely replaced than not.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, seq]`
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
    /// let head = HeadConfig::ReplacedTokens(Default::default());
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::ReplacedTokenDetector(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 3]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 2>, HeadError> {
        Ok(self.detect(self.encoder.forward(&self.batch(tokens)?, None, None, key)?))
    }

    /// Lets the generator fill in what is hidden: at each hidden place the token at the given quantile of its distribution.
    /// With a key its dropout is active.
    ///
    /// # Errors
    /// If the labels are of another kind, or an id, a position or a label is out of range.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::Tokens;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, Labels, TaskBatch, TaskModel};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::ReplacedTokens(Default::default());
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::ReplacedTokenDetector(model) = model else { unreachable!() };
    /// // The second token is hidden by 4; the third is padding.
    /// let tokens = Tokens::new([1, 3], vec![1, 4, 0], vec![true, true, false], None)?;
    /// let (labels, quantiles) = (vec![-100, 8, -100], vec![0.1, 0.9, 0.2]);
    /// let labels = Labels::Replaced { labels, quantiles, tokens_per_hidden: None };
    /// let replaced = model.replace(&TaskBatch { tokens, labels }, None)?;
    /// assert_eq!((replaced.places, replaced.originals), (vec![1], vec![8]));
    /// assert_eq!(replaced.is_replaced, [0, i32::from(replaced.tokens.ids[1] != 8), -100]);
    /// # Ok(()) }
    /// ```
    pub fn replace(&self, batch: &TaskBatch, key: Option<Key>) -> Result<Replaced<B>, HeadError> {
        let Labels::Replaced { labels, quantiles, tokens_per_hidden } = &batch.labels else {
            let (labels, quantiles) = (Vec::new(), Vec::new());
            let expected = Labels::Replaced { labels, quantiles, tokens_per_hidden: None }.kind();
            return Err(HeadError::WrongLabels {
                head: "replaced-token detection",
                expected,
                found: batch.labels.kind(),
            });
        };
        let tokens = &batch.tokens;
        check_count(tokens.ids.len(), labels.len())?;
        check_count(tokens.ids.len(), quantiles.len())?;
        let places = hidden_places(tokens, labels);
        let originals: Vec<i32> = places.iter().map(|&place| labels[place]).collect();
        let is_token = |label: i32| (0..self.vocab_size as i32).contains(&label);
        if let Some(&idx) = places.iter().find(|&&place| !is_token(labels[place])) {
            return Err(HeadError::LabelOutOfRange { label: labels[idx], idx, n_labels: self.vocab_size });
        }
        let scores =
            if places.is_empty() { None } else { Some(self.generator_scores(tokens, &places, key)?) };
        let mut read = tokens.clone();
        let mut is_replaced: Vec<i32> =
            tokens.keep.iter().map(|&keep| if keep { 0 } else { IGNORE }).collect();
        let at: Vec<f64> = places.iter().map(|&place| quantiles[place]).collect();
        let drawn = scores.as_ref().map(|scores| self.draw(scores, &at)).unwrap_or_default();
        for ((&place, &original), drawn) in places.iter().zip(&originals).zip(drawn) {
            // Scores that are not numbers draw nothing; the loss says that they are none.
            read.ids[place] = drawn.unwrap_or(original as u32);
            is_replaced[place] = i32::from(read.ids[place] != original as u32);
        }
        let tokens_per_hidden =
            tokens_per_hidden.unwrap_or_else(|| count_tokens(batch) as f64 / places.len().max(1) as f64);
        Ok(Replaced { places, originals, scores, tokens: read, is_replaced, tokens_per_hidden })
    }

    /// What it is made of, and how its losses are weighted.
    pub fn config(&self) -> &ReplacedTokensConfig {
        &self.config
    }

    pub(crate) fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        let device = self.classifier.weight.device();
        Ok(TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?)
    }

    /// `[batch, seq, d_model]` → `[batch, seq]`.
    pub(crate) fn detect(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        self.classifier.forward(self.transform.forward(hidden)).squeeze_dim(2)
    }

    /// `[places, vocab_size]`.
    fn generator_scores(
        &self,
        tokens: &Tokens,
        places: &[usize],
        key: Option<Key>,
    ) -> Result<Tensor<B, 2>, HeadError> {
        let Generator { encoder, transform, output_bias } = &self.generator;
        let Some(table) = &self.encoder.embeddings.tokens else {
            unreachable!("an encoder has a token table");
        };
        let key = key.map(|key| key.named("generator"));
        let hidden = encoder.forward_with_table(&self.batch(tokens)?, table.val(), key)?; // [batch, seq, d_generator]
        let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
        let places = Tensor::<B, 1, Int>::from_data(TensorData::from(&places[..]), &hidden.device());
        let hidden = by_place(hidden).select(0, places).unsqueeze_dim(0); // [1, places, d_generator]
        let output = Output {
            table: Some(table),
            lm_head: None,
            packed: None,
            bias: Some(output_bias),
            products: encoder.products(),
            config: OutputConfig::default(),
        };
        Ok(output.scores(transform.forward(hidden)).squeeze_dim(0))
    }

    /// For each row of `[places, vocab_size]` the token at a quantile of its distribution; without gradient.
    fn draw(&self, scores: &Tensor<B, 2>, quantiles: &[f64]) -> Vec<Option<u32>> {
        let [_, vocab_size] = scores.dims();
        let sampling = Sampling { temperature: self.config.temperature, ..Sampling::GREEDY };
        let scores = HostArray::from(scores.clone()).values;
        let rows = scores.chunks(vocab_size).zip(quantiles);
        rows.map(|(scores, &at)| sampling.choose(scores, at)).collect()
    }

    /// The summed loss of the generator over hidden tokens, times the number of tokens of the step for each of its hidden ones,
    /// `[1]`; none where nothing is hidden.
    fn generator_loss(&self, replaced: &Replaced<B>) -> Result<Option<Tensor<B, 1>>, HeadError> {
        let Some(scores) = replaced.scores.clone() else { return Ok(None) };
        let loss = classification_loss(scores, &replaced.originals, LossOptions::default())?;
        Ok(Some(loss.sum * replaced.tokens_per_hidden))
    }

    /// The weighted loss of the discriminator from its hidden states, `[batch, seq, d_model]`, over all tokens but padding.
    fn discriminator_loss(&self, hidden: Tensor<B, 3>, is_replaced: &[i32]) -> Result<LossSum<B>, HeadError> {
        let logits = self.detect(hidden);
        let [batch, seq] = logits.dims();
        let logits = ops::reshape(logits, [batch * seq, 1]);
        let loss = multi_label_loss(logits, is_replaced, LossOptions::default())?;
        Ok(LossSum { sum: loss.sum * self.config.discriminator_weight, weight: loss.weight })
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for ReplacedTokenDetector<B, P> {
    type Batch = TaskBatch;

    /// Divided by its weight, the number of tokens, it is the mean loss of the generator over hidden tokens plus λ times that
    /// of the discriminator over all tokens (§2): of a batch, or, after [`Trainable::join`], of all batches of a step together.
    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let replaced = self.replace(batch, key)?;
        let of_generator = self.generator_loss(&replaced)?;
        let hidden = self.encoder.forward(&self.batch(&replaced.tokens)?, None, None, key)?;
        let LossSum { sum, weight } = self.discriminator_loss(hidden, &replaced.is_replaced)?;
        let sum = match of_generator {
            Some(more) => sum + more,
            None => sum,
        };
        Ok(LossSum { sum, weight })
    }

    /// The generator's graph is used up before the discriminator's is begun. Checkpointing is that of the discriminator: the
    /// generator is small, and its stack has no table of its own.
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
        let mut replaced = self.replace(batch, key)?;
        let of_generator = self.generator_loss(&replaced)?;
        replaced.scores = None;
        let of_generator = of_generator.map(|sum| whole(self, LossSum { sum, weight: 1.0 }, sums).sum);
        let tokens = self.batch(&replaced.tokens)?;
        let loss_of = |hidden| self.discriminator_loss(hidden, &replaced.is_replaced);
        let LossSum { sum, weight } =
            through_stack(self, &self.encoder, &tokens, key, checkpointing, sums, loss_of)?;
        let sum = match of_generator {
            Some(more) => sum + more,
            None => sum,
        };
        Ok(LossSum { sum, weight })
    }

    fn join(batches: &mut [TaskBatch]) {
        step::join(batches);
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
