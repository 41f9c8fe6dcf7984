//! `config.json` of a checkpoint: what all families have in common.

use std::fs;
use std::path::Path;

use locus_embedding::position::Form;
use locus_encoder::StackConfig;
use locus_heads::{
    ClassifierConfig, FeatureScale, HeadConfig, OutputConfig, Pooling, RankingLoss, RankingScore,
    RereadConfig, SpanConfig, TagDecoding, TransformConfig,
};
use locus_model::ModelConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::HubError;
use crate::families::{Family, family, family_names};
use crate::problems::{Speaker, parse};

pub(crate) const CONFIG_FILE: &str = "config.json";

/// The heads of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// None.
    Bare,
    /// The token behind a mask.
    MaskedLm,
    /// The next token.
    CausalLm,
    /// A label, labels, a number or a score per row.
    SequenceClassification,
    /// A label per token.
    TokenClassification,
    /// Where an answer starts and ends.
    QuestionAnswering,
    /// A target text.
    Seq2SeqLm,
    /// A score per row, to be compared with those of other rows. Here it is a classifier of rows, for a number.
    MultipleChoice,
    /// Whether the second part of a row follows the first. Here it is a classifier of rows.
    NextSentence,
    /// Whether tokens were replaced: a discriminator without its generator. Here it is read as no head.
    ReplacedTokens,
    /// None, on an encoder and a decoder. Here it is a head that writes, with an output that is new unless it is tied.
    EncoderDecoder,
}

impl HeadKind {
    /// The head of ours that a checkpoint's own becomes.
    fn here(self) -> Self {
        match self {
            Self::MultipleChoice | Self::NextSentence => Self::SequenceClassification,
            Self::EncoderDecoder => Self::Seq2SeqLm,
            Self::ReplacedTokens => Self::Bare,
            kind => kind,
        }
    }

    /// The kind of a head.
    pub fn of(head: &HeadConfig) -> Self {
        match head {
            // No family has spans; a stack under them is that of a tagger.
            HeadConfig::TokenClassification { .. } | HeadConfig::SpanClassification { .. } => {
                Self::TokenClassification
            }
            HeadConfig::SequenceClassification { .. }
            | HeadConfig::MultiLabelClassification { .. }
            | HeadConfig::Regression { .. }
            | HeadConfig::Ranking { .. } => Self::SequenceClassification,
            HeadConfig::QuestionAnswering { .. } => Self::QuestionAnswering,
            HeadConfig::MaskedLm { .. } => Self::MaskedLm,
            HeadConfig::ReplacedTokens(_) => Self::ReplacedTokens,
            HeadConfig::CausalLm { .. } => Self::CausalLm,
            HeadConfig::Seq2Seq { .. } => Self::Seq2SeqLm,
            // Its further layers are no matter of the checkpoint of its stack.
            HeadConfig::SentenceEmbedding(_) | HeadConfig::Bare { .. } => Self::Bare,
        }
    }
}

/// The head to load a checkpoint with, instead of its own. Labels that differ from the checkpoint's make the head new.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A label per token.
    Tokens {
        /// Their names.
        labels: Vec<String>,
        /// How they are decoded.
        decoding: TagDecoding,
    },
    /// Spans of words with labels. The scores are new.
    Spans {
        /// The names of the labels.
        labels: Vec<String>,
        /// How spans are scored and chosen.
        spans: SpanConfig,
    },
    /// One label per row.
    Label(Vec<String>),
    /// Any number of labels per row.
    Labels(Vec<String>),
    /// A number per row.
    Number {
        /// The mean of the training numbers.
        mean: f64,
        /// Their standard deviation.
        std: f64,
    },
    /// A score per row, by which the candidates of a query are ranked. The scores of a multiple-choice checkpoint are kept.
    Ranking {
        /// What scores are trained with.
        loss: RankingLoss,
        /// By what they are judged.
        score: RankingScore,
        /// The numbers that a row has beside its text; what they add to the score is new.
        features: Vec<FeatureScale>,
    },
    /// Where an answer starts and ends.
    Answer,
    /// The token behind a mask.
    MaskedLm,
    /// The next token.
    CausalLm,
    /// A target text.
    Seq2SeqLm,
    /// None.
    Bare,
}

