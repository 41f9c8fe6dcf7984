//! Attention to the first tokens and to the most recent ones: attention sinks, and the Λ-mask.
//!
//! Formula: a query at position `i` sees the first `sinks` positions of its row and those less than `window` before it. Distances
//! inside the window are rotary's. What differs is how far away a sink seems that has left the window:
//! - `attention_sinks` counts positions inside the cache: the query lies at `min(i, sinks + window − 1)`. Xiao et al. 2023,
//!   arXiv:2309.17453, §3.2 (StreamingLLM).
//! - `lambda_mask` cuts the distance at the window: `min(i − j, window)`. Han et al. 2023, arXiv:2308.16137 (LM-Infinite).
//!
//! Convention: positions count from the first token of a row, padding left out; pairs as [`Pairing`] says. Nothing is trained: a rotary
//! model reads texts without end.
//! Decoders only: both are about what came before.
//! Parameters: 0. Limit: none. Cache: the raw key, and only of what a later query may see.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::mask::HIDDEN_SCORE;
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{CachePolicy, LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, retained, spans, thetas};
use super::views::{Way, Ways, cells};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "the window is of what came before";

/// Configuration of attention sinks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionSinksConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// Number of first positions that stay visible.
    pub sinks: usize,
    /// Number of recent positions that are visible, the query's own included.
    pub window: usize,
}

impl Default for AttentionSinksConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default(), sinks: 4, window: 1020 }
    }
}

/// Configuration of the Λ-mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LambdaMaskConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// Number of first positions that stay visible.
    pub sinks: usize,
    /// Number of recent positions that are visible, the query's own included, and the largest distance.
    pub window: usize,
}

impl Default for LambdaMaskConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default(), sinks: 10, window: 4096 }
    }
}

impl SchemeConfig for AttentionSinksConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "sees the first tokens and a window, positions counted in the cache",
            parameters: "0",
            longer_texts: "without end, but only what it sees",
            paper: "arXiv:2309.17453",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        check(self.base, self.window, shape, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl SchemeConfig for LambdaMaskConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "sees the first tokens and a window, distances cut there",
            parameters: "0",
            longer_texts: "without end, but only what it sees",
            paper: "arXiv:2308.16137",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        check(self.base, self.window, shape, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

fn check(base: f64, window: usize, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
    PositionProblem::base(base, problems);
    PositionProblem::even_head(shape, problems);
    PositionProblem::causal(shape, ONLY_EARLIER, problems);
    PositionProblem::unless(window > 0, problems, "window", window, "at least 1");
}

impl AttentionSinksConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> Sinks {
        let Self { base, pairing, sinks, window } = *self;
        Sinks { thetas: thetas(base, shape.d_head), pairing, sinks, window, far: Far::InCache }
    }
}

impl LambdaMaskConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> Sinks {
        let Self { base, pairing, sinks, window } = *self;
        Sinks { thetas: thetas(base, shape.d_head), pairing, sinks, window, far: Far::Cut }
    }
}

/// How far away a sink seems that has left the window.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Far {
    InCache,
    Cut,
}

/// Attends to the first tokens and to the most recent ones.
#[derive(Module, Clone, Debug)]
pub struct Sinks {
    #[module(skip)]
    thetas: Vec<f64>,
    #[module(skip)]
    pairing: Pairing,
    sinks: usize,
    window: usize,
    #[module(skip)]
    far: Far,
}

/// What all layers of a pass read.
#[derive(Debug)]
struct Pattern<B: Backend> {
    ways: Ways<B>,
    /// Zero, or so low that the cell has no weight, `[rows, 1, q, k]`.
    hidden: ScoreBias<B>,
}

impl<B: Backend> Scheme<B> for Sinks {
    fn name(&self) -> &'static str {
        match self.far {
            Far::InCache => "attention_sinks",
            Far::Cut => "lambda_mask",
        }
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let (sinks, window) = (self.sinks as f64, self.window as f64);
        let first: Vec<f64> = spans(pass.keys).into_iter().map(|(first, _)| first).collect();
        let recent = |i: f64, j: f64| i - j < window;
        let near = Way { query: &|_, i| i, key: &|_, j| j };
        // Counted from the first token of the row.
        let key = |row: usize, j: f64| j - first[row];
        let in_cache = |row: usize, i: f64| (i - first[row]).min(sinks + window - 1.0);
        let far = match self.far {
            Far::InCache => Way { query: &in_cache, key: &key },
            Far::Cut => Way { query: &|_, _| window, key: &|_, _| 0.0 },
        };
        let ways = Ways::new(pass, &self.thetas, &[near, far], |_, i, j| u8::from(!recent(i, j)), device);
        let hide = |row, i, j| if recent(i, j) || key(row, j) < sinks { 0.0 } else { HIDDEN_SCORE };
        let hidden = cells(pass, hide);
        let (q, k) = (pass.queries.seq, pass.keys.seq);
        let rows = hidden.len() / (q * k).max(1);
        let hidden = Tensor::from_data(TensorData::new(hidden, [rows, 1, q, k]), device);
        Prepared::new(Pattern::<B> { ways, hidden: ScoreBias::Dense(hidden) })
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        at.prepared.get::<Pattern<B>>().ways.turn(q, k, self.pairing)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<Pattern<B>>().hidden.clone()
    }

    fn retained(&self, cached: &Tokens) -> Option<Vec<usize>> {
        let (sinks, window) = (self.sinks as f64, self.window as f64);
        // A column stays where any row still needs it; the others hide it.
        Some(retained(cached, |first, last, position| {
            position - first < sinks || last + 1.0 - position < window
        }))
    }
}
