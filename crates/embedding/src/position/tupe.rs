//! TUPE: scores of two positions, by projections of their own, beside those of two contents.
//!
//! Formula: `q_i·k_j / √(2·d_head) + reset(n(p_i)W_Q · n(p_j)W_K / √(2·d_head) + b[bucket(j − i)], i, j)` with learned `p` and
//! layer norm `n`; the bias `b`, T5's, with `relative` (TUPE-R; without it TUPE-A). Under `first_token` the scores of the
//! text's first token (`[CLS]`) are untied from positions: a learned number per head for all that it sees, and another for
//! all others that see it. Ke et al. 2020, arXiv:2006.15595, eq. 7 and 10.
//! Convention: the first token is that at position 0, so a text whose positions start elsewhere has none. The numbers are
//! parameters, as in the paper; the authors' code takes products of two spare rows of `p` for them. Projections have no bias.
//! In the paper all layers share the scores (`position_sharing = "across_layers"`).
//! Parameters: `(max_positions + 2) · d_model + 2 · d_model · n_heads · d_head`, `2 · n_heads` for the first token,
//! `n_buckets · n_heads` for `b`. Limit: an error from `max_positions` on. Cache: the final key.

use std::collections::HashMap;

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::{self, ScoreBias};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Limit, Pass, Prepared, Scheme, ScoreScale};
use super::t5::{T5Config, bucket};
use super::views::alike;
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Configuration of [`Tupe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TupeConfig {
    /// Number of positions; the model's `max_seq_len` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_positions: Option<usize>,
    /// Whether the scores of the token at position 0 are untied from positions.
    pub first_token: bool,
    /// Standard deviation of the initial values.
    pub init_std: f64,
    /// T5's bias, added to the scores of positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<TupeBuckets>,
}

impl Default for TupeConfig {
    fn default() -> Self {
        Self { max_positions: None, first_token: true, init_std: 0.02, relative: None }
    }
}

/// The buckets of T5's bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TupeBuckets {
    /// Number of buckets, over both directions in a bidirectional model.
    pub n_buckets: usize,
    /// The distance from which on all share the last bucket.
    pub max_distance: usize,
}

impl Default for TupeBuckets {
    fn default() -> Self {
        let T5Config { n_buckets, max_distance, .. } = T5Config::default();
        Self { n_buckets, max_distance }
    }
}

impl SchemeConfig for TupeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "scores of two positions by projections of their own; `first_token`, `relative`",
            parameters: "(max_positions + 2)·d_model + 2·d_model·n_heads·d_head + 2·n_heads, or n_buckets·n_heads more with relative",
            longer_texts: "no",
            paper: "arXiv:2006.15595",
        }
    }

    fn position_table(&self) -> Option<(&'static str, usize)> {
        Some(("table", 0))
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let n = self.max_positions(shape);
        let allowed = format!("at least max_seq_len = {}", shape.max_seq_len);
        PositionProblem::unless(n >= shape.max_seq_len, problems, "max_positions", n, &allowed);
        PositionProblem::positive(self.init_std, problems, "init_std");
        if let Some(TupeBuckets { n_buckets, max_distance }) = self.relative {
            let mut of_buckets = Vec::new();
            T5Config { n_buckets, max_distance, ..T5Config::default() }.check(shape, &mut of_buckets);
            let below = |problem: PositionProblem| PositionProblem {
                key: format!("relative.{}", problem.key),
                ..problem
            };
            problems.extend(of_buckets.into_iter().map(below));
        }
    }
}

impl TupeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Tupe<B> {
        let (init, width) = (Init::Normal { std: self.init_std }, shape.n_heads * shape.d_head);
        let weight = |name: &str| init.param([shape.d_model, width], key.named(name), device);
        let per_head = |rows: usize, name: &str| init.param([rows, shape.n_heads], key.named(name), device);
        Tupe {
            table: init.param([self.max_positions(shape), shape.d_model], key.named("table"), device),
            gamma: Init::Ones.param([shape.d_model], key, device),
            beta: Init::Zeros.param([shape.d_model], key, device),
            query_weight: weight("query_weight"),
            key_weight: weight("key_weight"),
            first_token: self.first_token.then(|| per_head(2, "first_token")),
            buckets: self.relative.map(|buckets| per_head(buckets.n_buckets, "buckets")),
            max_distance: self.relative.unwrap_or_default().max_distance,
            n_heads: shape.n_heads,
        }
    }

    fn max_positions(&self, shape: &PositionShape) -> usize {
        self.max_positions.unwrap_or(shape.max_seq_len)
    }
}

/// Adds scores of two positions.
#[derive(Module, Debug)]
pub struct Tupe<B: Backend> {
    /// `p`, `[max_positions, d_model]`.
    pub table: Param<Tensor<B, 2>>,
    /// Scale of the norm, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Shift of the norm, `[d_model]`.
    pub beta: Param<Tensor<B, 1>>,
    /// `W_Q`, `[d_model, n_heads · d_head]`.
    pub query_weight: Param<Tensor<B, 2>>,
    /// `W_K`, `[d_model, n_heads · d_head]`.
    pub key_weight: Param<Tensor<B, 2>>,
    /// The scores of all that the first token sees, and of all others that see it, `[2, n_heads]`.
    pub first_token: Option<Param<Tensor<B, 2>>>,
    /// `b`, `[n_buckets, n_heads]`.
    pub buckets: Option<Param<Tensor<B, 2>>>,
    max_distance: usize,
    n_heads: usize,
}

/// PyTorch's constant under the root of the norm, which the authors' code leaves as it is.
const EPS: f64 = 1e-5;

/// The distinct positions of some tokens, and which of them each token has.
struct Places {
    distinct: Vec<usize>,
    of: Vec<usize>,
}

impl Places {
    /// Of the tokens of the first rows. Padding may wait past the last position; nothing reads its scores.
    fn of(tokens: &Tokens, rows: usize, max_positions: usize) -> Self {
        let (mut distinct, mut known) = (Vec::new(), HashMap::new());
        let mut place = |position: &f64| {
            let position = (*position as usize).min(max_positions.saturating_sub(1));
            *known.entry(position).or_insert_with(|| {
                distinct.push(position);
                distinct.len() - 1
            })
        };
        let of = tokens.positions[..rows * tokens.seq].iter().map(&mut place).collect();
        Self { distinct, of }
    }
}

impl<B: Backend> Tupe<B> {
    /// `n(p)` of positions, `[positions, d_model]`.
    fn normed(&self, places: &Places, device: &B::Device) -> Tensor<B, 2> {
        let rows = ints(places.distinct.iter().map(|&position| position as i64), device);
        ops::layer_norm(self.table.val().select(0, rows), self.gamma.val(), self.beta.val(), EPS)
    }

    /// `n(p)W` of positions, `[heads, positions, d_head]`.
    fn project(&self, normed: Tensor<B, 2>, weight: &Param<Tensor<B, 2>>) -> Tensor<B, 3> {
        let ([n, _], [_, width]) = (normed.dims(), weight.dims());
        let projected = ops::linear(normed, weight.val(), None);
        projected.reshape([n, self.n_heads, width / self.n_heads]).swap_dims(0, 1)
    }

    /// The products of queries `[heads, query positions, d_head]` with all keys, `[heads, query positions, key positions]`.
    fn products(&self, q: Tensor<B, 3>, keys: Tensor<B, 2>) -> Tensor<B, 3> {
        let ([n_heads, n_q, d_head], [n_k, d_model]) = (q.dims(), keys.dims());
        if n_q >= d_head {
            return q.matmul(self.project(keys, &self.key_weight).swap_dims(1, 2));
        }
        // PERF: a step that decodes has many keys and few queries: these are multiplied by W_K then.
        let weight = self.key_weight.val().reshape([d_model, n_heads, d_head]);
        let weight = weight.swap_dims(0, 1).swap_dims(1, 2); // [heads, d_head, d_model]
        let q = q.matmul(weight).reshape([n_heads * n_q, d_model]);
        q.matmul(keys.transpose()).reshape([n_heads, n_q, n_k])
    }

    /// The scores of each query's position and each key's, `[heads, query positions, key positions]`.
    fn scores(&self, pass: &Pass<'_>, queries: &Places, keys: &Places, device: &B::Device) -> Tensor<B, 3> {
        let (n_q, n_k) = (queries.distinct.len(), keys.distinct.len());
        let q = self.project(self.normed(queries, device), &self.query_weight);
        let [_, _, d_head] = q.dims();
        let mut scores = self.products(q * scale(d_head), self.normed(keys, device));
        if let Some(table) = &self.buckets {
            let [n_buckets, _] = table.dims();
            let of = |i: usize, j: usize| {
                bucket(i as f64 - j as f64, pass.form, n_buckets, self.max_distance) as i64
            };
            let cells = queries.distinct.iter().flat_map(|&i| keys.distinct.iter().map(move |&j| of(i, j)));
            let bias = table.val().select(0, ints(cells, device)); // [cells, heads]
            scores = scores + bias.transpose().reshape([self.n_heads, n_q, n_k]);
        }
        if let Some(first) = &self.first_token {
            let is_first = |places: &Places| -> Vec<f32> {
                places.distinct.iter().map(|&position| f32::from(position == 0)).collect()
            };
            let seeing = Tensor::<B, 3>::from_data(TensorData::new(is_first(queries), [1, n_q, 1]), device);
            let seen = Tensor::<B, 3>::from_data(TensorData::new(is_first(keys), [1, 1, n_k]), device);
            let seen = seen * (-seeing.clone() + 1.0); // [1, q, k]
            let of = |row: usize| first.val().narrow(0, row, 1).reshape([self.n_heads, 1, 1]);
            let tied = -(seeing.clone() + seen.clone()) + 1.0;
            scores = scores * tied + of(0) * seeing + of(1) * seen;
        }
        scores
    }
}

impl<B: Backend> Scheme<B> for Tupe<B> {
    fn name(&self) -> &'static str {
        "tupe"
    }

    fn limit(&self) -> Limit {
        let [max_positions, _] = self.table.dims();
        Limit::Error(max_positions)
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let [max_positions, _] = self.table.dims();
        let (q_len, k_len) = (pass.queries.seq, pass.keys.seq);
        let rows = if alike(pass.queries) && alike(pass.keys) {
            pass.queries.batch.min(1)
        } else {
            pass.queries.batch
        };
        let queries = Places::of(pass.queries, rows, max_positions);
        let keys = Places::of(pass.keys, rows, max_positions);
        let scores = self.scores(pass, &queries, &keys, device);
        if rows * q_len == queries.distinct.len() && rows * k_len == keys.distinct.len() && rows == 1 {
            return Prepared::new(ScoreBias::Dense(scores.unsqueeze::<4>()));
        }
        let n_k = keys.distinct.len();
        let cells = (0..rows * q_len).flat_map(|query| {
            let (row, i) = (query / q_len, queries.of[query]);
            keys.of[row * k_len..(row + 1) * k_len].iter().map(move |j| (i * n_k + j) as i64)
        });
        let cells = ints(cells, device);
        let [n_heads, n_q, _] = scores.dims();
        let scores = scores.reshape([n_heads, n_q * n_k]).select(1, cells);
        Prepared::new(ScoreBias::Dense(scores.reshape([n_heads, rows, q_len, k_len]).swap_dims(0, 1)))
    }

    fn score_scale(&self, d_head: usize, _pass: &Pass<'_>) -> ScoreScale {
        ScoreScale::Uniform(scale(d_head))
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}

/// The factor of both kinds of scores.
fn scale(d_head: usize) -> f64 {
    1.0 / (2.0 * d_head as f64).sqrt()
}

fn ints<B: Backend>(values: impl Iterator<Item = i64>, device: &B::Device) -> Tensor<B, 1, Int> {
    let values: Vec<i64> = values.collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}
