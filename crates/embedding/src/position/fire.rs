//! FIRE: a small network of the distance, taken relative to how far the query has come.
//!
//! Formula: `MLP(ψ(|i − j|) / (ψ(max(i, |m·L|)) + 10⁻⁶))` is added to the scaled scores, `ψ(x) = ln(|c·x| + 1)`, with learned
//! `c` (from 0.1) and `m` (from 1), and a network `1 → hidden → n_heads` with ReLU. Li et al. 2023,
//! arXiv:2310.04418. A query's last key has the argument 0 and, past the threshold, its first key 1, however long the text is.
//! Convention: positions count from 0. In an encoder distance has no sign.
//! Parameters: `2 + 2·hidden + (hidden + 1)·n_heads`, of each layer in the paper (`position_sharing = "per_layer"`). Limit:
//! none. Cache: the final key. The bias depends on the position of the query too, so it is a dense matrix.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, activation::relu, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::{inverse, ln_1p};
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::views::cells;
use super::{PositionProblem, PositionShape};

/// Configuration of [`Fire`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FireConfig {
    /// Width of the network.
    pub hidden: usize,
    /// `L`: up to this position distances are not relative to the query's.
    pub threshold: f64,
    /// The initial `c`.
    pub initial_c: f64,
}

impl Default for FireConfig {
    fn default() -> Self {
        Self { hidden: 32, threshold: 512.0, initial_c: 0.1 }
    }
}

impl SchemeConfig for FireConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "a network of the distance relative to the query's position",
            parameters: "2 + 2·hidden + (hidden + 1)·n_heads",
            longer_texts: "well",
            paper: "arXiv:2310.04418",
        }
    }

    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.hidden > 0, problems, "hidden", self.hidden, "at least 1");
        PositionProblem::positive(self.threshold, problems, "threshold");
        PositionProblem::positive(self.initial_c, problems, "initial_c");
    }
}

impl FireConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Fire<B> {
        let (inner, outer) = (Init::of_fan_in(1), Init::of_fan_in(self.hidden));
        Fire {
            c: Init::Constant(self.initial_c).param([1], key, device),
            multiplier: Init::Ones.param([1], key, device),
            hidden_weight: inner.param([1, self.hidden], key.named("hidden_weight"), device),
            hidden_bias: inner.param([self.hidden], key.named("hidden_bias"), device),
            output_weight: outer.param([self.hidden, shape.n_heads], key.named("output_weight"), device),
            output_bias: outer.param([shape.n_heads], key.named("output_bias"), device),
            threshold: self.threshold,
        }
    }
}

/// Adds a network's value of the relative distance.
#[derive(Module, Debug)]
pub struct Fire<B: Backend> {
    /// `c`, `[1]`.
    pub c: Param<Tensor<B, 1>>,
    /// `m`, `[1]`: what the threshold is multiplied by.
    pub multiplier: Param<Tensor<B, 1>>,
    /// `[1, hidden]`.
    pub hidden_weight: Param<Tensor<B, 2>>,
    /// `[hidden]`.
    pub hidden_bias: Param<Tensor<B, 1>>,
    /// `[hidden, n_heads]`.
    pub output_weight: Param<Tensor<B, 2>>,
    /// `[n_heads]`.
    pub output_bias: Param<Tensor<B, 1>>,
    threshold: f64,
}

impl<B: Backend> Fire<B> {
    /// `ψ(|i − j|) / ψ(max(i, |m·L|))` of each cell, `[cells, 1]`, from the positions of its query and its key.
    fn arguments(&self, cells: &[(f64, f64)], device: &B::Device) -> Tensor<B, 2> {
        let column = |f: fn(&(f64, f64)) -> f64| {
            let values: Vec<f32> = cells.iter().map(|cell| f(cell) as f32).collect();
            Tensor::<B, 2>::from_data(TensorData::new(values, [cells.len(), 1]), device)
        };
        let c = self.c.val().abs().reshape([1, 1]);
        let distance = column(|(i, j)| (i - j).abs());
        let position = column(|(i, _)| *i);
        let threshold =
            (self.multiplier.val().abs() * self.threshold).reshape([1, 1]).expand(position.shape());
        let past = position.clone().greater(threshold.clone());
        let reached = threshold.mask_where(past, position);
        ln_1p(c.clone() * distance) * inverse(ln_1p(c * reached) + 1e-6)
    }
}

impl<B: Backend> Scheme<B> for Fire<B> {
    fn name(&self) -> &'static str {
        "fire"
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let cells = cells(pass, |_, i, j| (i, j));
        let (q, k) = (pass.queries.seq, pass.keys.seq);
        let rows = cells.len() / (q * k).max(1);
        let [_, n_heads] = self.output_weight.dims();
        let hidden = self.arguments(&cells, device).matmul(self.hidden_weight.val()); // [cells, hidden]
        let hidden = relu(hidden + self.hidden_bias.val().unsqueeze());
        let bias = hidden.matmul(self.output_weight.val()) + self.output_bias.val().unsqueeze(); // [cells, heads]
        Prepared::new(ScoreBias::Dense(bias.reshape([rows, q, k, n_heads]).permute([0, 3, 1, 2])))
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}
