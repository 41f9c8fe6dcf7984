//! SHAPE: sinusoidal embeddings of positions that are moved by a random offset in training.
//!
//! Formula: in training the embedding of `p + k`, `k` from `U{0, …, K}` for each text; then attention learns what does not
//! depend on where a text begins. Kiyono et al. 2021, arXiv:2109.05644. In evaluation `k = 0`. Differs: the authors' code
//! evaluates at `k = K`.
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

/// Configuration of [`Shape`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShapeConfig {
    /// Where sines and cosines stand.
    pub layout: Layout,
    /// The base of the frequencies.
    pub base: f64,
    /// What the vector is multiplied by before it is added.
    pub scale: f64,
    /// The largest offset `K`.
    pub max_shift: usize,
}

impl Default for ShapeConfig {
    fn default() -> Self {
        let SinusoidalConfig { layout, base, scale } = SinusoidalConfig::default();
        Self { layout, base, scale, max_shift: 100 }
    }
}

impl SchemeConfig for ShapeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "sinusoidal; in training each text is shifted",
            parameters: "0",
            longer_texts: "better than plain",
            paper: "arXiv:2109.05644",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        self.sinusoidal().check(shape, problems);
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }
}

impl ShapeConfig {
    fn sinusoidal(&self) -> SinusoidalConfig {
        SinusoidalConfig { layout: self.layout, base: self.base, scale: self.scale }
    }

    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Shape {
        Shape { sinusoidal: self.sinusoidal().init::<B>(shape, key, device), max_shift: self.max_shift }
    }
}

/// Adds sinusoidal embeddings of shifted positions.
#[derive(Module, Clone, Debug)]
pub struct Shape {
    sinusoidal: Sinusoidal,
    max_shift: usize,
}

impl<B: Backend> Scheme<B> for Shape {
    fn name(&self) -> &'static str {
        "shape"
    }

    fn positions(&self, tokens: &Tokens, key: Option<Key>) -> Vec<f64> {
        let Some(key) = key else { return tokens.positions.clone() };
        let shift = |row: usize| key.below(row as u64, self.max_shift as u64 + 1) as f64;
        let cells = tokens.positions.iter().enumerate();
        cells.map(|(cell, p)| p + shift(cell / tokens.seq.max(1))).collect()
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        Scheme::<B>::embed(&self.sinusoidal, x, tokens)
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::rng::Key;
    use locus_testkit::device::NdArray;

    use super::ShapeConfig;
    use crate::Tokens;
    use crate::position::{Form, PositionShape, Scheme};

    #[test]
    fn texts_are_moved_as_a_whole_in_training_only() {
        let form = Form::Causal;
        let shape = PositionShape { d_model: 8, n_heads: 2, n_kv_heads: 2, d_head: 4, max_seq_len: 5, form };
        let config = ShapeConfig { max_shift: 2, ..Default::default() };
        let scheme = config.init::<NdArray>(&shape, Key::new(1), &Default::default());
        let tokens = Tokens::new([2, 3], vec![0; 6], vec![true; 6], None).expect("fits");
        let positions = |key| Scheme::<NdArray>::positions(&scheme, &tokens, key);
        assert_eq!(positions(None), tokens.positions);
        let mut counts = [[0_usize; 3]; 3];
        for seed in 0..900 {
            let p = positions(Some(Key::new(seed)));
            assert!(p.chunks(3).all(|row| row[1] == row[0] + 1.0 && row[2] == row[0] + 2.0), "{p:?}");
            counts[p[0] as usize][p[3] as usize] += 1;
        }
        // All nine pairs of offsets, 100 each with a standard deviation of 9.
        assert!(counts.iter().flatten().all(|n| n.abs_diff(100) < 45), "{counts:?}");
    }
}
