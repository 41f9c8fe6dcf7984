//! Rotary position embedding (RoPE): turns pairs of query and key dimensions by an angle linear in the position.
//!
//! Formula: `θ_n = base^(−2n/r)`; pair `n` at position `p` turns by `p·θ_n`, so `q·k` depends on positions through their
//! difference. Su et al. 2021, arXiv:2104.09864, eq. 14–15 and 34. With `fraction < 1` only the first `r = fraction·d_head`
//! dimensions turn (GPT-NeoX), and `r` is the denominator of the exponent.
//! Convention: [`Pairing`], part of a checkpoint. Both are the same up to a permutation of the projections' rows.
//! Parameters: 0. Limit: none declared, though quality falls past the training length. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::ops;
use serde::{Deserialize, Serialize};

use super::scheme::{LayerPass, Pass, Prepared, Scheme, Views};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Which dimensions form a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Dimensions `n` and `n + r/2` (Hugging Face Llama, GPT-NeoX).
    #[default]
    Halves,
    /// Dimensions `2n` and `2n + 1` (the paper, GPT-J, Meta's Llama).
    Interleaved,
}

/// Configuration of [`Rotary`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RotaryConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// The share of a head's dimensions that turn.
    pub fraction: f64,
}

impl Default for RotaryConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default(), fraction: 1.0 }
    }
}

impl RotaryConfig {
    pub(super) fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.base > 1.0, problems, "base", self.base, "a number above 1");
        let turned = self.fraction * shape.d_head as f64;
        let fits = self.fraction > 0.0 && self.fraction <= 1.0 && turned >= 2.0 && turned % 2.0 == 0.0;
        let allowed = format!("a share of d_head = {} that is an even number of dimensions", shape.d_head);
        PositionProblem::unless(fits, problems, "fraction", self.fraction, &allowed);
    }

    pub(super) fn init(&self, shape: &PositionShape) -> Rotary {
        Rotary {
            base: self.base,
            interleaved: self.pairing == Pairing::Interleaved,
            turned: (self.fraction * shape.d_head as f64) as usize,
        }
    }
}

/// Turns queries and keys.
#[derive(Module, Clone, Debug)]
pub struct Rotary {
    base: f64,
    interleaved: bool,
    turned: usize,
}

/// Cosines and sines of the angles, `[rows, 1, seq, turned / 2]`, with one row where all are equal.
#[derive(Clone, Debug)]
struct Tables<B: Backend> {
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
}

impl Rotary {
    fn tables<B: Backend>(&self, tokens: &Tokens, device: &B::Device) -> Tables<B> {
        let (seq, half) = (tokens.seq, self.turned / 2);
        let first = tokens.positions.get(..seq).unwrap_or_default();
        let shared = tokens.positions.chunks(seq.max(1)).all(|row| row == first);
        let (rows, positions) = if shared { (1, first) } else { (tokens.batch, &tokens.positions[..]) };
        // NUMERICS: angles in f64. At position 10^6 neighbouring f32 numbers are 0.06 apart.
        let theta = |n: usize| self.base.powf(-2.0 * n as f64 / self.turned as f64);
        let thetas: Vec<f64> = (0..half).map(theta).collect();
        let angles: Vec<f64> = positions.iter().flat_map(|p| thetas.iter().map(move |t| p * t)).collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&a| f(a) as f32).collect();
            Tensor::from_data(TensorData::new(values, [rows, 1, seq, half]), device)
        };
        Tables { cos: table(f64::cos), sin: table(f64::sin) }
    }
}

impl<B: Backend> Scheme<B> for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(self.tables::<B>(pass.queries, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let tables = at.prepared.get::<Tables<B>>();
        let turn = |x| ops::rotary(x, tables.cos.clone(), tables.sin.clone(), self.interleaved);
        Views::one(turn(q), turn(k))
    }
}
