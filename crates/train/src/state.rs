//! Where a run stands: all that a checkpoint holds besides tensors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Evaluation, FitConfig};

/// Keys of the configuration that may change when a run is resumed: they say how long it lasts, what is shown and kept,
/// and how much memory it takes. All others would make it another run.
const MAY_CHANGE: [&str; 8] = [
    "epochs",
    "max_steps",
    "gradient_checkpointing",
    "patience",
    "eval_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "log_every_steps",
];

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Optimizer steps done.
    pub step: usize,
    /// The epoch of the next batch, from 0.
    pub epoch: usize,
    /// The next batch of that epoch, from 0.
    pub batch: usize,
    /// Evaluations done.
    pub rounds: usize,
    /// Evaluations since the best one.
    pub stale_rounds: usize,
    /// The best score, and the step after which it was measured.
    pub best: Option<Best>,
    /// The step of the last evaluation.
    pub evaluated_step: Option<usize>,
    /// What it said.
    pub last_evaluation: Option<Evaluation>,
    /// The last finite loss.
    pub last_loss: Option<f64>,
    /// Tokens trained on.
    pub tokens: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// The part of it that was spent in steps.
    pub step_seconds: f64,
    /// Steps left out.
    pub skipped_steps: usize,
    /// Steps left out since the last good one, because of their gradient.
    pub skipped_in_succession: usize,
    /// The run's seed.
    pub seed: u64,
    /// Batches per epoch.
    pub n_batches: usize,
    /// What the caller says of model and data.
    pub fingerprint: String,
    /// The configuration.
    pub config: FitConfig,
    /// SHA-256 of the configuration as JSON.
    pub config_hash: String,
    /// How often each parameter was updated.
    pub updates: BTreeMap<String, u64>,
    /// SHA-256 of each file of the checkpoint.
    pub files: BTreeMap<String, String>,
}

/// The best score so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step after which it was measured.
    pub step: usize,
    /// The score.
    pub score: f64,
}

