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
pub use report::{Evaluation, FitReport, Stopped};
pub use schedule::learning_rate;
pub use state::{Best, RunState};
pub use trainer::Trainer;
