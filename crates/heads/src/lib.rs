//! Task heads on the stacks of `locus-encoder`, their losses and their decoding.
//!
//! | head | stack | labels |
//! |---|---|---|
//! | [`TokenClassifier`] | encoder | one per token (NER, slot filling), with a [`Crf`] where asked for |
//! | [`SpanClassifier`] | encoder | spans of words that may lie in one another (nested named entities) |
//! | [`SequenceClassifier`] | encoder | per row one (sentiment, intent), any number (emotions), or a number (rating) |
//! | [`QuestionAnswerer`] | encoder | where an answer starts and ends |
//! | [`SentenceEmbedder`] | encoder | none: pairs of texts that belong together; or a number or a label per pair |
//! | [`MaskedLm`] | encoder | the token behind a mask |
//! | [`ReplacedTokenDetector`] | encoder, and a small one | whether a token was replaced |
//! | [`CausalLm`] | decoder | the next token |
//! | [`Seq2Seq`] | encoder–decoder | the next target token |
//!
//! A classifier may stand on a decoder too, with or without a [`Transform`] between (BERT's pooler). A classifier of rows, and
//! questions, may stand on an encoder with a decoder that reads the text once more ([`RereadConfig`]). [`Bare`] is a stack alone.
//!
//! [`TaskModel`] holds any of them, so that a program which trains, loads and serves all tasks is compiled once.
//! [`Trainable`] is what a training loop needs of a model, and no more.

mod adapter;
mod backward;
mod bare;
mod batch;
mod causal_lm;
mod chain;
mod classify;
mod crf;
mod error;
mod forward;
pub mod generate;
mod head_check;
mod head_config;
mod masked_lm;
mod output;
mod pack;
mod pair_loss;
mod question;
mod rank;
mod replaced;
mod replaced_config;
mod reread;
mod sentence;
mod sentence_config;
mod seq2seq;
mod span;
mod span_config;
mod span_row;
mod step;
mod tag;
mod task;
mod transform;

pub use adapter::{AdapterConfig, HostAdapter, HostChange, Ia3Config, LoraConfig, RankScaling, Target};
pub use backward::GradientCheckpointing;
pub use bare::Bare;
pub use batch::{Labels, LossOptions, LossSum, TaskBatch, Trainable};
pub use causal_lm::CausalLm;
pub use chain::Chain;
pub use classify::{Objective, Pooling, SequenceClassifier};
pub use crf::Crf;
pub use error::HeadError;
pub use forward::{HostArray, Outputs};
pub use head_config::{ClassifierConfig, HeadConfig};
pub use masked_lm::MaskedLm;
pub use output::OutputConfig;
pub use pair_loss::{Cosent, CosineBounds, InBatchNegatives, PairLoss};
pub use question::QuestionAnswerer;
pub use rank::{Candidates, FeatureScale, RankingLoss, RankingScore};
pub use replaced::{Generator, Replaced, ReplacedTokenDetector};
pub use replaced_config::ReplacedTokensConfig;
pub use reread::RereadConfig;
pub use sentence::SentenceEmbedder;
pub use sentence_config::{
    DenseActivation, EmbeddingLayer, SentenceEmbeddingConfig, Similarity, TokenPooling,
};
pub use seq2seq::Seq2Seq;
pub use span::SpanClassifier;
pub use span_config::{Overlap, ScoredSpan, SpanConfig};
pub use span_row::{LabelledSpan, SpanRow};
pub use tag::{TagDecoding, TokenClassifier};
pub use task::TaskModel;
pub use transform::{HeadActivation, Transform, TransformConfig};
