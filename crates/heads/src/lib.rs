//! Task heads on the stacks of `locus-encoder`, their losses and their decoding.
//!
//! | head | stack | labels |
//! |---|---|---|
//! | [`TokenClassifier`] | encoder | one per token (NER, slot filling), with a [`Crf`] where asked for |
//! | [`SequenceClassifier`] | encoder | per row one (sentiment, intent), any number (emotions), or a number (rating) |
//! | [`CausalLm`] | decoder | the next token |
//! | [`Seq2Seq`] | encoder–decoder | the next target token |
//!
//! [`TaskModel`] holds any of them, so that a program which trains, loads and serves all tasks is compiled once.
//! [`Trainable`] is what a training loop needs of a model, and no more.

mod backward;
mod batch;
mod causal_lm;
mod chain;
mod classify;
mod crf;
mod error;
pub mod generate;
mod pack;
mod seq2seq;
mod tag;
mod task;

pub use backward::GradientCheckpointing;
pub use batch::{Labels, LossOptions, LossSum, TaskBatch, Trainable};
pub use causal_lm::CausalLm;
pub use chain::Chain;
pub use classify::{Objective, Pooling, SequenceClassifier};
pub use crf::Crf;
pub use error::HeadError;
pub use seq2seq::Seq2Seq;
pub use tag::{TagDecoding, TokenClassifier};
pub use task::{HeadConfig, TaskModel};
