//! Fourier position embedding (FoPE): pairs turn by mixtures of frequencies, and those that are too slow do not turn.
//!
//! Formula: of rotary's frequencies those with a whole turn in the training length are kept, `θ_m > 2π/L0`. Pair `n` has
//! `cos_n(p) = Σ_m cos(p·θ_m) · C_mn` and `sin_n(p) = Σ_m sin(p·θ_m) · S_mn`, with trained `C` and `S` that start at the
//! identity plus `N(0, σ²)`; the other pairs have cosine 1 and sine 0. Hua et al. 2024, arXiv:2412.17739.
//! Convention: halves. `C` and `S` are shared by the heads. Differs: the authors' mixtures are per head and start with Xavier noise of
//! gain 0.3; their code and vLLM give the pairs that do not turn a sine of 1, where the paper has frequency 0.
//! Not a rotation, so scores do not depend on distance alone.
//! Parameters: `2·k²` for `k` kept frequencies. Limit: none. Cache: the final key.

use std::f64::consts::TAU;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, Tables, Turn, thetas};
use super::{PositionProblem, PositionShape};

/// Configuration of [`FoPe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoPeConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// The training length `L0`; the model's `max_seq_len` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_length: Option<usize>,
    /// Standard deviation `σ` of what the mixtures start at beside the identity.
    pub init_std: f64,
}

impl Default for FoPeConfig {
    fn default() -> Self {
        Self { base: 10_000.0, training_length: None, init_std: 0.05 }
    }
}

impl SchemeConfig for FoPeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "turns by trained mixtures of its `k` fastest frequencies; slow pairs stand still",
            parameters: "2·k²",
            longer_texts: "better than `rotary`",
            paper: "arXiv:2412.17739",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
        PositionProblem::positive(self.init_std, problems, "init_std");
        let length = self.training_length.unwrap_or(shape.max_seq_len);
        let allowed = "at least 7, so that the fastest pair makes a whole turn";
        PositionProblem::unless(length >= 7, problems, "training_length", length, allowed);
    }
}

impl FoPeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> FoPe<B> {
        let length = self.training_length.unwrap_or(shape.max_seq_len) as f64;
        let mut kept = thetas(self.base, shape.d_head);
        kept.retain(|theta| *theta > TAU / length);
        let k = kept.len();
        let mixture = |name: &str| {
            let noise = Init::Normal { std: self.init_std }.param([k, k], key.named(name), device);
            noise.map(|noise| (noise + Tensor::eye(k, device)).detach().require_grad())
        };
        FoPe { cos: mixture("cos"), sin: mixture("sin"), thetas: kept, still: shape.d_head / 2 - k }
    }
}

/// Turns queries and keys by mixtures of frequencies.
#[derive(Module, Debug)]
pub struct FoPe<B: Backend> {
    /// `C`, `[kept, kept]`: a column is the mixture of a pair.
    pub cos: Param<Tensor<B, 2>>,
    /// `S`, `[kept, kept]`.
    pub sin: Param<Tensor<B, 2>>,
    #[module(skip)]
    thetas: Vec<f64>,
    /// Number of pairs that do not turn.
    still: usize,
}

impl<B: Backend> Scheme<B> for FoPe<B> {
    fn name(&self) -> &'static str {
        "fope"
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let turns = |cell: usize| {
            let position = pass.queries.positions[cell];
            self.thetas.iter().map(move |theta| Turn::by(position * theta))
        };
        let Tables { cos, sin } = Tables::<B>::by_cell(pass.queries, self.thetas.len(), turns, device);
        let [rows, _, seq, kept] = cos.dims();
        let mixed = |table: Tensor<B, 4>, mixture: &Param<Tensor<B, 2>>| {
            table.reshape([rows * seq, kept]).matmul(mixture.val()).reshape([rows, 1, seq, kept])
        };
        let (cos, sin) = (mixed(cos, &self.cos), mixed(sin, &self.sin));
        if self.still == 0 {
            return Prepared::new(Tables { cos, sin });
        }
        let still = Tensor::zeros([rows, 1, seq, self.still], device);
        Prepared::new(Tables {
            cos: Tensor::cat(vec![cos, still.ones_like()], 3),
            sin: Tensor::cat(vec![sin, still], 3),
        })
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let tables = at.prepared.get::<Tables<B>>();
        Views::one(tables.turn_learned(q, Pairing::Halves), tables.turn_learned(k, Pairing::Halves))
    }
}
