//! xPos: rotary whose pairs also grow and shrink with the position, so that scores decay with distance.
//!
//! Formula: pair `n` turns by `p·θ_n`, as in [`Rotary`](super::Rotary), and is multiplied by `ζ_n^(p/s)` in queries and by
//! `ζ_n^(−p/s)` in keys, with `ζ_n = (2n + 0.4·d)/(1.4·d)`, so that `q·k` holds `ζ_n^((i−j)/s)`. Sun et al. 2022,
//! arXiv:2212.10554; `s = scale_base` is 512 in the authors' code (torchscale).
//! Convention: positions count from the middle of each row, which cancels in every score and keeps the factors near 1. The
//! authors' code does the same by the length, so that its cached keys, scaled for a shorter text, no longer fit; here raw
//! keys are cached and turned anew.
//! Causal only: keys after a query would grow without bound.
//! Parameters: 0. Limit: an error where factors would leave f32, at about 32 000 positions for the default `scale_base`.
//! Cache: the raw key.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{CachePolicy, LayerPass, Limit, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, Tables, Turn, spans, thetas};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// `γ` of the paper: the slowest decay is that of `ζ = γ/(1 + γ)` per `scale_base` positions, of the first pair.
const GAMMA: f64 = 0.4;

/// The largest exponent of e in a factor: the square of the factor is still a number in f32.
const LARGEST_EXPONENT: f64 = 40.0;

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "keys after a query would grow with their distance";

/// Configuration of [`XPos`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XPosConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// The distance over which pair `n` decays by `ζ_n`.
    pub scale_base: f64,
}

impl Default for XPosConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::Interleaved, scale_base: 512.0 }
    }
}

impl SchemeConfig for XPosConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "turns and lets far keys decay",
            parameters: "0",
            longer_texts: "better than `rotary`",
            paper: "arXiv:2212.10554",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
        PositionProblem::positive(self.scale_base, problems, "scale_base");
        let allowed = format!("at least 1/63 of max_seq_len = {}, or factors leave f32", shape.max_seq_len);
        let fits = self.limit() >= shape.max_seq_len;
        PositionProblem::unless(fits, problems, "scale_base", self.scale_base, &allowed);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl XPosConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> XPos {
        XPos { config: self.clone(), d_head: shape.d_head }
    }

    /// How far apart two tokens of a row may lie.
    fn limit(&self) -> usize {
        let per_position = -(GAMMA / (1.0 + GAMMA)).ln() / self.scale_base;
        (2.0 * LARGEST_EXPONENT / per_position) as usize
    }
}

/// Turns and scales queries and keys.
#[derive(Module, Clone, Debug)]
pub struct XPos {
    #[module(skip)]
    config: XPosConfig,
    d_head: usize,
}

impl XPos {
    /// The tables of tokens that count from `centres`; `sign` is 1 for queries and −1 for keys.
    fn tables<B: Backend>(
        &self,
        tokens: &Tokens,
        centres: &[f64],
        sign: f64,
        device: &B::Device,
    ) -> Tables<B> {
        let d = self.d_head as f64;
        let thetas = thetas(self.config.base, self.d_head);
        let turn = |p: f64, n: usize| {
            let zeta = (2.0 * n as f64 + GAMMA * d) / ((1.0 + GAMMA) * d);
            Turn { angle: p * thetas[n], magnitude: zeta.powf(sign * p / self.config.scale_base) }
        };
        let rows = tokens.positions.chunks(tokens.seq.max(1)).zip(centres);
        let places = rows.flat_map(|(positions, centre)| positions.iter().map(move |p| p - centre));
        let turns: Vec<Turn> =
            places.flat_map(|p| (0..thetas.len()).map(move |n| (p, n))).map(|(p, n)| turn(p, n)).collect();
        Tables::new(&turns, [tokens.batch, tokens.seq, thetas.len()], device)
    }
}

impl<B: Backend> Scheme<B> for XPos {
    fn name(&self) -> &'static str {
        "xpos"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn limit(&self) -> Limit {
        Limit::Error(self.config.limit())
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let centres: Vec<f64> =
            spans(pass.keys).into_iter().map(|(first, last)| ((first + last) / 2.0).floor()).collect();
        let q: Tables<B> = self.tables(pass.queries, &centres, 1.0, device);
        let k: Tables<B> = self.tables(pass.keys, &centres, -1.0, device);
        Prepared::new((q, k))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let (of_q, of_k) = at.prepared.get::<(Tables<B>, Tables<B>)>();
        Views::one(of_q.turn(q, self.config.pairing), of_k.turn(k, self.config.pairing))
    }
}
