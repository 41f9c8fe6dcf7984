//! Dual-chunk attention: positions are counted inside chunks, and a query takes another place for its own chunk, for the one
//! before, and for all others, so that no distance exceeds what the model was trained on.
//!
//! Formula: chunks are `c = chunk − local` long. A key lies at `j mod c`; a query at `i mod c` for keys of its own chunk, at
//! `min(i mod c + c, chunk)` for those of the chunk before, and at `min(2c − 1, chunk)` for earlier ones. The `local` keys
//! before a query keep their exact distance across the border. An et al. 2024, arXiv:2402.17463, as in the authors'
//! ChunkLlama: `chunk` is 3/4 and `local` 1/16 of the training length.
//! Convention: pairs as [`Pairing`] says. Nothing is trained: a rotary model reads longer texts. Chunks are cut at fixed
//! positions.
//! Decoders only: the formula is not for keys after a query.
//! Parameters: 0. Limit: none. Cache: the raw key.

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

/// Configuration of [`DualChunk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DualChunkConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// The largest place of a query.
    pub chunk: usize,
    /// How many keys before a query keep their distance at least.
    pub local: usize,
}

impl Default for DualChunkConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::default(), chunk: 3072, local: 256 }
    }
}

impl SchemeConfig for DualChunkConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "places counted in chunks",
            parameters: "0",
            longer_texts: "well, untrained",
            paper: "arXiv:2402.17463",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
        let allowed = format!("1 or more and below chunk/2 = {}", self.chunk / 2);
        let fits = self.local > 0 && 2 * self.local < self.chunk;
        PositionProblem::unless(fits, problems, "local", self.local, &allowed);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl DualChunkConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> DualChunk {
        DualChunk { config: self.clone(), d_head: shape.d_head }
    }
}

/// Turns queries and keys by their places in chunks.
#[derive(Module, Clone, Debug)]
pub struct DualChunk {
    #[module(skip)]
    config: DualChunkConfig,
    d_head: usize,
}

impl<B: Backend> Scheme<B> for DualChunk {
    fn name(&self) -> &'static str {
        "dual_chunk"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let chunk = self.config.chunk as f64;
        let c = chunk - self.config.local as f64;
        let key = |_, j: f64| j.rem_euclid(c);
        let own = Way { query: &key, key: &key };
        let before = Way { query: &|_, i| (i.rem_euclid(c) + c).min(chunk), key: &key };
        let earlier = Way { query: &|_, _| (2.0 * c - 1.0).min(chunk), key: &key };
        let which = |_, i: f64, j: f64| (i.div_euclid(c) - j.div_euclid(c)).clamp(0.0, 2.0) as u8;
        let thetas = thetas(self.config.base, self.d_head);
        Prepared::new(Ways::<B>::new(pass, &thetas, &[own, before, earlier], which, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        at.prepared.get::<Ways<B>>().turn(q, k, self.config.pairing)
    }
}
