//! Text to numbers and back, for one model.

mod batch;
mod encode;
mod tokens;

use locus_data::{Kind, LabelSet, Tokenizer};
use locus_heads::generate::Constraints;
use locus_heads::{HeadConfig, PairLoss};
use locus_model::{ModelConfig, QuestionConfig, QuestionSizes, TokenIds};

use crate::model_options::{constraints, ends};
use crate::pretraining::Pretraining;
use crate::{Masking, Objective, Packing, PipelineError, Replacing, TargetScore, Thresholds};

pub use encode::Encoded;

/// A tokenizer, the labels and the sizes of one model.
#[derive(Clone, Debug)]
pub struct Codec {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The labels; none for language models.
    pub labels: Option<LabelSet>,
    /// From which probability on a label is given, where a text may have several.
    pub thresholds: Thresholds,
    /// How long contexts are read and answers chosen, where the model answers questions.
    pub(crate) questions: QuestionConfig,
    pub(crate) question_sizes: QuestionSizes,
    /// The label of texts that fit none of the labels.
    pub(crate) out_of_scope: Option<String>,
    /// What is learned from plain text, where that is not the next token.
    pub objective: Option<Objective>,
    /// How documents become rows of a language model.
    pub packing: Packing,
    /// How many open texts the search has by which targets are written for scores; 1 takes the best token each time.
    pub eval_beams: usize,
    /// The score that decides of targets; BLEU where their language is known, else exact match, where it is not said.
    pub eval_score: Option<TargetScore>,
    /// The language that targets are in, by which translations are scored.
    pub(crate) target_language: Option<String>,
    head: HeadConfig,
    token_ids: TokenIds,
    add_bos_token: bool,
    /// The tokens that end a text, where a checkpoint names them.
    ends: Vec<u32>,
    /// Tokens that must come in generated text, and tokens that may not.
    pub(crate) constraints: Constraints,
    pub(crate) max_seq_len: usize,
}

impl Codec {
    /// The codec of a model.
    ///
    /// # Errors
    /// If the tokenizer does not fit the model, the model is too short for a token of text, or labels are doubled.
    pub fn new(config: &ModelConfig, tokenizer: Tokenizer) -> Result<Self, PipelineError> {
        if config.vocab_size.checked_sub(config.n_spare_tokens) != Some(tokenizer.vocab_size()) {
            let (tokenizer, model) = (tokenizer.vocab_size(), config.vocab_size);
            return Err(PipelineError::WrongTokenizer { tokenizer, model });
        }
        let frame = tokenizer.frame().n_tokens(false);
        let max_seq_len = match &config.head {
            HeadConfig::SentenceEmbedding(head) => {
                head.max_seq_len.map_or(config.stack.max_seq_len, |len| len.min(config.stack.max_seq_len))
            }
            _ => config.stack.max_seq_len,
        };
        if max_seq_len <= frame {
            return Err(PipelineError::TooShort { max_seq_len, frame });
        }
        let question_sizes = match config.head {
            HeadConfig::QuestionAnswering { .. } => {
                config.questions.sizes(max_seq_len, tokenizer.frame().n_tokens(true)).map_err(|p| {
                    PipelineError::Windows(format!("{} = {}: expected {}", p.key, p.found, p.allowed))
                })?
            }
            _ => QuestionSizes::default(),
        };
        Ok(Self {
            tokenizer,
            labels: (!config.labels.is_empty())
                .then(|| LabelSet::new(config.labels.iter().cloned()))
                .transpose()?,
            thresholds: Thresholds::Given(match &config.thresholds[..] {
                [] => vec![0.5; config.labels.len()],
                thresholds => thresholds.to_vec(),
            }),
            questions: config.questions.clone(),
            question_sizes,
            out_of_scope: config.out_of_scope.clone(),
            objective: objective_of(config)?,
            packing: config.packing,
            eval_beams: 1,
            eval_score: None,
            target_language: config.target_language.clone(),
            head: config.head.clone(),
            token_ids: config.token_ids.clone(),
            add_bos_token: config.add_bos_token,
            ends: ends(config)?,
            constraints: constraints(config)?,
            max_seq_len,
        })
    }

    /// The same codec with another threshold from which on a question has no answer.
    #[must_use]
    pub fn with_no_answer_threshold(mut self, threshold: Option<f64>) -> Self {
        self.questions.no_answer_threshold = threshold;
        self
    }