impl Request {
    fn kind(&self) -> HeadKind {
        match self {
            Self::Tokens { .. } | Self::Spans { .. } => HeadKind::TokenClassification,
            Self::Label(_) | Self::Labels(_) | Self::Number { .. } | Self::Ranking { .. } => {
                HeadKind::SequenceClassification
            }
            Self::Answer => HeadKind::QuestionAnswering,
            Self::MaskedLm => HeadKind::MaskedLm,
            Self::CausalLm => HeadKind::CausalLm,
            Self::Seq2SeqLm => HeadKind::Seq2SeqLm,
            Self::Bare => HeadKind::Bare,
        }
    }
}

/// What a family's file says of a model: the stack, and what heads on it look like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) vocab_size: usize,
    pub(crate) stack: StackConfig,
    pub(crate) form: Form,
    /// Whether the token table serves as output.
    pub(crate) tied: bool,
    pub(crate) output: OutputConfig,
    /// Of a masked language model, and whether tokens have a bias.
    pub(crate) masked: (TransformConfig, bool),
    pub(crate) pooling: Pooling,
    /// Below the scores of a row.
    pub(crate) rows: Layers,
    /// Below the scores of tokens.
    pub(crate) tokens: Layers,
    /// Of an encoder and a decoder, how a text is read once more for the scores of a row or of answers.
    pub(crate) reread: Option<RereadConfig>,
    /// On a model without a head.
    pub(crate) pooler: Option<TransformConfig>,
}

/// What stands between a stack and scores.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layers {
    pub(crate) transform: Option<TransformConfig>,
    pub(crate) bias: bool,
}

impl Default for Layers {
    fn default() -> Self {
        Self { transform: None, bias: true }
    }
}

impl Body {
    /// An encoder whose heads are plain.
    pub(crate) fn encoder(vocab_size: usize, stack: StackConfig) -> Self {
        Self {
            vocab_size,
            stack,
            form: Form::Bidirectional,
            tied: true,
            output: OutputConfig::default(),
            masked: (TransformConfig { norm: true, ..TransformConfig::default() }, true),
            pooling: Pooling::First,
            rows: Layers::default(),
            tokens: Layers::default(),
            reread: None,
            pooler: None,
        }
    }

    /// A decoder: a row is scored at its last token, without a bias.
    pub(crate) fn decoder(vocab_size: usize, stack: StackConfig, tied: bool) -> Self {
        Self {
            form: Form::Causal,
            tied,
            pooling: Pooling::Last,
            rows: Layers { transform: None, bias: false },
            ..Self::encoder(vocab_size, stack)
        }
    }

    fn layers(&self, layers: &Layers) -> ClassifierConfig {
        let Layers { transform, bias } = layers.clone();
        ClassifierConfig { form: self.form, transform, bias, decoder: None }
    }

    pub(crate) fn head(&self, kind: HeadKind, labels: &[String], problem: Problem) -> HeadConfig {
        let (n_labels, pooling) = (labels.len(), self.pooling);
        let (rows, tokens) = (self.layers(&self.rows), self.layers(&self.tokens));
        let reread = |layers| ClassifierConfig { decoder: self.reread, ..layers };
        let rows = reread(rows);
        match (kind, problem) {
            (HeadKind::TokenClassification, _) => {
                HeadConfig::TokenClassification { n_labels, decoding: TagDecoding::default(), layers: tokens }
            }
            (HeadKind::MultipleChoice, _) | (HeadKind::SequenceClassification, Problem::Regression) => {
                HeadConfig::Regression { pooling, mean: 0.0, std: 1.0, layers: rows }
            }
            (HeadKind::SequenceClassification, Problem::MultiLabelClassification) => {
                HeadConfig::MultiLabelClassification { n_labels, pooling, layers: rows }
            }
            (HeadKind::NextSentence, _)
            | (HeadKind::SequenceClassification, Problem::SingleLabelClassification) => {
                HeadConfig::SequenceClassification { n_labels, pooling, layers: rows }
            }
            (HeadKind::QuestionAnswering, _) => HeadConfig::QuestionAnswering { layers: reread(tokens) },
            (HeadKind::MaskedLm, _) => {
                let (transform, bias) = self.masked.clone();
                HeadConfig::MaskedLm { tied: self.tied, bias, transform }
            }
            (HeadKind::CausalLm, _) => HeadConfig::CausalLm { tied: self.tied, output: self.output },
            (HeadKind::Seq2SeqLm | HeadKind::EncoderDecoder, _) => {
                HeadConfig::Seq2Seq { tied: self.tied, output: self.output }
            }
            (HeadKind::Bare | HeadKind::ReplacedTokens, _) => {
                HeadConfig::Bare { form: self.form, pooler: self.pooler.clone() }
            }
        }
    }
}

