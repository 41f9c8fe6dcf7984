//! Sinusoidal position embedding: fixed sines and cosines of geometrically spaced frequencies, added to the tokens.
//!
//! Formula: `angle(p, i) = p · base^(−2i/d)`; Vaswani et al. 2017, arXiv:1706.03762, §3.5. Three layouts are in use, which
//! a checkpoint fixes: see [`Layout`]. Parameters: 0. Limit: none declared, though quality falls past the training
//! length. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::known::Rows;
use super::scheme::Scheme;
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Where sines and cosines stand in the vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `sin₀ cos₀ sin₁ cos₁ …`, as the paper writes it.
    #[default]
    Interleaved,
    /// `sin₀ sin₁ … cos₀ cos₁ …` with the paper's frequencies (RoFormer, Transformer-XL, GPT-NeoX).
    Concatenated,
    /// `sin₀ … cos₀ …` whose last frequency is exactly `1/base`: the exponent's denominator is `d/2 − 1`, and an odd
    /// width ends in a zero (tensor2tensor, fairseq).
    Timescales,
}

/// Configuration of [`Sinusoidal`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinusoidalConfig {
    /// Where sines and cosines stand.
    pub layout: Layout,
    /// The base of the frequencies.
    pub base: f64,
    /// What the vector is multiplied by before it is added.
    pub scale: f64,
}

impl Default for SinusoidalConfig {
    fn default() -> Self {
        Self { layout: Layout::default(), base: 10_000.0, scale: 1.0 }
    }
}

impl SchemeConfig for SinusoidalConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "adds sines and cosines; layouts `interleaved`, `concatenated`, `timescales`",
            parameters: "0",
            longer_texts: "badly",
            paper: "arXiv:1706.03762 §3.5",
        }
    }

    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.base > 1.0, problems, "base", self.base, "a number above 1");
        PositionProblem::unless(self.scale.is_finite(), problems, "scale", self.scale, "a finite number");
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }
}

impl SinusoidalConfig {
    pub(super) fn init<B: Backend>(&self, _: &PositionShape, _: Key, _: &B::Device) -> Sinusoidal {
        Sinusoidal { layout: self.layout as usize, base: self.base, scale: self.scale }
    }
}

/// Adds sines and cosines of the position.
#[derive(Module, Clone, Debug)]
pub struct Sinusoidal {
    layout: usize,
    base: f64,
    scale: f64,
}

impl Sinusoidal {
    /// The frequency of each sine, and of the cosine that goes with it.
    fn frequencies(&self, width: usize) -> Vec<f64> {
        let (n, denominator) = match self.layout() {
            Layout::Interleaved | Layout::Concatenated => (width.div_ceil(2), width as f64 / 2.0),
            Layout::Timescales => (width / 2, ((width / 2) as f64 - 1.0).max(1.0)),
        };
        (0..n).map(|i| self.base.powf(-(i as f64) / denominator)).collect()
    }

    /// The vector of a position, computed in f64.
    fn row(&self, position: f64, frequencies: &[f64], width: usize) -> Vec<f32> {
        let sines = frequencies.iter().map(|f| (position * f).sin());
        let cosines = frequencies.iter().map(|f| (position * f).cos());
        let row: Vec<f64> = match self.layout() {
            Layout::Interleaved => sines.zip(cosines).flat_map(|(sin, cos)| [sin, cos]).collect(),
            Layout::Concatenated | Layout::Timescales => sines.chain(cosines).collect(),
        };
        // An odd width leaves out the last cosine, or ends in a zero where there is none.
        let row = row.into_iter().chain(std::iter::once(0.0)).take(width);
        row.map(|x| (self.scale * x) as f32).collect()
    }

    fn layout(&self) -> Layout {
        match self.layout {
            0 => Layout::Interleaved,
            1 => Layout::Concatenated,
            _ => Layout::Timescales,
        }
    }
}

impl<B: Backend> Scheme<B> for Sinusoidal {
    fn name(&self) -> &'static str {
        "sinusoidal"
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        let [batch, seq, width] = x.dims();
        let frequencies = self.frequencies(width);
        let formula = [self.layout as f64, self.base, self.scale];
        let row = |p: f64| self.row(p, &frequencies, width);
        let known = Rows::new("sinusoidal", formula, width, &tokens.positions, row);
        let mut rows: Vec<f32> = Vec::with_capacity(batch * seq * width);
        tokens.positions.iter().for_each(|position| rows.extend_from_slice(&known.at(*position)));
        let table = Tensor::from_data(TensorData::new(rows, [batch, seq, width]), &x.device());
        x + table
    }
}