    /// The head of the model.
    pub(crate) fn head(&self) -> &HeadConfig {
        &self.head
    }

    /// What the model does, in words.
    pub fn task(&self) -> &'static str {
        match self.head {
            HeadConfig::TokenClassification { .. } => "token classification",
            HeadConfig::SpanClassification { .. } => "span classification",
            HeadConfig::SequenceClassification { .. } => "sequence classification",
            HeadConfig::MultiLabelClassification { .. } => "multi-label classification",
            HeadConfig::Regression { .. } => "regression",
            HeadConfig::Ranking { .. } => "ranking",
            HeadConfig::QuestionAnswering { .. } => "question answering",
            HeadConfig::SentenceEmbedding(_) => "sentence embedding",
            HeadConfig::MaskedLm { .. } => "masked language modelling",
            HeadConfig::ReplacedTokens(_) => "replaced-token detection",
            HeadConfig::CausalLm { .. } => "language modelling",
            HeadConfig::Seq2Seq { .. } => "sequence to sequence",
            HeadConfig::Bare { .. } => "vectors of tokens",
        }
    }

    /// The examples that the model takes.
    pub fn kind(&self) -> Kind {
        match self.head {
            _ if self.objective.is_some() => Kind::Text,
            HeadConfig::TokenClassification { .. } => Kind::Tagged,
            HeadConfig::SpanClassification { .. } => Kind::Spans,
            HeadConfig::SequenceClassification { .. } => Kind::Labelled,
            HeadConfig::MultiLabelClassification { .. } => Kind::MultiLabelled,
            HeadConfig::Regression { .. } => Kind::Scored,
            HeadConfig::Ranking { .. } => Kind::Ranked,
            HeadConfig::QuestionAnswering { .. } => Kind::Qa,
            // Those without a text interface are refused before any example is read.
            HeadConfig::MaskedLm { .. }
            | HeadConfig::ReplacedTokens(_)
            | HeadConfig::Bare { .. }
            | HeadConfig::CausalLm { .. } => Kind::Text,
            HeadConfig::SentenceEmbedding(ref head) => match head.pair_loss {
                PairLoss::InBatchNegatives => Kind::Pairs,
                PairLoss::Cosine(_) | PairLoss::Cosent(_) => Kind::Scored,
                PairLoss::Softmax { .. } => Kind::Labelled,
            },
            HeadConfig::Seq2Seq { .. } => Kind::Pairs,
        }
    }

    /// The objective with the tokens that it needs, where there is one.
    pub(crate) fn pretraining(&self) -> Result<Option<Pretraining>, PipelineError> {
        self.objective.map(|objective| Pretraining::new(objective, self)).transpose()
    }

    fn label(&self, name: &str) -> Result<i32, PipelineError> {
        Ok(self.label_idx(name)? as i32)
    }

    /// The number of a label.
    pub(crate) fn label_idx(&self, name: &str) -> Result<usize, PipelineError> {
        match &self.labels {
            Some(labels) => Ok(labels.require(name)?),
            None => Err(PipelineError::WrongTask { task: self.task(), asked: "give labels" }),
        }
    }

    /// The name of a label that the head predicted.
    pub(crate) fn label_name(&self, idx: usize) -> &str {
        self.labels.as_ref().and_then(|labels| labels.name(idx)).unwrap_or_default()
    }

    /// The number that an output of a regression head stands for.
    pub(crate) fn number(&self, output: f32) -> f64 {
        let (mean, std) = self.scale();
        mean + std * f64::from(output)
    }

    /// Mean and standard deviation of the training numbers.
    pub(crate) fn scale(&self) -> (f64, f64) {
        if let HeadConfig::Regression { mean, std, .. } = self.head { (mean, std) } else { (0.0, 1.0) }
    }
}

/// What the model learned from plain text; of masked language models and detectors from elsewhere, what is usual.
fn objective_of(config: &ModelConfig) -> Result<Option<Objective>, PipelineError> {
    if let Some(value) = &config.objective {
        let objective = serde_json::from_value(value.clone());
        return objective.map(Some).map_err(|error| PipelineError::Objective(error.to_string()));
    }
    Ok(match config.head {
        HeadConfig::MaskedLm { .. } => Some(Objective::Mlm(Masking::default())),
        HeadConfig::ReplacedTokens(_) => Some(Objective::ReplacedTokens(Replacing::default())),
        _ => None,
    })
}
