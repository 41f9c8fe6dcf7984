//! A layer between a stack and what stands on it: BERT's pooler and the transform of its masked-word head, RoBERTa's dense
//! layer, ModernBERT's head.

use burn::module::Module;
use burn::tensor::activation::tanh;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_encoder::{Linear, Norm, StackConfig};
use serde::{Deserialize, Serialize};

/// The configuration of a [`Transform`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformConfig {
    /// What follows the projection.
    pub activation: HeadActivation,
    /// Whether the projection has a bias.
    pub bias: bool,
    /// Whether a norm, of the stack's kind, follows the activation.
    pub norm: bool,
}

impl Default for TransformConfig {
    fn default() -> Self {
        Self { activation: HeadActivation::Tanh, bias: true, norm: false }
    }
}

/// The activation of a [`Transform`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadActivation {
    /// Hyperbolic tangent.
    Tanh,
    /// Gaussian error linear unit, exact.
    Gelu,
    /// Gaussian error linear unit, tanh approximation.
    GeluTanh,
    /// Rectified linear unit.
    Relu,
    /// Sigmoid linear unit.
    Silu,
}

/// `norm(f(dense(x)))`.
#[derive(Module, Debug)]
pub struct Transform<B: Backend> {
    /// `[d_in, d_out]`.
    pub dense: Linear<B>,
    /// Norm of the outcome.
    pub norm: Option<Norm<B>>,
    #[module(skip)]
    activation: HeadActivation,
}

impl<B: Backend> Transform<B> {
    /// Makes the layer on a stack, for vectors of the first width into the second.
    pub fn new(
        config: &TransformConfig,
        stack: &StackConfig,
        [d_in, d_out]: [usize; 2],
        key: Key,
        device: &B::Device,
    ) -> Self {
        Self {
            dense: Linear::new([d_in, d_out], config.bias, stack.init_std, key, device),
            norm: config.norm.then(|| Norm::of(stack, d_out, device)),
            activation: config.activation,
        }
    }

    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - x: `[.., d_in]`; output: `[.., d_out]`
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{Transform, TransformConfig};
    /// let stack = StackConfig { d_model: 6, ..StackConfig::default() };
    /// let (config, key, device) = (TransformConfig::default(), Key::new(1), Default::default());
    /// let pooler = Transform::<NdArray>::new(&config, &stack, [6, 6], key, &device);
    /// assert_eq!(pooler.forward(Tensor::<NdArray, 2>::ones([2, 6], &Default::default())).dims(), [2, 6]);
    /// ```
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let x = self.dense.forward(x);
        let x = match self.activation {
            HeadActivation::Tanh => tanh(x),
            HeadActivation::Gelu => ops::activation(x, ops::Activation::Gelu),
            HeadActivation::GeluTanh => ops::activation(x, ops::Activation::GeluTanh),
            HeadActivation::Relu => ops::activation(x, ops::Activation::Relu),
            HeadActivation::Silu => ops::activation(x, ops::Activation::Silu),
        };
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}
