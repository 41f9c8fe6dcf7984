//! Task heads on the stacks of `locus-encoder`, their losses and their decoding.
//!
//! | head | stack | labels |
//! |---|---|---|
//! | [`TokenClassifier`] | encoder | one per token (NER, slot filling) |
//! | [`SequenceClassifier`] | encoder | one per row (sentiment, intent) |
//! | [`CausalLm`] | decoder | the next token |
//! | [`Seq2Seq`] | encoder–decoder | the next target token |
//!
//! [`TaskModel`] holds any of them, so that a program which trains, loads and serves all tasks is compiled once.
//! [`Trainable`] is what a training loop needs of a model, and no more.

mod batch;
mod causal_lm;
mod classify;
mod error;
pub mod generate;
mod seq2seq;
mod tag;
mod task;

pub use batch::{Labels, LossSum, TaskBatch, Trainable};
pub use causal_lm::CausalLm;
pub use classify::{Pooling, SequenceClassifier};
pub use error::HeadError;
pub use seq2seq::Seq2Seq;
pub use tag::TokenClassifier;
pub use task::{HeadConfig, TaskModel};
