//! Any head, chosen by configuration.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::init::Init;
use locus_backend::ops::Products;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Position, PositionScheme};
use locus_encoder::{
    ConfigProblem, EmbeddingProjection, EncoderDecoder, Linear, Stack, StackConfig, StackShape,
};
use serde::{Deserialize, Serialize};

use crate::classify::Objective;
use crate::{
    Bare, CausalLm, Crf, FeatureScale, GradientCheckpointing, HeadError, LossOptions, LossSum, MaskedLm,
    OutputConfig, Pooling, QuestionAnswerer, RankingLoss, RankingScore, RereadConfig, SentenceEmbedder,
    SentenceEmbeddingConfig, Seq2Seq, SequenceClassifier, TagDecoding, TaskBatch, TokenClassifier, Trainable,
    Transform, TransformConfig,
};

/// What stands between a stack and the scores of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierConfig {
    /// Whether the stack is an encoder or a decoder.
    pub form: Form,
    /// A layer before the scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformConfig>,
    /// Whether labels have a bias.
    pub bias: bool,
    /// A decoder that reads the text once more, after an encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<RereadConfig>,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self { form: Form::Bidirectional, transform: None, bias: true, decoder: None }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which head, and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// A label per token.
    TokenClassification {
        /// Number of labels.
        n_labels: usize,
        /// How scores of words become labels.
        #[serde(default)]
        decoding: TagDecoding,
        /// What stands below the scores.
        #[serde(default, skip_serializing_if = "is_default")]
        layers: ClassifierConfig,
    },
    /// A label per row.
    SequenceClassification {
        /// Number of labels.
        n_labels: usize,
        /// How the vectors of a row become one.
        pooling: Pooling,
        /// What stands below the scores.
        #[serde(default, skip_serializing_if = "is_default")]
        layers: ClassifierConfig,
    },
    /// Any number of labels per row.
    MultiLabelClassification {
        /// Number of labels.
        n_labels: usize,
        /// How the vectors of a row become one.
        pooling: Pooling,
        /// What stands below the scores.
        #[serde(default, skip_serializing_if = "is_default")]
        layers: ClassifierConfig,
    },
    /// A number per row: `mean + std · output`, so that the output is of order 1.
    Regression {
        /// How the vectors of a row become one.
        pooling: Pooling,
        /// The mean of the training numbers.
        mean: f64,
        /// Their standard deviation.
        std: f64,
        /// What stands below the number.
        #[serde(default, skip_serializing_if = "is_default")]
        layers: ClassifierConfig,
    },
    /// A score per row, by which the candidates of a query are ranked.
    Ranking {
        /// How the vectors of a row become one.
        pooling: Pooling,
        /// What the scores are trained with.
        #[serde(default, skip_serializing_if = "is_default")]
        loss: RankingLoss,
        /// By what they are judged.
        #[serde(default, skip_serializing_if = "is_default")]
        score: RankingScore,
        /// The numbers that a row has beside its text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        features: Vec<FeatureScale>,
        /// What stands below the score.
        #[serde(default, skip_serializing_if = "is_default")]
        layers: ClassifierConfig,
    },
    /// Where an answer starts and ends.
    QuestionAnswering {
        /// What stands below the scores.
        #[serde(default, skip_serializing_if = "is_default")]
        layers: ClassifierConfig,
    },
    /// A vector per text.
    SentenceEmbedding(SentenceEmbeddingConfig),
    /// The token behind a mask.
    MaskedLm {
        /// Whether the token table serves as output too.
        tied: bool,
        /// Whether tokens have a bias.
        bias: bool,
        /// What stands below the scores.
        transform: TransformConfig,
    },
    /// The next token.
    CausalLm {
        /// Whether the token table serves as output too.
        tied: bool,
        /// What else the scores have.
        #[serde(default, skip_serializing_if = "is_default")]
        output: OutputConfig,
    },
    /// A target text.
    Seq2Seq {
        /// Whether the decoder's token table serves as output too.
        tied: bool,
        /// What else the scores have.
        #[serde(default, skip_serializing_if = "is_default")]
        output: OutputConfig,
    },
    /// Nothing: the vectors of tokens.
    Bare {
        /// Whether the stack is an encoder or a decoder.
        #[serde(default)]
        form: Form,
        /// What stands on the first token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pooler: Option<TransformConfig>,
    },
}

