//! CABLE: a distance that tokens decide; each of them makes what lies before it seem farther away.
//!
//! Formula: `c_i − c_j` is added to the scaled scores, `c_i = −Σ_{l ≤ i} softplus(w_h·x_l + b_h)`, with `x` the input of the
//! layer's attention. Veisi et al. 2025, arXiv:2503.08067, and the authors' code, which has `b`.
//! Convention: padding adds no distance. `w` starts small and `b` at 0, as there, so that a new model's steps are near ln 2.
//! It is [`Fox`](super::Fox) with the gates the other way round and without a bias towards remembering.
//! Decoders only, as in the authors' code: distances add up along what came before.
//! Parameters: `n_heads · (d_model + 1)`, of each layer in the paper (`position_sharing = "per_layer"`). Limit: none. Cache: the
//! final key, and the steps. The bias is one number per head and key, and attention runs as one operation.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::{self, ScoreBias};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::softplus;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::sums::{between, real};
use super::{PositionProblem, PositionShape};

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "distances add up along what came before";

/// Configuration of [`Cable`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CableConfig {
    /// Standard deviation of the initial `w`.
    pub init_std: f64,
}

impl Default for CableConfig {
    fn default() -> Self {
        Self { init_std: 0.02 }
    }
}

impl SchemeConfig for CableConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Contextual,
            does: "steps that tokens decide add up to distances",
            parameters: "n_heads·(d_model + 1)",
            longer_texts: "well",
            paper: "arXiv:2503.08067",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::positive(self.init_std, problems, "init_std");
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl CableConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Cable<B> {
        let weight = Init::Normal { std: self.init_std };
        Cable {
            weight: weight.param([shape.d_model, shape.n_heads], key.named("weight"), device),
            bias: Init::Zeros.param([shape.n_heads], key.named("bias"), device),
        }
    }
}

/// Adds up steps that tokens decide.
#[derive(Module, Debug)]
pub struct Cable<B: Backend> {
    /// `w`, `[d_model, n_heads]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `b`, `[n_heads]`.
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Scheme<B> for Cable<B> {
    fn name(&self) -> &'static str {
        "cable"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(real::<B>(pass.keys, device))
    }

    /// `−softplus(w·x + b)`, `[batch, seq, heads]`.
    fn state(&self, hidden: &Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        Some(-softplus(ops::linear(hidden.clone(), self.weight.val(), Some(self.bias.val()))))
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        between(at)
    }
}