/// What the scores of a row mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Problem {
    Regression,
    SingleLabelClassification,
    MultiLabelClassification,
}

/// No model has more labels: a number far above any is an error before a name is made for each.
const MOST_LABELS: usize = 1 << 20;

/// What all families write.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Common {
    architectures: Option<Vec<String>>,
    id2label: Option<Map<String, Value>>,
    num_labels: Option<usize>,
    problem_type: Option<Problem>,
}

impl Common {
    /// The names of labels by number; two of none in particular where nothing is said, as in `transformers`.
    fn labels(&self, problems: &mut Vec<String>) -> Vec<String> {
        let n_labels = self.num_labels.unwrap_or(2);
        if n_labels > MOST_LABELS {
            problems.push(format!("num_labels = {n_labels}: expected at most {MOST_LABELS}"));
            return Vec::new();
        }
        let Some(names) = &self.id2label else {
            return (0..n_labels).map(|idx| format!("LABEL_{idx}")).collect();
        };
        let name = |idx: usize| names.get(&idx.to_string()).and_then(Value::as_str).map(str::to_owned);
        let labels: Option<Vec<String>> = (0..names.len()).map(name).collect();
        labels.unwrap_or_else(|| {
            let last = names.len().saturating_sub(1);
            problems.push(format!("id2label: expected a name for each number from 0 to {last}"));
            Vec::new()
        })
    }
}

/// Why a file is no table of JSON.
fn damage(bytes: &[u8], error: &serde_json::Error) -> String {
    let why = match std::str::from_utf8(bytes) {
        Err(error) => format!("it is not UTF-8 from byte {} on", error.valid_up_to()),
        Ok(text) if text.starts_with('\u{feff}') => "it begins with a byte order mark".to_owned(),
        Ok(_) => error.to_string(),
    };
    format!("expected a table of JSON: {why}; write or fetch the file again")
}

/// A checkpoint's configuration, read and understood.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Ours, with the head that was asked for.
    pub config: ModelConfig,
    /// The family's name.
    pub family: &'static str,
    /// The head that the checkpoint was saved with.
    pub saved_head: HeadKind,
    /// Whether the head is another than the saved one, or has other labels: what it has of its own may be new.
    pub other_head: bool,
    /// `config.json` as it was.
    pub json: Map<String, Value>,
}

