//! Polar position embedding (PoPE): content says how much each frequency counts, positions alone say the angle.
//!
//! Formula: `score = Σ_c softplus(q_c) · softplus(k_c) · cos((j − i)·θ_c + δ_hc) / √d_head`, `θ_c = base^(−c/d_head)`: a
//! frequency for every dimension, not for every pair; `δ` in `[−2π, 0]`, per head. Gopalakrishnan et al. 2025,
//! arXiv:2509.10534; x-transformers `PolarEmbedding`.
//! Convention: queries take the angle `i·θ − δ`, keys `j·θ`, so that `δ` belongs to query heads also where these share
//! keys; x-transformers adds `δ` to the keys' angle, which is the same where there are as many key heads. It starts at 0.
//! Queries and keys are twice as wide as the head, so attention keeps the score matrix.
//! Parameters: `n_heads · d_head`. Limit: none. Cache: the final key, twice as wide.

use std::f64::consts::TAU;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::softplus;
use super::scheme::{LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Tables, thetas};
use super::{PositionProblem, PositionShape};

/// Configuration of [`PoPe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoPeConfig {
    /// The base of the frequencies.
    pub base: f64,
}

impl Default for PoPeConfig {
    fn default() -> Self {
        Self { base: 10_000.0 }
    }
}

impl SchemeConfig for PoPeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "magnitudes from content, angles from positions",
            parameters: "n_heads·d_head",
            longer_texts: "well",
            paper: "arXiv:2509.10534",
        }
    }

    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
    }
}

impl PoPeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> PoPe<B> {
        PoPe {
            phases: Init::Zeros.param([shape.n_heads, shape.d_head], key, device),
            // A frequency for each dimension: those of a head that is twice as wide.
            thetas: thetas(self.base, 2 * shape.d_head),
        }
    }
}

/// Gives queries and keys angles of their positions.
#[derive(Module, Debug)]
pub struct PoPe<B: Backend> {
    /// `δ`, `[n_heads, d_head]`; held in `[−2π, 0]`.
    pub phases: Param<Tensor<B, 2>>,
    #[module(skip)]
    thetas: Vec<f64>,
}

impl<B: Backend> Scheme<B> for PoPe<B> {
    fn name(&self) -> &'static str {
        "pope"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(Tables::<B>::at_positions(pass.queries, &self.thetas, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let Tables { cos, sin } = at.prepared.get::<Tables<B>>().clone(); // [rows, 1, seq, d_head]
        let [heads, d_head] = self.phases.dims();
        let phases = self.phases.val().clamp(-TAU, 0.0).reshape([1, heads, 1, d_head]);
        let (cos_phase, sin_phase) = (phases.clone().cos(), phases.sin());
        // cos(a − δ) and sin(a − δ), [rows, heads, seq, d_head].
        let cos_q = cos.clone() * cos_phase.clone() + sin.clone() * sin_phase.clone();
        let sin_q = sin.clone() * cos_phase - cos.clone() * sin_phase;
        Views::one(polar(q, cos_q, sin_q), polar(k, cos, sin))
    }

    fn sees_scores(&self) -> bool {
        true
    }
}

/// `[softplus(x)·cos ‖ softplus(x)·sin]`.
fn polar<B: Backend>(x: Tensor<B, 4>, cos: Tensor<B, 4>, sin: Tensor<B, 4>) -> Tensor<B, 4> {
    let magnitude = softplus(x);
    Tensor::cat(vec![magnitude.clone() * cos, magnitude * sin], 3)
}
