//! The training harness: steps, optimizer, evaluation, checkpoints, events.
//!
//! It trains any [`Trainable`](locus_heads::Trainable) on any backend and knows nothing of file formats, command lines
//! or tokenizers: batches come from a [`BatchSource`], scores from a closure.
//!
//! ```text
//! Trainer ──launches──▶ burn-train's SupervisedTraining ──calls──▶ Strategy ──▶ Run: the loop
//!                        │ metrics, renderer thread                             ├ Prefetch      batches, a few ahead
//!                        └ interrupter                                          ├ gradients     of a window, token-exact
//!                                                                               ├ AdamW         in place, one read per step
//!                                                                               ├ evaluate      best model, early stop
//!                                                                               ├ checkpoint    atomic, verified, exact
//!                                                                               └ Journal       events.jsonl
//! ```
//!
//! ```
//! use std::sync::Arc;
//!
//! use burn::backend::Autodiff;
//! use locus_backend::{device::NdArray, rng::Key};
//! use locus_embedding::Tokens;
//! use locus_encoder::StackConfig;
//! use locus_heads::{HeadConfig, Labels, TaskBatch, TaskModel};
//! use locus_train::{BatchSource, BoxError, ConsoleMode, Evaluation, FitConfig, Stopped, Trainer};
//!
//! struct Counting; // 1 2 3 4 → 2 3 4 5, always
//! impl BatchSource<TaskBatch> for Counting {
//!     fn n_batches(&self) -> usize {
//!         4
//!     }
//!     fn batch(&self, _epoch: usize, _idx: usize) -> Result<TaskBatch, BoxError> {
//!         let tokens = Tokens::new([1, 4], vec![1, 2, 3, 4], vec![true; 4], None)?;
//!         Ok(TaskBatch { tokens, labels: Labels::PerToken(vec![2, 3, 4, 5]) })
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let run = tempfile::tempdir()?;
//! let stack = StackConfig { d_model: 8, n_heads: 2, n_layers: 1, ..StackConfig::default() };
//! let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
//! let model = TaskModel::<Autodiff<NdArray>>::new(&head, &stack, 7, Key::new(1), &Default::default());
//! let evaluate = |_: &TaskModel<NdArray>| Ok::<_, BoxError>(Evaluation { score: 0.5, ..Default::default() });
//!
//! let trainer = Trainer::new(FitConfig { epochs: 2, ..Default::default() }, run.path()).console(ConsoleMode::Quiet);
//! let report = trainer.fit::<Autodiff<NdArray>, _, _>(model, Arc::new(Counting), evaluate)?;
//! assert_eq!((report.steps, report.tokens, report.stopped), (8, 32, Stopped::Finished));
//! # Ok(()) }
//! ```
//!
//! What of burn-train is used, what is replaced and why: `docs/adr/0005-training-strategy.md`.

mod adamw;
mod batches;
mod checkpoint;
mod config;
mod console;
mod error;
mod figures;
mod gradients;
mod journal;
mod params;
mod report;
mod run;
mod schedule;
mod start;
mod state;
mod strategy;
mod trainer;

pub use adamw::{AdamW, AdamWOptions};
pub use batches::BatchSource;
pub use burn_train::Interrupter;
pub use checkpoint::{Checkpoint, Resume};
pub use config::{ClipNorm, ConfigProblem, FitConfig, Schedule, Warmup};
pub use console::ConsoleMode;
pub use error::{BoxError, TrainError};
pub use journal::Event;
pub use locus_heads::GradientCheckpointing;
pub use report::{Evaluation, FitReport, Stopped};
pub use schedule::learning_rate;
pub use state::{Best, RunState};
pub use trainer::Trainer;
