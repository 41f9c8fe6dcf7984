//! Any head, chosen by configuration.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops::Products;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Position, PositionScheme};
use locus_encoder::{ConfigProblem, EncoderDecoder, Linear, Stack, StackConfig, StackShape};
use serde::{Deserialize, Serialize};

use crate::classify::Objective;
use crate::{
    CausalLm, Crf, GradientCheckpointing, HeadError, LossOptions, LossSum, Pooling, Seq2Seq,
    SequenceClassifier, TagDecoding, TaskBatch, TokenClassifier, Trainable,
};

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
    },
    /// A label per row.
    SequenceClassification {
        /// Number of labels.
        n_labels: usize,
        /// How the vectors of a row become one.
        pooling: Pooling,
    },
    /// Any number of labels per row.
    MultiLabelClassification {
        /// Number of labels.
        n_labels: usize,
        /// How the vectors of a row become one.
        pooling: Pooling,
    },
    /// A number per row: `mean + std · output`, so that the output is of order 1.
    Regression {
        /// How the vectors of a row become one.
        pooling: Pooling,
        /// The mean of the training numbers.
        mean: f64,
        /// Their standard deviation.
        std: f64,
    },
    /// The next token.
    CausalLm {
        /// Whether the token table serves as output too.
        tied: bool,
    },
    /// A target text.
    Seq2Seq {
        /// Whether the decoder's token table serves as output too.
        tied: bool,
    },
}

impl HeadConfig {
    /// The forms of attention that the head's stacks use.
    pub fn forms(&self) -> &'static [Form] {
        match self {
            Self::TokenClassification { .. }
            | Self::SequenceClassification { .. }
            | Self::MultiLabelClassification { .. }
            | Self::Regression { .. } => &[Form::Bidirectional],
            Self::CausalLm { .. } => &[Form::Causal],
            Self::Seq2Seq { .. } => &[Form::Bidirectional, Form::Causal],
        }
    }

    /// The number of labels that have names; none where labels are tokens or numbers.
    pub fn n_labels(&self) -> Option<usize> {
        match *self {
            Self::TokenClassification { n_labels, .. }
            | Self::SequenceClassification { n_labels, .. }
            | Self::MultiLabelClassification { n_labels, .. } => Some(n_labels),
            Self::Regression { .. } | Self::CausalLm { .. } | Self::Seq2Seq { .. } => None,
        }
    }

    /// Everything that is wrong with a stack under this head.
    pub fn check(&self, stack: &StackConfig) -> Vec<ConfigProblem> {
        let mut problems: Vec<ConfigProblem> = Vec::new();
        for problem in self.forms().iter().flat_map(|&form| stack.check(form)) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        let mut problem = |key: &str, found: String, allowed: &str| {
            problems.push(ConfigProblem { key: key.to_owned(), found, allowed: allowed.to_owned() });
        };
        if self.n_labels() == Some(0) {
            problem("n_labels", "0".to_owned(), "at least 1");
        }
        if let Self::Regression { mean, std, .. } = self {
            if !mean.is_finite() {
                problem("mean", mean.to_string(), "a finite number");
            }
            if !(std.is_finite() && *std > 0.0) {
                problem("std", std.to_string(), "a finite number above 0");
            }
        }
        // The scheme instances are made only of a stack that can be.
        if !problems.is_empty() {
            return problems;
        }
        let extra: usize = stack.schemes().0.iter().map(|scheme| scheme.extra_width()).sum();
        if extra > 0 && matches!(self, Self::CausalLm { tied: true } | Self::Seq2Seq { tied: true }) {
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
    /// A label, labels or a number per row.
    SequenceClassifier(SequenceClassifier<B, P>),
    /// The next token.
    CausalLm(CausalLm<B, P>),
    /// A target text.
    Seq2Seq(Seq2Seq<B, P>),
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
        let dropout = stack.dropout;
        let linear = |d_out, bias| {
            Linear::new([stack.d_model, d_out], bias, stack.init_std, key.named("head"), device)
        };
        let of_rows = |objective, d_out, pooling: Pooling| {
            Self::SequenceClassifier(SequenceClassifier {
                encoder: body(Form::Bidirectional),
                classifier: linear(d_out, true),
                objective,
                vocab_size,
                pooling: pooling as usize,
                dropout,
                loss: LossOptions::default(),
            })
        };
        match *head {
            HeadConfig::TokenClassification { n_labels, decoding } => {
                Self::TokenClassifier(TokenClassifier {
                    encoder: body(Form::Bidirectional),
                    classifier: linear(n_labels, true),
                    crf: (decoding == TagDecoding::Crf).then(|| Crf::new(n_labels, device)),
                    decoding,
                    vocab_size,
                    dropout,
                    loss: LossOptions::default(),
                })
            }
            HeadConfig::SequenceClassification { n_labels, pooling } => {
                of_rows(Objective::Class, n_labels, pooling)
            }
            HeadConfig::MultiLabelClassification { n_labels, pooling } => {
                of_rows(Objective::Labels, n_labels, pooling)
            }
            HeadConfig::Regression { pooling, .. } => of_rows(Objective::Number, 1, pooling),
            HeadConfig::CausalLm { tied } => Self::CausalLm(CausalLm {
                decoder: body(Form::Causal),
                lm_head: (!tied).then(|| linear(vocab_size, false)),
                tied: None,
                vocab_size,
                loss: LossOptions::default(),
            }),
            HeadConfig::Seq2Seq { tied } => Self::Seq2Seq(Seq2Seq {
                body: EncoderDecoder::new(stack, vocab_size, key.named("stack"), device),
                lm_head: (!tied).then(|| linear(vocab_size, false)),
                tied: None,
                vocab_size,
                loss: LossOptions::default(),
            }),
        }
    }
}

impl<B: Backend, P: Module<B>> TaskModel<B, P> {
    /// The same model with these options in the loss to train on. In regression there are none.
    #[must_use]
    pub fn with_loss(mut self, options: LossOptions) -> Self {
        *match &mut self {
            Self::TokenClassifier(model) => &mut model.loss,
            Self::SequenceClassifier(model) => &mut model.loss,
            Self::CausalLm(model) => &mut model.loss,
            Self::Seq2Seq(model) => &mut model.loss,
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
                None
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
            Self::CausalLm(model) => model.loss(batch, key),
            Self::Seq2Seq(model) => model.loss(batch, key),
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
            Self::CausalLm(model) => model.backward(batch, key, checkpointing, sums),
            Self::Seq2Seq(model) => model.backward(batch, key, checkpointing, sums),
        }
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        crate::tag::count_tokens(batch)
    }
}