/// No head has more labels: far above any, and small enough that a slip of the pen does not exhaust the memory.
const LARGEST: usize = 1 << 20;

/// The forms of both stacks of an encoder with a decoder.
const BOTH: &[Form] = &[Form::Bidirectional, Form::Causal];

/// The forms of a stack alone.
fn one(form: Form) -> &'static [Form] {
    match form {
        Form::Bidirectional => &[Form::Bidirectional],
        Form::Causal => &[Form::Causal],
    }
}

impl HeadConfig {
    /// The forms of attention that the head's stacks use.
    pub fn forms(&self) -> &'static [Form] {
        match self {
            Self::TokenClassification { layers, .. }
            | Self::SequenceClassification { layers, .. }
            | Self::MultiLabelClassification { layers, .. }
            | Self::Regression { layers, .. }
            | Self::Ranking { layers, .. }
            | Self::QuestionAnswering { layers } => match layers.decoder {
                Some(_) => BOTH,
                None => one(layers.form),
            },
            Self::Bare { form, .. } => one(*form),
            Self::SentenceEmbedding(config) => one(config.form),
            Self::MaskedLm { .. } => &[Form::Bidirectional],
            Self::CausalLm { .. } => &[Form::Causal],
            Self::Seq2Seq { .. } => BOTH,
        }
    }

    /// How the vectors of a row become one; none where scores are not of rows.
    pub fn pooling(&self) -> Option<Pooling> {
        match *self {
            Self::SequenceClassification { pooling, .. }
            | Self::MultiLabelClassification { pooling, .. }
            | Self::Regression { pooling, .. }
            | Self::Ranking { pooling, .. } => Some(pooling),
            _ => None,
        }
    }

    /// This head with another pooling, where it has one.
    #[must_use]
    pub fn with_pooling(mut self, new: Pooling) -> Self {
        if let Self::SequenceClassification { pooling, .. }
        | Self::MultiLabelClassification { pooling, .. }
        | Self::Regression { pooling, .. }
        | Self::Ranking { pooling, .. } = &mut self
        {
            *pooling = new;
        }
        self
    }

    /// What stands between the stacks and the scores of labels; none where scores are of other things.
    pub fn layers(&self) -> Option<&ClassifierConfig> {
        match self {
            Self::TokenClassification { layers, .. }
            | Self::SequenceClassification { layers, .. }
            | Self::MultiLabelClassification { layers, .. }
            | Self::Regression { layers, .. }
            | Self::Ranking { layers, .. }
            | Self::QuestionAnswering { layers } => Some(layers),
            _ => None,
        }
    }

    /// This head with what stands below the scores in another one of the same kind: its layers, and its pooling where both have
    /// one.
    #[must_use]
    pub fn with_layers_of(mut self, other: &Self) -> Self {
        let Some(of_other) = other.layers() else { return self };
        if let Self::TokenClassification { layers, .. }
        | Self::SequenceClassification { layers, .. }
        | Self::MultiLabelClassification { layers, .. }
        | Self::Regression { layers, .. }
        | Self::Ranking { layers, .. }
        | Self::QuestionAnswering { layers } = &mut self
        {
            layers.clone_from(of_other);
        }
        match other.pooling() {
            Some(pooling) => self.with_pooling(pooling),
            None => self,
        }
    }

    /// The number of labels that have names; none where labels are tokens or numbers.
    pub fn n_labels(&self) -> Option<usize> {
        match *self {
            Self::TokenClassification { n_labels, .. }
            | Self::SequenceClassification { n_labels, .. }
            | Self::MultiLabelClassification { n_labels, .. } => Some(n_labels),
            Self::Regression { .. }
            | Self::Ranking { .. }
            | Self::QuestionAnswering { .. }
            | Self::SentenceEmbedding(_)
            | Self::MaskedLm { .. }
            | Self::CausalLm { .. }
            | Self::Seq2Seq { .. }
            | Self::Bare { .. } => None,
        }
    }

    /// Everything that is wrong with a stack under this head.
    pub fn check(&self, stack: &StackConfig) -> Vec<ConfigProblem> {
        let mut problems: Vec<ConfigProblem> = Vec::new();
        let has_both = self.forms() == BOTH;
        let of_form = |&form: &Form| match form {
            Form::Causal if has_both => stack.of_decoder().check(form),
            _ => stack.check(form),
        };
        for problem in self.forms().iter().flat_map(of_form) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if let Self::SentenceEmbedding(config) = self {
            problems.extend(config.check());
        }
        let mut problem = |key: &str, found: String, allowed: &str| {
            problems.push(ConfigProblem { key: key.to_owned(), found, allowed: allowed.to_owned() });
        };
        if matches!(self, Self::TokenClassification { layers, .. } if layers.decoder.is_some()) {
            problem("layers.decoder", "a decoder".to_owned(), "none: labels of tokens stand on one stack");
        }
        if has_both && matches!(self.layers(), Some(layers) if layers.form == Form::Causal) {
            problem("layers.form", "causal".to_owned(), "bidirectional: the decoder comes after an encoder");
        }
        if let Some(n_labels) = self.n_labels().filter(|n| !(1..=LARGEST).contains(n)) {
            problem("n_labels", n_labels.to_string(), &format!("1 to {LARGEST}"));
        }
        if let Self::Regression { mean, std, .. } = self {
            if !mean.is_finite() {
                problem("mean", mean.to_string(), "a finite number");
            }
            if !(std.is_finite() && *std > 0.0) {
                problem("std", std.to_string(), "a finite number above 0");
            }
        }
        if let Self::Ranking { features, .. } = self {
            for (idx, FeatureScale { mean, std }) in features.iter().enumerate() {
                if !(mean.is_finite() && std.is_finite() && *std > 0.0) {
                    let found = format!("mean {mean}, std {std}");
                    problem(&format!("features.{idx}"), found, "finite numbers, and a std above 0");
                }
            }
        }
        // The scheme instances are made only of a stack that can be.
        if !problems.is_empty() {
            return problems;
        }
        let extra: usize = stack.schemes().0.iter().map(|scheme| scheme.extra_width()).sum();
        let tied = |head: &Self| {
            matches!(
                head,
                Self::CausalLm { tied: true, .. }
                    | Self::Seq2Seq { tied: true, .. }
                    | Self::MaskedLm { tied: true, .. }
            )
        };
        let factorised = matches!(stack.embedding_projection, EmbeddingProjection::Factorised { .. });
        if factorised && tied(self) && !matches!(self, Self::MaskedLm { .. }) {
            problems.push(ConfigProblem {
                key: "tied".to_owned(),
                found: "true".to_owned(),
                allowed: "false: a factorised token table is narrower than the model".to_owned(),
            });
        }
        if extra > 0 && tied(self) {
            problems.push(ConfigProblem {
                key: "tied".to_owned(),
                found: "true".to_owned(),
                allowed: format!(
                    "false: a position of {extra} appended dimensions leaves the token table narrower than the model"
                ),
            });
        }
        problems
    }
}