impl Checkpoint {
    /// Reads `config.json`; with a `request` for another head than the checkpoint's.
    ///
    /// # Errors
    /// If the family is not known, or the configuration asks for something that cannot be done; everything at once.
    pub fn read(dir: &Path, request: Option<&Request>) -> Result<Self, HubError> {
        let path = dir.join(CONFIG_FILE);
        if !path.is_file() {
            let reason = format!("expected a folder with {CONFIG_FILE}");
            return Err(HubError::NotACheckpoint { path: dir.to_owned(), reason });
        }
        let bytes = fs::read(&path).map_err(HubError::io("read", &path))?;
        let json: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| HubError::Config {
            path: path.clone(),
            problems: vec![damage(&bytes, &error)],
        })?;
        let found = json.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(family) = family(&found) else {
            return Err(HubError::UnknownFamily { path, found, known: family_names() });
        };
        Self::from_json(family, json, request).map_err(|problems| HubError::Config { path, problems })
    }

    pub(crate) fn from_json(
        family: &'static Family,
        json: Map<String, Value>,
        request: Option<&Request>,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let common: Common = parse(&json, &mut problems);
        let mut labels = common.labels(&mut problems);
        let architecture = common.architectures.as_ref().and_then(|names| names.first().cloned());
        let saved_head = match &architecture {
            None if family.head_name(HeadKind::EncoderDecoder).is_some() => HeadKind::EncoderDecoder,
            None => HeadKind::Bare,
            Some(name) => family.head_of(name).unwrap_or_else(|| {
                let known: Vec<&str> = family.architectures.iter().map(|(_, name)| *name).collect();
                problems.push(format!("architectures = {name:?}: expected one of {}", known.join(", ")));
                HeadKind::Bare
            }),
        };
        let body = (family.read)(&json, &mut problems);
        // These classes do not ask their configuration how many scores they have.
        match saved_head {
            HeadKind::MultipleChoice => labels = vec!["LABEL_0".to_owned()],
            HeadKind::NextSentence => labels = ["follows", "does not follow"].map(str::to_owned).to_vec(),
            _ => {}
        }
        let problem = match (saved_head, common.problem_type) {
            (HeadKind::NextSentence, _) => Problem::SingleLabelClassification,
            (HeadKind::SequenceClassification, Some(problem)) => problem,
            _ if labels.len() == 1 => Problem::Regression,
            _ => Problem::SingleLabelClassification,
        };
        let (here, n_labels) = (saved_head.here(), labels.len());
        let of_rows = here == HeadKind::SequenceClassification && request.is_none();
        if of_rows && problem == Problem::Regression && n_labels != 1 {
            problems.push(format!(
                "problem_type = \"regression\" with {n_labels} labels: expected 1; a model here gives one number"
            ));
        }
        let named = matches!(here, HeadKind::TokenClassification | HeadKind::SequenceClassification);
        let saved_labels = if named { labels } else { Vec::new() };
        let (kind, mut labels, problem) = match request {
            None => (here, saved_labels.clone(), problem),
            Some(request) => {
                let (labels, problem) = match request {
                    Request::Tokens { labels, .. }
                    | Request::Spans { labels, .. }
                    | Request::Label(labels) => (labels.clone(), Problem::SingleLabelClassification),
                    Request::Labels(labels) => (labels.clone(), Problem::MultiLabelClassification),
                    Request::Number { .. } | Request::Ranking { .. } => {
                        (saved_labels.clone(), Problem::Regression)
                    }
                    _ => (Vec::new(), problem),
                };
                (request.kind(), labels, problem)
            }
        };
        if family.head_name(kind).is_none() {
            let known: Vec<String> =
                family.architectures.iter().map(|(kind, _)| format!("{kind:?}")).collect();
            problems.push(format!("head {kind:?}: {} has {}", family.name, known.join(", ")));
        }
        let mut head = match (body.head(kind, &labels, problem), request) {
            (
                HeadConfig::Regression { pooling, layers, .. },
                Some(Request::Ranking { loss, score, features }),
            ) => HeadConfig::Ranking {
                pooling,
                loss: *loss,
                score: *score,
                features: features.clone(),
                layers,
            },
            (
                HeadConfig::TokenClassification { n_labels, layers, .. },
                Some(Request::Spans { spans, .. }),
            ) => HeadConfig::SpanClassification { n_labels, spans: spans.clone(), layers },
            (head, _) => head,
        };
        match (&mut head, request) {
            (
                HeadConfig::TokenClassification { decoding, .. },
                Some(Request::Tokens { decoding: asked, .. }),
            ) => {
                *decoding = *asked;
            }
            (HeadConfig::Regression { mean, std, .. }, Some(Request::Number { mean: m, std: s })) => {
                (*mean, *std) = (*m, *s);
            }
            _ => {}
        }
        let ranks = matches!(request, Some(Request::Ranking { .. }));
        let new_number =
            (ranks || matches!(request, Some(Request::Number { .. }))) && saved_labels.len() != 1;
        // Whoever asks for a head of ours asks for another than one that only became it.
        let keeps_choices = ranks && saved_head == HeadKind::MultipleChoice;
        let became =
            here != saved_head && !keeps_choices && (request.is_some() || here == HeadKind::Seq2SeqLm);
        let of_spans = matches!(request, Some(Request::Spans { .. }));
        let other_head = kind != here || labels != saved_labels || new_number || became || of_spans;
        if head.n_labels().is_none() {
            labels.clear();
        }
        let mut config = ModelConfig::new(head, labels, body.vocab_size, body.stack);
        config.family = Some(family.model_type.to_owned());
        let wrong = config.check();
        if problems.is_empty() && wrong.is_empty() {
            return Ok(Self { config, family: family.name, saved_head, other_head, json });
        }
        Err(Speaker { names: family.names, json: &json }.all(&problems, &wrong))
    }
}
