//! Relative position representations (Shaw): learned vectors per clipped distance, added to keys and to values.
//!
//! Formula: `e_ij = q_i · (k_j + a^K_c) / √d_head`, `z_i = Σ_j α_ij (v_j + a^V_c)`, `c = clip(j − i, −n, n)`, shared by the
//! heads. Shaw et al. 2018, arXiv:1803.02155, eq. 3–5.
//! Parameters: `2 · (2n + 1) · d_head`. Limit: none (distances saturate at `max_distance`). Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::relative::Relative;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::{PositionProblem, PositionShape};

/// Configuration of [`Shaw`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShawConfig {
    /// The distance `n` at which vectors are shared.
    pub max_distance: usize,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for ShawConfig {
    fn default() -> Self {
        Self { max_distance: 16, init_std: 0.02 }
    }
}

impl SchemeConfig for ShawConfig {
    fn check(&self, _shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::positive(self.init_std, problems, "init_std");
        PositionProblem::unless(
            self.max_distance > 0,
            problems,
            "max_distance",
            self.max_distance,
            "at least 1",
        );
    }
}

impl ShawConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Shaw<B> {
        let (init, dims) = (Init::Normal { std: self.init_std }, [2 * self.max_distance + 1, shape.d_head]);
        Shaw {
            keys: init.param(dims, key.named("keys"), device),
            values: init.param(dims, key.named("values"), device),
        }
    }
}

/// Adds vectors of the distance to keys and values.
#[derive(Module, Debug)]
pub struct Shaw<B: Backend> {
    /// `a^K`, `[2n + 1, d_head]`; row `n` is distance 0, row `n + 1` the key after the query.
    pub keys: Param<Tensor<B, 2>>,
    /// `a^V`, `[2n + 1, d_head]`.
    pub values: Param<Tensor<B, 2>>,
}

/// The vectors of all cells, `[rows, q, k, d_head]`, with one row where all are equal.
#[derive(Debug)]
struct Cells<B: Backend> {
    keys: Tensor<B, 4>,
    values: Tensor<B, 4>,
}

impl<B: Backend> Scheme<B> for Shaw<B> {
    fn name(&self) -> &'static str {
        "shaw"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let [n_vectors, d_head] = self.keys.dims();
        let n = (n_vectors / 2) as f64;
        let ([rows, q, k], distances) = Relative::of(pass).dense();
        let vectors: Vec<i64> = distances.iter().map(|d| ((-d).clamp(-n, n) + n) as i64).collect();
        let vectors = Tensor::<B, 1, Int>::from_data(TensorData::new(vectors, [rows * q * k]), device);
        let cells = |table: &Param<Tensor<B, 2>>| {
            table.val().select(0, vectors.clone()).reshape([rows, q, k, d_head])
        };
        Prepared::new(Cells { keys: cells(&self.keys), values: cells(&self.values) })
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
        let keys = at.prepared.get::<Cells<B>>().keys.clone().swap_dims(2, 3); // [rows, q, d_head, k]
        Some(per_query(q.clone() * at.scale, keys))
    }

    fn output(&self, context: Tensor<B, 4>, weights: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        context + per_query(weights.clone(), at.prepared.get::<Cells<B>>().values.clone())
    }
}

/// A matrix of its own for every query: x `[batch, heads, q, n]`, matrices `[rows, q, n, m]` → `[batch, heads, q, m]`.
fn per_query<B: Backend>(x: Tensor<B, 4>, matrices: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, heads, q, n] = x.dims();
    let [rows, _, _, m] = matrices.dims();
    // Where the rows share their matrices, the batch is folded into the heads: one product per query.
    let together = batch / rows * heads;
    let x = x.reshape([rows, together, q, n]).swap_dims(1, 2); // [rows, q, together, n]
    x.matmul(matrices).swap_dims(1, 2).reshape([batch, heads, q, m])
}
