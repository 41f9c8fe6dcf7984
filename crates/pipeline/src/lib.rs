//! The way from text to answers: [`Pipeline`] loads a model folder and predicts, generates and evaluates.
//!
//! The parts are usable on their own: a [`Codec`] turns text into numbers and answers into text for one model, a
//! [`TrainingSet`] gives the batches of every epoch, [`evaluate()`] scores a model on examples.
//!
//! ```no_run
//! use locus_backend::device::NdArray;
//! use locus_pipeline::Pipeline;
//!
//! # fn main() -> Result<(), locus_pipeline::PipelineError> {
//! let pipeline = Pipeline::<NdArray>::from_dir("runs/first-news/model", &Default::default())?;
//! for prediction in pipeline.predict(&["Mira Tolland visited Lisbon."])? {
//!     println!("{}", prediction.to_json());
//! }
//! # Ok(()) }
//! ```

mod bm25;
mod classify;
mod codec;
mod decode;
mod embed;
mod entities;
mod error;
mod evaluate;
mod masks;
mod model_options;
mod objective;
mod pairs;
mod pipeline;
mod pretraining;
mod qa;
mod ranking;
mod retrieval;
mod stream;
mod tagging;
mod target_score;
mod thresholds;
mod training_set;
mod units;
mod write;

pub use bm25::Bm25;
pub use codec::{Codec, Encoded};
pub use embed::Embeddings;
pub use entities::{LostSpans, find_spans};
pub use error::PipelineError;
pub use evaluate::{Evaluation, evaluate};
pub use locus_model::Packing;
pub use masks::FilledMask;
pub use model_options::ModelOptions;
pub use objective::{Masking, Objective, Replacing, Words};
pub use pipeline::{Entity, Pipeline, Prediction, ScoredLabel};
pub use qa::Answer;
pub use stream::StreamDecoder;
pub use tagging::{TaggedWord, tag};
pub use target_score::TargetScore;
pub use thresholds::{Thresholds, Tuning};
pub use training_set::TrainingSet;
pub use units::{in_units, spans_in_units};
pub use write::{WriteOptions, Written, WrittenToken};

/// The page on use as a library, whose code is tested with this crate, the highest of the libraries.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/library.md")]
struct LibraryPage;

/// The page on questions, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tasks/questions.md")]
struct QuestionsPage;

/// The page on masks, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tasks/fill-mask.md")]
struct MasksPage;

/// The page on generation, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/generation.md")]
struct GenerationPage;
