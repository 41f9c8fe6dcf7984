//! Relative position representations (Shaw): learned vectors per clipped distance, added to keys and to values.
//!
//! Formula: `e_ij = q_i · (k_j + a^K_c) / √d_head`, `z_i = Σ_j α_ij (v_j + a^V_c)`, `c = clip(j − i, −n, n)`, shared by the
//! heads. Shaw et al. 2018, arXiv:1803.02155, eq. 3–5. With `values = false` keys alone have vectors of the distance, as in
//! Music Transformer, arXiv:1809.04281, whose skew computes them wherever positions count in ones.
//! With `both_sides = true` the scores have `a^K_c · k_j / √d_head` too: Huang et al. 2020, arXiv:2009.13658, method 4.
//! Parameters: `2 · (2n + 1) · d_head`, without values half of it. Limit: none (distances saturate at `max_distance`). Cache:
//! the final key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::distances::Distances;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::{PositionProblem, PositionShape};

/// Configuration of [`Shaw`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShawConfig {
    /// The distance `n` at which vectors are shared.
    pub max_distance: usize,
    /// Whether values have vectors of the distance too.
    pub values: bool,
    /// Whether keys meet the vectors that queries meet, as in BERT's `relative_key_query`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub both_sides: bool,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for ShawConfig {
    fn default() -> Self {
        Self { max_distance: 16, values: true, both_sides: false, init_std: 0.02 }
    }
}

impl SchemeConfig for ShawConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Terms,
            does: "learned vectors per clipped distance, on keys and values; `values = false` for keys alone",
            parameters: "2·(2·max_distance + 1)·d_head, or half for keys alone",
            longer_texts: "saturates",
            paper: "arXiv:1803.02155, arXiv:1809.04281",
        }
    }

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
            values: self.values.then(|| init.param(dims, key.named("values"), device)),
            both_sides: self.both_sides,
        }
    }
}

/// Adds vectors of the distance to keys and values.
#[derive(Module, Debug)]
pub struct Shaw<B: Backend> {
    /// `a^K`, `[2n + 1, d_head]`; row `n` is distance 0, row `n + 1` the key after the query.
    pub keys: Param<Tensor<B, 2>>,
    /// `a^V`, `[2n + 1, d_head]`.
    pub values: Option<Param<Tensor<B, 2>>>,
    both_sides: bool,
}

/// The distances of a pass and their vectors.
#[derive(Debug)]
struct OfPass<B: Backend> {
    distances: Distances<B>,
    /// `[1, columns, d_head]`.
    keys: Tensor<B, 3>,
    /// `[columns, d_head]`.
    values: Option<Tensor<B, 2>>,
}

impl<B: Backend> Scheme<B> for Shaw<B> {
    fn name(&self) -> &'static str {
        "shaw"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let [n_vectors, _] = self.keys.dims();
        let n = (n_vectors / 2) as f64;
        let distances = Distances::of(pass, |d| d.clamp(-n, n), device);
        let rows = distances.rows(|d| (n - d) as usize, device);
        let of = |table: &Param<Tensor<B, 2>>| table.val().select(0, rows.clone());
        let (keys, values) = (of(&self.keys).unsqueeze(), self.values.as_ref().map(of));
        Prepared::new(OfPass { distances, keys, values })
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn score_terms(&self, q: &Tensor<B, 4>, k: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        let OfPass { distances, keys, .. } = at.prepared.get::<OfPass<B>>();
        let of_queries = distances.by_query(q.clone() * at.scale, keys.clone());
        if !self.both_sides {
            return Some(of_queries);
        }
        let ([_, n_heads, ..], [_, columns, d_head]) = (q.dims(), keys.dims());
        let keys = keys.clone().expand([n_heads, columns, d_head]);
        Some(of_queries + distances.by_key(k.clone() * at.scale, keys))
    }

    fn output(&self, context: Tensor<B, 4>, weights: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        let OfPass { distances, values, .. } = at.prepared.get::<OfPass<B>>();
        match values {
            Some(values) => context + distances.mix(weights.clone(), values.clone()),
            None => context,
        }
    }
}
