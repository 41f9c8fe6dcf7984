//! What can go wrong between text and answer.

use locus_backend::packed::PackError;
use locus_data::DataError;
use locus_heads::HeadError;
use locus_metrics::MetricsError;
use locus_model::ModelError;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The model folder.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text or its tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model's computation.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A score.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The weights cannot be rounded.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The model does another task than the one asked for.
    #[error("this model does {task}, which cannot {asked}")]
    WrongTask {
        /// What it does.
        task: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// The examples are of another kind than the model needs.
    #[error("a model for {task} needs {expected}, found {found}")]
    WrongExamples {
        /// What the model does.
        task: &'static str,
        /// What it needs.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// A candidate with another number of features than the model has learned.
    #[error(
        "line {line}: expected {expected} features of each candidate, as in training, found {found}; `data.columns.features` of \
         a run file, or `--read columns.features=…`, says which columns they are"
    )]
    Features {
        /// How many the model has learned.
        expected: usize,
        /// How many there are.
        found: usize,
        /// The line of the query.
        line: usize,
    },
    /// A text alone where pairs are read.
    #[error(
        "line {line}: expected a pair of texts, found one text; `data.columns.pair` of a run file, or `--read columns.pair=…`, says \
         where the second stands"
    )]
    NoSecondText {
        /// The line of the text.
        line: usize,
    },
    /// Numbers that stand for no cosine.
    #[error(
        "{n} of the pairs have a number outside [{}, {}], the first {score} on line {line}; these are the bounds of the model: a \
         run sets them by train.cosine.scores, to the lowest and the highest number of its data", .bounds[0], .bounds[1]
    )]
    OutsideBounds {
        /// The bounds.
        bounds: [f64; 2],
        /// How many there are.
        n: usize,
        /// The first of them.
        score: f64,
        /// Its line.
        line: usize,
    },
    /// The tokenizer has another size than the model's token table.
    #[error("tokenizer.json has {tokenizer} tokens but config.json says vocab_size = {model}")]
    WrongTokenizer {
        /// Size of the tokenizer.
        tokenizer: usize,
        /// Size of the model's table.
        model: usize,
    },
    /// The model has no room for text.
    #[error(
        "model.max_seq_len = {max_seq_len} leaves no room for text: the tokenizer adds {frame} tokens around it; use at \
         least {}", .frame + 1
    )]
    TooShort {
        /// The model's length.
        max_seq_len: usize,
        /// What the tokenizer adds.
        frame: usize,
    },
    /// The windows over contexts do not fit the model: which key, what it is and what it may be.
    #[error("model.{0}")]
    Windows(String),
    /// The tokenizer lacks a token that the task needs.
    #[error("the tokenizer has no {token} token, which {task} needs")]
    NoToken {
        /// Which token.
        token: &'static str,
        /// For what.
        task: &'static str,
    },
    /// A prompt that the model does not have.
    #[error("the model has no prompt {asked:?}; it has {}", listed(.known))]
    UnknownPrompt {
        /// The name that was asked for.
        asked: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// What the model learned from plain text is nothing that is known.
    #[error("config.json: objective: {0}; expected one that `locus train` writes")]
    Objective(String),
    /// Words of Chinese are asked for, and the dictionary was not built in.
    #[error("this build has no Chinese dictionary: build with --features jieba, or take words = \"plain\"")]
    NoChineseWords,
    /// Generation options out of range: everything that is wrong.
    #[error("{}", .0.join("; "))]
    Options(Vec<String>),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
