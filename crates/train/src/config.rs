//! How to train: what a user writes, checked as a whole.

use std::fmt;

use locus_heads::GradientCheckpointing;
use serde::{Deserialize, Serialize};

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// How often every batch is seen.
    pub epochs: usize,
    /// The run ends after this many optimizer steps, even within an epoch.
    pub max_steps: Option<usize>,
    /// Batches whose gradients make one optimizer step.
    pub accumulate: usize,
    /// What a forward pass holds for the backward pass.
    pub gradient_checkpointing: GradientCheckpointing,
    /// The highest learning rate, reached after warm-up.
    pub learning_rate: f64,
    /// How the learning rate falls after warm-up.
    pub schedule: Schedule,
    /// How long the learning rate rises.
    pub warmup: Warmup,
    /// Decay rates of Adam's two moments.
    pub betas: [f64; 2],
    /// Added to the denominator of Adam's step.
    pub eps: f64,
    /// Decoupled weight decay; parameters with one axis (biases, norms) have none.
    pub weight_decay: f64,
    /// Parameters with one of these names in their path have no weight decay either.
    pub no_decay: Vec<String>,
    /// Limit of the gradient's global norm.
    pub clip_norm: ClipNorm,
    /// The run ends after this many evaluations without a better score.
    pub patience: Option<usize>,
    /// Evaluates every so many steps; at the end of each epoch where absent.
    pub eval_every_steps: Option<usize>,
    /// Saves every so many steps, in addition to each evaluation.
    pub checkpoint_every_steps: Option<usize>,
    /// How many of the latest checkpoints are kept; the best is kept in any case.
    pub keep_checkpoints: usize,
    /// Decides dropout.
    pub seed: u64,
    /// How often a console without a terminal prints a line.
    pub log_every_steps: usize,
}

/// How the learning rate falls after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// To zero, in a straight line.
    Linear,
    /// To zero, along half a cosine (arXiv:1608.03983, without restarts).
    Cosine,
}

/// How long the learning rate rises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Warmup {
    /// A number of steps.
    Steps(usize),
    /// A share of all steps, rounded up.
    Ratio(f64),
}

/// Limit of the gradient's global norm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClipNorm {
    /// None.
    Off,
    /// Longer gradients are scaled down to this (arXiv:1211.5063).
    Max(f64),
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key.
    pub key: String,
    /// Its value.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            max_steps: None,
            accumulate: 1,
            gradient_checkpointing: GradientCheckpointing::None,
            learning_rate: 3e-4,
            schedule: Schedule::Linear,
            warmup: Warmup::Ratio(0.1),
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
            no_decay: Vec::new(),
            clip_norm: ClipNorm::Max(1.0),
            patience: None,
            eval_every_steps: None,
            checkpoint_every_steps: None,
            keep_checkpoints: 2,
            seed: 0,
            log_every_steps: 50,
        }
    }
}

impl FitConfig {
    /// Everything that is wrong.
    pub fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Problems::default();
        let counts = [
            ("epochs", Some(self.epochs)),
            ("max_steps", self.max_steps),
            ("accumulate", Some(self.accumulate)),
            ("patience", self.patience),
            ("eval_every_steps", self.eval_every_steps),
            ("checkpoint_every_steps", self.checkpoint_every_steps),
            ("keep_checkpoints", Some(self.keep_checkpoints)),
            ("log_every_steps", Some(self.log_every_steps)),
        ];
        for (key, count) in counts {
            problems.unless(count != Some(0), key, 0, "1 or more");
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        problems.unless(positive(self.learning_rate), "learning_rate", self.learning_rate, "above 0");
        problems.unless(positive(self.eps), "eps", self.eps, "above 0");
        problems.unless(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            "weight_decay",
            self.weight_decay,
            "0 or more",
        );
        for beta in self.betas {
            problems.unless((0.0..1.0).contains(&beta), "betas", beta, "at least 0 and below 1");
        }
        if let Warmup::Ratio(ratio) = self.warmup {
            problems.unless((0.0..=1.0).contains(&ratio), "warmup.ratio", ratio, "from 0 to 1");
        }
        if let ClipNorm::Max(norm) = self.clip_norm {
            problems.unless(positive(norm), "clip_norm.max", norm, "above 0, or clip_norm = \"off\"");
        }
        problems.0
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, allowed: {}", self.key, self.found, self.allowed)
    }
}

#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn unless(&mut self, ok: bool, key: &str, found: impl fmt::Display, allowed: &str) {
        if !ok {
            let (key, found, allowed) = (key.to_owned(), found.to_string(), allowed.to_owned());
            self.0.push(ConfigProblem { key, found, allowed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_survives_a_round_trip() -> Result<(), serde_json::Error> {
        let config = FitConfig::default();
        assert_eq!(config.check(), []);
        assert_eq!(serde_json::from_str::<FitConfig>(&serde_json::to_string(&config)?)?, config);
        let written = r#"{"warmup": {"steps": 7}, "clip_norm": "off", "gradient_checkpointing": "block"}"#;
        let config: FitConfig = serde_json::from_str(written)?;
        assert_eq!((config.warmup, config.clip_norm), (Warmup::Steps(7), ClipNorm::Off));
        assert_eq!(config.gradient_checkpointing, GradientCheckpointing::Block);
        assert!(serde_json::from_str::<FitConfig>(r#"{"epoch": 1}"#).is_err());
        Ok(())
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let config = FitConfig {
            epochs: 0,
            max_steps: Some(0),
            learning_rate: f64::NAN,
            betas: [0.9, 1.0],
            warmup: Warmup::Ratio(1.5),
            clip_norm: ClipNorm::Max(0.0),
            ..FitConfig::default()
        };
        let keys: Vec<_> = config.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["epochs", "max_steps", "learning_rate", "betas", "warmup.ratio", "clip_norm.max"]);
    }
}
