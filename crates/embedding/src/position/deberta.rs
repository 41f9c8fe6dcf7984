//! DeBERTa's disentangled attention: content to position and position to content, by learned vectors of the distance.
//!
//! Formula: `(q_i·k_j + q_i·(E_c W_k) + k_j·(E_c W_q + b)) / √(d_head·(1 + terms))`, where row `c` of the table `E` stands for
//! the distance `i − j`: clipped to `[−span, span)` in version 1 (He et al. 2020, arXiv:2006.03654, eq. 3–4), in buckets that
//! grow with the logarithm of the distance, and with `E` normalised, in versions 2 and 3 (arXiv:2111.09543; the authors'
//! code). Version 1 is `{ distances = "clipped", span = 512, norm = false }`; the default is version 3.
//! Convention: the code's, which checkpoints follow: both terms read the row of `i − j`, where the paper writes that of
//! `j − i` in the second. Buckets are rounded up, unlike T5's. There is no bias with `W_k`: all keys of a query would share it.
//! Versions 2 and 3 take the layer's own projections of content for `W_k` and `W_q` (`share_att_key`), which
//! `projections = "layer"` does, with their biases; the default has matrices of its own, as version 1.
//! Difference: `E`, which the authors' layers share, is of each instance.
//! Parameters: `2 · span · d_model`, `d_model · n_heads · d_head` for each term, `n_heads · d_head` for the second,
//! `2 · d_model` for the norm. Limit: none (distances saturate). Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::distances::Distances;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme, ScoreScale};
use super::{PositionProblem, PositionShape};

/// Which rows of the table distances read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DebertaDistances {
    /// A row per distance up to `span` (version 1).
    Clipped,
    /// Half the rows of each side hold one distance each, the others grow with the logarithm of the distance (versions 2
    /// and 3).
    Log {
        /// The distance from which on all share the last row.
        max_distance: usize,
    },
}

/// The terms beside that of content to content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebertaTerms {
    /// Both.
    #[default]
    Both,
    /// Content to position: the query with a vector of the distance (`c2p`).
    ContentToPosition,
    /// Position to content: the key with a vector of the distance (`p2c`).
    PositionToContent,
}

impl DebertaTerms {
    fn content_to_position(self) -> bool {
        self != Self::PositionToContent
    }

    fn position_to_content(self) -> bool {
        self != Self::ContentToPosition
    }
}

/// Where vectors of distances are projected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebertaProjections {
    /// By matrices of the scheme.
    #[default]
    Own,
    /// By the layer's projections of queries and keys (`share_att_key`).
    Layer,
}

/// Configuration of [`Deberta`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebertaConfig {
    /// Which rows of the table distances read.
    pub distances: DebertaDistances,
    /// Rows of the table on each side.
    pub span: usize,
    /// The terms beside that of content to content.
    pub terms: DebertaTerms,
    /// Where vectors of distances are projected.
    pub projections: DebertaProjections,
    /// Whether the rows of the table are normalised.
    pub norm: bool,
    /// What is added to the variance in their norm.
    pub norm_eps: f64,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for DebertaConfig {
    fn default() -> Self {
        Self {
            distances: DebertaDistances::Log { max_distance: 512 },
            span: 256,
            terms: DebertaTerms::default(),
            projections: DebertaProjections::default(),
            norm: true,
            norm_eps: 1e-7,
            init_std: 0.02,
        }
    }
}

impl SchemeConfig for DebertaConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Terms,
            does: "queries and keys with projected vectors of the distance; versions 1, 2 and 3",
            parameters: "(2·span + 2)·d_model + (2·d_model + 1)·n_heads·d_head",
            longer_texts: "saturates",
            paper: "arXiv:2006.03654, arXiv:2111.09543",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::positive(self.init_std, problems, "init_std");
        PositionProblem::positive(self.norm_eps, problems, "norm_eps");
        if self.projections == DebertaProjections::Layer {
            let (n, kv) = (shape.n_heads, shape.n_kv_heads);
            let allowed = format!("own: {kv} heads of keys are not the {n} of queries");
            PositionProblem::unless(n == kv, problems, "projections", "layer", &allowed);
        }
        PositionProblem::unless(self.span > 0, problems, "span", self.span, "at least 1");
        if let DebertaDistances::Log { max_distance } = self.distances {
            PositionProblem::unless(self.span >= 4, problems, "span", self.span, "at least 4 with log");
            let allowed = format!("more than {}, the distances with rows of their own, and 1", self.span / 2);
            let fits = max_distance > self.span / 2 + 1;
            PositionProblem::unless(fits, problems, "distances.log.max_distance", max_distance, &allowed);
        }
    }
}

impl DebertaConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Deberta<B> {
        let (init, width) = (Init::Normal { std: self.init_std }, shape.n_heads * shape.d_head);
        let weight = |name: &str| init.param([shape.d_model, width], key.named(name), device);
        let own = self.projections == DebertaProjections::Own;
        let (c2p, p2c) = (own && self.terms.content_to_position(), own && self.terms.position_to_content());
        Deberta {
            table: init.param([2 * self.span, shape.d_model], key.named("table"), device),
            gamma: self.norm.then(|| Init::Ones.param([shape.d_model], key, device)),
            beta: self.norm.then(|| Init::Zeros.param([shape.d_model], key, device)),
            key_weight: c2p.then(|| weight("key_weight")),
            query_weight: p2c.then(|| weight("query_weight")),
            query_bias: p2c.then(|| Init::Zeros.param([width], key, device)),
            distances: self.distances,
            terms: self.terms,
            norm_eps: self.norm_eps,
            n_heads: shape.n_heads,
        }
    }
}

