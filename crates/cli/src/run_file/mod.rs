//! The run file: everything about a run, as a person writes it in TOML.
//!
//! Layers, each over the one before: the defaults of the code, the recipe or file, `--set key=value`. [`load`] reports
//! every problem of all layers at once. The resolved file, with all defaults written out, is saved beside the run.

mod check;
mod data;
mod head;
mod init;
mod layers;
mod losses;
mod model;
mod objective;
mod problems;
mod ranking;
mod section;
mod train;
mod unread;

use locus_pipeline::Objective;
use serde::{Deserialize, Serialize};

pub(crate) use data::{DataSection, TokenizerSection};
pub(crate) use init::{InitSection, PositionFit, VectorScale};
pub(crate) use layers::{Source, load, parse_assignment, read_options, set};
pub(crate) use model::ModelSection;
pub(crate) use problems::{ConfigErrors, Problem};
pub(crate) use ranking::RankingSection;
pub(crate) use train::TrainSection;

/// What a run is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// A tag for every word.
    #[default]
    Ner,
    /// A label for every text.
    Classify,
    /// Any number of labels for every text.
    Multilabel,
    /// A number for every text.
    Regression,
    /// The next token.
    Lm,
    /// A text from a text.
    Seq2seq,
    /// A vector for every text.
    Embed,
    /// The part of a context that answers a question.
    Qa,
    /// A score for every candidate of a query.
    Rank,
    /// The right one of several choices.
    MultipleChoice,
    /// The tokens behind masks.
    Mlm,
    /// The rest of a text, after a start that is read in both directions.
    PrefixLm,
    /// The spans that sentinels stand for.
    SpanCorruption,
    /// A whole text from a damaged one.
    Denoising,
    /// Whether neighbouring segments are in their order.
    SentenceOrder,
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunFile {
    /// What the run is for.
    pub(crate) task: Task,
    /// One line about it.
    pub(crate) description: String,
    /// What is learned from text alone; the usual of the task where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) objective: Option<Objective>,
    /// Where the examples come from.
    pub(crate) data: DataSection,
    /// How text becomes tokens.
    pub(crate) tokenizer: TokenizerSection,
    /// The model.
    pub(crate) model: ModelSection,
    /// The training.
    pub(crate) train: TrainSection,
}

/// Whether a value is what it is where nothing is said.
fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
