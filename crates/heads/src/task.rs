//! Any head, chosen by configuration.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::init::Init;
use locus_backend::ops::Products;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Position, PositionScheme};
use locus_encoder::{EmbeddingProjection, EncoderDecoder, Linear, Stack, StackConfig, StackShape};

use crate::classify::Objective;
use crate::replaced::Generator;
use crate::{
    Bare, CausalLm, ClassifierConfig, Crf, GradientCheckpointing, HeadConfig, HeadError, LossOptions,
    LossSum, MaskedLm, Pooling, QuestionAnswerer, ReplacedTokenDetector, SentenceEmbedder, Seq2Seq,
    SequenceClassifier, SpanClassifier, TagDecoding, TaskBatch, TokenClassifier, Trainable, Transform,
    TransformConfig,
};

/// A model for any task.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a program holds one or two models; the derive of Module knows no boxes"
)]
pub enum TaskModel<B: Backend, P: Module<B> = Position<B>> {
    /// A label per token.
    TokenClassifier(TokenClassifier<B, P>),
    /// Spans of words with labels.
    SpanClassifier(SpanClassifier<B, P>),
    /// A label, labels, a number or a score per row.
    SequenceClassifier(SequenceClassifier<B, P>),
    /// Where an answer starts and ends.
    QuestionAnswerer(QuestionAnswerer<B, P>),
    /// A vector per text.
    SentenceEmbedder(SentenceEmbedder<B, P>),
    /// The token behind a mask.
    MaskedLm(MaskedLm<B, P>),
    /// Whether a token was replaced.
    ReplacedTokenDetector(ReplacedTokenDetector<B, P>),
    /// The next token.
    CausalLm(CausalLm<B, P>),
    /// A target text.
    Seq2Seq(Seq2Seq<B, P>),
    /// The vectors of tokens.
    Bare(Bare<B, P>),
}

