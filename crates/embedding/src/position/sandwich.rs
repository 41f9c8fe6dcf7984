//! Sandwich: the inner products of sinusoidal position embeddings, as a bias.
//!
//! Formula: `(Σ_{n=1}^{D/2} cos((i − j) / base^(2n/D)) − D/2) · H/(8h)` is added to the scaled scores of head `h = 1…H`. Chi et
//! al. 2023, arXiv:2212.10356, in the form of NeMo's `SandwichRelativePositionEmbedding`: the sum is at most 0, and heads
//! divide it by `8h/H`.
//! Parameters: 0. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::relative::Relative;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::{PositionProblem, PositionShape};

/// Configuration of [`Sandwich`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandwichConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// The width `D` of the embeddings; the width of a head where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dims: Option<usize>,
}

impl Default for SandwichConfig {
    fn default() -> Self {
        Self { base: 10_000.0, dims: None }
    }
}

impl SchemeConfig for SandwichConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "the inner products of sinusoidal embeddings",
            parameters: "0",
            longer_texts: "well",
            paper: "arXiv:2212.10356",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        let dims = self.dims.unwrap_or(shape.d_head);
        let fits = dims > 0 && dims.is_multiple_of(2);
        PositionProblem::unless(fits, problems, "dims", dims, "a positive even number");
    }
}

impl SandwichConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> Sandwich {
        let dims = self.dims.unwrap_or(shape.d_head) as f64;
        let frequency = |n: usize| self.base.powf(-2.0 * n as f64 / dims);
        Sandwich { frequencies: (1..=dims as usize / 2).map(frequency).collect(), n_heads: shape.n_heads }
    }
}

/// Adds inner products of sinusoidal embeddings.
#[derive(Module, Clone, Debug)]
pub struct Sandwich {
    #[module(skip)]
    frequencies: Vec<f64>,
    n_heads: usize,
}

impl<B: Backend> Scheme<B> for Sandwich {
    fn name(&self) -> &'static str {
        "sandwich"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let product = |d: &f64| self.frequencies.iter().map(|f| (d * f).cos() - 1.0).sum::<f64>();
        let bias = Relative::of(pass).bias::<B>(|distances| {
            let products: Vec<f64> = distances.iter().map(product).collect();
            let head = |h: usize| {
                let compression = 8.0 * h as f64 / self.n_heads as f64;
                products.iter().map(move |product| (product / compression) as f32)
            };
            let values: Vec<f32> = (1..=self.n_heads).flat_map(head).collect();
            Tensor::from_data(TensorData::new(values, [self.n_heads, distances.len()]), device)
        });
        Prepared::new(bias)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}
