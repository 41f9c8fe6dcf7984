//! What can go wrong in a head.

use locus_embedding::EmbeddingError;
use thiserror::Error;

use crate::LabelledSpan;

/// Why a batch could not be processed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Tokens or positions that the embedding cannot take.
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
    /// Labels of another kind than the head predicts.
    #[error("{head} needs {expected}, found {found}")]
    WrongLabels {
        /// The head.
        head: &'static str,
        /// What it needs.
        expected: &'static str,
        /// What the batch holds.
        found: &'static str,
    },
    /// A label that the head does not have.
    #[error("label {label} at index {idx} is outside the head's {n_labels} labels")]
    LabelOutOfRange {
        /// The label.
        label: i32,
        /// Where it is.
        idx: usize,
        /// How many labels there are.
        n_labels: usize,
    },
    /// A number of class weights that does not fit the labels.
    #[error("expected {expected} class weights, found {found}")]
    WrongWeightCount {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A gain that no candidate can have.
    #[error("the gain at index {idx} is {gain}; expected a finite number from 0")]
    Gain {
        /// Where it is.
        idx: usize,
        /// The gain.
        gain: f32,
    },
    /// A batch of pairs whose halves are not of one size.
    #[error("a batch of pairs has as many targets as sources, found {rows} rows, an odd number")]
    OddPairs {
        /// How many rows there are.
        rows: usize,
    },
    /// Gradient checkpointing of an encoder–decoder whose stacks read one token table.
    #[error(
        "train.gradient_checkpointing = \"block\": expected \"none\", since encoder and decoder share their token table \
         (token_tables = \"shared\")"
    )]
    SharedTable,
    /// A row without the token at which it is scored.
    #[error(
        "row {row} has no token {end}, the end of a text: on an encoder with a decoder a row is scored at its last one; end \
         each text with it, as the checkpoint's tokenizer does"
    )]
    NoEnd {
        /// The row.
        row: usize,
        /// The id of the end.
        end: u32,
    },
    /// Generation options out of range: everything that is wrong.
    #[error("{}", .0.join("; "))]
    Options(Vec<String>),
    /// Scores that are not numbers: the model is damaged.
    #[error(
        "the model's scores are not numbers (row {row}, step {step}): its weights are damaged or its training diverged"
    )]
    NonFiniteScores {
        /// The row.
        row: usize,
        /// The step of generation.
        step: usize,
    },
    /// A number of features that does not fit the rows.
    #[error("expected {expected} features, found {found}")]
    WrongFeatureCount {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A word that begins outside its row.
    #[error("row {row}: a word begins at column {column}, outside the row's {seq} columns")]
    ColumnOutside {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// How many columns there are.
        seq: usize,
    },
    /// A span of words that the row, or a label that the head does not have.
    #[error(
        "row {row}: the span of words {} to {} with label {} does not lie among the row's {n_words} words and the head's \
         {n_labels} labels", .span.first, .span.last, .span.label
    )]
    SpanOutside {
        /// The row.
        row: usize,
        /// The span.
        span: LabelledSpan,
        /// How many words the row has.
        n_words: usize,
        /// How many labels there are.
        n_labels: usize,
    },
    /// A number of labels that does not fit the tokens.
    #[error("expected {expected} labels, found {found}")]
    WrongLabelCount {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}