impl<B: Backend> TaskModel<B> {
    /// Makes a model with new weights, drawn from the key, and the plain loss. Check the configuration first.
    pub fn new(
        head: &HeadConfig,
        stack: &StackConfig,
        vocab_size: usize,
        key: Key,
        device: &B::Device,
    ) -> Self {
        let body = |form| {
            let shape = StackShape { vocab_size, form, cross_attention: false };
            Stack::new(stack, shape, key.named("stack"), device)
        };
        let (dropout, loss) = (stack.dropout, LossOptions::default());
        // An output that is projected back is as wide as token vectors.
        let out_width = match stack.embedding_projection {
            EmbeddingProjection::InAndOut { width } => width,
            _ => stack.d_model,
        };
        let linear = |[d_in, d_out]: [usize; 2], bias| {
            Linear::new([d_in, d_out], bias, stack.init_std, key.named("head"), device)
        };
        let scores = |n_labels, layers: &ClassifierConfig| linear([out_width, n_labels], layers.bias);
        let transform = |config: &TransformConfig, d_out| {
            Transform::new(config, stack, [out_width, d_out], key.named("transform"), device)
        };
        let below =
            |layers: &ClassifierConfig| layers.transform.as_ref().map(|config| transform(config, out_width));
        let bias = |exists: bool| exists.then(|| Init::Zeros.param([vocab_size], key, device));
        let decoder = |layers: &ClassifierConfig| {
            layers.decoder.map(|_| {
                let shape = StackShape { vocab_size, form: Form::Causal, cross_attention: true };
                Stack::new(&stack.of_decoder(), shape, key.named("decoder"), device)
            })
        };
        let of_rows = |objective, d_out, pooling: Pooling, layers: &ClassifierConfig| SequenceClassifier {
            encoder: body(layers.form),
            decoder: decoder(layers),
            transform: below(layers),
            classifier: scores(d_out, layers),
            features: None,
            objective,
            reread: layers.decoder,
            vocab_size,
            pooling: pooling as usize,
            dropout,
            loss: LossOptions::default(),
        };
        match head {
            HeadConfig::TokenClassification { n_labels, decoding, layers } => {
                Self::TokenClassifier(TokenClassifier {
                    encoder: body(layers.form),
                    transform: below(layers),
                    classifier: scores(*n_labels, layers),
                    crf: (*decoding == TagDecoding::Crf).then(|| Crf::new(*n_labels, device)),
                    decoding: *decoding,
                    vocab_size,
                    dropout,
                    loss,
                })
            }
            HeadConfig::SpanClassification { n_labels, spans, layers } => {
                let projection = |shape: [usize; 2], name: &str| {
                    Linear::new(shape, layers.bias, stack.init_std, key.named(name), device)
                };
                Self::SpanClassifier(SpanClassifier {
                    encoder: body(layers.form),
                    transform: below(layers),
                    start_proj: projection([out_width, spans.head_size], "start_proj"),
                    end_proj: projection([out_width, spans.head_size], "end_proj"),
                    label_proj: projection([2 * spans.head_size, 2 * n_labels], "label_proj"),
                    position: spans.position.init::<B>(
                        &spans.shape(stack.max_seq_len),
                        key.named("span position"),
                        device,
                    ),
                    max_words: spans.max_words,
                    overlap: spans.overlap,
                    vocab_size,
                    dropout,
                })
            }
            HeadConfig::SequenceClassification { n_labels, pooling, layers } => {
                Self::SequenceClassifier(of_rows(Objective::Class, *n_labels, *pooling, layers))
            }
            HeadConfig::MultiLabelClassification { n_labels, pooling, layers } => {
                Self::SequenceClassifier(of_rows(Objective::Labels, *n_labels, *pooling, layers))
            }
            HeadConfig::Regression { pooling, layers, .. } => {
                Self::SequenceClassifier(of_rows(Objective::Number, 1, *pooling, layers))
            }
            HeadConfig::Ranking { pooling, loss, features, layers, .. } => {
                let plain = of_rows(Objective::Ranking(*loss), 1, *pooling, layers);
                let weights = || {
                    let (shape, key) = ([features.len(), 1], key.named("features"));
                    Linear::new(shape, false, stack.init_std, key, device)
                };
                Self::SequenceClassifier(SequenceClassifier {
                    features: (!features.is_empty()).then(weights),
                    ..plain
                })
            }
            HeadConfig::QuestionAnswering { layers } => Self::QuestionAnswerer(QuestionAnswerer {
                encoder: body(layers.form),
                decoder: decoder(layers),
                transform: below(layers),
                classifier: scores(2, layers),
                reread: layers.decoder,
                vocab_size,
                loss,
            }),
            HeadConfig::SentenceEmbedding(config) => {
                let bare = Bare {
                    encoder: body(config.form),
                    transform: config.pooler.as_ref().map(|config| transform(config, out_width)),
                    vocab_size,
                };
                let dense = config.dense(out_width).into_iter().enumerate();
                let dense = dense.map(|(idx, (shape, bias))| {
                    let key = key.named("dense").child(idx as u64);
                    Linear::new(shape, bias, stack.init_std, key, device)
                });
                let classifier = config.classifier(out_width).map(|shape| linear(shape, true));
                let dense = dense.collect();
                Self::SentenceEmbedder(SentenceEmbedder::on(bare, config.clone(), dense, classifier))
            }
            HeadConfig::MaskedLm { tied, bias: has_bias, transform: config } => {
                let width = stack.embedding_width();
                Self::MaskedLm(MaskedLm {
                    encoder: body(Form::Bidirectional),
                    transform: transform(config, width),
                    lm_head: (!tied).then(|| linear([width, vocab_size], *has_bias)),
                    output_bias: bias(*tied && *has_bias),
                    tied: None,
                    vocab_size,
                    loss,
                })
            }
            HeadConfig::ReplacedTokens(config) => Self::ReplacedTokenDetector(ReplacedTokenDetector {
                encoder: body(Form::Bidirectional),
                transform: transform(&config.transform, out_width),
                classifier: linear([out_width, 1], true),
                generator: Generator::new(config, stack, vocab_size, key.named("generator"), device),
                vocab_size,
                config: config.clone(),
            }),
            HeadConfig::CausalLm { tied, output } => Self::CausalLm(CausalLm {
                decoder: body(Form::Causal),
                lm_head: (!tied).then(|| linear([out_width, vocab_size], output.bias)),
                output_bias: bias(*tied && output.bias),
                tied: None,
                vocab_size,
                output: *output,
                loss,
            }),
            HeadConfig::Seq2Seq { tied, output } => Self::Seq2Seq(Seq2Seq {
                body: EncoderDecoder::new(stack, vocab_size, key.named("stack"), device),
                lm_head: (!tied).then(|| linear([out_width, vocab_size], output.bias)),
                output_bias: bias(*tied && output.bias),
                tied: None,
                vocab_size,
                output: *output,
                loss,
            }),
            HeadConfig::Bare { form, pooler } => Self::Bare(Bare {
                encoder: body(*form),
                transform: pooler.as_ref().map(|config| transform(config, out_width)),
                vocab_size,
            }),
        }
    }
}

