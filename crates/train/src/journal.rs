//! `events.jsonl`: one JSON object per line, from which consoles and plots read what happened.
//!
//! It is written by the training loop itself and not by a metric logger of burn-train, which sees events later, on
//! another thread, and cannot report that the disk is full.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::{FitConfig, Stopped, TrainError};

/// A line of `events.jsonl`. What is not a number is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A run, or a part of it, begins.
    RunStarted {
        /// Steps already done.
        step: usize,
        /// Steps that all epochs have.
        total_steps: usize,
        /// Seconds since 1970.
        unix_secs: u64,
        /// What the caller says of model and data.
        fingerprint: &'a str,
        /// The configuration.
        config: &'a FitConfig,
    },
    /// Tables of a new model came from files.
    Initialization {
        /// Steps done: none.
        step: usize,
        /// What the caller says of them.
        tables: &'a Value,
    },
    /// An optimizer step is done.
    Step {
        /// Its number, from 1.
        step: usize,
        /// Its epoch, from 0.
        epoch: usize,
        /// The mean loss.
        loss: f64,
        /// The learning rate.
        lr: f64,
        /// The gradient's global norm, before clipping.
        grad_norm: f64,
        /// Whether the parameters were left as they were.
        skipped: bool,
        /// Tokens of this step, without padding.
        tokens: usize,
        /// Throughput of this step.
        tokens_per_second: f64,
        /// How long batches were waited for.
        data_wait_secs: f64,
    },
    /// The model was evaluated.
    Evaluation {
        /// Steps done.
        step: usize,
        /// Epochs done.
        epoch: usize,
        /// Number of the evaluation, from 1.
        round: usize,
        /// Name of the score.
        score_name: &'a str,
        /// The score.
        score: f64,
        /// Whether it is the best so far.
        best: bool,
        /// All figures.
        metrics: &'a BTreeMap<String, f64>,
    },
    /// A checkpoint was saved.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// Its folder.
        path: &'a Path,
    },
    /// The run is over.
    RunFinished {
        /// Steps done.
        step: usize,
        /// Why it ended.
        stopped: Stopped,
        /// Wall-clock time, parts before a resume included.
        seconds: f64,
        /// The best score.
        best_score: Option<f64>,
    },
    /// Someone stopped the run.
    RunInterrupted {
        /// Steps done.
        step: usize,
        /// What they said.
        reason: Option<&'a str>,
    },
    /// The run failed.
    RunFailed {
        /// Steps done.
        step: usize,
        /// The error, with its causes.
        error: &'a str,
    },
}

/// The open file.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal of a run and drops all that happened after `step`.
    pub(crate) fn open(run: &Path, step: usize) -> Result<Self, TrainError> {
        let path = run.join("events.jsonl");
        let open = || {
            let kept = match std::fs::read_to_string(&path) {
                Ok(text) => text
                    .lines()
                    .filter(|line| step > 0 && happened_by(line, step))
                    .fold(String::new(), |kept, line| kept + line + "\n"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error),
            };
            let aside = run.join(".events.jsonl.tmp");
            std::fs::write(&aside, kept)?;
            std::fs::rename(&aside, &path)?;
            OpenOptions::new().append(true).open(&path)
        };
        let file = open().map_err(|error| TrainError::write(&path, error))?;
        Ok(Self { file, path })
    }

    /// Appends an event. The line is with the system when this returns.
    pub(crate) fn write(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        let line = serde_json::to_string(event).map_err(std::io::Error::from);
        line.and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .map_err(|error| TrainError::write(&self.path, error))
    }
}

/// Whether a line is whole and not later than `step`.
fn happened_by(line: &str, step: usize) -> bool {
    let at = serde_json::from_str::<Value>(line).ok().and_then(|event| event["step"].as_u64());
    at.is_some_and(|at| at <= step as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_journal_ends_at_the_step() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("events.jsonl");
        let mut journal = Journal::open(dir.path(), 0)?;
        for step in 1..=4 {
            journal.write(&Event::RunInterrupted { step, reason: Some("a\nb") })?;
        }
        journal.file.write_all(b"{\"event\":\"step\",\"st")?;
        assert_eq!(std::fs::read_to_string(&file)?.lines().count(), 5);
        let mut journal = Journal::open(dir.path(), 2)?;
        journal.write(&Event::RunFailed { step: 3, error: "e" })?;
        let text = std::fs::read_to_string(&file)?;
        let steps: Vec<_> = text
            .lines()
            .map(|l| serde_json::from_str(l).map(|v: Value| v["step"].clone()))
            .collect::<Result<_, _>>()?;
        assert_eq!(steps, [1, 2, 3]);
        Journal::open(dir.path(), 0)?;
        assert_eq!(std::fs::read_to_string(&file)?, "");
        Ok(())
    }
}
