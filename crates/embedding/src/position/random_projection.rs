//! Random projection: a fixed matrix times a random vector per position, added to the token vectors or appended.
//!
//! Formula: `e_i = P · v_i` with `P: [width, m]` fixed and `v_i: [m]` random. Both are drawn from the seed
//! (`P ~ N(0, 1/m)`, `v ~ N(0, 1)`, so that `e` has unit variance before `scale`) or read from a checkpoint; with
//! `train_vectors` the `v_i` are trained. `v_i` depends on the seed and on `i` only, so a longer table begins like a
//! shorter one. Source: this is the basic scheme of the article behind the project; no library has it.
//! Parameters: `width · m` fixed, `max_positions · m` fixed or trained. Limit: an error from `max_positions` on.
//! Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::{embedding, linear};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{Limit, Scheme};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// How the position vector joins the token vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// `x + e`; `e` is as wide as the model.
    #[default]
    Add,
    /// `[x ; e]`: the last `width` of the model's `d_model` dimensions hold the position, the rest the token.
    Concat {
        /// Width of the position part.
        width: usize,
    },
}

/// Configuration of [`RandomProjection`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomProjectionConfig {
    /// Length of the random vectors.
    pub m: usize,
    /// Added or appended.
    pub combine: Combine,
    /// Number of positions; the model's `max_seq_len` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_positions: Option<usize>,
    /// Whether the vectors are trained. The matrix never is.
    pub train_vectors: bool,
    /// What the projected vector is multiplied by.
    pub scale: f64,
}

impl Default for RandomProjectionConfig {
    fn default() -> Self {
        Self { m: 64, combine: Combine::default(), max_positions: None, train_vectors: false, scale: 1.0 }
    }
}

impl SchemeConfig for RandomProjectionConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "adds or appends `e_i = P·v_i`, both fixed or `v_i` trained",
            parameters: "0, or max_positions·m",
            longer_texts: "no",
            paper: "the article behind the project",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.m > 0, problems, "m", self.m, "at least 1");
        PositionProblem::unless(self.scale.is_finite(), problems, "scale", self.scale, "a finite number");
        let n = self.max_positions.unwrap_or(shape.max_seq_len);
        let allowed = format!("at least max_seq_len = {}", shape.max_seq_len);
        PositionProblem::unless(n >= shape.max_seq_len, problems, "max_positions", n, &allowed);
        if let Combine::Concat { width } = self.combine {
            let allowed = format!("1 to d_model − 1 = {}", shape.d_model.saturating_sub(1));
            let fits = (1..shape.d_model).contains(&width);
            PositionProblem::unless(fits, problems, "combine.concat.width", width, &allowed);
        }
    }

    fn extra_width(&self) -> usize {
        match self.combine {
            Combine::Add => 0,
            Combine::Concat { width } => width,
        }
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }

    fn position_table(&self) -> Option<(&'static str, usize)> {
        Some(("vectors", 0))
    }
}

impl RandomProjectionConfig {
    pub(super) fn init<B: Backend>(
        &self,
        shape: &PositionShape,
        key: Key,
        device: &B::Device,
    ) -> RandomProjection<B> {
        let extra_width = self.extra_width();
        let width = if extra_width > 0 { extra_width } else { shape.d_model };
        let rows = self.max_positions.unwrap_or(shape.max_seq_len);
        let projection = Init::Normal { std: 1.0 / (self.m as f64).sqrt() };
        let vectors = Init::Normal { std: 1.0 };
        RandomProjection {
            projection: projection
                .param([width, self.m], key.named("projection"), device)
                .map(|p| p.set_require_grad(false)),
            vectors: vectors
                .param([rows, self.m], key.named("vectors"), device)
                .map(|v| v.set_require_grad(self.train_vectors)),
            extra_width,
            scale: self.scale,
        }
    }
}

/// Adds or appends `P · v_i`.
#[derive(Module, Debug)]
pub struct RandomProjection<B: Backend> {
    /// The fixed matrix `P`, `[width, m]`.
    pub projection: Param<Tensor<B, 2>>,
    /// The vectors `v_i`, `[max_positions, m]`.
    pub vectors: Param<Tensor<B, 2>>,
    extra_width: usize,
    scale: f64,
}

impl<B: Backend> Scheme<B> for RandomProjection<B> {
    fn name(&self) -> &'static str {
        "random_projection"
    }

    fn limit(&self) -> Limit {
        let [rows, _] = self.vectors.dims();
        Limit::Error(rows)
    }

    fn extra_width(&self) -> usize {
        self.extra_width
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        let [batch, seq, _] = x.dims();
        let rows: Vec<i64> = tokens.positions.iter().map(|&p| p as i64).collect();
        let rows = Tensor::<B, 2, Int>::from_data(TensorData::new(rows, [batch, seq]), &x.device());
        let v = embedding(self.vectors.val(), rows); // [batch, seq, m]
        let projected = linear(v, self.projection.val().transpose(), None); // [batch, seq, width]
        let projected = projected * self.scale;
        if self.extra_width > 0 { Tensor::cat(vec![x, projected], 2) } else { x + projected }
    }
}
