//! Projected relative logits: a few numbers that a token projects for each head choose among learned curves over distance.
//!
//! Formula: `(W_r h_i)_h · P[i − j]` is added to the scaled scores, unscaled, with `h_i` the input of the layer's attention
//! and `P` a vector of `d_rel` numbers per distance, shared by the heads; zero from `extent` on. Inkling (Thinking Machines
//! 2026), which turns nothing besides; `RelativeProjPositionalBias` of x-transformers has it for any number of axes.
//! Convention: a decoder has vectors of the distances 0 to `extent − 1`, an encoder also of those to the other side.
//! Parameters: `d_rel · n_heads · d_model + d_rel · extent`, in an encoder `d_rel · (2 · extent − 1)` for the latter; of each
//! layer in the paper's model (`position_sharing = "per_layer"`). Limit: none (no score of position beyond `extent`). Cache:
//! the final key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::distances::Distances;
use super::facts::{Facts, Family};
use super::scheme::{Form, LayerPass, Pass, Prepared, Scheme};
use super::{PositionProblem, PositionShape};

/// Configuration of [`RelativeProjection`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelativeProjectionConfig {
    /// How many curves there are.
    pub d_rel: usize,
    /// The distance from which on nothing is added, in tokens.
    pub extent: usize,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for RelativeProjectionConfig {
    fn default() -> Self {
        Self { d_rel: 16, extent: 1024, init_std: 0.02 }
    }
}

impl SchemeConfig for RelativeProjectionConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Terms,
            does: "each token chooses among learned curves over distance; nothing from `extent` on",
            parameters: "d_rel·(n_heads·d_model + extent)",
            longer_texts: "by content alone",
            paper: "Inkling",
        }
    }

    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.d_rel > 0, problems, "d_rel", self.d_rel, "at least 1");
        PositionProblem::unless(self.extent > 0, problems, "extent", self.extent, "at least 1");
        PositionProblem::positive(self.init_std, problems, "init_std");
    }
}

impl RelativeProjectionConfig {
    pub(super) fn init<B: Backend>(
        &self,
        shape: &PositionShape,
        key: Key,
        device: &B::Device,
    ) -> RelativeProjection<B> {
        let init = Init::Normal { std: self.init_std };
        let zero = match shape.form {
            Form::Causal => 0,
            Form::Bidirectional => self.extent - 1,
        };
        RelativeProjection {
            weight: init.param([shape.d_model, shape.n_heads * self.d_rel], key.named("weight"), device),
            table: init.param([zero + self.extent, self.d_rel], key.named("table"), device),
            zero,
        }
    }
}

/// Adds a learned curve over distance that each token chooses.
#[derive(Module, Debug)]
pub struct RelativeProjection<B: Backend> {
    /// `W_r`, `[d_model, n_heads · d_rel]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `P`, `[distances, d_rel]`.
    pub table: Param<Tensor<B, 2>>,
    /// The row of distance 0.
    zero: usize,
}

/// The distances of a pass and their vectors, `[1, columns, d_rel]`.
#[derive(Debug)]
struct Curves<B: Backend> {
    distances: Distances<B>,
    vectors: Tensor<B, 3>,
}

impl<B: Backend> Scheme<B> for RelativeProjection<B> {
    fn name(&self) -> &'static str {
        "relative_projection"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let [n, d_rel] = self.table.dims();
        // Each column's row of the table; past its end that of the zeros below it.
        let row = |distance: f64| {
            let row = distance + self.zero as f64;
            if (0.0..n as f64).contains(&row) { row.floor() } else { n as f64 }
        };
        let distances = Distances::of(pass, row, device);
        let table = Tensor::cat(vec![self.table.val(), Tensor::zeros([1, d_rel], device)], 0);
        let vectors = table.select(0, distances.rows(|row| row as usize, device)).unsqueeze::<3>();
        Prepared::new(Curves { distances, vectors })
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn score_terms(
        &self,
        q: &Tensor<B, 4>,
        _k: &Tensor<B, 4>,
        at: &LayerPass<'_, B>,
    ) -> Option<Tensor<B, 4>> {
        let Curves { distances, vectors } = at.prepared.get::<Curves<B>>();
        let ([batch, n_heads, q_len, _], [_, d_rel]) = (q.dims(), self.table.dims());
        let chosen = ops::linear(at.hidden.clone(), self.weight.val(), None);
        let chosen = chosen.reshape([batch, q_len, n_heads, d_rel]).swap_dims(1, 2);
        Some(distances.by_query(chosen, vectors.clone()))
    }
}
