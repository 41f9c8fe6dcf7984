//! Data-adaptive position encoding (DAPE): a small network sees a cell's scores of all heads and their biases, and corrects them.
//!
//! Formula: `A + B + f([A ‖ B])`, with `A` the scaled scores of all heads at one cell, `B` a bias by position (`over`: ALiBi, KERPLE
//! or FIRE) and `f` a network `2·n_heads → hidden → n_heads` with LeakyReLU of slope 0.01. Zheng et al. 2024, arXiv:2405.14722,
//! and the authors' code (`DAPE.py`).
//! Not here: the second version (arXiv:2410.04798), whose convolution along the keys reads cells that a mask hides.
//! Parameters: `(2·n_heads + 1)·hidden + (hidden + 1)·n_heads` and those of `over`, of each layer in the paper
//! (`position_sharing = "per_layer"`). Limit: none. Cache: the final key. Attention keeps the score matrix, and `hidden` numbers for each
//! of its cells.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::leaky_relu, backend::Backend};
use locus_backend::init::Init;
use locus_backend::reference::add_bias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::{
    Alibi, AlibiConfig, Fire, FireConfig, Kerple, KerpleConfig, PositionConfig, PositionProblem,
    PositionShape,
};

/// The bias that is corrected: a name, or a table of its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PositionConfig", rename_all = "snake_case")]
pub enum DapeOver {
    /// ALiBi.
    Alibi(AlibiConfig),
    /// KERPLE.
    Kerple(KerpleConfig),
    /// FIRE.
    Fire(FireConfig),
}

impl TryFrom<PositionConfig> for DapeOver {
    type Error = String;

    fn try_from(config: PositionConfig) -> Result<Self, String> {
        match config {
            PositionConfig::Alibi(config) => Ok(Self::Alibi(config)),
            PositionConfig::Kerple(config) => Ok(Self::Kerple(config)),
            PositionConfig::Fire(config) => Ok(Self::Fire(config)),
            other => Err(format!("dape.over = '{}': allowed are alibi, kerple and fire", other.name())),
        }
    }
}

/// Configuration of [`Dape`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DapeConfig {
    /// The bias that is corrected.
    pub over: DapeOver,
    /// Width of the network.
    pub hidden: usize,
}

impl Default for DapeConfig {
    fn default() -> Self {
        Self { over: DapeOver::Kerple(KerpleConfig::default()), hidden: 32 }
    }
}

impl SchemeConfig for DapeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Contextual,
            does: "a network over the heads corrects scores and the bias `over`: `alibi`, `kerple` or `fire`",
            parameters: "(2·n_heads + 1)·hidden + (hidden + 3)·n_heads, or other numbers for other `over`",
            longer_texts: "well",
            paper: "arXiv:2405.14722",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.hidden > 0, problems, "hidden", self.hidden, "at least 1");
        let mut inner = Vec::new();
        match &self.over {
            DapeOver::Alibi(config) => config.check(shape, &mut inner),
            DapeOver::Kerple(config) => config.check(shape, &mut inner),
            DapeOver::Fire(config) => config.check(shape, &mut inner),
        }
        let below =
            |problem: PositionProblem| PositionProblem { key: format!("over.{}", problem.key), ..problem };
        problems.extend(inner.into_iter().map(below));
    }
}

impl DapeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Dape<B> {
        let of_inner = key.named("inner");
        let (heads, hidden) = (shape.n_heads, self.hidden);
        let (first, second) = (Init::of_fan_in(2 * heads), Init::of_fan_in(hidden));
        Dape {
            inner: match &self.over {
                DapeOver::Alibi(config) => Inner::Alibi(config.init::<B>(shape, of_inner, device)),
                DapeOver::Kerple(config) => Inner::Kerple(config.init(shape, of_inner, device)),
                DapeOver::Fire(config) => Inner::Fire(config.init(shape, of_inner, device)),
            },
            hidden_weight: first.param([2 * heads, hidden], key.named("hidden_weight"), device),
            hidden_bias: first.param([hidden], key.named("hidden_bias"), device),
            output_weight: second.param([hidden, heads], key.named("output_weight"), device),
            output_bias: second.param([heads], key.named("output_bias"), device),
        }
    }
}

/// Corrects scores and bias by a network.
#[derive(Module, Debug)]
pub struct Dape<B: Backend> {
    inner: Inner<B>,
    /// `[2·n_heads, hidden]`; the scores come first, then the biases.
    pub hidden_weight: Param<Tensor<B, 2>>,
    /// `[hidden]`.
    pub hidden_bias: Param<Tensor<B, 1>>,
    /// `[hidden, n_heads]`.
    pub output_weight: Param<Tensor<B, 2>>,
    /// `[n_heads]`.
    pub output_bias: Param<Tensor<B, 1>>,
}

/// The bias that is corrected.
#[derive(Module, Debug)]
enum Inner<B: Backend> {
    Alibi(Alibi),
    Kerple(Kerple<B>),
    Fire(Fire<B>),
}

impl<B: Backend> Dape<B> {
    fn inner(&self) -> &dyn Scheme<B> {
        match &self.inner {
            Inner::Alibi(scheme) => scheme,
            Inner::Kerple(scheme) => scheme,
            Inner::Fire(scheme) => scheme,
        }
    }
}

/// LeakyReLU's slope below zero.
const SLOPE: f64 = 0.01;

impl<B: Backend> Scheme<B> for Dape<B> {
    fn name(&self) -> &'static str {
        "dape"
    }

    fn is_relative(&self) -> bool {
        self.inner().is_relative()
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.inner().prepare(pass, device)
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn map_scores(&self, scores: Tensor<B, 4>, _q: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        let [batch, heads, q, k] = scores.dims();
        let bias = add_bias(scores.zeros_like(), &self.inner().bias(at)); // [batch, heads, q, k]
        // The channels of the network are an axis of their own: a layer is a product from the left.
        let layer = |weight: &Param<Tensor<B, 2>>, bias: &Param<Tensor<B, 1>>, x: Tensor<B, 3>| {
            let [_, channels] = weight.dims();
            let weight = weight.val().transpose().unsqueeze::<3>(); // [1, channels, x's channels]
            weight.matmul(x) + bias.val().reshape([1, channels, 1])
        };
        let both = Tensor::cat(vec![scores.clone(), bias.clone()], 1).reshape([batch, 2 * heads, q * k]);
        let hidden = leaky_relu(layer(&self.hidden_weight, &self.hidden_bias, both), SLOPE); // [batch, hidden, q · k]
        let correction = layer(&self.output_weight, &self.output_bias, hidden); // [batch, heads, q · k]
        scores + bias + correction.reshape([batch, heads, q, k])
    }
}

#[cfg(test)]
mod tests {
    use super::{DapeConfig, DapeOver};

    #[test]
    fn the_bias_is_a_name_or_a_table() {
        let read = |toml: &str| toml::from_str::<DapeConfig>(toml);
        assert!(matches!(read("over = 'alibi'").expect("read").over, DapeOver::Alibi(_)));
        let fire = read("over = { fire = { hidden = 5 } }").expect("read").over;
        assert!(matches!(fire, DapeOver::Fire(config) if config.hidden == 5));
        let error = read("over = 'rotary'").expect_err("refused").to_string();
        assert!(error.contains("rotary") && error.contains("alibi, kerple and fire"), "{error}");
    }
}
