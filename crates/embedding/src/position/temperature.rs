//! Position temperature: queries grow with the logarithm of their position, so that attention over many keys stays sharp.
//!
//! Formula: the factor of the dot products is `(1 + scale · ln(1 + ⌊(i + 1)/floor⌋)) / √d_head`. Llama 4, on its layers
//! without rotation (Hugging Face `Llama4TextAttention`, `attn_temperature_tuning`); for such a stack name `rotary` and
//! `temperature` in `layer_positions`. Alone it is no position scheme, only `none` with a temperature.
//! Decoders only: without rotation an encoder cannot tell the order of tokens.
//! Parameters: 0. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::backend::Backend;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{Pass, Scheme, ScoreScale};
use super::{PositionProblem, PositionShape};

/// Configuration of [`Temperature`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemperatureConfig {
    /// How much the factor grows.
    pub scale: f64,
    /// How many positions share a factor; the first of them have 1.
    pub floor: usize,
}

impl Default for TemperatureConfig {
    fn default() -> Self {
        Self { scale: 0.1, floor: 8192 }
    }
}

impl SchemeConfig for TemperatureConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Factor,
            does: "queries grow with the logarithm of their position; for layers without rotation",
            parameters: "0",
            longer_texts: "helps others",
            paper: "Llama 4",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::causal(
            shape,
            "without rotation an encoder cannot tell the order of tokens",
            problems,
        );
        PositionProblem::positive(self.scale, problems, "scale");
        PositionProblem::unless(self.floor > 0, problems, "floor", self.floor, "at least 1");
    }

    fn tells_order(&self) -> bool {
        false
    }
}

impl TemperatureConfig {
    pub(super) fn init<B: Backend>(&self, _: &PositionShape, _: Key, _: &B::Device) -> Temperature {
        Temperature { scale: self.scale, floor: self.floor }
    }
}

/// Scales queries by their positions.
#[derive(Module, Clone, Debug)]
pub struct Temperature {
    scale: f64,
    floor: usize,
}

impl<B: Backend> Scheme<B> for Temperature {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn score_scale(&self, d_head: usize, pass: &Pass<'_>) -> ScoreScale {
        let factor = |i: &f64| {
            let steps = ((i + 1.0) / self.floor as f64).floor().max(0.0);
            ((1.0 + self.scale * steps.ln_1p()) / (d_head as f64).sqrt()) as f32
        };
        ScoreScale::PerQuery(pass.queries.positions.iter().map(factor).collect())
    }
}