/// A model for any task.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a program holds one or two models; the derive of Module knows no boxes"
)]
pub enum TaskModel<B: Backend, P: Module<B> = Position<B>> {
    /// A label per token.
    TokenClassifier(TokenClassifier<B, P>),
    /// A label, labels, a number or a score per row.
    SequenceClassifier(SequenceClassifier<B, P>),
    /// Where an answer starts and ends.
    QuestionAnswerer(QuestionAnswerer<B, P>),
    /// A vector per text.
    SentenceEmbedder(SentenceEmbedder<B, P>),
    /// The token behind a mask.
    MaskedLm(MaskedLm<B, P>),
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
                Self::SentenceEmbedder(SentenceEmbedder::on(bare, config.clone(), dense.collect()))
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
    /// The same model with these options in the loss to train on. In regression, ranking and embedding there are none.
    #[must_use]
    pub fn with_loss(mut self, options: LossOptions) -> Self {
        *match &mut self {
            Self::TokenClassifier(model) => &mut model.loss,
            Self::SequenceClassifier(model) => &mut model.loss,
            Self::QuestionAnswerer(model) => &mut model.loss,
            Self::MaskedLm(model) => &mut model.loss,
            Self::CausalLm(model) => &mut model.loss,
            Self::Seq2Seq(model) => &mut model.loss,
            Self::SentenceEmbedder(_) | Self::Bare(_) => return self,
        } = options;
        self
    }