/// Adds scores of content and distance, to both sides.
#[derive(Module, Debug)]
pub struct Deberta<B: Backend> {
    /// `E`, `[2 · span, d_model]`; row `span` is distance 0, row `span + 1` the key before the query.
    pub table: Param<Tensor<B, 2>>,
    /// Scale of the norm of the table, `[d_model]`.
    pub gamma: Option<Param<Tensor<B, 1>>>,
    /// Shift of the norm of the table, `[d_model]`.
    pub beta: Option<Param<Tensor<B, 1>>>,
    /// `W_k`, of content to position, `[d_model, n_heads · d_head]`.
    pub key_weight: Option<Param<Tensor<B, 2>>>,
    /// `W_q`, of position to content, `[d_model, n_heads · d_head]`.
    pub query_weight: Option<Param<Tensor<B, 2>>>,
    /// `b`, `[n_heads · d_head]`.
    pub query_bias: Option<Param<Tensor<B, 1>>>,
    #[module(skip)]
    distances: DebertaDistances,
    #[module(skip)]
    terms: DebertaTerms,
    norm_eps: f64,
    n_heads: usize,
}

/// The bucket of a distance `query − key` of versions 2 and 3, with the sign of the distance; `span` buckets on each side,
/// farther ones past them.
pub fn deberta_bucket(distance: f64, span: usize, max_distance: usize) -> f64 {
    let exact = span / 2;
    if distance.abs() <= exact as f64 {
        return distance;
    }
    // NUMERICS: in f32 and in this order, because checkpoints were trained so.
    let (d, exact_f) = (distance.abs() as f32, exact as f32);
    let farthest = ((max_distance as f64 - 1.0) / exact as f64) as f32;
    let log = (d / exact_f).ln() / farthest.ln() * (exact_f - 1.0);
    distance.signum() * f64::from(log.ceil() + exact_f)
}

/// The distances of a pass and their vectors, `[heads, columns, d_head]`.
#[derive(Debug)]
struct OfPass<B: Backend> {
    distances: Distances<B>,
    /// The vectors before projection, `[columns, d_model]`.
    rows: Tensor<B, 2>,
    keys: Option<Tensor<B, 3>>,
    queries: Option<Tensor<B, 3>>,
}

impl<B: Backend> Deberta<B> {
    /// The row of a distance.
    fn row(&self, distance: f64) -> f64 {
        let [rows, _] = self.table.dims();
        let span = rows / 2;
        let distance = match self.distances {
            DebertaDistances::Clipped => distance,
            DebertaDistances::Log { max_distance } => deberta_bucket(distance, span, max_distance),
        };
        (distance + span as f64).clamp(0.0, rows as f64 - 1.0).floor()
    }

    /// `[columns, d_model]` → `[heads, columns, d_head]`.
    fn project(&self, rows: Tensor<B, 2>, weight: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 3> {
        let ([n, _], [_, width]) = (rows.dims(), weight.dims());
        let projected = ops::linear(rows, weight, bias);
        projected.reshape([n, self.n_heads, width / self.n_heads]).swap_dims(0, 1)
    }
}

impl<B: Backend> Scheme<B> for Deberta<B> {
    fn name(&self) -> &'static str {
        "deberta"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let distances = Distances::of(pass, |d| self.row(d), device);
        let mut rows = self.table.val().select(0, distances.rows(|row| row as usize, device));
        if let (Some(gamma), Some(beta)) = (&self.gamma, &self.beta) {
            rows = ops::layer_norm(rows, gamma.val(), beta.val(), self.norm_eps);
        }
        let keys = self.key_weight.as_ref().map(|weight| self.project(rows.clone(), weight.val(), None));
        let bias = self.query_bias.as_ref().map(Param::val);
        let queries = self.query_weight.as_ref().map(|weight| self.project(rows.clone(), weight.val(), bias));
        Prepared::new(OfPass { distances, rows, keys, queries })
    }

    fn score_scale(&self, d_head: usize, _pass: &Pass<'_>) -> ScoreScale {
        let terms =
            usize::from(self.terms.content_to_position()) + usize::from(self.terms.position_to_content());
        ScoreScale::Uniform(1.0 / ((d_head * (1 + terms)) as f64).sqrt())
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn score_terms(&self, q: &Tensor<B, 4>, k: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        let OfPass { distances, rows, keys, queries } = at.prepared.get::<OfPass<B>>();
        // Without matrices of its own: through the layer's.
        let through = |wanted: bool, (weight, bias): (&Param<Tensor<B, 2>>, Option<&Param<Tensor<B, 1>>>)| {
            wanted.then(|| self.project(rows.clone(), weight.val(), bias.map(Param::val)))
        };
        let of_layer = at.projections.as_ref().filter(|_| self.key_weight.is_none() && self.query_weight.is_none());
        let (of_keys, of_queries) = of_layer.map_or((None, None), |layer| {
            (
                through(self.terms.content_to_position(), layer.k),
                through(self.terms.position_to_content(), layer.q),
            )
        });
        let (keys, queries) = (keys.as_ref().or(of_keys.as_ref()), queries.as_ref().or(of_queries.as_ref()));
        let c2p = keys.map(|keys| distances.by_query(q.clone() * at.scale, keys.clone()));
        let p2c = queries.map(|queries| distances.by_key(k.clone() * at.scale, queries.clone()));
        match (c2p, p2c) {
            (Some(c2p), Some(p2c)) => Some(c2p + p2c),
            (one, other) => one.or(other),
        }
    }
}
