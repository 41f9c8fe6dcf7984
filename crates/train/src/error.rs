//! What can go wrong in a run.

use std::path::PathBuf;

use locus_heads::HeadError;
use thiserror::Error;

use crate::ConfigProblem;

/// Any error of the caller's: of a batch source, of an evaluation.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a run could not start, go on or be saved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A configuration that cannot be run.
    #[error("the training configuration is wrong:{}", list(.0))]
    Config(Vec<ConfigProblem>),
    /// Nothing to train on.
    #[error(
        "there is no batch to train on: the batch source is empty; check the training split and its limits"
    )]
    NoBatches,
    /// The batch source failed.
    #[error("batch {batch} of epoch {epoch} could not be made")]
    Data {
        /// The epoch, from 0.
        epoch: usize,
        /// The batch of the epoch, from 0.
        batch: usize,
        /// What it said.
        source: BoxError,
    },
    /// A batch that the model cannot take.
    #[error("step {step}: batch {batch} of epoch {epoch} does not fit the model")]
    Batch {
        /// The optimizer step, from 1.
        step: usize,
        /// The epoch, from 0.
        epoch: usize,
        /// The batch of the epoch, from 0.
        batch: usize,
        /// Why.
        source: HeadError,
    },
    /// The loss is not a number.
    #[error(
        "step {step}: the loss is {loss} at learning rate {lr:.2e}; the last finite loss was {}. {} Try a lower \
         learning_rate, a longer warmup or a smaller clip_norm, and look at batch {batch} of epoch {epoch}",
        .last_loss.map_or_else(|| "none".to_owned(), |loss| format!("{loss:.4}")), resume_hint(.checkpoint)
    )]
    NonFiniteLoss {
        /// The optimizer step, from 1.
        step: usize,
        /// The first batch of the step.
        batch: usize,
        /// Its epoch.
        epoch: usize,
        /// The loss.
        loss: f64,
        /// The learning rate.
        lr: f64,
        /// The loss of the last step that had a finite one.
        last_loss: Option<f64>,
        /// The latest checkpoint, which is intact.
        checkpoint: Option<PathBuf>,
    },
    /// The loss is a number, but step after step its gradient is not.
    #[error(
        "step {step}: the gradient was not finite for {n} steps in succession, so nothing is learned. {} Try a lower \
         learning_rate",
        resume_hint(.checkpoint)
    )]
    NonFiniteGradients {
        /// The optimizer step, from 1.
        step: usize,
        /// How many steps.
        n: usize,
        /// The latest checkpoint, which is intact.
        checkpoint: Option<PathBuf>,
    },
    /// The evaluation failed.
    #[error("the evaluation after step {step} failed")]
    Evaluation {
        /// The optimizer step, from 1.
        step: usize,
        /// What it said.
        source: BoxError,
    },
    /// A file could not be written or read.
    #[error("could not {action} {}; {hint}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A new run would overwrite another one.
    #[error("{} holds a run already: resume it, or choose another folder", .0.display())]
    RunExists(PathBuf),
    /// A checkpoint that is incomplete or was changed.
    #[error("the checkpoint {} cannot be used:{}", .path.display(), list(.problems))]
    DamagedCheckpoint {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        problems: Vec<String>,
    },
    /// A checkpoint of another run.
    #[error(
        "the checkpoint {} belongs to another run:{}\nGive the same configuration and data, or start anew in another \
         folder",
        .path.display(), list(.differences)
    )]
    OtherRun {
        /// Its folder.
        path: PathBuf,
        /// What differs: key, saved and present value.
        differences: Vec<String>,
    },
    /// burn-train ended without calling the strategy.
    #[error("the training ended without a result; this is a defect of the harness")]
    NoResult,
}

impl TrainError {
    /// The error and its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let first = std::error::Error::source(self);
        let causes = std::iter::successors(first, |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }

    /// A failed write, with the advice that goes with it.
    pub(crate) fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let hint = "checkpoints saved before are intact: free space or fix the permission, then resume";
        Self::Io { action: "write", path: path.into(), hint, source }
    }

    /// A failed read.
    pub(crate) fn read(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action: "read", path: path.into(), hint: "check the path and the permission", source }
    }
}

fn list(problems: &[impl std::fmt::Display]) -> String {
    problems.iter().map(|problem| format!("\n- {problem}")).collect()
}

fn resume_hint(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("The checkpoint {} is intact: resume from it.", path.display()),
        None => "No checkpoint has been saved yet.".to_owned(),
    }
}
