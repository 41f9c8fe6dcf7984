//! Dynamic position bias: a small network of the distance.
//!
//! Formula: `MLP(sign(i − j) · ln(1 + |i − j|))_h` is added to the scaled scores, with a network `1 → hidden → hidden →
//! n_heads` with SiLU. Logarithmic distances as in Swin v2, Liu et al. 2021, arXiv:2111.09883; the network as in
//! x-transformers' `DynamicPositionBias` (depth 2, no norm), in one dimension.
//! Parameters: `2·hidden + hidden·(hidden + 1) + (hidden + 1)·n_heads`. Limit: none; the network's answer to distances that it
//! has not seen is its own. Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, activation::silu, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::relative::Relative;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::{PositionProblem, PositionShape};

/// Configuration of [`DynamicBias`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicBiasConfig {
    /// Width of the network.
    pub hidden: usize,
}

impl Default for DynamicBiasConfig {
    fn default() -> Self {
        Self { hidden: 32 }
    }
}

impl SchemeConfig for DynamicBiasConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "a network of the distance",
            parameters: "2·hidden + hidden·(hidden + 1) + (hidden + 1)·n_heads",
            longer_texts: "to some degree",
            paper: "arXiv:2111.09883",
        }
    }

    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.hidden > 0, problems, "hidden", self.hidden, "at least 1");
    }
}

impl DynamicBiasConfig {
    pub(super) fn init<B: Backend>(
        &self,
        shape: &PositionShape,
        key: Key,
        device: &B::Device,
    ) -> DynamicBias<B> {
        let weight = |[fan_in, fan_out]: [usize; 2], name: &str| {
            Init::of_fan_in(fan_in).param([fan_in, fan_out], key.named(name).named("weight"), device)
        };
        let bias = |[fan_in, fan_out]: [usize; 2], name: &str| {
            Init::of_fan_in(fan_in).param([fan_out], key.named(name).named("bias"), device)
        };
        let (first, second, last) = ([1, self.hidden], [self.hidden; 2], [self.hidden, shape.n_heads]);
        DynamicBias {
            first_weight: weight(first, "first"),
            first_bias: bias(first, "first"),
            second_weight: weight(second, "second"),
            second_bias: bias(second, "second"),
            last_weight: weight(last, "last"),
            last_bias: bias(last, "last"),
        }
    }
}

/// Adds a network's value of the distance.
#[derive(Module, Debug)]
pub struct DynamicBias<B: Backend> {
    /// `[1, hidden]`.
    pub first_weight: Param<Tensor<B, 2>>,
    /// `[hidden]`.
    pub first_bias: Param<Tensor<B, 1>>,
    /// `[hidden, hidden]`.
    pub second_weight: Param<Tensor<B, 2>>,
    /// `[hidden]`.
    pub second_bias: Param<Tensor<B, 1>>,
    /// `[hidden, n_heads]`.
    pub last_weight: Param<Tensor<B, 2>>,
    /// `[n_heads]`.
    pub last_bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Scheme<B> for DynamicBias<B> {
    fn name(&self) -> &'static str {
        "dynamic_bias"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let bias = Relative::of(pass).bias(|distances| {
            let logs: Vec<f32> = distances.iter().map(|d| (d.signum() * d.abs().ln_1p()) as f32).collect();
            let x = Tensor::<B, 2>::from_data(TensorData::new(logs, [distances.len(), 1]), device);
            let x = silu(x.matmul(self.first_weight.val()) + self.first_bias.val().unsqueeze());
            let x = silu(x.matmul(self.second_weight.val()) + self.second_bias.val().unsqueeze());
            let x = x.matmul(self.last_weight.val()) + self.last_bias.val().unsqueeze();
            x.transpose() // [heads, distances]
        });
        Prepared::new(bias)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}
