//! ReRoPE and Leaky ReRoPE: rotary up to a distance, and from there on no further, or more slowly.
//!
//! Formula: the relative position is `Δ = i − j` where `Δ < window` and `window + (Δ − window)·leak` beyond: ReRoPE for
//! `leak = 0`, Leaky ReRoPE for `leak = 1/16`. Su 2023, kexue.fm/archives/9708, and the author's `rerope_patch.py` and
//! `leaky_rerope_patch.py`. With `log_length = L0` queries are multiplied by `max(1, ln(i + 1)/ln L0)`, as there.
//! Convention: pairs as [`Pairing`] says; the window counts positions. Nothing is trained: a rotary model reads longer texts.
//! Decoders only: the formula is not for keys after a query.
//! Parameters: 0. Limit: none; the loss keeps falling with length. Cache: the raw key, which is turned in two ways.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{CachePolicy, LayerPass, Pass, Prepared, Scheme, ScoreScale, Views};
use super::turns::{Pairing, thetas};
use super::views::{Way, Ways};
use super::{PositionProblem, PositionShape};

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "the distance of later keys is not defined";

/// Configuration of [`ReRope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReRopeConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// The distance from which on it grows by `leak` only.
    pub window: usize,
    /// How much a position counts beyond the window.
    pub leak: f64,
    /// The length from which on queries grow with the logarithm of their position; none do where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_length: Option<usize>,
}

impl Default for ReRopeConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default(), window: 512, leak: 0.0, log_length: None }
    }
}

impl SchemeConfig for ReRopeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "distances stop growing at `window`, or grow by `leak`",
            parameters: "0",
            longer_texts: "well, untrained",
            paper: "kexue.fm/archives/9708",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
        PositionProblem::unless(self.window > 0, problems, "window", self.window, "at least 1");
        let fits = (0.0..=1.0).contains(&self.leak);
        PositionProblem::unless(fits, problems, "leak", self.leak, "0 to 1");
        let length = self.log_length.unwrap_or(2);
        PositionProblem::unless(length > 1, problems, "log_length", length, "at least 2");
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl ReRopeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> ReRope {
        ReRope { config: self.clone(), d_head: shape.d_head }
    }
}

/// Turns queries and keys by rectified distances.
#[derive(Module, Clone, Debug)]
pub struct ReRope {
    #[module(skip)]
    config: ReRopeConfig,
    d_head: usize,
}

impl<B: Backend> Scheme<B> for ReRope {
    fn name(&self) -> &'static str {
        "rerope"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        // The logarithm is of the position itself.
        self.config.log_length.is_none()
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let ReRopeConfig { base, leak, .. } = self.config;
        let window = self.config.window as f64;
        let near = Way { query: &|_, i| i, key: &|_, j| j };
        let far = Way { query: &|_, i| i * leak + window * (1.0 - leak), key: &|_, j| j * leak };
        let which = |_, i, j| u8::from(i - j >= window);
        Prepared::new(Ways::<B>::new(pass, &thetas(base, self.d_head), &[near, far], which, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        at.prepared.get::<Ways<B>>().turn(q, k, self.config.pairing)
    }

    fn score_scale(&self, d_head: usize, pass: &Pass<'_>) -> ScoreScale {
        let scale = 1.0 / (d_head as f64).sqrt();
        let Some(length) = self.config.log_length else { return ScoreScale::Uniform(scale) };
        let grown = |i: &f64| (scale * (i.ln_1p() / (length as f64).ln()).max(1.0)) as f32;
        ScoreScale::PerQuery(pass.queries.positions.iter().map(grown).collect())
    }
}
