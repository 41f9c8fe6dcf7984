//! Transformer-XL: scores of a content and of a distance, each with a bias of its own in place of the query's position.
//!
//! Formula: `((q_i + u)·k_j + (q_i + v)·W_R r_{i−j}) / √d_head`, with `r` the sines, then the cosines, of the signed distance
//! at the frequencies `base^(−2n/d_model)`. Dai et al. 2019, arXiv:1901.02860, §3.3.
//! Convention: `i − j` is positive for keys before the query; with `clamp` distances beyond it count as it (`clamp_len` of
//! the authors' code). Each query head has its own part of `W_R`, also where heads share keys. The paper's memory of earlier
//! segments is the KV cache: positions carry the distance, so nothing is computed anew.
//! Parameters: `d_model · n_heads · d_head + 2 · n_heads · d_head`; in the paper `W_R` is of each layer, `u` and `v` of all
//! (`position_sharing` shares all or nothing). Limit: none. Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::distances::Distances;
use super::facts::{Facts, Family};
use super::known::Rows;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::{PositionProblem, PositionShape};

/// Configuration of [`TransformerXl`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerXlConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// The distance that farther ones count as, in tokens; none where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<usize>,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for TransformerXlConfig {
    fn default() -> Self {
        Self { base: 10_000.0, clamp: None, init_std: 0.02 }
    }
}

impl SchemeConfig for TransformerXlConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Terms,
            does: "projected sines of the signed distance, a bias for content and one for distance; `clamp`",
            parameters: "(d_model + 2)·n_heads·d_head",
            longer_texts: "well, with memory",
            paper: "arXiv:1901.02860 §3.3",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::positive(self.init_std, problems, "init_std");
        let clamp = self.clamp.unwrap_or(1);
        PositionProblem::unless(clamp > 0, problems, "clamp", clamp, "at least 1");
        let (found, allowed) =
            (format!("d_model = {}", shape.d_model), "an even d_model: sines and cosines come in pairs");
        PositionProblem::unless(shape.d_model.is_multiple_of(2), problems, "", found, allowed);
    }
}

impl TransformerXlConfig {
    pub(super) fn init<B: Backend>(
        &self,
        shape: &PositionShape,
        key: Key,
        device: &B::Device,
    ) -> TransformerXl<B> {
        let init = Init::Normal { std: self.init_std };
        let of_heads = [shape.n_heads, shape.d_head];
        TransformerXl {
            content_bias: init.param(of_heads, key.named("content_bias"), device),
            position_bias: init.param(of_heads, key.named("position_bias"), device),
            weight: init.param([shape.d_model, shape.n_heads * shape.d_head], key.named("weight"), device),
            base: self.base,
            clamp: self.clamp,
        }
    }
}

/// Adds scores of the distance.
#[derive(Module, Debug)]
pub struct TransformerXl<B: Backend> {
    /// `u`, `[n_heads, d_head]`.
    pub content_bias: Param<Tensor<B, 2>>,
    /// `v`, `[n_heads, d_head]`.
    pub position_bias: Param<Tensor<B, 2>>,
    /// `W_R`, `[d_model, n_heads · d_head]`.
    pub weight: Param<Tensor<B, 2>>,
    base: f64,
    clamp: Option<usize>,
}

/// The distances of a pass and their vectors.
#[derive(Debug)]
pub(super) struct Projected<B: Backend> {
    distances: Distances<B>,
    vectors: Vectors<B>,
}

#[derive(Debug)]
enum Vectors<B: Backend> {
    /// `W_R r`, `[heads, columns, d_head]`.
    Projected(Tensor<B, 3>),
    /// `r`, `[1, columns, d_model]`.
    Sines(Tensor<B, 3>),
}

impl<B: Backend> TransformerXl<B> {
    pub(super) fn project(&self, pass: &Pass<'_>, device: &B::Device) -> Projected<B> {
        let ([n_heads, d_head], [d_model, _]) = (self.content_bias.dims(), self.weight.dims());
        let farthest = self.clamp.map_or(f64::INFINITY, |clamp| clamp as f64);
        let distances = Distances::of(pass, |d| d.clamp(-farthest, farthest), device);
        let frequencies: Vec<f64> =
            (0..d_model / 2).map(|n| self.base.powf(-2.0 * n as f64 / d_model as f64)).collect();
        let sizes: Vec<f64> = distances.columns.iter().map(|distance| distance.abs()).collect();
        let row = |d: f64| {
            let sines = frequencies.iter().map(|f| (d * f).sin() as f32);
            sines.chain(frequencies.iter().map(|f| (d * f).cos() as f32)).collect()
        };
        let rows = Rows::new("distances", [self.base], d_model, &sizes, row);
        let mut r: Vec<f32> = Vec::with_capacity(sizes.len() * d_model);
        for (distance, size) in distances.columns.iter().zip(&sizes) {
            let row = rows.at(*size);
            let (sines, cosines) = row.split_at(d_model / 2);
            let sign = if *distance < 0.0 { -1.0 } else { 1.0 };
            r.extend(sines.iter().map(|sine| sign * sine));
            r.extend_from_slice(cosines);
        }
        let n = distances.columns.len();
        let r = Tensor::<B, 2>::from_data(TensorData::new(r, [n, d_model]), device);
        // PERF: a step that decodes has a distance for each key and few queries: these are multiplied by W_R then.
        let vectors = if pass.queries.batch * pass.queries.seq < d_head {
            Vectors::Sines(r.unsqueeze::<3>())
        } else {
            let projected = r.matmul(self.weight.val()).reshape([n, n_heads, d_head]);
            Vectors::Projected(projected.swap_dims(0, 1))
        };
        Projected { distances, vectors }
    }

    /// The products of queries `[batch, heads, q, d_head]` with `W_R r`, `[batch, heads, q, k]`.
    fn products(&self, q: Tensor<B, 4>, projected: &Projected<B>) -> Tensor<B, 4> {
        let Projected { distances, vectors } = projected;
        match vectors {
            Vectors::Projected(vectors) => distances.by_query(q, vectors.clone()),
            Vectors::Sines(r) => {
                let ([n_heads, d_head], [d_model, _]) = (self.content_bias.dims(), self.weight.dims());
                let weight = self.weight.val().reshape([1, d_model, n_heads, d_head]);
                let weight = weight.swap_dims(1, 2).swap_dims(2, 3); // [1, heads, d_head, d_model]
                distances.by_query(q.matmul(weight), r.clone())
            }
        }
    }

    /// What is added to the scaled scores, `[batch, heads, q, k]`.
    pub(super) fn terms(
        &self,
        q: &Tensor<B, 4>,
        k: &Tensor<B, 4>,
        projected: &Projected<B>,
        scale: f64,
    ) -> Tensor<B, 4> {
        let [n_heads, d_head] = self.content_bias.dims();
        let [batch, kv_heads, k_len, _] = k.dims();
        let u = self.content_bias.val() * scale;
        let content = u
            .reshape([1, kv_heads, n_heads / kv_heads, d_head])
            .matmul(k.clone().swap_dims(2, 3))
            .reshape([batch, n_heads, 1, k_len]);
        let v = self.position_bias.val().reshape([1, n_heads, 1, d_head]);
        let position = self.products((q.clone() + v) * scale, projected);
        position + content
    }
}

impl<B: Backend> Scheme<B> for TransformerXl<B> {
    fn name(&self) -> &'static str {
        "transformer_xl"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(self.project(pass, device))
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn score_terms(&self, q: &Tensor<B, 4>, k: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        Some(self.terms(q, k, at.prepared.get::<Projected<B>>(), at.scale))
    }
}
