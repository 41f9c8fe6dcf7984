//! Attention with linear biases (ALiBi): a penalty per head, linear in the distance of query and key.
//!
//! Formula: `−m_h · |i − j|` is added to the scaled scores. For a power of two of heads `m_h = 2^(−8h/H)`, `h = 1…H`;
//! otherwise the slopes of the next lower power of two `P`, followed by every other slope of `2P`. Press et al. 2021,
//! arXiv:2108.12409, §3, and the authors' `get_slopes`. In a decoder the mask leaves `i ≥ j` (the causal form); in an
//! encoder both sides are penalised alike (the symmetric form).
//! Convention: slopes in f64, the bias in f32 and unscaled. Falcon's bf16 slopes and scaled bias differ.
//! Parameters: 0. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::PositionShape;
use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::relative::Relative;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};

/// Configuration of [`Alibi`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlibiConfig {}

impl SchemeConfig for AlibiConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "`−m_h·|i − j|`; any number of heads; causal or symmetric with the stack",
            parameters: "0",
            longer_texts: "well",
            paper: "arXiv:2108.12409",
        }
    }
}

impl AlibiConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> Alibi {
        Alibi::steeper(shape.n_heads, 1.0)
    }
}

/// Penalises distance.
#[derive(Module, Clone, Debug)]
pub struct Alibi {
    n_heads: usize,
    factor: f64,
}

impl Alibi {
    /// With slopes that are `factor` times as large.
    pub(super) fn steeper(n_heads: usize, factor: f64) -> Self {
        Self { n_heads, factor }
    }
}

/// The slope of each head.
pub fn slopes(n_heads: usize) -> Vec<f64> {
    let of_power = |p: usize| (1..=p).map(move |h| 2.0_f64.powf(-8.0 * h as f64 / p as f64));
    if n_heads == 0 {
        return Vec::new();
    }
    let lower = 1 << n_heads.ilog2();
    of_power(lower).chain(of_power(2 * lower).step_by(2)).take(n_heads).collect()
}

impl<B: Backend> Scheme<B> for Alibi {
    fn name(&self) -> &'static str {
        "alibi"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let slopes = slopes(self.n_heads);
        let bias = Relative::of(pass).bias::<B>(|distances| {
            let values: Vec<f32> =
                slopes.iter().flat_map(|m| penalties(self.factor * m, distances)).collect();
            Tensor::from_data(TensorData::new(values, [self.n_heads, distances.len()]), device)
        });
        Prepared::new(bias)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}

fn penalties(slope: f64, distances: &[f64]) -> Vec<f32> {
    distances.iter().map(|d| (-slope * d.abs()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_of_the_paper() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        // The authors' get_slopes(6): the four of P = 4, then the first and third of P = 8.
        assert_eq!(slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    }
}