impl<B: Backend, P: Module<B>> TaskModel<B, P> {
    /// The same model with these options in the loss to train on. In regression, ranking, embedding, the detection of
    /// replaced tokens and of spans there are none.
    #[must_use]
    pub fn with_loss(mut self, options: LossOptions) -> Self {
        *match &mut self {
            Self::TokenClassifier(model) => &mut model.loss,
            Self::SequenceClassifier(model) => &mut model.loss,
            Self::QuestionAnswerer(model) => &mut model.loss,
            Self::MaskedLm(model) => &mut model.loss,
            Self::CausalLm(model) => &mut model.loss,
            Self::Seq2Seq(model) => &mut model.loss,
            Self::SpanClassifier(_)
            | Self::SentenceEmbedder(_)
            | Self::ReplacedTokenDetector(_)
            | Self::Bare(_) => return self,
        } = options;
        self
    }

    /// The stack that the head stands on, and the decoder that reads a text once more where it stands on that
    /// ([`RereadConfig`](crate::RereadConfig)). Neither of a [`Seq2Seq`], which has its stacks in its body.
    ///
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, TaskModel};
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
    /// let mut model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let [stack, decoder] = model.stacks_mut();
    /// assert!(stack.is_some() && decoder.is_none());
    /// ```
    pub fn stacks_mut(&mut self) -> [Option<&mut Stack<B, P>>; 2] {
        let (stack, decoder) = match self {
            Self::TokenClassifier(model) => (&mut model.encoder, None),
            Self::SpanClassifier(model) => (&mut model.encoder, None),
            Self::SequenceClassifier(model) => (&mut model.encoder, model.decoder.as_mut()),
            Self::QuestionAnswerer(model) => (&mut model.encoder, model.decoder.as_mut()),
            Self::SentenceEmbedder(model) => (&mut model.encoder, None),
            Self::MaskedLm(model) => (&mut model.encoder, None),
            Self::ReplacedTokenDetector(model) => (&mut model.encoder, None),
            Self::CausalLm(model) => (&mut model.decoder, None),
            Self::Bare(model) => (&mut model.encoder, None),
            Self::Seq2Seq(_) => return [None, None],
        };
        [Some(stack), decoder]
    }

    /// The same model with the factors of its products held as said, in training and after: of the stacks' projections
    /// and of the output over the vocabulary. Weights, gradients and everything else stay f32.
    #[must_use]
    pub fn with_products(mut self, products: Products) -> Self {
        self.stacks_mut().into_iter().flatten().for_each(|stack| stack.set_products(products));
        let lm_head = match &mut self {
            Self::MaskedLm(model) => model.lm_head.as_mut(),
            Self::CausalLm(model) => model.lm_head.as_mut(),
            Self::Seq2Seq(model) => {
                model.body.set_products(products);
                model.lm_head.as_mut()
            }
            Self::ReplacedTokenDetector(model) => {
                model.generator.encoder.set_products(products);
                None
            }
            _ => None,
        };
        if let Some(lm_head) = lm_head {
            lm_head.set_products(products);
        }
        self
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for TaskModel<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        match self {
            Self::TokenClassifier(model) => model.loss(batch, key),
            Self::SpanClassifier(model) => model.loss(batch, key),
            Self::SequenceClassifier(model) => model.loss(batch, key),
            Self::QuestionAnswerer(model) => model.loss(batch, key),
            Self::MaskedLm(model) => model.loss(batch, key),
            Self::ReplacedTokenDetector(model) => model.loss(batch, key),
            Self::CausalLm(model) => model.loss(batch, key),
            Self::Seq2Seq(model) => model.loss(batch, key),
            Self::SentenceEmbedder(model) => model.loss(batch, key),
            Self::Bare(model) => model.loss(batch, key),
        }
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
        match self {
            Self::TokenClassifier(model) => model.backward(batch, key, checkpointing, sums),
            Self::SpanClassifier(model) => model.backward(batch, key, checkpointing, sums),
            Self::SequenceClassifier(model) => model.backward(batch, key, checkpointing, sums),
            Self::QuestionAnswerer(model) => model.backward(batch, key, checkpointing, sums),
            Self::MaskedLm(model) => model.backward(batch, key, checkpointing, sums),
            Self::ReplacedTokenDetector(model) => model.backward(batch, key, checkpointing, sums),
            Self::CausalLm(model) => model.backward(batch, key, checkpointing, sums),
            Self::Seq2Seq(model) => model.backward(batch, key, checkpointing, sums),
            Self::SentenceEmbedder(model) => model.backward(batch, key, checkpointing, sums),
            Self::Bare(model) => model.backward(batch, key, checkpointing, sums),
        }
    }

    fn join(batches: &mut [TaskBatch]) {
        crate::step::join(batches);
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        crate::tag::count_tokens(batch)
    }
}
