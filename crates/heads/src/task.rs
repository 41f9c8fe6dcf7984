//! Any head, chosen by configuration.

use burn::module::Module;
use burn::tensor::backend::Backend;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Position, PositionScheme};
use locus_encoder::{ConfigProblem, EncoderDecoder, Linear, Stack, StackConfig, StackShape};
use serde::{Deserialize, Serialize};

use crate::{
    CausalLm, HeadError, LossSum, Pooling, Seq2Seq, SequenceClassifier, TaskBatch, TokenClassifier, Trainable,
};

/// Which head, and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// A label per token.
    TokenClassification {
        /// Number of labels.
        n_labels: usize,
    },
    /// A label per row.
    SequenceClassification {
        /// Number of labels.
        n_labels: usize,
        /// How the vectors of a row become one.
        pooling: Pooling,
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
            Self::TokenClassification { .. } | Self::SequenceClassification { .. } => &[Form::Bidirectional],
            Self::CausalLm { .. } => &[Form::Causal],
            Self::Seq2Seq { .. } => &[Form::Bidirectional, Form::Causal],
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
        if let Self::TokenClassification { n_labels: 0 } | Self::SequenceClassification { n_labels: 0, .. } =
            self
        {
            let (key, found, allowed) = ("n_labels".to_owned(), "0".to_owned(), "at least 1".to_owned());
            problems.push(ConfigProblem { key, found, allowed });
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
    /// A label per row.
    SequenceClassifier(SequenceClassifier<B, P>),
    /// The next token.
    CausalLm(CausalLm<B, P>),
    /// A target text.
    Seq2Seq(Seq2Seq<B, P>),
}

impl<B: Backend> TaskModel<B> {
    /// Makes a model with new weights, drawn from the key. Check the configuration first.
    pub fn new(
        head: &HeadConfig,
        stack: &StackConfig,
        vocab_size: usize,
        label_smoothing: f64,
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
        match *head {
            HeadConfig::TokenClassification { n_labels } => Self::TokenClassifier(TokenClassifier {
                encoder: body(Form::Bidirectional),
                classifier: linear(n_labels, true),
                vocab_size,
                dropout,
                label_smoothing,
            }),
            HeadConfig::SequenceClassification { n_labels, pooling } => {
                Self::SequenceClassifier(SequenceClassifier {
                    encoder: body(Form::Bidirectional),
                    classifier: linear(n_labels, true),
                    vocab_size,
                    pooling: pooling as usize,
                    dropout,
                    label_smoothing,
                })
            }
            HeadConfig::CausalLm { tied } => Self::CausalLm(CausalLm {
                decoder: body(Form::Causal),
                lm_head: (!tied).then(|| linear(vocab_size, false)),
                vocab_size,
                label_smoothing,
            }),
            HeadConfig::Seq2Seq { tied } => Self::Seq2Seq(Seq2Seq {
                body: EncoderDecoder::new(stack, vocab_size, key.named("stack"), device),
                lm_head: (!tied).then(|| linear(vocab_size, false)),
                vocab_size,
                label_smoothing,
            }),
        }
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

    fn n_tokens(batch: &TaskBatch) -> usize {
        crate::tag::count_tokens(batch)
    }
}
