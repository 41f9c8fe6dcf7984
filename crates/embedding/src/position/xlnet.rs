//! XLNet: Transformer-XL's scores, to both sides, and one of whether two tokens are of the same segment.
//!
//! Formula: that of [`TransformerXl`](super::TransformerXl), and with `segments` also `(q_i + s)·e / √d_head`, where `e` is
//! one of two vectors per head: that of tokens of the same segment or that of tokens of different ones. Yang et al. 2019,
//! arXiv:1906.08237, §2.4 (relative segment encodings) and §2.5; the authors' code for `clamp_len` and `r`.
//! Convention: tokens without segment ids (`Tokens::segments`) are all of one, and a score that all keys of a query share
//! changes nothing, so it is left out; a text that is decoded through the cache has segment ids in every step or in none.
//! The two-stream attention of the paper's training and its texts read backwards (`bi_data`) are not matters of position.
//! Parameters: those of Transformer-XL, and with `segments` `3 · n_heads · d_head`. Limit: none. Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::transformer_xl::{Projected, TransformerXl, TransformerXlConfig};
use super::{PositionProblem, PositionShape};

/// Configuration of [`XlNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XlNetConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// The distance that farther ones count as, in tokens; none where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<usize>,
    /// Whether scores know whether two tokens are of the same segment.
    pub segments: bool,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for XlNetConfig {
    fn default() -> Self {
        let TransformerXlConfig { base, clamp, init_std } = TransformerXlConfig::default();
        Self { base, clamp, segments: false, init_std }
    }
}

impl SchemeConfig for XlNetConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Terms,
            does: "`transformer_xl`, and with `segments` whether two tokens are of the same segment",
            parameters: "(d_model + 2)·n_heads·d_head, or 3·n_heads·d_head more with segments",
            longer_texts: "as `transformer_xl`",
            paper: "arXiv:1906.08237",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        self.distances().check(shape, problems);
    }
}

impl XlNetConfig {
    fn distances(&self) -> TransformerXlConfig {
        TransformerXlConfig { base: self.base, clamp: self.clamp, init_std: self.init_std }
    }

    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> XlNet<B> {
        let init = Init::Normal { std: self.init_std };
        let segments = || Segments {
            bias: init.param([shape.n_heads, shape.d_head], key.named("segment_bias"), device),
            vectors: init.param([2, shape.n_heads, shape.d_head], key.named("segment_vectors"), device),
        };
        XlNet { distances: self.distances().init(shape, key, device), segments: self.segments.then(segments) }
    }
}

/// Adds scores of the distance and of segments.
#[derive(Module, Debug)]
pub struct XlNet<B: Backend> {
    /// The scores of the distance.
    pub distances: TransformerXl<B>,
    /// Those of segments.
    pub segments: Option<Segments<B>>,
}

/// Scores of whether two tokens are of the same segment.
#[derive(Module, Debug)]
pub struct Segments<B: Backend> {
    /// `s`, `[n_heads, d_head]`.
    pub bias: Param<Tensor<B, 2>>,
    /// Of the same segment, and of different ones, `[2, n_heads, d_head]`.
    pub vectors: Param<Tensor<B, 3>>,
}

/// What the layers of a pass read.
#[derive(Debug)]
struct OfPass<B: Backend> {
    distances: Projected<B>,
    /// 1 where query and key are of different segments, 0 elsewhere, `[batch, 1, q, k]`.
    different: Option<Tensor<B, 4>>,
}

fn different<B: Backend>(pass: &Pass<'_>, device: &B::Device) -> Option<Tensor<B, 4>> {
    let (queries, keys) = (pass.queries, pass.keys);
    let (of_queries, of_keys) = (queries.segments.as_ref()?, keys.segments.as_ref()?);
    let mut cells: Vec<f32> = Vec::with_capacity(queries.batch * queries.seq * keys.seq);
    for (row, q) in of_queries.iter().enumerate().map(|(cell, q)| (cell / queries.seq, q)) {
        let keys = &of_keys[row * keys.seq..(row + 1) * keys.seq];
        cells.extend(keys.iter().map(|k| f32::from(k != q)));
    }
    Some(Tensor::from_data(TensorData::new(cells, [queries.batch, 1, queries.seq, keys.seq]), device))
}

impl<B: Backend> Segments<B> {
    /// `[batch, heads, q, k]`.
    fn terms(&self, q: &Tensor<B, 4>, different: &Tensor<B, 4>, scale: f64) -> Tensor<B, 4> {
        let s = self.bias.val().unsqueeze_dim::<3>(1).unsqueeze::<4>(); // [1, heads, 1, d_head]
        let vectors = self.vectors.val().permute([1, 2, 0]).unsqueeze::<4>(); // [1, heads, d_head, 2]
        let products = ((q.clone() + s) * scale).matmul(vectors); // [batch, heads, q, 2]
        let (same, other) = (products.clone().narrow(3, 0, 1), products.narrow(3, 1, 1));
        (other - same.clone()) * different.clone() + same
    }
}

impl<B: Backend> Scheme<B> for XlNet<B> {
    fn name(&self) -> &'static str {
        "xlnet"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let different = self.segments.as_ref().and_then(|_| different(pass, device));
        Prepared::new(OfPass { distances: self.distances.project(pass, device), different })
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn score_terms(&self, q: &Tensor<B, 4>, k: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        let OfPass { distances, different } = at.prepared.get::<OfPass<B>>();
        let terms = self.distances.terms(q, k, distances, at.scale);
        Some(match (&self.segments, different) {
            (Some(segments), Some(different)) => terms + segments.terms(q, different, at.scale),
            _ => terms,
        })
    }
}
