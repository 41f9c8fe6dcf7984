//! Which head a model has, and its parameters.

use locus_embedding::position::Form;
use serde::{Deserialize, Serialize};

use crate::{
    FeatureScale, OutputConfig, Pooling, RankingLoss, RankingScore, ReplacedTokensConfig, RereadConfig,
    SentenceEmbeddingConfig, SpanConfig, TagDecoding, TransformConfig,
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
    /// Spans of words with labels, which may lie in one another.
    SpanClassification {
        /// Number of labels.
        n_labels: usize,
        /// How spans are scored and chosen.
        #[serde(default)]
        spans: SpanConfig,
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
    /// Whether a token was replaced, with the generator that replaces it.
    ReplacedTokens(ReplacedTokensConfig),
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

impl HeadConfig {
    /// The forms of attention that the head's stacks use.
    pub fn forms(&self) -> &'static [Form] {
        match self {
            Self::TokenClassification { layers, .. }
            | Self::SpanClassification { layers, .. }
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
            Self::MaskedLm { .. } | Self::ReplacedTokens(_) => &[Form::Bidirectional],
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
            | Self::SpanClassification { layers, .. }
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
        | Self::SpanClassification { layers, .. }
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
            | Self::SpanClassification { n_labels, .. }
            | Self::SequenceClassification { n_labels, .. }
            | Self::MultiLabelClassification { n_labels, .. } => Some(n_labels),
            Self::SentenceEmbedding(ref config) => config.pair_loss.n_labels(),
            Self::Regression { .. }
            | Self::Ranking { .. }
            | Self::QuestionAnswering { .. }
            | Self::MaskedLm { .. }
            | Self::ReplacedTokens(_)
            | Self::CausalLm { .. }
            | Self::Seq2Seq { .. }
            | Self::Bare { .. } => None,
        }
    }
}

/// The forms of both stacks of an encoder with a decoder.
pub(crate) const BOTH: &[Form] = &[Form::Bidirectional, Form::Causal];

/// The forms of a stack alone.
fn one(form: Form) -> &'static [Form] {
    match form {
        Form::Bidirectional => &[Form::Bidirectional],
        Form::Causal => &[Form::Causal],
    }
}