impl RunState {
    /// A run that has not begun.
    pub(crate) fn new(config: &FitConfig, n_batches: usize, fingerprint: &str) -> Self {
        Self {
            step: 0,
            epoch: 0,
            batch: 0,
            rounds: 0,
            stale_rounds: 0,
            best: None,
            evaluated_step: None,
            last_evaluation: None,
            last_loss: None,
            tokens: 0,
            seconds: 0.0,
            step_seconds: 0.0,
            skipped_steps: 0,
            skipped_in_succession: 0,
            seed: config.seed,
            n_batches,
            fingerprint: fingerprint.to_owned(),
            config: config.clone(),
            config_hash: hash(config),
            updates: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Takes over a configuration that differs only in what may change.
    ///
    /// # Errors
    /// Everything else that differs.
    pub(crate) fn resume_with(mut self, fresh: &Self) -> Result<Self, Vec<String>> {
        let mut differences = config_differences(&self.config, &fresh.config);
        if self.n_batches != fresh.n_batches {
            differences.push(format!("batches per epoch: saved {}, now {}", self.n_batches, fresh.n_batches));
        }
        if self.fingerprint != fresh.fingerprint {
            differences
                .push(format!("model and data: saved '{}', now '{}'", self.fingerprint, fresh.fingerprint));
        }
        if !differences.is_empty() {
            return Err(differences);
        }
        self.config = fresh.config.clone();
        self.config_hash.clone_from(&fresh.config_hash);
        Ok(self)
    }

    /// Moves past a window of batches.
    pub(crate) fn advance(&mut self, n_batches: usize) {
        self.step += 1;
        self.batch += n_batches;
        if self.batch >= self.n_batches {
            self.batch = 0;
            self.epoch += 1;
        }
    }

    /// Why an evaluation cannot be compared with the best one so far: it judges by another score.
    pub(crate) fn unlike(&self, evaluation: &Evaluation) -> Option<String> {
        let last = self.last_evaluation.as_ref().filter(|_| self.best.is_some())?;
        let (known, found) = (&last.score_name, &evaluation.score_name);
        (known != found).then(|| {
            format!(
                "expected the score by which the best model so far was chosen, '{known}', found '{found}': give the same \
                 score, or start anew in another folder"
            )
        })
    }

    /// Notes an evaluation; whether it is the best so far.
    pub(crate) fn evaluated(&mut self, evaluation: &Evaluation) -> bool {
        let better =
            evaluation.score.is_finite() && self.best.is_none_or(|best| evaluation.score > best.score);
        if better {
            self.best = Some(Best { step: self.step, score: evaluation.score });
        }
        self.stale_rounds = if better { 0 } else { self.stale_rounds + 1 };
        self.rounds += 1;
        self.evaluated_step = Some(self.step);
        self.last_evaluation = Some(evaluation.clone());
        better
    }
}

fn hash(config: &FitConfig) -> String {
    format!("{:x}", Sha256::digest(serde_json::to_string(config).unwrap_or_default()))
}

fn config_differences(saved: &FitConfig, now: &FitConfig) -> Vec<String> {
    let values = |config| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (saved, now) = (values(saved), values(now));
    let differs = |key: &&String| saved.get(*key) != now.get(*key) && !MAY_CHANGE.contains(&key.as_str());
    let show = |value: Option<&serde_json::Value>| value.map_or("nothing".to_owned(), ToString::to_string);
    now.keys()
        .filter(differs)
        .map(|key| format!("{key}: saved {}, now {}", show(saved.get(key)), show(now.get(key))))
        .collect()
}

#[cfg(test)]
mod tests {
    use locus_heads::GradientCheckpointing;

    use super::*;

    #[test]
    fn only_what_makes_another_run_stops_a_resume() {
        let saved = RunState::new(&FitConfig::default(), 5, "a");
        let gradient_checkpointing = GradientCheckpointing::Block;
        let longer =
            FitConfig { epochs: 9, keep_checkpoints: 1, gradient_checkpointing, ..FitConfig::default() };
        assert!(
            saved.clone().resume_with(&RunState::new(&longer, 5, "a")).is_ok_and(|s| s.config.epochs == 9)
        );
        let other = FitConfig { seed: 3, learning_rate: 0.5, ..longer };
        assert_eq!(
            saved.resume_with(&RunState::new(&other, 7, "b")),
            Err(vec![
                "learning_rate: saved 0.0003, now 0.5".to_owned(),
                "seed: saved 0, now 3".to_owned(),
                "batches per epoch: saved 5, now 7".to_owned(),
                "model and data: saved 'a', now 'b'".to_owned(),
            ])
        );
    }

    #[test]
    fn a_score_that_is_no_number_is_never_best() {
        let mut state = RunState::new(&FitConfig::default(), 5, "");
        let with = |score| Evaluation { score, ..Evaluation::default() };
        assert!(
            !state.evaluated(&with(f64::NAN)) && state.evaluated(&with(0.5)) && !state.evaluated(&with(0.5))
        );
        assert_eq!((state.stale_rounds, state.rounds), (1, 3));
    }

    #[test]
    fn scores_of_other_names_are_not_compared() {
        let mut state = RunState::new(&FitConfig::default(), 5, "");
        let named =
            |name: &str, score| Evaluation { score, score_name: name.to_owned(), ..Evaluation::default() };
        assert!(!state.evaluated(&named("loss", f64::NAN)));
        assert_eq!(state.unlike(&named("f1", 0.5)), None, "there is nothing to compare with");
        assert!(state.evaluated(&named("f1", 0.5)));
        assert_eq!(state.unlike(&named("f1", 0.25)), None);
        let difference = state.unlike(&named("accuracy", 0.75)).unwrap();
        assert!(difference.contains("'f1', found 'accuracy'"), "{difference}");
    }
}
