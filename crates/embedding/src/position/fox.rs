//! Forgetting attention (FoX): each head forgets what lies behind by gates that the tokens in between decide.
//!
//! Formula: `Σ_{l=j+1…i} ln σ(w_h·x_l + b_h)` is added to the scaled scores, with `x` the input of the layer's attention: the
//! gate of the key itself does not count, that of the query does. Lin et al. 2025, arXiv:2503.02130.
//! Convention: padding forgets nothing. `b` starts at `init_bias = 5`, so that a new model forgets 0.7 % per token, as in
//! x-transformers' `DataDependentAlibi`.
//! Decoders only: gates add up along what came before.
//! Parameters: `n_heads · (d_model + 1)`, of each layer in the paper (`position_sharing = "per_layer"`). Limit: none. Cache: the
//! final key, and the logarithms of the gates. The bias is one number per head and key, and attention runs as one operation.

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
const ONLY_EARLIER: &str = "gates add up along what came before";

/// Configuration of [`Fox`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoxConfig {
    /// The initial `b`.
    pub init_bias: f64,
    /// Standard deviation of the initial `w`.
    pub init_std: f64,
}

impl Default for FoxConfig {
    fn default() -> Self {
        Self { init_bias: 5.0, init_std: 0.02 }
    }
}

impl SchemeConfig for FoxConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Contextual,
            does: "gates forget what lies behind",
            parameters: "n_heads·(d_model + 1)",
            longer_texts: "well",
            paper: "arXiv:2503.02130",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let finite = self.init_bias.is_finite();
        PositionProblem::unless(finite, problems, "init_bias", self.init_bias, "a number");
        PositionProblem::positive(self.init_std, problems, "init_std");
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl FoxConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Fox<B> {
        let weight = Init::Normal { std: self.init_std };
        Fox {
            weight: weight.param([shape.d_model, shape.n_heads], key.named("weight"), device),
            bias: Init::Constant(self.init_bias).param([shape.n_heads], key, device),
        }
    }
}

/// Forgets by gates.
#[derive(Module, Debug)]
pub struct Fox<B: Backend> {
    /// `w`, `[d_model, n_heads]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `b`, `[n_heads]`.
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Scheme<B> for Fox<B> {
    fn name(&self) -> &'static str {
        "fox"
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

    /// `ln σ(w·x + b)`, `[batch, seq, heads]`.
    fn state(&self, hidden: &Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        let gates = ops::linear(hidden.clone(), self.weight.val(), Some(self.bias.val()));
        Some(-softplus(-gates))
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        between(at)
    }
}
