//! Self-Extend: exact distances to neighbours, distances between groups of tokens beyond.
//!
//! Formula: the relative position is `i − j` where that is below `window`, and `⌊i/g⌋ − ⌊j/g⌋ + window − ⌊window/g⌋` beyond,
//! with groups of `g` tokens. Jin et al. 2024, arXiv:2401.01325.
//! Convention: pairs as [`Pairing`] says. Nothing is trained: a rotary model reads longer texts. Groups are cut at fixed
//! positions, so shifting a text changes distances by one.
//! Decoders only: the formula is not for keys after a query.
//! Parameters: 0. Limit: none declared; a model of `L0` positions reads `(L0 − window)·g + window`. Cache: the raw key.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{CachePolicy, LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, thetas};
use super::views::{Way, Ways};
use super::{PositionProblem, PositionShape};

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "the distance of later keys is not defined";

/// Configuration of [`SelfExtend`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfExtendConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// The distance from which on groups are counted.
    pub window: usize,
    /// Number of tokens in a group.
    pub group: usize,
}

impl Default for SelfExtendConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default(), window: 1024, group: 8 }
    }
}

impl SchemeConfig for SelfExtendConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "distances of groups beyond `window`",
            parameters: "0",
            longer_texts: "well, untrained",
            paper: "arXiv:2401.01325",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
        PositionProblem::unless(self.group > 0, problems, "group", self.group, "at least 1");
        let allowed = format!("at least group = {}", self.group);
        PositionProblem::unless(self.window >= self.group, problems, "window", self.window, &allowed);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl SelfExtendConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> SelfExtend {
        SelfExtend { config: self.clone(), d_head: shape.d_head }
    }
}

/// Turns queries and keys by distances of tokens and of groups.
#[derive(Module, Clone, Debug)]
pub struct SelfExtend {
    #[module(skip)]
    config: SelfExtendConfig,
    d_head: usize,
}

impl<B: Backend> Scheme<B> for SelfExtend {
    fn name(&self) -> &'static str {
        "self_extend"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let (window, group) = (self.config.window as f64, self.config.group as f64);
        let shift = window - (window / group).floor();
        let near = Way { query: &|_, i| i, key: &|_, j| j };
        let far = Way { query: &|_, i| (i / group).floor() + shift, key: &|_, j| (j / group).floor() };
        let which = |_, i, j| u8::from(i - j >= window);
        let thetas = thetas(self.config.base, self.d_head);
        Prepared::new(Ways::<B>::new(pass, &thetas, &[near, far], which, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        at.prepared.get::<Ways<B>>().turn(q, k, self.config.pairing)
    }
}
