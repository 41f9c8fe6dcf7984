//! RoPE++: rotary position embedding that also keeps the imaginary part of the complex product, as a second head.
//!
//! Formula: with queries and keys as complex numbers, rotary scores are `Re Σ_n q_n k̄_n e^{i(s−t)θ_n}`, for a query at `s` and a
//! key at `t`; a second head with the same query, key and value scores by the imaginary part: `Σ_n a_n sin((s−t)θ_n) −
//! b_n cos((s−t)θ_n)` where rotary has `Σ_n a_n cos((s−t)θ_n) + b_n sin((s−t)θ_n)`. That is rotary with queries turned back by
//! π/2. Liu et al. 2025, arXiv:2512.07525; the authors' `modeling_llama_rope_pp.py`.
//! Convention: the two heads of a query stand side by side, the imaginary one second; pairs as [`Pairing`] says. Output projections read
//! `2 · n_heads` heads. `n_heads` counts query projections: as they are it is the authors' RoPE++_EC (equal cache, twice the
//! heads); with half of `n_heads` and `n_kv_heads`, and `d_head` set, RoPE++_EH (equal heads, half the cache).
//! Parameters: 0 of its own; output projections are twice as large. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, Tables, Turn, thetas};
use super::{PositionProblem, PositionShape};

/// Configuration of [`RoPePlusPlus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoPePlusPlusConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
}

impl Default for RoPePlusPlusConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default() }
    }
}

impl SchemeConfig for RoPePlusPlusConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "turns; a second head for each query scores by the imaginary part; output projections are twice as large",
            parameters: "0",
            longer_texts: "better than `rotary`",
            paper: "arXiv:2512.07525",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
    }
}

impl RoPePlusPlusConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> RoPePlusPlus {
        RoPePlusPlus { thetas: thetas(self.base, shape.d_head), pairing: self.pairing }
    }
}

/// Turns queries and keys, and each query once more for the imaginary part.
#[derive(Module, Clone, Debug)]
pub struct RoPePlusPlus {
    #[module(skip)]
    thetas: Vec<f64>,
    #[module(skip)]
    pairing: Pairing,
}

impl<B: Backend> Scheme<B> for RoPePlusPlus {
    fn name(&self) -> &'static str {
        "rope_plus_plus"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn head_factor(&self) -> usize {
        2
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let turns = |cell: usize| {
            let position = pass.queries.positions[cell];
            self.thetas.iter().map(move |theta| Turn::by(position * theta))
        };
        Prepared::new(Tables::<B>::by_cell(pass.queries, self.thetas.len(), turns, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let real = at.prepared.get::<Tables<B>>();
        // cos(a − π/2) = sin(a), sin(a − π/2) = −cos(a).
        let imaginary = Tables { cos: real.sin.clone(), sin: real.cos.clone().neg() };
        let [batch, heads, seq, d_head] = q.dims();
        let both = vec![real.turn(q.clone(), self.pairing), imaginary.turn(q, self.pairing)];
        let q = Tensor::stack::<5>(both, 2); // [batch, heads, 2, q, d_head]
        Views::one(q.reshape([batch, 2 * heads, seq, d_head]), real.turn(k, self.pairing))
    }
}
