//! CAPE: sinusoidal embeddings of positions that are moved, blurred and stretched at random in training.
//!
//! Formula: in training `p' = (p + Δ + δ_p) · e^λ`, with `Δ` from `U(−g, g)` and `λ` from `U(−ln s, ln s)` for each text and
//! `δ_p` from `U(−l, l)` for each token; then the sinusoidal embedding of `p'`. In evaluation `p' = p`. Likhomanenko et al.
//! 2021, arXiv:2106.03143. The authors also count from the middle of a text (`mean_normalize`), which must then be
//! read at once; this is left out. The default bounds are this project's; those of `CAPE1d` do nothing (0, 0 and 1).
//! Convention: the layouts of [`Sinusoidal`].
//! Parameters: 0. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::Scheme;
use super::{Layout, PositionProblem, PositionShape, Sinusoidal, SinusoidalConfig};
use crate::Tokens;

/// Configuration of [`Cape`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapeConfig {
    /// Where sines and cosines stand.
    pub layout: Layout,
    /// The base of the frequencies.
    pub base: f64,
    /// What the vector is multiplied by before it is added.
    pub scale: f64,
    /// How far a text is moved at most.
    pub max_global_shift: f64,
    /// How far a token is moved at most.
    pub max_local_shift: f64,
    /// How much a text is stretched or compressed at most.
    pub max_scale: f64,
}

impl Default for CapeConfig {
    fn default() -> Self {
        let SinusoidalConfig { layout, base, scale } = SinusoidalConfig::default();
        Self { layout, base, scale, max_global_shift: 5.0, max_local_shift: 0.5, max_scale: 1.03 }
    }
}

impl SchemeConfig for CapeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "sinusoidal; in training positions are moved, blurred and stretched",
            parameters: "0",
            longer_texts: "by augmentation",
            paper: "arXiv:2106.03143",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        self.sinusoidal().check(shape, problems);
        for (key, shift) in
            [("max_global_shift", self.max_global_shift), ("max_local_shift", self.max_local_shift)]
        {
            PositionProblem::unless(shift >= 0.0 && shift.is_finite(), problems, key, shift, "0 or more");
        }
        let fits = self.max_scale >= 1.0 && self.max_scale.is_finite();
        PositionProblem::unless(fits, problems, "max_scale", self.max_scale, "1 or more");
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }
}

impl CapeConfig {
    fn sinusoidal(&self) -> SinusoidalConfig {
        SinusoidalConfig { layout: self.layout, base: self.base, scale: self.scale }
    }

    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Cape {
        Cape { sinusoidal: self.sinusoidal().init::<B>(shape, key, device), config: self.clone() }
    }
}

/// Adds sinusoidal embeddings of augmented positions.
#[derive(Module, Clone, Debug)]
pub struct Cape {
    sinusoidal: Sinusoidal,
    #[module(skip)]
    config: CapeConfig,
}

impl<B: Backend> Scheme<B> for Cape {
    fn name(&self) -> &'static str {
        "cape"
    }

    fn positions(&self, tokens: &Tokens, key: Option<Key>) -> Vec<f64> {
        let Some(key) = key else { return tokens.positions.clone() };
        let CapeConfig { max_global_shift, max_local_shift, max_scale, .. } = self.config;
        let within = |bound: f64, key: Key, idx: usize| bound * (2.0 * key.uniform(idx as u64) - 1.0);
        let [global, local, scale] = ["global", "local", "scale"].map(|name| key.named(name));
        let moved = |(cell, p): (usize, &f64)| {
            let row = cell / tokens.seq.max(1);
            let shifted = p + within(max_global_shift, global, row) + within(max_local_shift, local, cell);
            shifted * within(max_scale.ln(), scale, row).exp()
        };
        tokens.positions.iter().enumerate().map(moved).collect()
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        Scheme::<B>::embed(&self.sinusoidal, x, tokens)
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::rng::Key;
    use locus_testkit::device::NdArray;

    use super::CapeConfig;
    use crate::Tokens;
    use crate::position::{Form, PositionShape, Scheme};

    #[test]
    fn positions_move_within_their_bounds_in_training_only() {
        let form = Form::Causal;
        let shape = PositionShape { d_model: 8, n_heads: 2, n_kv_heads: 2, d_head: 4, max_seq_len: 5, form };
        let config =
            CapeConfig { max_global_shift: 3.0, max_local_shift: 0.4, max_scale: 1.5, ..Default::default() };
        let cape = config.init::<NdArray>(&shape, Key::new(1), &Default::default());
        let tokens = Tokens::new([2, 4], vec![0; 8], vec![true; 8], None).expect("fits");
        let positions = |key| Scheme::<NdArray>::positions(&cape, &tokens, key);
        assert_eq!(positions(None), tokens.positions);
        let (mut least, mut most, mut scales) = (f64::MAX, f64::MIN, Vec::new());
        for seed in 0..500 {
            let p = positions(Some(Key::new(seed)));
            assert!(p[0] != p[4], "texts move apart");
            // Neighbours stay in order: 1 − 2·0.4 > 0 apart before the stretch.
            assert!(p[..4].windows(2).all(|pair| pair[1] > pair[0]), "{p:?}");
            scales.push((p[3] - p[0]) / 3.0);
            (least, most) = (least.min(p[0]), most.max(p[0]));
        }
        assert!((-3.4 * 1.5..-3.0).contains(&least) && (3.0..3.4 * 1.5).contains(&most), "{least} {most}");
        let (slowest, fastest) =
            (scales.iter().copied().fold(f64::MAX, f64::min), scales.iter().copied().fold(0.0, f64::max));
        assert!(slowest < 0.75 && slowest > (1.0 - 0.27) / 1.5, "{slowest}");
        assert!(fastest > 1.4 && fastest < 1.27 * 1.5, "{fastest}");
    }
}