    /// The same model with the factors of its products held as said, in training and after: of the stacks' projections
    /// and of the output over the vocabulary. Weights, gradients and everything else stay f32.
    #[must_use]
    pub fn with_products(mut self, products: Products) -> Self {
        let lm_head = match &mut self {
            Self::TokenClassifier(model) => {
                model.encoder.set_products(products);
                None
            }
            Self::SequenceClassifier(model) => {
                model.encoder.set_products(products);
                model.decoder.iter_mut().for_each(|decoder| decoder.set_products(products));
                None
            }
            Self::QuestionAnswerer(model) => {
                model.encoder.set_products(products);
                model.decoder.iter_mut().for_each(|decoder| decoder.set_products(products));
                None
            }
            Self::SentenceEmbedder(model) => {
                model.encoder.set_products(products);
                None
            }
            Self::Bare(model) => {
                model.encoder.set_products(products);
                None
            }
            Self::MaskedLm(model) => {
                model.encoder.set_products(products);
                model.lm_head.as_mut()
            }
            Self::CausalLm(model) => {
                model.decoder.set_products(products);
                model.lm_head.as_mut()
            }
            Self::Seq2Seq(model) => {
                model.body.set_products(products);
                model.lm_head.as_mut()
            }
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
            Self::SequenceClassifier(model) => model.loss(batch, key),
            Self::QuestionAnswerer(model) => model.loss(batch, key),
            Self::MaskedLm(model) => model.loss(batch, key),
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
            Self::SequenceClassifier(model) => model.backward(batch, key, checkpointing, sums),
            Self::QuestionAnswerer(model) => model.backward(batch, key, checkpointing, sums),
            Self::MaskedLm(model) => model.backward(batch, key, checkpointing, sums),
            Self::CausalLm(model) => model.backward(batch, key, checkpointing, sums),
            Self::Seq2Seq(model) => model.backward(batch, key, checkpointing, sums),
            Self::SentenceEmbedder(model) => model.backward(batch, key, checkpointing, sums),
            Self::Bare(model) => model.backward(batch, key, checkpointing, sums),
        }
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        crate::tag::count_tokens(batch)
    }
}

#[cfg(test)]
mod tests {
    use locus_encoder::{DecoderSizes, StackConfig};

    use super::HeadConfig;

    #[test]
    fn a_decoders_scheme_sees_its_own_heads() {
        let head = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
        let with = |n_heads| {
            let decoder = DecoderSizes { n_heads: Some(n_heads), ..DecoderSizes::default() };
            let stack = StackConfig { d_model: 12, n_heads: 2, decoder, ..StackConfig::default() };
            head.check(&stack)
        };
        assert_eq!(with(3), []);
        // Heads of 3 dimensions do not turn in pairs.
        assert!(with(4).iter().any(|problem| problem.key.starts_with("position.rotary")), "{:?}", with(4));
    }
}
